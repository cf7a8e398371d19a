//! Pulling and inspecting images.
//!
//! The registry is asked before the first byte of the answer, so its refusals come as a status; from then on the answer is
//! progress, one JSON object a line. The image is on the machine when the last line goes out, and not before.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use seachange_core::host::Credentials;
use seachange_core::image::ImageRef;
use seachange_core::secret::Secret;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{Answer, Call, Refusal, document, wire};
use crate::images::{Image, NotHad};

/// In so many steps an image comes.
const STEPS: u32 = 4;

/// `POST /images/create`.
pub(super) async fn pull(call: &Call) -> Answer {
    let from = call.asked("fromImage").unwrap_or_default();
    let text = match call.asked("tag") {
        None | Some("") => from.to_owned(),
        Some(digest) if digest.contains(':') => format!("{from}@{digest}"),
        Some(tag) => format!("{from}:{tag}"),
    };
    let wanted: ImageRef =
        text.parse().map_err(|_| Refusal::bad(format!("invalid reference format: {text}")))?;
    let tag = wanted.tag.clone().unwrap_or_else(|| "latest".to_owned());
    let reference = wanted.digest.as_ref().map_or(tag, ToString::to_string);
    let credentials = credentials(&call.headers)?;
    let image = call.site.config.images.get(&reference, credentials.as_ref()).map_err(|why| {
        let url =
            format!("https://{}/v2/{}/manifests/{reference}", wanted.registry, wanted.repository);
        match (why, &credentials) {
            (NotHad::Unknown, _) => {
                Refusal(StatusCode::NOT_FOUND, format!("manifest for {text} not found: {why}"))
            }
            (NotHad::Unauthorized, None) => Refusal(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("Head \"{url}\": no basic auth credentials"),
            ),
            (NotHad::Unauthorized, Some(_)) => Refusal(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("Head \"{url}\": unauthorized: HTTP Basic: Access denied"),
            ),
        }
    })?;

    let (lines, body) = mpsc::channel(1);
    let (site, address) = (Arc::clone(&call.site), call.address);
    tokio::spawn(async move {
        let pause = site.config.pull / STEPS;
        let keep = || {
            site.machine(address, |machine, _| {
                let is_new = machine.engine().image(image.digest().as_str()).is_none();
                machine.engine_mut().pulled(&wanted, image.digest());
                is_new
            })
        };
        // Nobody listening any more: the pull is given up, as the engine does it.
        if send(&lines, &progress(image, &reference), pause).await.is_ok()
            && let Some(is_new) = keep()
        {
            let end = last_lines(image, &text, is_new);
            if send(&lines, &end, Duration::ZERO).await.is_err() {
                tracing::debug!("nobody heard the end of a pull");
            }
        }
    });
    let frames = futures::stream::unfold(body, |mut body| async {
        let line: Bytes = body.recv().await?;
        Some((Ok::<_, Infallible>(Frame::data(line)), body))
    });
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(response)
}

async fn send(
    lines: &mpsc::Sender<Bytes>,
    values: &[Value],
    pause: Duration,
) -> Result<(), mpsc::error::SendError<Bytes>> {
    for value in values {
        lines.send(format!("{value}\r\n").into()).await?;
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
    Ok(())
}

/// As many lines as there are [`STEPS`].
fn progress(image: &Image, reference: &str) -> Vec<Value> {
    let layer = &image.layer.digest.as_str()["sha256:".len()..][..12];
    let size = image.layer.bytes.len();
    let line = |status: &str, done: usize| json!({ "status": status, "progressDetail": { "current": done, "total": size }, "id": layer });
    vec![
        json!({ "status": "Pulling from app", "id": reference }),
        line("Pulling fs layer", 0),
        line("Downloading", size / 2),
        line("Downloading", size),
    ]
}

fn last_lines(image: &Image, text: &str, is_new: bool) -> Vec<Value> {
    let layer = &image.layer.digest.as_str()["sha256:".len()..][..12];
    let status = match is_new {
        true => format!("Status: Downloaded newer image for {text}"),
        false => format!("Status: Image is up to date for {text}"),
    };
    vec![
        json!({ "status": "Pull complete", "progressDetail": {}, "id": layer }),
        json!({ "status": format!("Digest: {}", image.digest()) }),
        json!({ "status": status }),
    ]
}

/// `GET /images/{name}/json`.
pub(super) fn inspect(call: &Call, name: &str) -> Answer {
    let name = wire::plain(name);
    let found = call.site.machine(call.address, |machine, _| {
        let digest = machine.engine().image(&name)?;
        Some((digest.clone(), machine.engine().repositories(digest)))
    });
    let no_image = || Refusal(StatusCode::NOT_FOUND, format!("No such image: {name}"));
    let (digest, repositories) = found.ok_or_else(Refusal::gone)?.ok_or_else(no_image)?;
    let image = crate::images::by_digest(&digest).ok_or_else(no_image)?;
    let pinned: Vec<_> =
        repositories.iter().map(|repository| format!("{repository}@{digest}")).collect();
    Ok(document(&json!({
        "Id": image.config.digest.as_str(),
        "RepoDigests": pinned,
        "RepoTags": [],
        "Architecture": "amd64",
        "Os": "linux",
        "Size": image.layer.bytes.len(),
        "Config": { "Labels": { "org.opencontainers.image.version": image.version } },
    })))
}

/// The login sent along: base64 of JSON, in the URL's alphabet or the usual one, as clients do it.
fn credentials(headers: &HeaderMap) -> Result<Option<Credentials>, Refusal> {
    #[derive(Deserialize)]
    struct Login {
        #[serde(default)]
        username: String,
        #[serde(default)]
        password: String,
    }
    let Some(value) = headers.get("x-registry-auth") else { return Ok(None) };
    let bytes = URL_SAFE.decode(value).or_else(|_| STANDARD.decode(value));
    let login = bytes.ok().and_then(|bytes| serde_json::from_slice::<Login>(&bytes).ok());
    let Login { username, password } =
        login.ok_or_else(|| Refusal::bad("invalid X-Registry-Auth header"))?;
    let is_empty = username.is_empty() && password.is_empty();
    Ok((!is_empty)
        .then(|| Credentials { username: Secret::new(username), password: Secret::new(password) }))
}
