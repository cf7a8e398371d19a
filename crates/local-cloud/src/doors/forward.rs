//! Floating IPs: connections are passed on to whichever droplet the address points to when they come.
//!
//! A connection stays where it was made: moving the address moves new connections only, as on the real service. The port
//! listens as long as the droplet behind listens on it; a connection that meets the instant of a change is reset.

use std::net::Ipv4Addr;
use std::sync::Arc;

use tokio::net::TcpStream;

use super::Site;
use super::open::Door;

/// Opens one port of a floating IP.
pub(super) async fn open(site: &Arc<Site>, ip: Ipv4Addr, port: u16) -> std::io::Result<Door> {
    let socket = site.socket(ip, port);
    let site = Arc::clone(site);
    Door::open(socket, move |stream, _, _| pass_on(Arc::clone(&site), ip, port, stream)).await
}

async fn pass_on(site: Arc<Site>, ip: Ipv4Addr, port: u16, mut stream: TcpStream) {
    let target = site.world.reserved_ip_target(ip);
    let connected = match target {
        Some(address) => TcpStream::connect(site.socket(address, port)).await,
        None => Err(std::io::ErrorKind::NotConnected.into()),
    };
    let passed = match connected {
        Ok(mut onward) => {
            // As for the other half: late is no failure.
            if let Err(error) = onward.set_nodelay(true) {
                tracing::debug!(%error, "small packets may wait");
            }
            tokio::io::copy_bidirectional(&mut stream, &mut onward).await.map(drop)
        }
        Err(error) => stream.set_zero_linger().and(Err(error)),
    };
    if let Err(error) = passed {
        tracing::debug!(%ip, port, %error, "a forwarded connection ended badly");
    }
}
