//! The Docker Engine API on a machine's socket: what a release needs of it, in the engine's own words.
//!
//! Versions are checked as the engine does: a request for a newer API than it has, or an older one than it still speaks,
//! is refused with 400. An operation that was begun is finished even if the caller hangs up.

mod containers;
mod images;
mod wire;

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::Site;
use super::open::serve_http;
use crate::machine::containers::EngineError;

/// A release of Docker Engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineVersion {
    /// Its version.
    pub engine: &'static str,
    /// The API it speaks.
    pub api: (u32, u32),
    /// The oldest API it still speaks.
    pub least_api: (u32, u32),
}

impl EngineVersion {
    /// Debian 12 and Ubuntu 22.04's first.
    pub const OLD: Self = Self { engine: "20.10.24", api: (1, 41), least_api: (1, 12) };
    /// Ubuntu 24.04.
    pub const NOBLE: Self = Self { engine: "28.2.2", api: (1, 50), least_api: (1, 24) };
    /// Refuses what older clients speak.
    pub const NEWEST: Self = Self { engine: "29.0.0", api: (1, 52), least_api: (1, 44) };
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// One request at the engine of one machine.
struct Call {
    site: Arc<Site>,
    address: Ipv4Addr,
    method: Method,
    /// After the version.
    path: String,
    query: Vec<(String, String)>,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// A refusal: status and the engine's words.
#[derive(Debug)]
struct Refusal(StatusCode, String);

type Answer = Result<Response<Body>, Refusal>;

impl From<EngineError> for Refusal {
    fn from(error: EngineError) -> Self {
        let status = StatusCode::from_u16(error.status());
        Self(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), error.to_string())
    }
}

impl Refusal {
    /// The machine went away under the request.
    fn gone() -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR, "the engine is shutting down".to_owned())
    }

    fn bad(what: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, what.into())
    }
}

impl Call {
    /// The value of a query parameter.
    fn asked(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether a flag is set, as the engine reads flags.
    fn has(&self, name: &str) -> bool {
        let value = self.asked(name).unwrap_or_default().to_ascii_lowercase();
        !matches!(value.as_str(), "" | "0" | "no" | "false" | "none")
    }
}

/// Serves the engine's API on a stream until it ends.
pub(super) async fn serve<I>(site: Arc<Site>, address: Ipv4Addr, stream: I)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // A stream ends with the SSH connection it is a part of; nothing else closes it.
    let (open, closing) = watch::channel(false);
    let service = service_fn(move |request| answer(Arc::clone(&site), address, request));
    serve_http(stream, closing, service).await;
    drop(open);
}

async fn answer(
    site: Arc<Site>,
    address: Ipv4Addr,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let version = site.config.engine;
    let answer = match read(site, address, request).await {
        // In a task of its own: a caller that hangs up must not leave an operation half done.
        Ok(call) => tokio::spawn(route(call)).await.unwrap_or_else(|_| Err(Refusal::gone())),
        Err(refusal) => Err(refusal),
    };
    let mut response = answer.unwrap_or_else(|Refusal(status, message)| {
        let mut response = document(&json!({ "message": message }));
        *response.status_mut() = status;
        response
    });
    let (major, minor) = version.api;
    let server = format!("Docker/{} (linux)", version.engine);
    for (name, text) in [
        ("api-version", format!("{major}.{minor}")),
        ("server", server),
        ("ostype", "linux".into()),
    ] {
        if let Ok(value) = HeaderValue::from_str(&text) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

async fn read(
    site: Arc<Site>,
    address: Ipv4Addr,
    request: Request<Incoming>,
) -> Result<Call, Refusal> {
    let (head, body) = request.into_parts();
    let path = strip_version(head.uri.path(), site.config.engine)?;
    let query = head.uri.query().unwrap_or_default();
    let query = wire::pairs(query);
    let body = body.collect().await.map_err(|error| Refusal::bad(error.to_string()))?;
    let (method, headers) = (head.method, head.headers);
    Ok(Call { site, address, method, path, query, headers, body: body.to_bytes().to_vec() })
}

/// The path after its version, if the engine speaks that version.
fn strip_version(path: &str, engine: EngineVersion) -> Result<String, Refusal> {
    let number = |text: &str| {
        let (major, minor) = text.split_once('.')?;
        Some((major.parse().ok()?, minor.parse::<u32>().ok()?))
    };
    let versioned = path.strip_prefix("/v").and_then(|rest| rest.split_once('/'));
    let Some((asked, (version, rest))) =
        versioned.and_then(|(text, rest)| Some((text, (number(text)?, rest))))
    else {
        return Ok(path.to_owned());
    };
    let (most, least) = (engine.api, engine.least_api);
    if version > most {
        return Err(Refusal::bad(format!(
            "client version {asked} is too new. Maximum supported API version is {}.{}",
            most.0, most.1
        )));
    }
    if version < least {
        return Err(Refusal::bad(format!(
            "client version {asked} is too old. Minimum supported API version is {}.{}, please upgrade your client to a newer version",
            least.0, least.1
        )));
    }
    Ok(format!("/{rest}"))
}

async fn route(call: Call) -> Answer {
    let path = call.path.clone();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match (call.method.as_str(), &parts[..]) {
        ("GET" | "HEAD", ["_ping"]) => Ok(text("OK")),
        ("GET", ["version"]) => Ok(document(&wire::version(call.site.config.engine))),
        ("POST", ["images", "create"]) => images::pull(&call).await,
        // A name has slashes in it.
        ("GET", ["images", name @ .., "json"]) if !name.is_empty() => {
            images::inspect(&call, &name.join("/"))
        }
        ("GET", ["containers", "json"]) => containers::list(&call),
        ("POST", ["containers", "create"]) => containers::create(&call),
        ("GET", ["containers", name, "json"]) => containers::inspect(&call, &wire::plain(name)),
        ("GET", ["containers", name, "logs"]) => containers::logs(&call, &wire::plain(name)),
        ("POST", ["containers", name, "start"]) => {
            containers::start(&call, &wire::plain(name)).await
        }
        ("POST", ["containers", name, "stop"]) => containers::stop(&call, &wire::plain(name)).await,
        ("POST", ["containers", name, "kill"]) => containers::kill(&call, &wire::plain(name)).await,
        ("DELETE", ["containers", name]) => containers::remove(&call, &wire::plain(name)).await,
        _ => Err(Refusal(StatusCode::NOT_FOUND, "page not found".to_owned())),
    }
}

fn text(words: &'static str) -> Response<Body> {
    Response::new(Full::from(words).boxed_unsync())
}

fn document(value: &Value) -> Response<Body> {
    let mut response = Response::new(Full::from(value.to_string()).boxed_unsync());
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = text("");
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_in_a_path_is_checked_as_the_engine_does() {
        let strip = |path, engine| strip_version(path, engine).map_err(|Refusal(_, words)| words);
        assert_eq!(strip("/_ping", EngineVersion::OLD).as_deref(), Ok("/_ping"));
        assert_eq!(strip("/v1.41/info", EngineVersion::OLD).as_deref(), Ok("/info"));
        assert_eq!(strip("/version", EngineVersion::OLD).as_deref(), Ok("/version"));
        let new = strip("/v1.44/info", EngineVersion::OLD).unwrap_err();
        assert_eq!(new, "client version 1.44 is too new. Maximum supported API version is 1.41");
        let old = strip("/v1.43/info", EngineVersion::NEWEST).unwrap_err();
        assert!(
            old.starts_with(
                "client version 1.43 is too old. Minimum supported API version is 1.44"
            )
        );
    }
}
