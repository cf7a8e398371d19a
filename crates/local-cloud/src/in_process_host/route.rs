//! The way of a user's request, at one instant: floating IP, load balancer, container.

use std::net::Ipv4Addr;

use jiff::Timestamp;

use crate::app::{self, Reply, Verb};
use crate::images;
use crate::machine::Machine;
use crate::machine::haproxy::{Server, Usage};
use crate::world::World;

/// So many addresses may be passed through; a balancer that points to itself is no endless loop.
const MOST_HOPS: u32 = 4;

/// An answer, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answered {
    /// The app's version; `None` if a load balancer answered for want of a server.
    pub(super) version: Option<&'static str>,
    pub(super) reply: Reply,
}

/// Why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoAnswer {
    /// Nothing has the address.
    #[error("no route to the host")]
    NoHost,
    /// Nothing listens on the port.
    #[error("connection refused")]
    NoListener,
}

/// What a machine does with a request on a port.
enum Then {
    Answer(Answered),
    PassOn(Vec<Server>),
    Refuse,
}

/// What a user would get at this instant: the version that answers `/` with 200 at the address and port, if any does.
pub fn served(world: &World, address: Ipv4Addr, port: u16) -> Option<String> {
    let answered = ask(world, address, port, "/").ok()?;
    (answered.reply.status == 200).then(|| answered.version.map(str::to_owned))?
}

/// Asks for a path at an address and port.
pub(super) fn ask(
    world: &World,
    address: Ipv4Addr,
    port: u16,
    path: &str,
) -> Result<Answered, NoAnswer> {
    hop(world, address, port, path, MOST_HOPS)
}

fn hop(
    world: &World,
    address: Ipv4Addr,
    port: u16,
    path: &str,
    hops: u32,
) -> Result<Answered, NoAnswer> {
    let address = world.reserved_ip_target(address).unwrap_or(address);
    let then = world.with_machine(address, |machine, now| {
        machine.settle(now);
        on_machine(machine, port, path, now)
    });
    match then.ok_or(NoAnswer::NoHost)? {
        Then::Answer(answered) => Ok(answered),
        Then::Refuse => Err(NoAnswer::NoListener),
        Then::PassOn(servers) => {
            let hops = hops.saturating_sub(1);
            let mut ways = servers.iter().filter(|_| hops > 0);
            let answered =
                ways.find_map(|server| hop(world, server.address, server.port, path, hops).ok());
            Ok(answered.unwrap_or_else(no_server))
        }
    }
}

fn on_machine(machine: &Machine, port: u16, path: &str, now: Timestamp) -> Then {
    if let Some((version, reply)) = ask_app(machine, port, path, now) {
        return Then::Answer(Answered { version: Some(version), reply });
    }
    let config = machine.balancer(now).unwrap_or_default();
    let binds = |bound: &(Option<Ipv4Addr>, u16)| bound.1 == port;
    match config.frontends.iter().find(|frontend| frontend.binds.iter().any(binds)) {
        Some(frontend) => {
            let backend = config.backends.get(&frontend.backend);
            let mut servers = backend.map(|backend| backend.servers.clone()).unwrap_or_default();
            servers.retain(|server| server.usage == Usage::Ready);
            Then::PassOn(servers)
        }
        None => Then::Refuse,
    }
}

/// What the container on the machine's port answers, if one listens.
pub(super) fn app(machine: &Machine, port: u16, path: &str, now: Timestamp) -> Option<Reply> {
    ask_app(machine, port, path, now).map(|(_, reply)| reply)
}

fn ask_app(
    machine: &Machine,
    port: u16,
    path: &str,
    now: Timestamp,
) -> Option<(&'static str, Reply)> {
    let listening = machine.engine().listening(now);
    let listening = listening.into_iter().find(|listening| listening.port == port)?;
    let image = images::by_digest(&listening.digest)?;
    Some((image.version, app::reply(image.version, image.behaviour, Verb::Read, path)))
}

fn no_server() -> Answered {
    let body = "<html><body><h1>503 Service Unavailable</h1>\nNo server is available to handle this request.\n</body></html>\n";
    let reply = Reply { status: 503, body: body.to_owned(), after: std::time::Duration::ZERO };
    Answered { version: None, reply }
}
