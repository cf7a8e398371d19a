//! The load balancer's configuration: a whole file, always written as one.
//!
//! Two lines carry the swap. With HAProxy's default keep-alive towards the back end, pooled connections stay on the old
//! droplet after the floating IP has moved, for as long as requests come. `option http-server-close` with
//! `http-reuse never` makes every request open its own connection, so the next request after the switch goes to the
//! new droplet, while clients keep their own keep-alive. `redispatch` and `retry-on` cover the instant of the move.

use std::net::Ipv4Addr;

use sha2::{Digest as _, Sha256};

use crate::bootstrap::hex;

/// Where HAProxy takes commands while it runs.
pub const ADMIN_SOCKET: &str = "/run/haproxy/admin.sock";
/// The back end with the two ways to the app.
pub const BACKEND: &str = "live";
/// The server that users usually get: the floating IP.
pub const FLOATING_IP: &str = "floating_ip";
/// The server that stands in while the floating IP moves; out of use at every other time.
pub const DETOUR: &str = "detour";

/// What the file depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadBalancerConfig {
    /// Port for users.
    pub listen: u16,
    /// Where requests go.
    pub floating_ip: Ipv4Addr,
    /// The app's port there.
    pub port: u16,
}

impl LoadBalancerConfig {
    /// The text of haproxy.cfg.
    pub fn render(&self) -> String {
        let Self { listen, floating_ip, port } = self;
        format!(
            "# Written by seachange as a whole; changes made here are overwritten by the next apply.
global
    log /dev/log local0
    stats socket {ADMIN_SOCKET} mode 660 level admin
    stats timeout 30s
    user haproxy
    group haproxy
    daemon
    maxconn 8000

defaults
    mode http
    log global
    option httplog
    option dontlognull
    option forwardfor
    option redispatch
    retries 3
    retry-on all-retryable-errors
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout http-keep-alive 60s

frontend users
    bind :{listen}
    http-request disable-l7-retry unless {{ method GET HEAD OPTIONS TRACE PUT DELETE }}
    default_backend {BACKEND}

backend {BACKEND}
    option http-server-close
    http-reuse never
    option srvtcpka
    srvtcpka-idle 2s
    srvtcpka-intvl 2s
    srvtcpka-cnt 3
    server {FLOATING_IP} {floating_ip}:{port}
    server {DETOUR} {floating_ip}:{port} disabled
"
        )
    }

    /// SHA-256 of the text, hex.
    pub fn digest(&self) -> String {
        hex(&Sha256::digest(self.render().as_bytes()))
    }
}
