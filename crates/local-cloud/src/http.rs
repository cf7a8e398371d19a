//! DigitalOcean's HTTP API on a world: paths, bodies, paging, headers, errors. What is answered is decided in `world`.

mod render;
mod route;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::doors::open::{Door, serve_http};
use crate::fault::{self, Failure, Rule, under};
use crate::world::World;
use crate::world::refusal::{Kind, Refusal};

/// The open door. It closes when this is dropped.
#[derive(Debug)]
pub struct Http {
    address: SocketAddr,
    _door: Door,
}

/// Why there is no answer: the connection closes without one.
#[derive(Debug, thiserror::Error)]
#[error("no answer, as a rule wants it")]
pub(crate) struct NoAnswer;

/// Returns when what the world says is so, or says why it is not.
pub(crate) type InStep = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// Where the world is all there is.
pub(crate) fn at_once() -> InStep {
    Arc::new(|| Box::pin(std::future::ready(Ok(()))))
}

impl Http {
    /// Opens the door; port 0 takes a free one.
    pub async fn open(world: Arc<World>, address: SocketAddr) -> std::io::Result<Self> {
        Self::behind(TcpListener::bind(address).await?, world, at_once())
    }

    /// Opens the door of a world that something else has to be in step with before a word of it is true.
    pub(crate) fn behind(
        listener: TcpListener,
        world: Arc<World>,
        in_step: InStep,
    ) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let door = Door::behind(listener, move |stream, _, closing| {
            let (world, in_step) = (Arc::clone(&world), Arc::clone(&in_step));
            async move {
                let service = service_fn(move |request: Request<Incoming>| {
                    let (world, in_step) = (Arc::clone(&world), Arc::clone(&in_step));
                    async move {
                        let (head, body) = request.into_parts();
                        // Whoever does not send all of a request gets no answer either.
                        let body = body.collect().await.map_err(|_| NoAnswer)?.to_bytes();
                        let answer = answer(&world, &head, &body).await?;
                        let late = |why: String| in_json(503, Some(&why), OWN);
                        Ok::<_, NoAnswer>(in_step().await.map_or_else(late, |()| answer))
                    }
                });
                serve_http(stream, closing, service).await;
            }
        });
        Ok(Self { address, _door: door })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// What a request asks, taken apart.
pub(crate) struct Ask<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: Vec<String>,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) body: Value,
}

impl Ask<'_> {
    /// The value of a query parameter.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// What is answered: a status and a body, or a list that is yet to be cut into pages.
