//! A steady HTTP load: so many requests a second, whether or not the earlier ones were answered (open loop), over
//! connections that are kept alive as a browser keeps them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How long one request may take before it counts as failed.
const DEADLINE: Duration = Duration::from_secs(10);
/// The header by which the demo app says its version.
const VERSION_HEADER: &str = "x-app-version";

/// What was seen so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    /// Requests sent.
    pub(crate) sent: u64,
    /// Requests that ended in anything but 200, in time.
    pub(crate) failed: u64,
    /// The first few reasons.
    pub(crate) reasons: Vec<String>,
    /// By version: first and last answer.
    pub(crate) versions: BTreeMap<String, (Instant, Instant)>,
    /// Slowest answer.
    pub(crate) slowest: Duration,
}

impl Tally {
    /// From the first answer of the new version to the last of the old one; zero if they did not overlap.
    pub(crate) fn cutover(&self, old: &str, new: &str) -> Option<Duration> {
        let (_, last_old) = self.versions.get(old)?;
        let (first_new, _) = self.versions.get(new)?;
        Some(last_old.saturating_duration_since(*first_new))
    }
}

/// A load that runs until it is stopped.
#[derive(Debug)]
pub(crate) struct Load {
    tally: Arc<Mutex<Tally>>,
    stop: tokio::sync::watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

type Connection = SendRequest<Empty<Bytes>>;

#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    domain: String,
    idle: Mutex<Vec<Connection>>,
    tally: Arc<Mutex<Tally>>,
}

impl Load {
    /// Starts it.
    pub(crate) fn start(address: SocketAddr, domain: &str, rate: u32) -> Self {
        let tally = Arc::new(Mutex::new(Tally::default()));
        let shared = Arc::new(Shared {
            address,
            domain: domain.to_owned(),
            idle: Mutex::new(Vec::new()),
            tally: Arc::clone(&tally),
        });
        let (stop, mut stopped) = tokio::sync::watch::channel(false);
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
            let mut flying = JoinSet::new();
            loop {
                tokio::select! {
                    _ = ticks.tick() => { flying.spawn(one(Arc::clone(&shared))); }
                    _ = stopped.changed() => break,
                }
                while flying.try_join_next().is_some() {}
            }
            while flying.join_next().await.is_some() {}
        });
        Self { tally, stop, task }
    }

    /// What was seen so far.
    pub(crate) fn tally(&self) -> Tally {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends nothing more, waits for what is under way, and tells all.
    pub(crate) async fn finish(self) -> Tally {
        let Self { tally, stop, task } = self;
        let _: Result<(), _> = stop.send(true);
        let _: Result<(), _> = task.await;
        tally.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One request. A kept connection that the other side closed before it took the request is replaced once, as every
/// HTTP client does; anything else is a failure.
async fn one(shared: Arc<Shared>) {
    let began = Instant::now();
    let seen = tokio::time::timeout(DEADLINE, request(&shared)).await;
    let mut tally = shared.tally.lock().unwrap_or_else(PoisonError::into_inner);
    tally.sent += 1;
    tally.slowest = tally.slowest.max(began.elapsed());
    let failure = match seen {
        Ok(Ok((200, version))) => {
            let now = Instant::now();
            tally.versions.entry(version).and_modify(|(_, last)| *last = now).or_insert((now, now));
            return;
        }
        Ok(Ok((status, _))) => format!("status {status}"),
        Ok(Err(detail)) => detail,
        Err(_) => format!("no answer within {DEADLINE:?}"),
    };
    tally.failed += 1;
    if tally.reasons.len() < 5 {
        tally.reasons.push(failure);
    }
}

async fn request(shared: &Shared) -> Result<(u16, String), String> {
    let idle = shared.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let mut connection = match idle {
        Some(connection) if !connection.is_closed() => connection,
        _ => connect(shared.address).await?,
    };
    if connection.ready().await.is_err() {
        connection = connect(shared.address).await?;
        connection.ready().await.map_err(|error| error.to_string())?;
    }
    let message = http::Request::get("/")
        .header("host", &shared.domain)
        .body(Empty::new())
        .map_err(|error| error.to_string())?;
    let answer = connection.send_request(message).await.map_err(|error| error.to_string())?;
    let status = answer.status().as_u16();
    let version = answer
        .headers()
        .get(VERSION_HEADER)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("?")
        .to_owned();
    answer.into_body().collect().await.map_err(|error| error.to_string())?;
    shared.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    Ok((status, version))
}

async fn connect(address: SocketAddr) -> Result<Connection, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| format!("connect: {error}"))?;
    let (sender, connection) =
        handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    Ok(sender)
}
