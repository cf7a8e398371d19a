//! Pulling an image by its digest.
//!
//! The password is in a header of one request and nowhere on the droplet: no login, no file, no argument. The engine
//! answers 200 as soon as it begins, so a failure later on is a line of the answer; both are told apart into "final"
//! (no such image, no permission) and "try again".

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use http::{HeaderValue, Method};
use seachange_core::host::{Credentials, HostError, PullProgress};
use seachange_core::image::{Digest, ImageRef};

use super::wire::PullLine;
use super::{Engine, EngineError};
use crate::http1::{self, Answer};

/// Docker Hub goes by this name in credentials.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// Pulls exactly this digest, unless it is there.
pub(crate) async fn pull(
    engine: Engine<'_>,
    image: &ImageRef,
    digest: &Digest,
    credentials: Option<&Credentials>,
    progress: PullProgress<'_>,
) -> Result<(), HostError> {
    let pinned = image.pinned(digest);
    let operation = format!("pulling {pinned}");
    let result = async {
        if is_there(engine, &pinned).await? {
            return Ok(());
        }
        fetch(engine, image, digest, credentials, progress).await?;
        if is_there(engine, &pinned).await? {
            return Ok(());
        }
        Err(EngineError::Silent(
            "the engine reported success but does not have the image".to_owned(),
        ))
    };
    result.await.map_err(|error| {
        let secrets = credentials.map(|credentials| [&credentials.username, &credentials.password]);
        match error.without(secrets.into_iter().flatten()) {
            EngineError::Answered { message, .. } if is_final(&message) => {
                HostError::PullFailed { image: pinned, detail: message }
            }
            error => error.during(engine.target, &operation),
        }
    })
}

async fn is_there(engine: Engine<'_>, pinned: &str) -> Result<bool, EngineError> {
    match engine.send(engine.call(Method::GET, format!("/images/{pinned}/json"))).await {
        Ok(_) => Ok(true),
        Err(error) if error.is_absent() => Ok(false),
        Err(error) => Err(error),
    }
}

async fn fetch(
    engine: Engine<'_>,
    image: &ImageRef,
    digest: &Digest,
    credentials: Option<&Credentials>,
    progress: PullProgress<'_>,
) -> Result<(), EngineError> {
    let repository = format!("{}/{}", image.registry, image.repository);
    let mut call = engine.call(Method::POST, "/images/create");
    call.query = vec![("fromImage", repository.as_str()), ("tag", digest.as_str())];
    call.limit = engine.ssh.config.pull_stall_timeout;
    call.registry_auth = match credentials {
        None => None,
        Some(credentials) => Some(auth_header(&image.registry, credentials).ok_or_else(|| {
            EngineError::Silent("the registry credentials cannot be sent in a header".to_owned())
        })?),
    };
    let mut answer = engine.send(call).await?;
    let mut lines = Lines::default();
    let mut layers = Layers::default();
    while let Some(piece) = next(engine, &mut answer).await? {
        for line in lines.push(&piece) {
            report(&line, &mut layers, progress)?;
        }
    }
    lines.end().map_or(Ok(()), |line| report(&line, &mut layers, progress))
}

async fn next(
    engine: Engine<'_>,
    answer: &mut Answer,
) -> Result<Option<bytes::Bytes>, EngineError> {
    let limit = engine.ssh.config.pull_stall_timeout;
    match tokio::time::timeout(limit, answer.next()).await {
        Ok(None) => Ok(None),
        Ok(Some(piece)) => {
            piece.map(Some).map_err(|error| EngineError::Silent(http1::words(&error)))
        }
        Err(_) => Err(EngineError::Silent(format!("the pull stood still for {limit:?}"))),
    }
}

fn report(
    line: &PullLine,
    layers: &mut Layers,
    progress: PullProgress<'_>,
) -> Result<(), EngineError> {
    if let Some(message) = &line.error {
        let status = http::StatusCode::INTERNAL_SERVER_ERROR;
        return Err(EngineError::Answered { status, message: message.trim().to_owned() });
    }
    if layers.see(line) {
        let (done, all) = layers.sum();
        progress(done, all);
    }
    Ok(())
}

/// Base64 of the credentials as the engine reads them: with the URL's alphabet (the usual one loses passwords whose
/// text becomes a `+` or `/`) and with padding.
fn auth_header(registry: &str, credentials: &Credentials) -> Option<HeaderValue> {
    let server = if registry == "docker.io" { DOCKER_HUB } else { registry };
    let json = serde_json::json!({
        "username": credentials.username.expose(),
        "password": credentials.password.expose(),
        "serveraddress": server,
    });
    let mut value = HeaderValue::from_str(&URL_SAFE.encode(json.to_string())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Does the registry say no, rather than nothing? Engines pass on the registry's words with all kinds of statuses.
fn is_final(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    [
        "not found",
        "manifest unknown",
        "denied",
        "unauthorized",
        "no basic auth credentials",
        "authentication required",
    ]
    .iter()
    .any(|words| message.contains(words))
}

/// Bytes into lines of JSON. A line that cannot be read is no reason to fail a pull: it is passed over.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn push(&mut self, piece: &[u8]) -> Vec<PullLine> {
        self.0.extend_from_slice(piece);
        let whole = self.0.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let rest = self.0.split_off(whole);
        let lines = std::mem::replace(&mut self.0, rest);
        lines
            .split(|byte| *byte == b'\n')
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect()
    }

    fn end(self) -> Option<PullLine> {
        serde_json::from_slice(&self.0).ok()
    }
}