pub(crate) enum Reply {
    /// A body.
    Body(u16, Value),
    /// No body.
    Empty(u16),
    /// A list under a key.
    List(&'static str, Vec<Value>),
}

async fn answer(
    world: &World,
    head: &Parts,
    body: &[u8],
) -> Result<Response<Full<Bytes>>, NoAnswer> {
    let (method, path) = (head.method.as_str(), head.uri.path());
    if let Some(rest) = path.strip_prefix("/_local/") {
        return Ok(admin(world, rest, &head.method, body));
    }
    let number = world.note_request(method, path);
    let (allowance, token) = world.allowance();
    let reset = world.reset(&allowance);
    let request_id = format!("local-{number:08}");
    let with_headers = |mut response: Response<Full<Bytes>>| {
        set(&mut response, "ratelimit-limit", Some(allowance.limit));
        set(&mut response, "ratelimit-remaining", Some(allowance.remaining));
        set(&mut response, "ratelimit-reset", Some(reset));
        set(&mut response, "x-request-id", Some(&request_id));
        response
    };
    let finish = |reply: Result<Response<Full<Bytes>>, Refusal>| {
        with_headers(reply.unwrap_or_else(|refusal| refuse(&refusal, &request_id)))
    };
    if let Some(retry_after) = allowance.refused {
        let mut response = finish(Err(Refusal::too_many()));
        set(&mut response, "retry-after", retry_after);
        return Ok(response);
    }
    let sent = head
        .headers
        .get("authorization")
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    let known = sent.is_some_and(|sent| token.as_ref().is_none_or(|token| token == sent));
    if !known {
        return Ok(finish(Err(Refusal::unauthorized())));
    }
    let strike = world.with_faults(|faults| faults.strike(method, path));
    let host = head.headers.get("host").and_then(|value| value.to_str().ok());
    let host = host.unwrap_or("localhost");
    let respond =
        async { finish(under(strike.as_ref(), || respond(world, method, &head.uri, host, body))) };
    fault::suffer(strike.as_ref(), respond, |failure| with_headers(failed(&failure, &request_id)))
        .await
        .ok_or(NoAnswer)
}

fn respond(
    world: &World,
    method: &str,
    uri: &Uri,
    host: &str,
    body: &[u8],
) -> Result<Response<Full<Bytes>>, Refusal> {
    let body = match body {
        [] => Value::Null,
        bytes => serde_json::from_slice(bytes)
            .map_err(|_| Refusal::bad_request("Unable to parse the request body as JSON."))?,
    };
    let segments = uri.path().split('/').filter(|segment| !segment.is_empty()).map(decode);
    let query = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let pairs = query.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let ask = Ask {
        method,
        path: segments.collect(),
        query: pairs
            .map(|(name, value)| (decode(name), decode(&value.replace('+', " "))))
            .collect(),
        body,
    };
    Ok(match route::route(world, &ask)? {
        Reply::Body(status, value) => json_response(status, &value),
        Reply::Empty(status) => response(status, Bytes::new()),
        Reply::List(key, items) => json_response(200, &page(&ask, uri.path(), host, key, items)?),
    })
}

/// One page of a list, with links and the total.
fn page(
    ask: &Ask<'_>,
    path: &str,
    host: &str,
    key: &str,
    items: Vec<Value>,
) -> Result<Value, Refusal> {
    let number = |name: &str, default: usize, most: usize| match ask.query(name) {
        None => Ok(default),
        Some(text) => match text.parse::<usize>() {
            Ok(number) if (1..=most).contains(&number) => Ok(number),
            _ => Err(Refusal::bad_request(format!("invalid {name}"))),
        },
    };
    let size = number("per_page", 20, 200)?;
    let this = number("page", 1, usize::MAX)?;
    let total = items.len();
    let last = total.div_ceil(size).max(1);
    let link = |page: usize| {
        let others = ask.query.iter().filter(|(name, _)| name != "page");
        let query: Vec<String> = others
            .map(|(name, value)| format!("{name}={}", encode(value)))
            .chain([format!("page={page}")])
            .collect();
        json!(format!("http://{host}{path}?{}", query.join("&")))
    };
    let mut pages = serde_json::Map::new();
    if this > 1 {
        pages.insert("first".to_owned(), link(1));
        pages.insert("prev".to_owned(), link(this - 1));
    }
    if this < last {
        pages.insert("next".to_owned(), link(this + 1));
        pages.insert("last".to_owned(), link(last));
    }
    let links = if pages.is_empty() { json!({}) } else { json!({ "pages": pages }) };
    let cut: Vec<Value> =
        items.into_iter().skip((this - 1).saturating_mul(size)).take(size).collect();
    Ok(json!({ key: cut, "links": links, "meta": { "total": total } }))
}

/// The request id of what is asked of the local cloud's own paths, which are not counted.
const OWN: &str = "local";

/// The local cloud's own paths: faults to set, the world to look at.
fn admin(world: &World, path: &str, method: &Method, body: &[u8]) -> Response<Full<Bytes>> {
    match (method.as_str(), path) {
        ("GET", "world") => json_response(200, &world.snapshot()),
        ("GET", "requests") => json_response(200, &json!(world.requests())),
        ("DELETE", "faults") => {
            world.with_faults(crate::fault::Faults::clear);
            response(204, Bytes::new())
        }
        ("POST", "faults") => told(body, |rule: Rule| world.with_faults(|faults| faults.add(rule))),
        ("POST", "lent_keys") => told(body, |keys: Vec<String>| world.lend_keys(&keys)),
        ("GET", "timings") => world.with_manners(|timings, _| json_response(200, &json!(timings))),
        ("PUT", "timings") => told(body, |new| world.with_manners(|timings, _| *timings = new)),
        ("GET", "spaces") => world.with_habits(|habits| json_response(200, &json!(habits))),
        ("PUT", "spaces") => told(body, |new| world.with_habits(|habits| *habits = new)),
        ("GET", "races") => world.with_manners(|_, races| json_response(200, &json!(races))),
        ("PUT", "races") => told(body, |new| world.with_manners(|_, races| *races = new)),
        _ => refuse(&Refusal::not_found(), OWN),
    }
}

/// Does something with what a body says, if it says something.
fn told<T: DeserializeOwned>(body: &[u8], act: impl FnOnce(T)) -> Response<Full<Bytes>> {
    match serde_json::from_slice(body) {
        Ok(value) => {
            act(value);
            response(204, Bytes::new())
        }
        Err(error) => refuse(&Refusal::bad_request(error.to_string()), OWN),
    }
}

fn failed(failure: &Failure<'_>, request_id: &str) -> Response<Full<Bytes>> {
    let &Failure { status, body, message, retry_after } = failure;
    let mut response = match body {
        fault::Body::Json => in_json(status, message, request_id),
        fault::Body::Empty => response(status, Bytes::new()),
        fault::Body::Html => html(status),
    };
    set(&mut response, "retry-after", retry_after);
    response
}

/// A failure as a page of whoever stands before a service.
pub(crate) fn html(status: u16) -> Response<Full<Bytes>> {
    let page = format!(
        "<html><head><title>{status}</title></head><body><h1>Error {status}</h1>cloudflare</body></html>"
    );
    let mut response = response(status, page.into());
    set(&mut response, "content-type", Some("text/html"));
    response
}

fn in_json(status: u16, message: Option<&str>, request_id: &str) -> Response<Full<Bytes>> {
    let id = match status {
        401 => "unauthorized",
        403 => "forbidden",
        404 => "not_found",
        409 => "conflict",
        412 => "precondition_failed",
        422 => "unprocessable_entity",
        429 => "too_many_requests",
        _ => "server_error",
    };
    let message = message.unwrap_or(match status {
        422 => "Droplet already has a pending event.",
        429 => "API Rate limit exceeded.",
        _ => "Server was unable to give you a response.",
    });
    json_response(status, &json!({ "id": id, "message": message, "request_id": request_id }))
}

fn refuse(refusal: &Refusal, request_id: &str) -> Response<Full<Bytes>> {
    let Refusal { status, id, message, kind } = refusal;
    let body = match kind {
        Kind::Tag => {
            let cause = format!("rpc error: code = InvalidArgument desc = {message}");
            json!({ "error": message, "messages": null, "root_causes": [cause] })
        }
        Kind::Usual | Kind::Pending | Kind::Limit => {
            json!({ "id": id, "message": message, "request_id": request_id })
        }
    };
    json_response(*status, &body)
}

fn json_response(status: u16, value: &Value) -> Response<Full<Bytes>> {
    let mut response = response(status, value.to_string().into());
    set(&mut response, "content-type", Some("application/json; charset=utf-8"));
    response
}

fn response(status: u16, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

fn set(response: &mut Response<Full<Bytes>>, name: &'static str, value: Option<impl ToString>) {
    if let Some(value) = value.and_then(|value| value.to_string().parse().ok()) {
        response.headers_mut().insert(name, value);
    }
}

/// Percent-decoding.
pub(crate) fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn encode(text: &str) -> String {
    let safe = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~:".contains(byte);
    text.bytes()
        .map(|byte| if safe(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Mutex;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::sync::oneshot;

    use super::*;
    use crate::world::WorldConfig;

    /// Asks a door whose driver comes to this, and sees that there is no answer before.
    async fn asked(outcome: Result<(), String>) -> String {
        let (waits, waiting) = oneshot::channel();
        let (decide, decided) = oneshot::channel();
        let once = Mutex::new(Some((waits, decided)));
        let in_step: InStep = Arc::new(move || {
            let (waits, decided) = once.lock().unwrap().take().unwrap();
            waits.send(()).unwrap();
            Box::pin(async { decided.await.unwrap() })
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let http = Http::behind(listener, World::new(WorldConfig::default()), in_step).unwrap();
        let mut stream = TcpStream::connect(http.address()).await.unwrap();
        let request = "GET /v2/account HTTP/1.1\r\nhost: x\r\nauthorization: Bearer x\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        waiting.await.unwrap();
        let nothing = stream.try_read(&mut [0]).unwrap_err();
        assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
        decide.send(outcome).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn nothing_is_answered_that_is_not_so_yet() {
        let answer = asked(Ok(())).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let answer = asked(Err("no such chain".to_owned())).await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("no such chain"), "{answer}");
    }
}
