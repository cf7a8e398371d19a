//! Verify: requests along the ways users come must be answered by the new release, before a deadline.

use seachange_core::address::Address;
use seachange_core::event::Event;
use seachange_core::host::{Probe, Route};
use seachange_core::release::Transition;
use tokio::time::Instant;

use super::gate::{answers, ask, patience, seen};
use crate::pace::interval;
use crate::step::{Step, Trouble, failure};
use crate::steps::floating_ip;

/// Looks along every way users come. Heeds no stop: users are on the new release.
pub(super) async fn verify(step: &mut Step<'_>, transition: &Transition) -> Result<(), Trouble> {
    let host = step.host()?;
    let (run, wanted) = (step.run, &transition.settings.verify);
    let began = Instant::now();
    let mut ways = ways(step, transition)?;
    loop {
        let mut last = None;
        for (name, route) in std::mem::take(&mut ways) {
            let left = wanted.timeout.saturating_sub(began.elapsed());
            let probe = Probe { route, path: wanted.path.clone(), timeout: patience(left) };
            let outcome = ask(host, &probe).await;
            let fits = answers(&outcome, wanted.status, wanted.contains.as_deref());
            let seen = format!("{name}: {}", seen(&outcome));
            let (in_a_row, needed) = (u32::from(fits), 1);
            run.context.tell(&Event::Probe { worker: None, seen: seen.clone(), in_a_row, needed });
            if !fits {
                ways.push((name, probe.route));
                last = Some(seen);
            }
        }
        let Some(last) = last else { return Ok(()) };
        let pause = interval(&run.context.patience, began.elapsed(), 1);
        if began.elapsed() + pause > wanted.timeout {
            let users = match transition.from {
                Some(_) => "users are back on the old release; ",
                None => "",
            };
            let text = wanted.contains.as_deref().map(|text| format!(" with `{text}` in it"));
            let mut failure = failure(
                Address::Release,
                format!("verifying {} as users see it", wanted.path),
                &Trouble::Missing(format!(
                    "no {}{} within {} s",
                    wanted.status,
                    text.unwrap_or_default(),
                    wanted.timeout.as_secs()
                )),
                format!(
                    "{users}look at the new one as it is: seachange logs {}",
                    Address::Worker(transition.to)
                ),
            );
            failure.evidence.push(format!("last probe: {last}"));
            return Err(failure.into());
        }
        tokio::time::sleep(pause).await;
    }
}

/// The ways users come: the floating IP, and the load balancer by each name.
fn ways(step: &Step<'_>, transition: &Transition) -> Result<Vec<(String, Route)>, Trouble> {
    let settings = &transition.settings;
    let ip = floating_ip::ours(step)?;
    let direct = Route::Public { address: ip, port: settings.port, domain: None };
    let mut ways = vec![(format!("{ip}:{}", settings.port), direct)];
    let (Some(port), Ok(target)) = (settings.listen, step.target(&Address::LoadBalancer)) else {
        return Ok(ways);
    };
    let address = target.address;
    let through = |domain: Option<String>| Route::Public { address, port, domain };
    if settings.domains.is_empty() {
        ways.push((format!("{address}:{port}"), through(None)));
    }
    for domain in &settings.domains {
        ways.push((format!("{domain} at {address}:{port}"), through(Some(domain.clone()))));
    }
    Ok(ways)
}
