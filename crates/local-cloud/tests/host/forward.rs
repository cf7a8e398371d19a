//! Floating IPs over real sockets.

use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::SendRequest;
use seachange_core::cloud::Cloud;
use tokio::net::TcpStream;

use crate::ground::{PORT, ask, ground, ssh};
use crate::suite;

/// A client that keeps its connection.
pub(crate) struct Client(SendRequest<Empty<bytes::Bytes>>);

impl Client {
    pub(crate) async fn connect(address: impl Into<std::net::IpAddr>, port: u16) -> Self {
        let stream = TcpStream::connect((address.into(), port)).await.unwrap();
        let io = hyper_util::rt::TokioIo::new(stream);
        let (sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    /// The version that answers, or `-` where nobody does.
    pub(crate) async fn version(&mut self) -> String {
        let answer = self.get("/").await;
        answer.map_or("-".to_owned(), |(_, body)| body.trim().to_owned())
    }

    pub(crate) async fn get(&mut self, path: &str) -> Option<(u16, String)> {
        self.0.ready().await.ok()?;
        let request = http::Request::get(path).header("host", "test").body(Empty::new()).unwrap();
        let answer = self.0.send_request(request).await.ok()?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.ok()?.to_bytes();
        Some((status, String::from_utf8_lossy(&body).into_owned()))
    }
}

#[tokio::test]
async fn ways() {
    suite::ways(&ground().await, &ssh()).await;
}

#[tokio::test]
async fn an_open_connection_stays_where_it_was_made() {
    let ground = ground().await;
    ground.world.with_manners(|_, races| races.connections_stay = true);
    let (old, _) = ground.worker(&ssh(), "1.0").await;
    let (new, _) = ground.worker(&ssh(), "1.1").await;
    let ip = ground.floating_ip(old).await;
    let mut before = Client::connect(ip, PORT).await;
    assert_eq!(before.version().await, "1.0");
    ground.assign(ip, new).await;
    assert_eq!(before.version().await, "1.0");
    assert_eq!(Client::connect(ip, PORT).await.version().await, "1.1");
    // With its droplet it ends.
    ground.cloud.delete_droplet(old).await.unwrap();
    ground.settle().await;
    assert_eq!(before.version().await, "-");
}

#[tokio::test]
async fn what_is_connected_is_cut_when_the_address_moves() {
    let ground = ground().await;
    let (old, _) = ground.worker(&ssh(), "1.0").await;
    let (new, _) = ground.worker(&ssh(), "1.1").await;
    let ip = ground.floating_ip(old).await;
    let mut before = Client::connect(ip, PORT).await;
    assert_eq!(before.version().await, "1.0");
    let (under_way, ()) = tokio::join!(before.get("/slow?ms=20000"), ground.assign(ip, new));
    assert!(under_way.is_none(), "{under_way:?}");
    assert_eq!(Client::connect(ip, PORT).await.version().await, "1.1");
}

#[tokio::test]
async fn an_address_that_points_nowhere_refuses() {
    let ground = ground().await;
    let (worker, _) = ground.worker(&ssh(), "1.0").await;
    let ip = ground.floating_ip(worker).await;
    assert!(ask(&ssh(), ip, PORT).await.is_ok());
    ground.cloud.delete_droplet(worker).await.unwrap();
    ground.settle().await;
    assert_eq!(ask(&ssh(), ip, PORT).await, Err("connection refused".to_owned()));
}
