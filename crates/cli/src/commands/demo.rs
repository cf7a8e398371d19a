//! `seachange demo`: a whole release on this machine, with users on it.
//!
//! Nothing is staged: it is the tutorial's own spec, planned and applied by the code that every other command runs,
//! against the local cloud's sockets, while a load generator asks for the domain through the load balancer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use seachange_core::plan::Purpose;
use seachange_core::spec::{self, Spec, Variables};

use crate::args::{self, LockOptions, PlanOptions, RunOptions};
use crate::commands::apply::{Job, perform};
use crate::failure::{Context as _, Failure, Result};
use crate::load::{Load, Tally};
use crate::output::Printer;
use crate::session::Session;
use crate::{exit, work};

/// The tutorial's spec, as it stands in specs/.
const SPEC: &str = include_str!("../../../../specs/webgui.yaml");
/// How long users are served before and after each change, so that there is something to see.
const CALM: Duration = Duration::from_secs(2);

/// Tells the whole story.
pub(crate) async fn run(arguments: &args::Demo, printer: Printer) -> Result<u8> {
    let began = Instant::now();
    let folder = tempfile::tempdir().context(|| "cannot make a folder for the demo".to_owned())?;
    let session = Session::open_local(read("1.0")?, folder.path().to_owned(), printer).await?;
    let outcome = story(session, arguments, printer, began).await;
    drop(folder);
    outcome
}

async fn story(
    mut session: Session,
    arguments: &args::Demo,
    printer: Printer,
    began: Instant,
) -> Result<u8> {
    let say = |text: &str| {
        if !printer.json {
            printer.out(&format!("\n── {text}"));
        }
    };
    say(
        "The tutorial's stack, from nothing: two workers, floating IP, load balancer, domain, release 1.0",
    );
    step(&session, Purpose::Apply, printer).await?;

    let (address, domain) = entrance(&session).await?;
    say(&format!(
        "Users: {} requests a second for http://{domain}/ through the load balancer",
        arguments.rate
    ));
    let load = Load::start(address, &domain, arguments.rate);
    tokio::time::sleep(CALM).await;

    say("Release 1.1, by a blue-green swap");
    session.spec = read("1.1")?;
    step(&session, Purpose::Apply, printer).await?;
    tokio::time::sleep(CALM).await;
    let swap = load.tally().cutover("1.0", "1.1");

    say("Rollback to 1.0");
    step(&session, Purpose::Rollback, printer).await?;
    tokio::time::sleep(CALM).await;
    let tally = load.finish().await;

    say("A further plan");
    session.spec = read("1.0")?;
    let requests_before = session.requests();
    let unchanged = further_plan(&session, printer).await?;
    let summary = Summary {
        seconds: began.elapsed().as_secs_f64(),
        api_requests: session.requests(),
        plan_requests: session.requests() - requests_before,
        cutover: swap,
        unchanged,
        tally,
    };
    session.close().await;
    summary.show(printer);
    Ok(if summary.good() { exit::FINE } else { exit::ERROR })
}

/// The tutorial's spec in a version. Its credentials are the local cloud's business.
fn read(version: &str) -> Result<Spec> {
    let vars = BTreeMap::from([("VERSION".to_owned(), version.to_owned())]);
    let (spec, problems) = spec::read(
        SPEC.as_bytes(),
        &Variables {
            env: &|_| None,
            vars: &vars,
            supplied: &|_, _| Some("supplied-by-the-local-cloud".to_owned()),
        },
    );
    spec.ok_or_else(|| Failure::new(format!("the demo's own spec is wrong: {problems:?}")))
}

async fn step(session: &Session, purpose: Purpose, printer: Printer) -> Result<()> {
    let job = Job {
        purpose,
        options: PlanOptions::default(),
        run: RunOptions { auto_approve: true, parallelism: 10, lock: LockOptions::default() },
        saved: None,
        dry_run: false,
    };
    match perform(session, &job, printer).await? {
        exit::FINE => Ok(()),
        _ => Err(Failure::new("the demo ends here: a step failed")),
    }
}

/// Where users come in: the load balancer's address, as this machine can reach it, and the domain they ask for.
async fn entrance(session: &Session) -> Result<(SocketAddr, String)> {
    let state = work::state(session, &session.context(1)).await?;
    let balancer = state
        .droplet(&seachange_core::address::Address::LoadBalancer)
        .and_then(|droplet| droplet.ipv4);
    let domain = session.spec.domain.as_ref().and_then(|domain| {
        domain.records.first().map(|record| format!("{}.{}", record.name, domain.zone))
    });
    let listen = session.spec.load_balancer.as_ref().map(|balancer| balancer.listen);
    let offset = session.port_offset();
    match (balancer, domain, listen, offset) {
        (Some(ip), Some(domain), Some(listen), Some(offset)) => {
            let port = if listen < 1024 { listen + offset } else { listen };
            Ok((SocketAddr::from((ip, port)), domain))
        }
        _ => Err(Failure::new("the demo's stack has no load balancer or domain to ask")),
    }
}

/// Plans once more; whether there was nothing to do.
async fn further_plan(session: &Session, printer: Printer) -> Result<bool> {
    let context = session.context(1);
    let mut state = work::state(session, &context).await?;
    work::settle(&context, &mut state).await?;
    let observed = work::refresh(&context, &work::wanted(session, Purpose::Apply), &state).await?;
    let plan = work::plan(session, Purpose::Apply, &PlanOptions::default(), &state, &observed)?;
    super::plan::show(&plan, args::Format::Text, &[], printer);
    Ok(plan.is_empty())
}

struct Summary {
    seconds: f64,
    api_requests: u64,
    plan_requests: u64,
    cutover: Option<Duration>,
    unchanged: bool,
    tally: Tally,
}

impl Summary {
    /// Whether it was as promised: nobody noticed, every version was seen, and nothing is left to do.
    fn good(&self) -> bool {
        let both = ["1.0", "1.1"].iter().all(|version| self.tally.versions.contains_key(*version));
        self.tally.failed == 0 && self.tally.sent > 0 && both && self.unchanged
    }

    fn show(&self, printer: Printer) {
        let Tally { sent, failed, reasons, slowest, .. } = &self.tally;
        let cutover =
            self.cutover.map_or("not seen".to_owned(), |time| format!("{} ms", time.as_millis()));
        if printer.json {
            printer.out_json(&serde_json::json!({
                "type": "demo_summary", "requests_sent": sent, "requests_failed": failed, "reasons": reasons,
                "cutover_ms": self.cutover.map(|time| time.as_millis() as u64), "slowest_ms": slowest.as_millis() as u64,
                "api_requests": self.api_requests, "further_plan_api_requests": self.plan_requests,
                "further_plan_unchanged": self.unchanged, "seconds": self.seconds,
            }));
            return;
        }
        let reasons =
            if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join("; ")) };
        printer.out(&format!(
            "\n── What users saw\n\
             requests sent      {sent}\n\
             requests failed    {failed}{reasons}\n\
             cutover            {cutover} (from the first answer of 1.1 to the last of 1.0)\n\
             slowest answer     {} ms\n\
             API requests       {}, of them {} for the further plan\n\
             time               {:.1} s in all",
            slowest.as_millis(),
            self.api_requests,
            self.plan_requests,
            self.seconds,
        ));
    }
}
