//! A listening socket with everything behind it.
//!
//! Three ways to close: shut, its connections end at once, as when a machine is gone; retired, it accepts nothing new and
//! lets its connections live on; finished, it tells them to end and waits for that. Each returns when nothing listens any
//! more. Dropping it shuts it, a little later.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::service::HttpService;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

/// Tells a connection that its door is closing.
pub(crate) type Closing = watch::Receiver<bool>;

/// An open door.
#[derive(Debug)]
pub(crate) struct Door {
    closing: watch::Sender<bool>,
    /// Ends with the listening socket.
    listening: oneshot::Receiver<Infallible>,
    tasks: JoinSet<()>,
}

impl Door {
    /// Listens, and serves each connection in a task of its own.
    pub(crate) async fn open<F, S>(socket: SocketAddr, serve: F) -> std::io::Result<Self>
    where
        F: Fn(TcpStream, SocketAddr, Closing) -> S + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        Ok(Self::behind(TcpListener::bind(socket).await?, serve))
    }

    /// The same behind a listener that is there.
    pub(crate) fn behind<F, S>(listener: TcpListener, serve: F) -> Self
    where
        F: Fn(TcpStream, SocketAddr, Closing) -> S + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let (closing, closed) = watch::channel(false);
        let (listens, listening) = oneshot::channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept((listener, listens), closed, serve));
        Self { closing, listening, tasks }
    }

    /// Ends everything.
    pub(crate) async fn shut(mut self) {
        self.tasks.shutdown().await;
    }

    /// Accepts nothing more; connections live on, knowing that the door is closed.
    pub(crate) async fn retire(mut self) {
        self.closing.send_replace(true);
        // Nothing is ever sent: it ends with the socket.
        let Err(_) = self.listening.await;
        self.tasks.detach_all();
    }

    /// Accepts nothing more and waits until all connections have ended by themselves.
    pub(crate) async fn finish(mut self) {
        self.closing.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

async fn accept<F, S>(
    listens: (TcpListener, oneshot::Sender<Infallible>),
    mut closing: Closing,
    serve: F,
) where
    F: Fn(TcpStream, SocketAddr, Closing) -> S,
    S: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = closed(&mut closing) => break,
            Some(_) = connections.join_next() => continue,
            accepted = listens.0.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                // Small answers go out at once; where that cannot be had they go out late.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "small packets may wait");
                }
                connections.spawn(serve(stream, peer, closing.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                // Out of sockets: some have to close first.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listens);
    while connections.join_next().await.is_some() {}
}

/// Returns when the door is closing, or is gone.
async fn closed(closing: &mut Closing) {
    if closing.wait_for(|closing| *closing).await.is_err() {
        tracing::trace!("the door is gone");
    }
}

/// Serves HTTP/1.1 on a stream until it ends; once the door is closing, until the request in flight is answered.
pub(crate) async fn serve_http<I, S>(stream: I, mut closing: Closing, service: S)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: HttpService<Incoming>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::ResBody: 'static,
    <S::ResBody as Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut server = hyper::server::conn::http1::Builder::new();
    let connection =
        server.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closed(&mut closing) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection ended badly");
    }
}
