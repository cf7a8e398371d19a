//! One request through the load balancer: choose a server, send, try again where the configuration says so.

use std::net::{IpAddr, SocketAddrV4};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Body, Incoming};

use super::Session;
use super::upstream::{self, Carried, InFlight, Keep, Outgoing, Upstream};
use crate::machine::haproxy::{Backend, Connections, Options, RetryOn, Reuse};

type Answer = Response<Either<Full<Bytes>, Carried>>;

/// HAProxy tries again only what fits into its buffer.
const BUFFER: u64 = 16 * 1024;
/// The longest wait before the same server is tried again.
const TURN_AROUND: Duration = Duration::from_secs(1);
/// Headers that are about one connection.
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Why a try has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// There was no connection.
    Connect,
    /// The connection ended without an answer.
    Empty,
    /// The same on a connection that had been kept: the server has closed it at the wrong moment.
    Stale,
    /// The answer was no HTTP.
    Junk,
    /// The answer did not come in time.
    Timeout,
}

/// The client's connection is closed without an answer, so that it knows that it may ask again.
#[derive(Debug, thiserror::Error)]
#[error("the server closed a kept connection")]
pub(super) struct Closed;

/// A request's body.
enum Replay {
    /// Small, and here: it can be sent any number of times.
    Whole(Bytes),
    /// As it comes, once.
    Once(Option<Incoming>),
}

impl Replay {
    async fn read(body: Incoming) -> Result<Self, Closed> {
        match body.size_hint().exact() {
            Some(size) if size <= BUFFER => {
                let whole = body.collect().await.map_err(|_| Closed)?;
                Ok(Self::Whole(whole.to_bytes()))
            }
            _ => Ok(Self::Once(Some(body))),
        }
    }

    /// The body to send; `None` if it was sent already.
    fn outgoing(&mut self) -> Option<Outgoing> {
        match self {
            Self::Whole(bytes) => Some(Either::Left(Full::new(bytes.clone()))),
            Self::Once(body) => body.take().map(Either::Right),
        }
    }

    fn is_unsent(&self) -> bool {
        !matches!(self, Self::Once(None))
    }
}

/// Answers a client's request.
pub(super) async fn answer(
    session: Arc<Session>,
    request: Request<Incoming>,
) -> Result<Answer, Closed> {
    let counters = &session.site.counters;
    counters.requests.fetch_add(1, Ordering::Relaxed);
    let answered = relay(&session, request).await;
    let failed = |answer: &Answer| matches!(answer.body(), Either::Left(_));
    if answered.as_ref().map_or(true, failed) {
        counters.failures.fetch_add(1, Ordering::Relaxed);
    }
    answered
}

async fn relay(session: &Arc<Session>, request: Request<Incoming>) -> Result<Answer, Closed> {
    let generation = &session.generation;
    let Some(backend) = generation.backend() else { return Ok(no_server()) };
    let backend = &*backend;
    let connections = generation.wanted.frontend.connections(backend);
    let (mut head, body) = request.into_parts();
    let mut body = Replay::read(body).await?;
    for_server(&mut head, session, backend, connections);

    let Some(mut server) = generation.pick(backend, None) else { return Ok(no_server()) };
    let retry_on = retry_on(session, backend, &head);
    let mut tries_left = backend.options.retries;
    loop {
        let outcome = attempt(session, backend, connections, server, &head, &mut body).await;
        let again = tries_left > 0 && body.is_unsent();
        let failure = match outcome {
            Ok(answer) if again && is_to_retry(retry_on, answer.status()) => None,
            Ok(mut answer) => {
                for_client(answer.headers_mut(), session, connections);
                return Ok(answer);
            }
            Err(failure) if again && covers(retry_on, failure) => Some(failure),
            Err(Failure::Stale) => return Err(Closed),
            Err(failure) => return Ok(refusal(failure)),
        };
        tries_left -= 1;
        session.site.counters.retries.fetch_add(1, Ordering::Relaxed);
        let last = server;
        if backend.options.redispatch && tries_left == 0 {
            server = generation.pick(backend, Some(server)).unwrap_or(server);
        }
        if failure == Some(Failure::Connect) && server == last {
            let wait = backend.options.connect_timeout.unwrap_or(TURN_AROUND).min(TURN_AROUND);
            tokio::time::sleep(wait).await;
        }
    }
}

/// What is tried again of this request: one that may not be sent twice, only while it was not sent.
fn retry_on(session: &Session, backend: &Backend, head: &Parts) -> RetryOn {
    let on = backend.options.retry_on;
    let kept = [&session.generation.wanted.frontend.options, &backend.options];
    let may_be = |options: &&Options| {
        let methods = options.sent_again.as_ref();
        methods.is_none_or(|methods| methods.iter().any(|method| head.method == method.as_str()))
    };
    if kept.iter().all(may_be) {
        return on;
    }
    RetryOn { empty: false, junk: false, timeout: false, server_errors: false, ..on }
}

