//! The Docker Engine API, through the engine's own unix socket on the droplet.
//!
//! Requests are written out here rather than made by a client library: the few fields we send and read are in `wire`,
//! unknown words of newer engines stay readable, and no library logs a request body that holds the app's environment.
//! The API version is negotiated: an engine refuses versions newer than its own, and newer engines refuse old ones.

pub(crate) mod containers;
pub(crate) mod logs;
pub(crate) mod pull;
mod wire;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use http_body_util::Full;
use hyper::Request;
use seachange_core::host::{HostError, Target};
use seachange_core::secret::Secret;
use serde::de::DeserializeOwned;

use crate::http1::{self, Answer};
use crate::ssh::{Door, OpenError, Ssh, failed, refusal};

const SOCKET: &str = "/var/run/docker.sock";
/// Docker Engine 20.10.
const OLDEST: ApiVersion = ApiVersion { major: 1, minor: 41 };
/// The newest whose changes have been read; a newer engine is spoken to in this one.
const NEWEST: ApiVersion = ApiVersion { major: 1, minor: 53 };
/// No answer we read whole is anywhere near.
const MOST_BODY: usize = 8 * 1024 * 1024;

/// A version of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ApiVersion {
    major: u32,
    minor: u32,
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl ApiVersion {
    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.trim().split_once('.')?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }

    /// The version to speak to an engine of this version.
    fn negotiate(self) -> Result<Self, String> {
        if self < OLDEST {
            return Err(format!(
                "the engine speaks API {self}; at least {OLDEST} (Docker Engine 20.10) is needed"
            ));
        }
        Ok(self.min(NEWEST))
    }
}

/// The engine of one droplet.
#[derive(Clone, Copy)]
pub(crate) struct Engine<'a> {
    pub(crate) ssh: &'a Ssh,
    pub(crate) target: &'a Target,
}

/// How a request ends badly.
#[derive(Debug)]
pub(crate) enum EngineError {
    /// The engine answered with an error.
    Answered { status: StatusCode, message: String },
    /// The engine gave no usable answer.
    Silent(String),
    /// The host gave none.
    Host(HostError),
}

impl EngineError {
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::Answered { status, .. } if *status == StatusCode::NOT_FOUND)
    }

    /// As the failure of an operation.
    pub(crate) fn during(self, target: &Target, operation: &str) -> HostError {
        match self {
            Self::Host(error) => error,
            Self::Silent(detail) | Self::Answered { message: detail, .. } => {
                failed(target.address, operation, detail)
            }
        }
    }

    /// With every occurrence of the secrets blotted out: engines quote what they do not like.
    pub(crate) fn without<'s>(self, secrets: impl IntoIterator<Item = &'s Secret>) -> Self {
        let blot = |text: String| secrets.into_iter().fold(text, blot_out);
        match self {
            Self::Answered { status, message } => Self::Answered { status, message: blot(message) },
            Self::Silent(detail) => Self::Silent(blot(detail)),
            host => host,
        }
    }
}

/// A value of one to three characters (`DEBUG=0`) is left: it hides nothing, and blotting it out eats the message.
fn blot_out(text: String, secret: &Secret) -> String {
    match secret.expose() {
        short if short.len() < 4 => text,
        secret => text.replace(secret, "[redacted]"),
    }
}

/// One request, apart from the version in its path.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    /// From the slash after the version.
    pub(crate) path: String,
    pub(crate) query: Vec<(&'a str, &'a str)>,
    pub(crate) registry_auth: Option<HeaderValue>,
    pub(crate) body: Option<Vec<u8>>,
    /// Until the answer's head.
    pub(crate) limit: Duration,
}

