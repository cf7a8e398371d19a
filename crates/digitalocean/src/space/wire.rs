//! The way to the bucket: each request once, and of each failure what decides.
//!
//! object_store calls this for every request, already signed. What it makes of a failed one cannot be told apart
//! afterwards, so the answers are judged here: what one of its callers must act on goes through, everything else becomes
//! a [`Failed`] that is found again at the end of the error's chain.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{IF_NONE_MATCH, SERVER};
use http::{HeaderName, HeaderValue, Method};
use http_body_util::BodyExt as _;
use md5::{Digest as _, Md5};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use reqwest::Url;
use tokio::time::Instant;

use super::refusal;
use crate::config::ConfigError;
use crate::transport::http_client;

/// For one request, from connecting to the last byte of the answer. Well below a lease's margin.
const TIMEOUT: Duration = Duration::from_secs(15);
/// A connection that fails is tried again for so long. Nothing was sent by then, so that nothing is ever sent twice.
const KNOCKING: Duration = Duration::from_secs(2);
const BETWEEN_KNOCKS: Duration = Duration::from_millis(500);
const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

/// Why a request has no usable answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    /// It never left this machine.
    #[error("{detail}")]
    NotSent { detail: String },
    /// It may have been carried out.
    #[error("{detail}")]
    InDoubt { detail: String },
    /// It was refused.
    #[error("HTTP {status}")]
    Answered { status: u16, body: String },
}

/// A pooled client that remembers who answers.
#[derive(Debug)]
pub(super) struct Wire {
    http: reqwest::Client,
    engine: Mutex<Option<String>>,
}

impl Wire {
    pub(super) fn new(url: &Url) -> Result<Self, ConfigError> {
        Ok(Self { http: http_client::new(url, TIMEOUT)?, engine: Mutex::default() })
    }

    /// What the store calls itself.
    pub(super) fn engine(&self) -> Option<String> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends it once.
    pub(super) async fn send(&self, request: HttpRequest) -> Result<HttpResponse, Failed> {
        let (mut parts, body) = request.into_parts();
        let in_doubt = |detail: String| Failed::InDoubt { detail };
        let body = body.collect().await.map_err(|error| in_doubt(error.to_string()))?.to_bytes();
        let conditional = parts.headers.contains_key(IF_NONE_MATCH);
        if parts.method == Method::PUT {
            let digest = BASE64_STANDARD.encode(Md5::digest(&body));
            let digest = HeaderValue::from_str(&digest).map_err(|e| in_doubt(e.to_string()))?;
            parts.headers.insert(CONTENT_MD5, digest);
        }
        let request = http::Request::from_parts(parts, body);
        let began = Instant::now();
        let answer = loop {
            let error = match self.http.execute(outgoing(&request)?).await {
                Ok(answer) => break answer,
                Err(error) => error,
            };
            let sent = !error.is_connect();
            let detail = chain(&error.without_url());
            if sent {
                return Err(Failed::InDoubt { detail });
            }
            if began.elapsed() >= KNOCKING {
                return Err(Failed::NotSent { detail });
            }
            tokio::time::sleep(BETWEEN_KNOCKS).await;
        };
        if let Some(engine) = answer.headers().get(SERVER).and_then(|name| name.to_str().ok()) {
            *self.engine.lock().unwrap_or_else(PoisonError::into_inner) = Some(engine.to_owned());
        }
        let (parts, body) = http::Response::from(answer).into_parts();
        let body =
            body.collect().await.map_err(|error| in_doubt(chain(&error.without_url())))?.to_bytes();
        let status = parts.status.as_u16();
        let text = || String::from_utf8_lossy(&body).into_owned();
        match status {
            200..300 => {}
            // The two answers that callers act on.
            409 | 412 if conditional => {}
            404 if refusal::element(&text(), "Code") == Some("NoSuchKey") => {}
            408 | 429 | 500 | 502.. => {
                let code = text();
                let code = refusal::element(&code, "Code").unwrap_or_default();
                return Err(in_doubt(format!("HTTP {status} {code}").trim_end().to_owned()));
            }
            _ => return Err(Failed::Answered { status, body: text() }),
        }
        Ok(HttpResponse::from_parts(parts, body.to_vec().into()))
    }
}

fn outgoing(request: &http::Request<Bytes>) -> Result<reqwest::Request, Failed> {
    reqwest::Request::try_from(request.clone())
        .map_err(|error| Failed::NotSent { detail: chain(&error.without_url()) })
}

/// What object_store is given: the one pool, for all it does.
#[derive(Debug, Clone)]
pub(super) struct Connector(pub(super) Arc<Wire>);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Connector {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        // object_store repeats nothing of an unknown kind, whatever it is told about retries.
        let answer = self.0.send(request).await;
        answer.map_err(|failed| HttpError::new(HttpErrorKind::Unknown, failed))
    }
}

/// The error and its causes in one line: reqwest's own says only that something went wrong.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
