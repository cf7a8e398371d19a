//! The bridge between droplets, and reserved IPs as rules of the kernel's address translation.
//!
//! Reserved IPs lie outside the droplets' subnet, so that packets to them pass the host, whoever sends them. When one
//! moves, its rule is replaced at one stroke and what the kernel remembers of connections to it is forgotten: they
//! end as they do when an address really goes elsewhere.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::{ADDRESSES, DockerError, GATEWAY, LOOPBACK, REGISTRY_PORT, command};
use crate::world::World;

/// The bridge, and Docker's network on it.
pub(super) const BRIDGE: &str = "seachange-lab";
/// The chain with a rule for each reserved IP that points to a droplet, and one for the image registry.
pub(super) const CHAIN: &str = "SEACHANGE-LAB";
/// Where packets enter the chain: those of others, and the host's own.
pub(super) const HOOKS: [&str; 2] = ["PREROUTING", "OUTPUT"];

/// What droplets send each other by way of a reserved IP comes from the host, so that the answers go back the same way.
pub(super) fn masquerade() -> String {
    format!("POSTROUTING -s {} -o {BRIDGE} -m conntrack --ctstate DNAT -j MASQUERADE", droplets())
}

fn droplets() -> String {
    format!("{}/16", masked(ADDRESSES.droplets))
}

/// The network that an address lies in.
fn masked(address: Ipv4Addr) -> Ipv4Addr {
    let [a, b, ..] = address.octets();
    Ipv4Addr::new(a, b, 0, 0)
}

/// Makes the bridge and the empty chain.
pub(super) async fn create(table: &Path) -> Result<(), DockerError> {
    let name = format!("com.docker.network.bridge.name={BRIDGE}");
    let (subnet, gateway) = (droplets(), GATEWAY.to_string());
    command(
        "docker",
        ["network", "create", "--subnet", &subnet, "--gateway", &gateway, "--opt", &name, BRIDGE],
    )
    .await?;
    // A reserved IP that points nowhere is looked for on the bridge and not found; it never leaves this machine.
    let reserved = format!("{}/16", masked(ADDRESSES.reserved));
    command("ip", ["route", "replace", &reserved, "dev", BRIDGE]).await?;
    translate(&Rules::new(), table).await?;
    for hook in HOOKS {
        command("iptables", ["-w", "-t", "nat", "-I", hook, "-j", CHAIN]).await?;
    }
    let masquerade = masquerade();
    let rule = ["-w", "-t", "nat", "-A"].into_iter().chain(masquerade.split(' '));
    command("iptables", rule).await?;
    // Without it moves would cut nobody, and nobody would notice.
    cut(ADDRESSES.reserved).await.map_err(|error| match error {
        DockerError::Failed { detail, .. } => DockerError::NoTracking { detail },
        other => other,
    })
}

/// Which droplet each reserved IP points to, by address.
pub(super) type Rules = BTreeMap<Ipv4Addr, Ipv4Addr>;

/// The rules in force.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress {
    rules: Rules,
    /// Why it is not known which are.
    failure: Option<String>,
}

/// Tells when reserved IPs point where the world says.
#[derive(Debug, Clone)]
pub struct InStep {
    world: Arc<World>,
    progress: watch::Receiver<Progress>,
}

/// Rules are in force within a tenth of a second, or something is wrong.
const PATIENCE: Duration = Duration::from_secs(10);
/// When what has failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);

impl InStep {
    pub(super) fn of(world: Arc<World>) -> (watch::Sender<Progress>, Self) {
        let (sender, progress) = watch::channel(Progress::default());
        (sender, Self { world, progress })
    }

    /// Returns when they do, or says why they do not.
    pub async fn wait(&self) -> Result<(), String> {
        let mut progress = self.progress.clone();
        let decided = |now: &Progress| now.failure.is_some() || now.rules == pointing(&self.world);
        match tokio::time::timeout(PATIENCE, progress.wait_for(decided)).await {
            Ok(Ok(now)) => now.failure.clone().map_or(Ok(()), Err),
            // Nobody moves them any more: the world is being taken away.
            Ok(Err(_)) => Err("nobody moves reserved IPs any more".to_owned()),
            Err(_) => Err(format!("no rule was in force within {PATIENCE:?}")),
        }
    }
}

/// Keeps the rules in step with the world, and tells them once they are in force.
pub(super) async fn keep_addresses(
    world: Arc<World>,
    table: PathBuf,
    progress: watch::Sender<Progress>,
) {
    let mut changes = world.changes();
    loop {
        changes.borrow_and_update();
        let (before, after) = (progress.borrow().clone(), pointing(&world));
        let moved = match move_to(&before, &after, &table).await {
            Ok(()) => Progress { rules: after, failure: None },
            Err(error) => {
                tracing::error!(%error, "reserved IPs do not point where they should");
                Progress { failure: Some(error.to_string()), ..before }
            }
        };
        let failed = moved.failure.is_some();
        // Also if nothing is different: what the world says may have been, and be again.
        progress.send_replace(moved);
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(AGAIN), if failed => {}
        }
    }
}

/// Where reserved IPs should point.
pub(super) fn pointing(world: &World) -> Rules {
    let reserved = world.topology().reserved.into_iter();
    reserved.filter_map(|(ip, target)| Some((ip, target?))).collect()
}