/// What is known of each layer: bytes so far, bytes in all.
#[derive(Default)]
struct Layers(BTreeMap<String, (u64, Option<u64>)>);

impl Layers {
    /// Takes a line in; true if it changed the sums.
    fn see(&mut self, line: &PullLine) -> bool {
        let (Some(id), Some(status)) = (&line.id, &line.status) else { return false };
        match (status.as_str(), &line.progress) {
            ("Pulling fs layer", _) => {
                self.0.entry(id.clone()).or_insert((0, None));
            }
            ("Downloading", Some(detail)) => {
                let layer = self.0.entry(id.clone()).or_insert((0, None));
                layer.0 = detail.current.unwrap_or(layer.0);
                layer.1 = detail.total.filter(|total| *total > 0).or(layer.1);
            }
            // Small layers come without a `Downloading` line: their size is never said.
            ("Download complete" | "Already exists" | "Pull complete", _) => {
                let layer = self.0.entry(id.clone()).or_insert((0, None));
                layer.0 = layer.1.unwrap_or(layer.0);
                layer.1 = Some(layer.0);
            }
            _ => return false,
        }
        true
    }

    /// The whole is only known when every layer is.
    fn sum(&self) -> (u64, Option<u64>) {
        let done = self.0.values().map(|(done, _)| done).sum();
        (done, self.0.values().map(|(_, all)| *all).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seachange_core::secret::Secret;

    fn credentials(password: &str) -> Credentials {
        Credentials { username: Secret::new("user"), password: Secret::new(password) }
    }

    #[test]
    fn credentials_are_encoded_as_the_engine_decodes_them() {
        // In the usual alphabet this text has a `/` and a `+`.
        let header = auth_header("registry.gitlab.com", &credentials("??>>~~ü")).unwrap();
        assert!(header.is_sensitive());
        assert!(!format!("{header:?}").contains("eyJ"));
        let text = header.to_str().unwrap();
        assert!(
            text.contains(['-', '_']) && !text.contains(['+', '/']) && text.len().is_multiple_of(4),
            "{text}"
        );
        let json: serde_json::Value =
            serde_json::from_slice(&URL_SAFE.decode(text).unwrap()).unwrap();
        let wanted = serde_json::json!({
            "username": "user", "password": "??>>~~ü", "serveraddress": "registry.gitlab.com",
        });
        assert_eq!(json, wanted);
        let hub = auth_header("docker.io", &credentials("x")).unwrap();
        let json = String::from_utf8(URL_SAFE.decode(hub.to_str().unwrap()).unwrap()).unwrap();
        assert!(json.contains(DOCKER_HUB));
    }

    #[test]
    fn progress_adds_up_over_layers_and_pieces() {
        let text = concat!(
            r#"{"status":"Pulling from webgui","id":"sha256:aa"}"#,
            "\r\n",
            r#"{"status":"Pulling fs layer","id":"one"}"#,
            "\n",
            r#"{"status":"Pulling fs layer","id":"two"}"#,
            "\nnot json\n",
            r#"{"status":"Downloading","progressDetail":{"current":10,"total":100},"id":"one"}"#,
            "\n",
            r#"{"status":"Downloading","progressDetail":{"current":5,"total":50},"id":"two"}"#,
            "\n",
            r#"{"status":"Download complete","progressDetail":{},"id":"two"}"#,
            "\n",
            r#"{"status":"Extracting","progressDetail":{"current":1,"total":50},"id":"two"}"#,
            "\n",
            r#"{"status":"Pull complete","id":"one"}"#,
        );
        for size in [1, 7, text.len()] {
            let seen = std::sync::Mutex::new(Vec::new());
            let progress = |done, all| seen.lock().unwrap().push((done, all));
            let (mut lines, mut layers) = (Lines::default(), Layers::default());
            for piece in text.as_bytes().chunks(size) {
                for line in lines.push(piece) {
                    report(&line, &mut layers, &progress).unwrap();
                }
            }
            report(&lines.end().unwrap(), &mut layers, &progress).unwrap();
            let wanted = [
                (0, None),
                (0, None),
                (10, None),
                (15, Some(150)),
                (60, Some(150)),
                (150, Some(150)),
            ];
            assert_eq!(seen.into_inner().unwrap(), wanted, "in pieces of {size}");
        }
    }

    #[test]
    fn what_the_registry_refuses_is_final_and_the_rest_is_not() {
        for message in [
            "manifest for registry.example/a@sha256:bb not found: manifest unknown: manifest unknown",
            "pull access denied for a, repository does not exist or may require 'docker login': denied",
            "Get https://r/v2/a/manifests/1: unauthorized: HTTP Basic: Access denied",
            "Head \"https://r/v2/a/manifests/1\": no basic auth credentials",
        ] {
            assert!(is_final(message), "{message}");
        }
        for message in [
            "Get https://registry.example/v2/: dial tcp: i/o timeout",
            "toomanyrequests: You have reached your pull rate limit",
            "write /var/lib/docker/tmp/x: no space left on device",
        ] {
            assert!(!is_final(message), "{message}");
        }
    }

    #[test]
    fn a_failure_in_the_stream_is_an_error() {
        let line =
            serde_json::from_str(r#"{"errorDetail":{"message":"x"},"error":"manifest unknown"}"#)
                .unwrap();
        let error = report(&line, &mut Layers::default(), &|_, _| {}).unwrap_err();
        assert!(
            matches!(error, EngineError::Answered { message, .. } if message == "manifest unknown")
        );
    }
}
