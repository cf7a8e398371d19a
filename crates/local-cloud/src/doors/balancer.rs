//! The load balancer: HAProxy's HTTP mode, as far as a configuration can ask for it.
//!
//! What matters for a swap is here as it is there: by default a connection to a server is kept and used again, so it stays
//! on the old droplet after a floating IP has moved; with `option http-server-close` every request makes its own. A reload
//! changes what new client connections get; those that are there end with their next answer and are never cut.

mod exchange;
mod upstream;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use seachange_core::cloud::DropletId;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::Site;
use super::open::Door;
use crate::machine::haproxy::{Backend, Check, Frontend, Server, Usage};
use crate::machine::{Connections, Machine};
use upstream::Upstream;

/// What a front end should do.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    frontend: Frontend,
    backend: Option<Backend>,
    /// Which reload this comes from, on which droplet.
    reload: (DropletId, u64),
    /// The machine's, whichever reload made them.
    connections: Connections,
}

impl Wanted {
    /// Where it listens.
    pub(super) fn ports(&self) -> Vec<u16> {
        self.frontend.binds.iter().map(|(_, port)| *port).collect()
    }
}

/// The front ends of the machine's running HAProxy.
pub(super) fn wanted(machine: &Machine, now: Timestamp) -> Vec<Wanted> {
    let config = machine.balancer(now).unwrap_or_default();
    let reload = (machine.id(), machine.reloads());
    let backend = |frontend: &Frontend| config.backends.get(&frontend.backend).cloned();
    let frontends = config.frontends.iter();
    frontends
        .map(|frontend| Wanted {
            frontend: frontend.clone(),
            backend: backend(frontend),
            reload,
            connections: machine.connections().clone(),
        })
        .collect()
}

/// One open port of a load balancer.
pub(super) struct Balancer {
    door: Door,
    current: Arc<Mutex<Arc<Generation>>>,
}

/// What one reload made: its own servers, connections and checks.
struct Generation {
    wanted: Wanted,
    /// The back end as it is now: the admin socket changes it without a reload.
    backend: Mutex<Option<Arc<Backend>>>,
    /// By server: how many requests it has.
    in_flight: Arc<Vec<AtomicU64>>,
    /// By server: whether its checks say that it is there.
    up: Arc<Vec<AtomicBool>>,
    next: AtomicUsize,
    /// Connections to servers that any client's request may use.
    idle: Mutex<Vec<Upstream>>,
    /// A newer one has taken over.
    retired: AtomicBool,
    _checks: JoinSet<()>,
}

/// One client's connection.
struct Session {
    site: Arc<Site>,
    generation: Arc<Generation>,
    peer: SocketAddr,
    /// The connection to a server that only this client's requests use.
    own: Mutex<Option<Upstream>>,
}

impl Balancer {
    pub(super) async fn open(
        site: &Arc<Site>,
        socket: SocketAddr,
        wanted: Wanted,
    ) -> std::io::Result<Self> {
        let current = Arc::new(Mutex::new(Arc::new(Generation::new(site, wanted))));
        let (site, latest) = (Arc::clone(site), Arc::clone(&current));
        let door = Door::open(socket, move |stream, peer, _| {
            let generation = Arc::clone(&latest.lock().unwrap_or_else(PoisonError::into_inner));
            let site = Arc::clone(&site);
            serve(Arc::new(Session { site, generation, peer, own: Mutex::default() }), stream)
        });
        Ok(Self { door: door.await?, current })
    }