impl<'a> Engine<'a> {
    pub(crate) fn call(&self, method: Method, path: impl Into<String>) -> Call<'static> {
        let limit = self.ssh.config.operation_timeout;
        Call {
            method,
            path: path.into(),
            query: Vec::new(),
            registry_auth: None,
            body: None,
            limit,
        }
    }

    /// Does the engine answer?
    pub(crate) async fn ping(&self) -> Result<(), EngineError> {
        self.ask_version().await.map(drop)
    }

    /// Sends the call; an error status is an error. 304 (already so) is none.
    pub(crate) async fn send(&self, call: Call<'_>) -> Result<Answer, EngineError> {
        let connection = self.ssh.connection(self.target).await.map_err(EngineError::Host)?;
        let version = connection.engine_version.get_or_try_init(|| self.ask_version()).await?;
        let mut uri = format!("/v{version}{}", call.path);
        if !call.query.is_empty() {
            let mut query = form_urlencoded::Serializer::new(String::new());
            uri = format!("{uri}?{}", query.extend_pairs(call.query).finish());
        }
        let mut request = Request::builder().method(call.method).uri(uri);
        if let Some(auth) = call.registry_auth {
            request = request.header("x-registry-auth", auth);
        }
        if call.body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        self.exchange(request, call.body.unwrap_or_default(), call.limit).await
    }

    /// Sends the call and reads the JSON it answers.
    pub(crate) async fn fetch<T: DeserializeOwned>(
        &self,
        call: Call<'_>,
    ) -> Result<T, EngineError> {
        let path = call.path.clone();
        let bytes = self.body(self.send(call).await?).await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            EngineError::Silent(format!("the answer to {path} cannot be read: {error}"))
        })
    }

    /// Reads the rest of an answer.
    pub(crate) async fn body(&self, answer: Answer) -> Result<Vec<u8>, EngineError> {
        let limit = self.ssh.config.operation_timeout;
        match tokio::time::timeout(limit, answer.first(MOST_BODY)).await {
            Ok(bytes) => bytes.map_err(|error| EngineError::Silent(http1::words(&error))),
            Err(_) => Err(EngineError::Silent(format!("the answer did not end within {limit:?}"))),
        }
    }

    async fn ask_version(&self) -> Result<ApiVersion, EngineError> {
        let request = Request::builder().method(Method::GET).uri("/_ping");
        let answer = self.exchange(request, Vec::new(), self.ssh.config.operation_timeout).await?;
        let said = answer.headers.get("api-version").and_then(|value| value.to_str().ok());
        let Some(version) = said.and_then(ApiVersion::parse) else {
            return Err(EngineError::Silent(format!(
                "what listens on {SOCKET} is no Docker Engine"
            )));
        };
        version.negotiate().map_err(EngineError::Silent)
    }

    async fn exchange(
        &self,
        request: http::request::Builder,
        body: Vec<u8>,
        limit: Duration,
    ) -> Result<Answer, EngineError> {
        let silent = |detail: String| EngineError::Silent(detail);
        let request = request
            .header(header::HOST, "docker")
            .header(header::CONNECTION, "close")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| silent(error.to_string()))?;
        let channel = match self.ssh.open(self.target, Door::Socket(SOCKET)).await {
            Ok(channel) => channel,
            Err(OpenError::Host(error)) => return Err(EngineError::Host(error)),
            Err(OpenError::Refused(reason)) => {
                return Err(silent(format!("{SOCKET}: {}", refusal(&reason))));
            }
        };
        let answer =
            match tokio::time::timeout(limit, http1::send(channel.into_stream(), request)).await {
                Ok(answer) => answer.map_err(|error| silent(http1::words(&error)))?,
                Err(_) => return Err(silent(format!("no answer within {limit:?}"))),
            };
        let status = answer.status;
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            return Ok(answer);
        }
        let body = self.body(answer).await?;
        Err(EngineError::Answered { status, message: wire::message(status, &body) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_of_both_versions_is_spoken() {
        let negotiate =
            |text| ApiVersion::parse(text).unwrap().negotiate().map(|version| version.to_string());
        assert_eq!(negotiate("1.41"), Ok("1.41".to_owned()));
        assert_eq!(negotiate("1.47\n"), Ok("1.47".to_owned()));
        assert_eq!(negotiate("1.99"), Ok("1.53".to_owned()));
        assert!(negotiate("1.40").unwrap_err().contains("1.40"));
        // Compared as numbers, not as text.
        assert!(negotiate("1.9").is_err());
        assert_eq!(ApiVersion::parse("latest"), None);
    }

    #[test]
    fn secrets_are_blotted_out_of_the_engine_s_words() {
        let message = "invalid environment variable: =hunter2".to_owned();
        let error = EngineError::Answered { status: StatusCode::BAD_REQUEST, message };
        let secrets = [Secret::new(""), Secret::new("v"), Secret::new("hunter2")];
        let EngineError::Answered { message, .. } = error.without(&secrets) else { panic!() };
        assert_eq!(message, "invalid environment variable: =[redacted]");
    }
}