async fn move_to(before: &Progress, after: &Rules, table: &Path) -> Result<(), DockerError> {
    let Progress { rules: before, failure } = before;
    if failure.is_none() && before == after {
        return Ok(());
    }
    translate(after, table).await?;
    // Whatever a failure has left half done is done again.
    let moved = |(ip, target)| failure.is_some() || after.get(ip) != Some(target);
    for (ip, _) in before.iter().filter(|&rule| moved(rule)) {
        cut(*ip).await?;
    }
    Ok(())
}

/// Makes the kernel forget all connections to a reserved IP.
async fn cut(ip: Ipv4Addr) -> Result<(), DockerError> {
    match command("conntrack", ["-D", "--orig-dst", &ip.to_string()]).await {
        Err(DockerError::Failed { detail, .. }) if detail.contains(NO_CONNECTIONS) => Ok(()),
        done => done.map(drop),
    }
}

/// What `conntrack` says, and fails, if there are none.
const NO_CONNECTIONS: &str = " 0 flow entries have been deleted";

/// Replaces the chain's rules at one stroke.
async fn translate(rules: &Rules, path: &Path) -> Result<(), DockerError> {
    std::fs::write(path, table(rules))
        .map_err(|source| DockerError::File { path: path.display().to_string(), source })?;
    command("iptables-restore", ["-w".as_ref(), "--noflush".as_ref(), path.as_os_str()])
        .await
        .map(drop)
}

fn table(rules: &Rules) -> String {
    let rule = |(ip, target): (&Ipv4Addr, &Ipv4Addr)| {
        format!("-A {CHAIN} -d {ip} -p tcp -j DNAT --to-destination {target}\n")
    };
    let rules: String = rules.iter().map(rule).collect();
    // The second: a port that Docker publishes for somebody else must not be taken for ours.
    let registry = format!(
        "-A {CHAIN} -d {LOOPBACK} -p tcp --dport {REGISTRY_PORT} -j DNAT --to-destination {GATEWAY}\n\
         -A {CHAIN} -d {GATEWAY} -p tcp --dport {REGISTRY_PORT} -j ACCEPT\n"
    );
    format!("*nat\n:{CHAIN} - [0:0]\n{registry}{rules}COMMIT\n")
}

#[cfg(test)]
mod tests {
    use seachange_core::cloud::{Cloud as _, DropletCreate};

    use super::*;
    use crate::in_process::InProcess;
    use crate::world::WorldConfig;

    #[tokio::test(start_paused = true)]
    async fn what_the_world_says_is_waited_for_and_not_for_ever() {
        let world = World::new(WorldConfig::default());
        let cloud = InProcess::new(Arc::clone(&world), Duration::ZERO);
        let (progress, in_step) = InStep::of(Arc::clone(&world));
        assert_eq!(in_step.wait().await, Ok(()));
        let create = DropletCreate {
            names: vec!["worker".to_owned()],
            region: "fra1".to_owned(),
            size: "s-1vcpu-1gb".to_owned(),
            image: "ubuntu-24-04-x64".to_owned(),
            ssh_keys: Vec::new(),
            tags: Vec::new(),
            user_data: None,
        };
        let droplet = cloud.create_droplets(&create).await.unwrap()[0].id;
        while let Some(next) = world.turn() {
            tokio::time::sleep_until(next).await;
        }
        cloud.create_reserved_ip(droplet).await.unwrap();
        while let Some(next) = world.turn() {
            tokio::time::sleep_until(next).await;
        }
        let rules = pointing(&world);
        assert_eq!(rules.len(), 1);
        assert!(in_step.wait().await.unwrap_err().contains("within 10s"));
        progress.send_replace(Progress { rules, failure: None });
        assert_eq!(in_step.wait().await, Ok(()));
        progress.send_modify(|now| now.failure = Some("no such chain".to_owned()));
        assert_eq!(in_step.wait().await, Err("no such chain".to_owned()));
        drop(progress);
    }

    #[test]
    fn the_chain_is_flushed_and_filled_in_one_table() {
        let ip = |last| Ipv4Addr::new(198, 19, 0, last);
        let droplet = |last| Ipv4Addr::new(198, 18, 0, last);
        let rules = Rules::from([(ip(10), droplet(10)), (ip(11), droplet(12))]);
        assert_eq!(
            table(&rules),
            "*nat\n:SEACHANGE-LAB - [0:0]\n\
             -A SEACHANGE-LAB -d 127.198.18.1 -p tcp --dport 5000 -j DNAT --to-destination 198.18.0.1\n\
             -A SEACHANGE-LAB -d 198.18.0.1 -p tcp --dport 5000 -j ACCEPT\n\
             -A SEACHANGE-LAB -d 198.19.0.10 -p tcp -j DNAT --to-destination 198.18.0.10\n\
             -A SEACHANGE-LAB -d 198.19.0.11 -p tcp -j DNAT --to-destination 198.18.0.12\n\
             COMMIT\n"
        );
        let flushed = table(&Rules::new());
        assert!(flushed.starts_with("*nat\n:SEACHANGE-LAB - [0:0]\n"), "{flushed}");
        assert!(!flushed.contains("198.19."), "{flushed}");
    }
}
