//! One HTTP/1.1 request over one stream, whatever the stream is: a TCP connection or an SSH channel.
//!
//! No pool: a channel costs a round trip, and one request a channel means that a time-out can simply let go of
//! everything. Dropping an [`Answer`] ends its connection.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

/// A response whose body is still arriving.
pub(crate) struct Answer {
    pub(crate) status: http::StatusCode,
    pub(crate) headers: http::HeaderMap,
    body: Incoming,
    /// Drives the connection; aborts it when dropped.
    _driver: JoinSet<()>,
}

/// Sends the request and waits for the response's head.
pub(crate) async fn send<S>(
    stream: S,
    request: Request<Full<Bytes>>,
) -> Result<Answer, hyper::Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the HTTP connection ended badly");
        }
    });
    let response: Response<Incoming> = sender.send_request(request).await?;
    let (head, body) = response.into_parts();
    Ok(Answer { status: head.status, headers: head.headers, body, _driver: driver })
}

impl Answer {
    /// The next piece of the body; `None` at its end.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        loop {
            match self.body.frame().await? {
                Ok(frame) => {
                    if let Ok(data) = frame.into_data() {
                        return Some(Ok(data));
                    }
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// The body's first bytes, at most `limit` of them.
    pub(crate) async fn first(mut self, limit: usize) -> Result<Vec<u8>, hyper::Error> {
        let mut bytes = Vec::new();
        while bytes.len() < limit {
            let Some(piece) = self.next().await else { break };
            bytes.extend_from_slice(&piece?);
        }
        bytes.truncate(limit);
        Ok(bytes)
    }
}

/// An HTTP failure in words: hyper's own hide the cause that people can act on.
pub(crate) fn words(error: &hyper::Error) -> String {
    if error.is_incomplete_message() {
        return "the connection was closed without an answer".to_owned();
    }
    let cause =
        std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    match cause {
        Some(cause) => crate::ssh::session::io_words(cause),
        None if error.is_parse() => "the answer is not HTTP".to_owned(),
        None => error.to_string(),
    }
}
