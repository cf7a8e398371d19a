//! DigitalOcean's HTTP API on a world: paths, bodies, paging, headers, errors. What is answered is decided in `world`.

mod render;
mod route;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::fault::{Effect, Rule};
use crate::world::World;
use crate::world::refusal::Refusal;

/// The open door. It closes when this is dropped.
#[derive(Debug)]
pub struct Http {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Http {
    /// Opens the door; port 0 takes a free one.
    pub async fn open(world: Arc<World>, address: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let app = axum::Router::new().fallback(answer).with_state(world);
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                tracing::warn!(%error, "the API door closed");
            }
        });
        Ok(Self { address, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        self.task.abort();
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
    State(world): State<Arc<World>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let path = uri.path().to_owned();
    if let Some(rest) = path.strip_prefix("/_local/") {
        return admin(&world, rest, &method, &body);
    }
    world.note_request(method.as_str(), &path);
    let (allowance, token) = world.allowance();
    let finish = |reply: Result<Response<Body>, Refusal>| {
        with_headers(reply.unwrap_or_else(|refusal| refuse(&refusal)), allowance)
    };
    if let Some(retry_after) = allowance.refused {
        let mut response = finish(Err(Refusal::too_many()));
        set(&mut response, "retry-after", retry_after);
        return response;
    }
    let sent = headers
        .get("authorization")
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    let known = sent.is_some_and(|sent| token.as_ref().is_none_or(|token| token == sent));
    if !known {
        return finish(Err(Refusal::unauthorized()));
    }
    let strike = world.with_faults(|faults| faults.strike(method.as_str(), &path));
    let host =
        headers.get("host").and_then(|value| value.to_str().ok()).unwrap_or("localhost").to_owned();
    let respond = || respond(&world, method.as_str(), &uri, &host, &body);
    match strike {
        None | Some(Effect::ActionErrors) => finish(respond()),
        Some(Effect::Fail { status, html, retry_after }) => {
            let mut response = failed(status, html);
            set(&mut response, "retry-after", retry_after);
            with_headers(response, allowance)
        }
        Some(Effect::DropBefore) => lost(),
        Some(Effect::DropAfter) => {
            drop(respond());
            lost()
        }
        Some(Effect::Stall(time)) => {
            let response = finish(respond());
            tokio::time::sleep(time.min(Duration::from_secs(3600))).await;
            response
        }
    }
}

fn respond(
    world: &World,
    method: &str,
    uri: &Uri,
    host: &str,
    body: &[u8],
) -> Result<Response<Body>, Refusal> {
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
        Reply::Empty(status) => response(status, Body::empty()),
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

/// The local cloud's own paths: faults to set, the world to look at.
fn admin(world: &World, path: &str, method: &Method, body: &[u8]) -> Response<Body> {
    match (method.as_str(), path) {
        ("GET", "world") => json_response(200, &world.snapshot()),
        ("GET", "requests") => json_response(200, &json!(world.requests())),
        ("DELETE", "faults") => {
            world.with_faults(crate::fault::Faults::clear);
            response(204, Body::empty())
        }
        ("POST", "faults") => match serde_json::from_slice::<Rule>(body) {
            Ok(rule) => {
                world.with_faults(|faults| faults.add(rule));
                response(204, Body::empty())
            }
            Err(error) => refuse(&Refusal::bad_request(error.to_string())),
        },
        _ => refuse(&Refusal::not_found()),
    }
}

/// An answer that never comes whole: the body ends in an error, so the connection is torn down.
fn lost() -> Response<Body> {
    let broken = futures::stream::once(async {
        Err::<Bytes, _>(std::io::Error::from(std::io::ErrorKind::ConnectionReset))
    });
    let mut response = response(200, Body::from_stream(broken));
    set(&mut response, "content-type", Some("application/json"));
    response
}

fn failed(status: u16, html: bool) -> Response<Body> {
    if html {
        let page = format!(
            "<html><head><title>{status}</title></head><body><h1>Error {status}</h1>cloudflare</body></html>"
        );
        let mut response = response(status, Body::from(page));
        set(&mut response, "content-type", Some("text/html"));
        return response;
    }
    let id = match status {
        403 => "forbidden",
        404 => "not_found",
        409 => "conflict",
        412 => "precondition_failed",
        422 => "unprocessable_entity",
        429 => "too_many_requests",
        _ => "server_error",
    };
    let message = if status == 422 {
        "Droplet already has a pending event."
    } else {
        "Server was unable to give you a response."
    };
    json_response(status, &json!({ "id": id, "message": message }))
}

fn refuse(refusal: &Refusal) -> Response<Body> {
    let Refusal { status, id, message, with_root_cause } = refusal;
    let body = match with_root_cause {
        true => {
            let cause = format!("rpc error: code = InvalidArgument desc = {message}");
            json!({ "error": message, "messages": null, "root_causes": [cause] })
        }
        false => json!({ "id": id, "message": message }),
    };
    json_response(*status, &body)
}

fn json_response(status: u16, value: &Value) -> Response<Body> {
    let mut response = response(status, Body::from(value.to_string()));
    set(&mut response, "content-type", Some("application/json; charset=utf-8"));
    response
}

fn response(status: u16, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

fn with_headers(
    mut response: Response<Body>,
    allowance: crate::world::account::Allowance,
) -> Response<Body> {
    let reset = jiff::Timestamp::now().as_second()
        + i64::try_from(allowance.reset.as_secs()).unwrap_or_default();
    set(&mut response, "ratelimit-limit", Some(allowance.limit));
    set(&mut response, "ratelimit-remaining", Some(allowance.remaining));
    set(&mut response, "ratelimit-reset", Some(reset));
    set(&mut response, "x-request-id", Some(format!("local-{:08x}", rand::random::<u32>())));
    response
}

fn set(response: &mut Response<Body>, name: &'static str, value: Option<impl ToString>) {
    if let Some(value) = value.and_then(|value| value.to_string().parse().ok()) {
        response.headers_mut().insert(name, value);
    }
}

/// Percent-decoding.
fn decode(text: &str) -> String {
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