/// One try at one server.
async fn attempt(
    session: &Arc<Session>,
    backend: &Backend,
    connections: Connections,
    server: usize,
    head: &Parts,
    body: &mut Replay,
) -> Result<Answer, Failure> {
    let reused = match connections {
        Connections::KeepAlive => kept(session, backend.options.reuse, server).await,
        Connections::ServerClose | Connections::Close => None,
    };
    let is_reused = reused.is_some();
    let in_flight = InFlight::on(&session.generation.in_flight, server);
    let mut upstream = match reused {
        Some(upstream) => upstream,
        None => connect(session, backend, server).await.ok_or(Failure::Connect)?,
    };
    let mut request = Request::new(body.outgoing().ok_or(Failure::Empty)?);
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = head.uri.clone();
    *request.headers_mut() = head.headers.clone();
    let sending = upstream.sender.send_request(request);
    let sent = match backend.options.server_timeout {
        Some(limit) => tokio::time::timeout(limit, sending).await.map_err(|_| Failure::Timeout)?,
        None => sending.await,
    };
    let (head, body) = sent
        .map_err(|error| match (error.is_parse(), is_reused) {
            (true, _) => Failure::Junk,
            (false, true) => Failure::Stale,
            (false, false) => Failure::Empty,
        })?
        .into_parts();
    let keep = match (connections, backend.options.reuse) {
        (Connections::ServerClose | Connections::Close, _) => Keep::No,
        (Connections::KeepAlive, Reuse::Never) => Keep::ForClient(Arc::clone(session)),
        (Connections::KeepAlive, Reuse::Shared) => Keep::ForAll(Arc::clone(session)),
    };
    Ok(Response::from_parts(head, Either::Right(Carried::new(body, upstream, keep, in_flight))))
}

async fn connect(session: &Session, backend: &Backend, server: usize) -> Option<Upstream> {
    let to = backend.servers.get(server)?;
    let socket = session.site.socket(to.address, to.port);
    let connected =
        session.generation.wanted.connections.open(SocketAddrV4::new(to.address, to.port));
    let limit = backend.options.connect_timeout;
    let upstream = upstream::connect(server, socket, limit, connected).await?;
    session.site.counters.connections.fetch_add(1, Ordering::Relaxed);
    Some(upstream)
}

/// A kept connection to the server that still stands.
async fn kept(session: &Session, reuse: Reuse, server: usize) -> Option<Upstream> {
    loop {
        let mut found = match reuse {
            Reuse::Never => {
                let mut own = session.own.lock().unwrap_or_else(PoisonError::into_inner);
                own.take_if(|upstream| upstream.server == server)?
            }
            Reuse::Shared => {
                let idle = &session.generation.idle;
                let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
                let place = idle.iter().rposition(|upstream| upstream.server == server)?;
                idle.remove(place)
            }
        };
        if found.sender.ready().await.is_ok() {
            return Some(found);
        }
    }
}

/// Makes a client's request one for a server.
fn for_server(head: &mut Parts, session: &Session, backend: &Backend, connections: Connections) {
    strip(&mut head.headers);
    if let Some(target) = head.uri.path_and_query() {
        head.uri = Uri::from(target.clone());
    }
    if connections != Connections::KeepAlive {
        head.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let IpAddr::V4(client) = session.peer.ip() else { return };
    if session.generation.wanted.frontend.forwarded_for(backend)
        && let Ok(client) = HeaderValue::from_str(&client.to_string())
    {
        head.headers.append("x-forwarded-for", client);
    }
}

/// Makes a server's answer one for the client.
fn for_client(headers: &mut HeaderMap, session: &Session, connections: Connections) {
    strip(headers);
    let is_retired = session.generation.retired.load(Ordering::Relaxed);
    if connections == Connections::Close || is_retired {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

fn covers(on: RetryOn, failure: Failure) -> bool {
    match failure {
        Failure::Connect => on.connect,
        Failure::Empty | Failure::Stale => on.empty,
        Failure::Junk => on.junk,
        Failure::Timeout => on.timeout,
    }
}

fn is_to_retry(on: RetryOn, status: StatusCode) -> bool {
    on.server_errors && matches!(status.as_u16(), 500 | 502..=504)
}

fn no_server() -> Answer {
    page(
        StatusCode::SERVICE_UNAVAILABLE,
        "503 Service Unavailable",
        "No server is available to handle this request.",
    )
}

fn refusal(failure: Failure) -> Answer {
    match failure {
        Failure::Connect => no_server(),
        Failure::Timeout => page(
            StatusCode::GATEWAY_TIMEOUT,
            "504 Gateway Time-out",
            "The server didn't respond in time.",
        ),
        Failure::Empty | Failure::Stale | Failure::Junk => page(
            StatusCode::BAD_GATEWAY,
            "502 Bad Gateway",
            "The server returned an invalid or incomplete response.",
        ),
    }
}

fn page(status: StatusCode, title: &str, words: &str) -> Answer {
    let body = format!("<html><body><h1>{title}</h1>\n{words}\n</body></html>\n");
    let mut response = Response::new(Either::Left(Full::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
