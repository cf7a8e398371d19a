//! `seachange logs`: the last lines the app wrote, addressed by role and not by IP.

use seachange_core::address::Address;
use seachange_core::host::{Host, Target};
use seachange_core::plan::Purpose;

use crate::args::Logs;
use crate::failure::{Context as _, Failure, Result};
use crate::output::Printer;
use crate::session::Session;
use crate::source::{Need, Source};
use crate::work;

/// Fetches and prints them.
pub(crate) async fn run(arguments: &Logs, printer: Printer) -> Result<u8> {
    let source = Source::read(&arguments.spec, Need::Access, printer)?;
    let session = Session::open(&source, printer).await?;
    let outcome = logs(&session, arguments, printer).await;
    session.close().await;
    outcome
}

async fn logs(session: &Session, arguments: &Logs, printer: Printer) -> Result<u8> {
    let context = session.context(1);
    let Some(host) = context.host else {
        return Err(Failure::new(format!(
            "the stack {} has no hosts to ask: its spec has no ssh",
            session.spec.stack
        )));
    };
    let state = work::state(session, &context).await?;
    let mut wanted = work::wanted(session, Purpose::Rollback);
    wanted.hosts = false;
    let observed = work::refresh(&context, &wanted, &state).await?;
    let live = state
        .floating_ip()
        .and_then(|ip| observed.reserved_ips.get(&ip)?.droplet)
        .and_then(|droplet| state.address_of(droplet)?.worker());
    let standby = || state.workers().map(|(number, _)| number).find(|&number| Some(number) != live);
    let worker = match (&arguments.address, arguments.worker) {
        (Some(address), _) => address.worker(),
        (None, Some(number)) => Some(number),
        (None, None) if arguments.standby => standby(),
        (None, None) => live,
    };
    let droplet = worker.and_then(|number| state.droplet(&Address::Worker(number)));
    let (Some(worker), Some(droplet)) = (worker, droplet) else {
        return Err(Failure::new(format!("the stack {} has no such worker", session.spec.stack))
            .help("seachange status says which there are"));
    };
    let Some(target) = droplet.target() else {
        return Err(Failure::new(format!("droplet.worker[{worker}] has no address yet"))
            .help("seachange apply finishes it"));
    };
    let lines = newest(host, &target, session, arguments.lines)
        .await
        .context(|| format!("cannot read the logs of droplet.worker[{worker}]"))?;
    match lines {
        Some(lines) if printer.json => {
            printer.out_json(&serde_json::json!({ "worker": worker, "lines": lines }));
        }
        Some(lines) => lines.iter().for_each(|line| printer.out(line)),
        None => printer.talk(&format!("droplet.worker[{worker}] has no container of the stack")),
    }
    Ok(crate::exit::FINE)
}

async fn newest(
    host: &dyn Host,
    target: &Target,
    session: &Session,
    lines: usize,
) -> std::result::Result<Option<Vec<String>>, seachange_core::host::HostError> {
    let containers = host.containers(target, &session.spec.stack).await?;
    match containers.first() {
        Some(container) => host.logs(target, &container.name, lines).await.map(Some),
        None => Ok(None),
    }
}
