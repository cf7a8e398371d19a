//! Connections to servers, and where they go after an answer.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::Session;
use crate::machine::Connected;

/// A request's body: whole, so that it can be sent again, or as it comes.
pub(super) type Outgoing = Either<Full<Bytes>, Incoming>;

/// A connection to a server. It ends when this is dropped.
pub(super) struct Upstream {
    pub(super) sender: SendRequest<Outgoing>,
    pub(super) server: usize,
    _driver: JoinSet<()>,
    _connected: Connected,
}

/// Connects to a server.
pub(super) async fn connect(
    server: usize,
    socket: SocketAddr,
    limit: Option<Duration>,
    connected: Connected,
) -> Option<Upstream> {
    let connect = async {
        let stream = TcpStream::connect(socket).await.ok()?;
        stream.set_nodelay(true).ok()?;
        handshake(TokioIo::new(stream)).await.ok()
    };
    let (sender, connection) = match limit {
        Some(limit) => tokio::time::timeout(limit, connect).await.ok()??,
        None => connect.await?,
    };
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to a server ended badly");
        }
    });
    Some(Upstream { sender, server, _driver: driver, _connected: connected })
}

/// Counts a request for as long as it is under way.
pub(super) struct InFlight {
    counts: Arc<Vec<AtomicU64>>,
    server: usize,
}

impl InFlight {
    pub(super) fn on(counts: &Arc<Vec<AtomicU64>>, server: usize) -> Self {
        if let Some(count) = counts.get(server) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        Self { counts: Arc::clone(counts), server }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(count) = self.counts.get(self.server) {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Who may use a connection after this answer.
pub(super) enum Keep {
    /// Nobody: it is closed.
    No,
    /// This client.
    ForClient(Arc<Session>),
    /// Everybody.
    ForAll(Arc<Session>),
}

/// An answer's body, holding the connection it comes over until it is whole.
pub(super) struct Carried {
    body: Incoming,
    over: Option<Upstream>,
    keep: Keep,
    _in_flight: InFlight,
}

impl Carried {
    pub(super) fn new(body: Incoming, over: Upstream, keep: Keep, in_flight: InFlight) -> Self {
        Self { body, over: Some(over), keep, _in_flight: in_flight }
    }

    fn whole(&mut self) {
        let Some(upstream) = self.over.take() else { return };
        match &self.keep {
            Keep::No => {}
            Keep::ForClient(session) => {
                let mut own = session.own.lock().unwrap_or_else(PoisonError::into_inner);
                *own = Some(upstream);
            }
            Keep::ForAll(session) => {
                let idle = &session.generation.idle;
                idle.lock().unwrap_or_else(PoisonError::into_inner).push(upstream);
            }
        }
    }
}

impl Body for Carried {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() {
            self.whole();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        // A body that says that it is at its end is not asked again.
        if self.body.is_end_stream() {
            self.whole();
        }
    }
}