    /// Takes over what a reload has changed.
    pub(super) fn reload(&self, site: &Arc<Site>, wanted: Wanted) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.wanted.reload == wanted.reload {
            *current.backend.lock().unwrap_or_else(PoisonError::into_inner) =
                wanted.backend.map(Arc::new);
        } else {
            current.retired.store(true, Ordering::Relaxed);
            *current = Arc::new(Generation::new(site, wanted));
        }
    }

    /// How many requests a server has that came by this port, if the port is this droplet's and has such a server.
    pub(super) fn in_flight(&self, droplet: DropletId, backend: &str, server: &str) -> u64 {
        let current = Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner));
        let wanted = &current.wanted;
        let servers = wanted.backend.iter().flat_map(|backend| &backend.servers);
        let is_here = wanted.reload.0 == droplet && wanted.frontend.backend == backend;
        let counts = servers.zip(current.in_flight.iter());
        let of_server = counts.filter(|(known, _)| is_here && known.name == server);
        of_server.map(|(_, count)| count.load(Ordering::Relaxed)).sum()
    }

    /// Takes no new clients; those that are there are served on.
    pub(super) async fn retire(self) {
        let current = Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner));
        current.retired.store(true, Ordering::Relaxed);
        self.door.retire().await;
    }

    /// Ends everything.
    pub(super) async fn shut(self) {
        self.door.shut().await;
    }
}

async fn serve(session: Arc<Session>, stream: TcpStream) {
    let mut server = hyper::server::conn::http1::Builder::new();
    server.timer(TokioTimer::new());
    let options = &session.generation.wanted.frontend.options;
    if let Some(limit) = options.keep_alive_timeout.or(options.client_timeout) {
        server.header_read_timeout(limit);
    }
    let service = service_fn(move |request| exchange::answer(Arc::clone(&session), request));
    if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a client's connection ended badly");
    }
}

impl Generation {
    fn new(site: &Arc<Site>, wanted: Wanted) -> Self {
        let servers = wanted.backend.iter().flat_map(|backend| &backend.servers);
        let up = Arc::new(servers.clone().map(|_| AtomicBool::new(true)).collect::<Vec<_>>());
        let in_flight = Arc::new(servers.clone().map(|_| AtomicU64::new(0)).collect::<Vec<_>>());
        let limit = wanted.backend.as_ref().and_then(|backend| backend.options.connect_timeout);
        let mut checks = JoinSet::new();
        for (index, server) in servers.enumerate() {
            if let Some(check) = server.check {
                let socket = site.socket(server.address, server.port);
                checks.spawn(watch(Arc::clone(&up), index, socket, check, limit));
            }
        }
        Self {
            backend: Mutex::new(wanted.backend.clone().map(Arc::new)),
            in_flight,
            wanted,
            up,
            next: AtomicUsize::new(0),
            idle: Mutex::default(),
            retired: AtomicBool::new(false),
            _checks: checks,
        }
    }

    /// The back end as it is at this moment.
    fn backend(&self) -> Option<Arc<Backend>> {
        self.backend.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The next server in turn that is up and in use; another one than the last, if there is one.
    fn pick(&self, backend: &Backend, last: Option<usize>) -> Option<usize> {
        let count = self.up.len();
        let begin = self.next.fetch_add(1, Ordering::Relaxed);
        let is_up = |index: &usize| {
            let in_use = |server: &Server| server.usage == Usage::Ready;
            self.up.get(*index).is_some_and(|up| up.load(Ordering::Relaxed))
                && backend.servers.get(*index).is_some_and(in_use)
        };
        let turn: Vec<usize> =
            (0..count).map(|step| begin.wrapping_add(step) % count).filter(is_up).collect();
        turn.iter().find(|index| Some(**index) != last).or(turn.first()).copied()
    }
}

/// A server's health check: a connection now and then.
async fn watch(
    up: Arc<Vec<AtomicBool>>,
    index: usize,
    socket: SocketAddr,
    check: Check,
    limit: Option<Duration>,
) {
    let (mut successes, mut failures) = (0, 0);
    loop {
        let connect = TcpStream::connect(socket);
        let is_there = match tokio::time::timeout(limit.unwrap_or(check.interval), connect).await {
            Ok(connected) => connected.is_ok(),
            Err(_) => false,
        };
        (successes, failures) = if is_there { (successes + 1, 0) } else { (0, failures + 1) };
        if let Some(up) = up.get(index) {
            if failures >= check.fall {
                up.store(false, Ordering::Relaxed);
            } else if successes >= check.rise {
                up.store(true, Ordering::Relaxed);
            }
        }
        tokio::time::sleep(check.interval).await;
    }
}
