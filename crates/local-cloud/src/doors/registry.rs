//! The image registry: the pull side of the OCI distribution protocol, over plain HTTP.
//!
//! Every repository has the same images. With a login it answers 401 with a challenge, either for a token from the service
//! beside it or for the login itself, before it tells whether an image exists.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use seachange_core::bootstrap::hex;
use seachange_core::host::Credentials;
use seachange_core::secret::Secret;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;

use super::open::{Door, serve_http};
use crate::images::{Blob, Challenge, Images, MANIFEST_TYPE};

/// Opens the registry; answers where it listens.
pub(super) async fn open(
    socket: SocketAddr,
    images: Images,
) -> std::io::Result<(Door, SocketAddr)> {
    let listener = TcpListener::bind(socket).await?;
    let here = listener.local_addr()?;
    let images = Arc::new(images);
    let door = Door::behind(listener, move |stream, _, closing| {
        let images = Arc::clone(&images);
        async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let answer = answer(&images, here, &request);
                async move { Ok::<_, Infallible>(answer) }
            });
            serve_http(stream, closing, service).await;
        }
    });
    Ok((door, here))
}

/// One answer. Pure: the registry changes only with its configuration.
fn answer(images: &Images, here: SocketAddr, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return refusal(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "pulling only");
    }
    if path == "/token" {
        return token(images, request.headers());
    }
    let Some(name) = path.strip_prefix("/v2/") else {
        return refusal(StatusCode::NOT_FOUND, "NAME_UNKNOWN", "no such page");
    };
    if !is_let_in(images, request.headers()) {
        return challenge(images.challenge, here, name);
    }
    if name.is_empty() {
        return document("application/json", None, b"{}".to_vec());
    }
    if let Some((_, reference)) = name.split_once("/manifests/") {
        return match images.find(reference) {
            Some(image) => blob(MANIFEST_TYPE, &image.manifest),
            None => refusal(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", "manifest unknown"),
        };
    }
    if let Some((_, digest)) = name.split_once("/blobs/") {
        return match digest.parse().ok().and_then(|digest| images.blob(&digest)) {
            Some(found) => blob("application/octet-stream", found),
            None => refusal(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "blob unknown to registry"),
        };
    }
    if let Some(repository) = name.strip_suffix("/tags/list") {
        let list = json!({ "name": repository, "tags": images.tags() });
        return document("application/json", None, list.to_string().into_bytes());
    }
    refusal(StatusCode::NOT_FOUND, "NAME_UNKNOWN", "repository name not known to registry")
}

fn is_let_in(images: &Images, headers: &HeaderMap) -> bool {
    match images.challenge {
        _ if images.login.is_none() => true,
        Challenge::Basic => images.admits(basic(headers).as_ref()),
        Challenge::Bearer => images.login.as_ref().is_some_and(|login| {
            let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
            shown.and_then(|shown| shown.strip_prefix("Bearer ")) == Some(&ticket(login))
        }),
    }
}

fn challenge(kind: Challenge, here: SocketAddr, name: &str) -> Response<Full<Bytes>> {
    let repository = ["/manifests/", "/blobs/", "/tags/"]
        .iter()
        .find_map(|part| name.split_once(part))
        .map_or("", |(repository, _)| repository);
    let words = match kind {
        Challenge::Basic => "Basic realm=\"registry\"".to_owned(),
        Challenge::Bearer if repository.is_empty() => {
            format!("Bearer realm=\"http://{here}/token\",service=\"registry\"")
        }
        Challenge::Bearer => format!(
            "Bearer realm=\"http://{here}/token\",service=\"registry\",scope=\"repository:{repository}:pull\""
        ),
    };
    let mut response = refusal(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "authentication required");
    // A path is plain text by the time it is one of a request, so the value is one too.
    if let Ok(words) = HeaderValue::from_str(&words) {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, words);
    }
    response
}

/// The token service.
fn token(images: &Images, headers: &HeaderMap) -> Response<Full<Bytes>> {
    match &images.login {
        Some(login) if images.admits(basic(headers).as_ref()) => {
            let token = json!({ "expires_in": 300, "token": ticket(login) });
            document("application/json", None, token.to_string().into_bytes())
        }
        None => document("application/json", None, br#"{"token":"anyone"}"#.to_vec()),
        Some(_) => refusal(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "HTTP Basic: Access denied"),
    }
}

/// A token that only this login gets, without being it.
fn ticket(login: &Credentials) -> String {
    let Credentials { username, password } = login;
    let text = format!("token for {} with {}", username.expose(), password.expose());
    hex(&Sha256::digest(text))
}

fn basic(headers: &HeaderMap) -> Option<Credentials> {
    let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let text = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
    let (username, password) = text.split_once(':')?;
    Some(Credentials { username: Secret::new(username), password: Secret::new(password) })
}

fn blob(kind: &'static str, blob: &Blob) -> Response<Full<Bytes>> {
    document(kind, Some(blob.digest.as_str()), blob.bytes.clone())
}

fn document(kind: &'static str, digest: Option<&str>, bytes: Vec<u8>) -> Response<Full<Bytes>> {
    let length = bytes.len();
    let mut response = Response::new(Full::from(bytes));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    // Said here because the answer to HEAD has it too, and no body to count.
    headers.insert(header::CONTENT_LENGTH, length.into());
    headers.insert("docker-distribution-api-version", HeaderValue::from_static("registry/2.0"));
    if let Some(digest) = digest.and_then(|digest| HeaderValue::from_str(digest).ok()) {
        headers.insert("docker-content-digest", digest);
    }
    response
}

fn refusal(status: StatusCode, code: &str, message: &str) -> Response<Full<Bytes>> {
    let body = json!({ "errors": [{ "code": code, "detail": null, "message": message }] });
    let mut response = document("application/json", None, body.to_string().into_bytes());
    *response.status_mut() = status;
    response
}
