//! Floating IPs: connections are passed on to whichever droplet the address points to when they come.
//!
//! When the address moves, what is connected is cut: packets go elsewhere from then on, to a droplet that knows nothing of
//! the connection (`Races::connections_stay` leaves them where they are). The port listens as long as the droplet behind listens on it.

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
            let copied = tokio::select! {
                copied = tokio::io::copy_bidirectional(&mut stream, &mut onward) => Some(copied),
                () = moved(&site, ip, target) => None,
            };
            match copied {
                Some(copied) => copied.map(drop),
                None => stream.set_zero_linger().and(onward.set_zero_linger()),
            }
        }
        Err(error) => stream.set_zero_linger().and(Err(error)),
    };
    if let Err(error) = passed {
        tracing::debug!(%ip, port, %error, "a forwarded connection ended badly");
    }
}

/// Returns when the address points elsewhere.
async fn moved(site: &Site, ip: Ipv4Addr, target: Option<Ipv4Addr>) {
    let mut changes = site.world.changes();
    let stays = || site.world.with_manners(|_, races| races.connections_stay);
    while site.world.reserved_ip_target(ip) == target || stays() {
        if changes.changed().await.is_err() {
            return;
        }
    }
}
