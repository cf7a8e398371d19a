//! The apps: one HTTP server for each published port of a running container.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use seachange_core::image::Digest;

use super::open::{Door, serve_http};
use crate::app::{self, Verb};
use crate::images::{self, Image};

/// The demo app on a port, for a container with a real system around it.
#[derive(Debug)]
pub struct App(Door);

impl App {
    /// Listens, as the app in the image with this digest does.
    pub async fn open(socket: SocketAddr, digest: &Digest) -> std::io::Result<Self> {
        open(socket, digest).await.map(Self)
    }

    /// Takes no new connections, and returns when the requests in flight are answered.
    pub async fn finish(self) {
        self.0.finish().await;
    }
}

/// Opens the app's port. Finishing the door is the app's graceful stop, dropping it is its SIGKILL.
pub(super) async fn open(socket: SocketAddr, digest: &Digest) -> std::io::Result<Door> {
    let image = images::by_digest(digest).ok_or(std::io::ErrorKind::NotFound)?;
    Door::open(socket, move |stream, _, closing| async move {
        serve_http(stream, closing, service_fn(move |request| answer(image, request))).await;
    })
    .await
}

async fn answer(
    image: &'static Image,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let verb = match *request.method() {
        Method::GET | Method::HEAD => Verb::Read,
        Method::POST | Method::PUT => match count(request.into_body()).await {
            Ok(bytes) => Verb::Upload(bytes),
            Err(_) => Verb::Other,
        },
        _ => Verb::Other,
    };
    let reply = app::reply(image.version, image.behaviour, verb, &target);
    tokio::time::sleep(reply.after).await;
    let mut response = Response::new(Full::from(reply.body));
    *response.status_mut() =
        StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(app::VERSION_HEADER, HeaderValue::from_static(image.version));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    Ok(response)
}

/// Reads an upload to its end, as slowly as it comes.
async fn count(mut body: Incoming) -> Result<u64, hyper::Error> {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame?.data_ref().map_or(0, |data| data.len() as u64);
    }
    Ok(bytes)
}
