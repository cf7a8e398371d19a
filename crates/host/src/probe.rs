//! One HTTP GET at the app, from where it matters: on the droplet itself, or from here as a user would.
//!
//! The health gate and the verification after a switch are made of these. A probe never fails: whatever goes wrong is
//! what it saw.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, header};
use http_body_util::Full;
use hyper::Request;
use seachange_core::host::{Probe, ProbeOutcome, Route};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::http1;
use crate::ssh::session::io_words;
use crate::ssh::{Door, OpenError, Ssh, refusal};

/// Enough to find a release's mark in a page.
const MOST_BODY: usize = 4 * 1024;

/// One GET.
pub(crate) async fn probe(ssh: &Ssh, probe: &Probe) -> ProbeOutcome {
    let began = Instant::now();
    match tokio::time::timeout(probe.timeout, get(ssh, probe)).await {
        Ok(Ok((status, body))) => ProbeOutcome::Answer { status, body, took: began.elapsed() },
        Ok(Err(detail)) => ProbeOutcome::NoAnswer { detail },
        Err(_) => ProbeOutcome::NoAnswer {
            detail: format!("timed out after {}", in_words(probe.timeout)),
        },
    }
}

async fn get(ssh: &Ssh, probe: &Probe) -> Result<(u16, String), String> {
    match &probe.route {
        Route::Container { target, port } => {
            let channel =
                ssh.open(target, Door::Port(*port)).await.map_err(|error| match error {
                    OpenError::Refused(reason) => refusal(&reason).to_owned(),
                    OpenError::Host(error) => error.to_string(),
                })?;
            ask(channel.into_stream(), &probe.path, &format!("127.0.0.1:{port}")).await
        }
        Route::Public { address, port, domain } => {
            let socket = ssh.config.dial.socket(*address, *port);
            let stream = TcpStream::connect(socket).await.map_err(|error| io_words(&error))?;
            let host = match (domain, *port) {
                (Some(domain), 80) => domain.clone(),
                (Some(domain), port) => format!("{domain}:{port}"),
                (None, 80) => address.to_string(),
                (None, port) => format!("{address}:{port}"),
            };
            ask(stream, &probe.path, &host).await
        }
    }
}

async fn ask<S>(stream: S, path: &str, host: &str) -> Result<(u16, String), String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let request = Request::builder()
        .method(Method::GET)
        .uri(path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, concat!("seachange/", env!("CARGO_PKG_VERSION")))
        .header(header::ACCEPT, "*/*")
        .header(header::CONNECTION, "close")
        .body(Full::new(Bytes::new()))
        .map_err(|error| format!("the path `{path}` cannot be requested: {error}"))?;
    let answer = http1::send(stream, request).await.map_err(|error| http1::words(&error))?;
    let status = answer.status.as_u16();
    let body = answer.first(MOST_BODY).await.map_err(|error| http1::words(&error))?;
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

/// `2s`, `500ms`: as people write durations in the spec.
fn in_words(duration: Duration) -> String {
    format!("{duration:?}")
}
