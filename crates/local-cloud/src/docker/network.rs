//! The bridge between droplets, and reserved IPs as rules of the kernel's address translation.
//!
//! Reserved IPs lie outside the droplets' subnet, so that packets to them pass the host, whoever sends them. When one
//! moves, its rule is replaced at one stroke and what the kernel remembers of connections to it is forgotten: they
//! end as they do when an address really goes elsewhere.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use tokio::sync::watch;

use super::{ADDRESSES, DockerError, GATEWAY, LOOPBACK, REGISTRY_PORT, command, fed};
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
pub(super) async fn create() -> Result<(), DockerError> {
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
    translate(&BTreeMap::new()).await?;
    for hook in HOOKS {
        command("iptables", ["-w", "-t", "nat", "-I", hook, "-j", CHAIN]).await?;
    }
    let masquerade = masquerade();
    let rule = ["-w", "-t", "nat", "-A"].into_iter().chain(masquerade.split(' '));
    command("iptables", rule).await?;
    Ok(())
}

/// Which droplet each reserved IP points to, by address.
pub(super) type Rules = BTreeMap<Ipv4Addr, Ipv4Addr>;

/// Keeps the rules in step with the world, and tells them once they are in force.
pub(super) async fn keep_addresses(world: Arc<World>, moved: watch::Sender<Rules>) {
    let mut changes = world.changes();
    loop {
        changes.borrow_and_update();
        let (before, after) = (moved.borrow().clone(), pointing(&world));
        if before != after {
            match move_to(&before, &after).await {
                Ok(()) => drop(moved.send_replace(after)),
                Err(error) => {
                    tracing::error!(%error, "reserved IPs do not point where they should");
                }
            }
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Where reserved IPs should point.
pub(super) fn pointing(world: &World) -> Rules {
    let reserved = world.topology().reserved.into_iter();
    reserved.filter_map(|(ip, target)| Some((ip, target?))).collect()
}

async fn move_to(before: &Rules, after: &Rules) -> Result<(), DockerError> {
    translate(after).await?;
    for (ip, _) in before.iter().filter(|(ip, target)| after.get(ip) != Some(target)) {
        // It fails if there are no connections.
        drop(command("conntrack", ["-D", "--orig-dst", &ip.to_string()]).await);
    }
    Ok(())
}

/// Replaces the chain's rules at one stroke.
async fn translate(rules: &Rules) -> Result<(), DockerError> {
    fed("iptables-restore", ["-w", "--noflush"], &table(rules)).await.map(drop)
}

fn table(rules: &Rules) -> String {
    let rule = |(ip, target): (&Ipv4Addr, &Ipv4Addr)| {
        format!("-A {CHAIN} -d {ip} -p tcp -j DNAT --to-destination {target}\n")
    };
    let rules: String = rules.iter().map(rule).collect();
    let registry = format!(
        "-A {CHAIN} -d {LOOPBACK} -p tcp --dport {REGISTRY_PORT} -j DNAT --to-destination {GATEWAY}\n"
    );
    format!("*nat\n:{CHAIN} - [0:0]\n{registry}{rules}COMMIT\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_is_flushed_and_filled_in_one_table() {
        let ip = |last| Ipv4Addr::new(198, 19, 0, last);
        let droplet = |last| Ipv4Addr::new(198, 18, 0, last);
        let rules = Rules::from([(ip(10), droplet(10)), (ip(11), droplet(12))]);
        assert_eq!(
            table(&rules),
            "*nat\n:SEACHANGE-LAB - [0:0]\n\
             -A SEACHANGE-LAB -d 127.198.18.1 -p tcp --dport 5000 -j DNAT --to-destination 198.18.0.1\n\
             -A SEACHANGE-LAB -d 198.19.0.10 -p tcp -j DNAT --to-destination 198.18.0.10\n\
             -A SEACHANGE-LAB -d 198.19.0.11 -p tcp -j DNAT --to-destination 198.18.0.12\n\
             COMMIT\n"
        );
        let flushed = table(&Rules::new());
        assert!(flushed.starts_with("*nat\n:SEACHANGE-LAB - [0:0]\n"), "{flushed}");
        assert!(!flushed.contains("198.19."), "{flushed}");
    }
}
