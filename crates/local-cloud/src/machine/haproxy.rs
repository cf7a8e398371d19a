//! HAProxy's configuration, as far as the simulated load balancer honours it.
//!
//! [`read`] is both HAProxy's own check and the source of what [`crate::doors`] balances by: what it does not know is
//! refused as HAProxy refuses an unknown keyword, so a directive can never be accepted and then ignored. The exceptions
//! are the process's own settings and logging, which no request can tell apart.

pub mod admin;
mod parse;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

pub use parse::read;
use serde::{Deserialize, Serialize};

/// A whole configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// Where users come in.
    pub frontends: Vec<Frontend>,
    /// Where requests go, by name.
    pub backends: BTreeMap<String, Backend>,
}

/// Where users come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frontend {
    /// Name.
    pub name: String,
    /// Addresses and ports; no address is every address.
    pub binds: Vec<(Option<Ipv4Addr>, u16)>,
    /// Name of the back end.
    pub backend: String,
    /// What it shares with back ends.
    pub options: Options,
}

/// Where requests go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backend {
    /// Servers, used in turn.
    pub servers: Vec<Server>,
    /// What it shares with front ends.
    pub options: Options,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Name.
    pub name: String,
    /// Address.
    pub address: Ipv4Addr,
    /// Port.
    pub port: u16,
    /// Health check, if there is one.
    pub check: Option<Check>,
    /// Whether it is in use.
    pub usage: Usage,
}

/// Whether a server is in use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Usage {
    /// It gets requests.
    #[default]
    Ready,
    /// It gets no new ones.
    Drain,
    /// It is out of use.
    Maint,
}

/// A health check: a connection is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Check {
    /// From one to the next.
    pub interval: Duration,
    /// Failures until the server is down.
    pub fall: u32,
    /// Successes until it is up.
    pub rise: u32,
}

/// What happens to the connection to a server after an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Connections {
    /// It is kept for further requests. HAProxy's default.
    #[default]
    KeepAlive,
    /// It is closed; the client's is kept.
    ServerClose,
    /// Both are closed.
    Close,
}

/// Whose kept connections a request may use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reuse {
    /// Only those of its own client connection.
    Never,
    /// Anyone's. HAProxy's default (`safe`), and its bolder kinds.
    #[default]
    Shared,
}

/// Which failures are tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryOn {
    /// The connection was not made. HAProxy's default.
    pub connect: bool,
    /// The connection ended without an answer.
    pub empty: bool,
    /// What came back was no HTTP.
    pub junk: bool,
    /// The answer's head did not come in time.
    pub timeout: bool,
    /// 500, 502, 503 or 504 came back.
    pub server_errors: bool,
}

impl Default for RetryOn {
    fn default() -> Self {
        Self { connect: true, empty: false, junk: false, timeout: false, server_errors: false }
    }
}

/// What front ends and back ends inherit from `defaults`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// `mode http`; HAProxy's default is tcp.
    pub http: bool,
    /// After an answer.
    pub connections: Connections,
    /// Kept connections.
    pub reuse: Reuse,
    /// `option forwardfor`.
    pub forwarded_for: bool,
    /// How often a request is tried again.
    pub retries: u32,
    /// `option redispatch`: the last try may go to another server.
    pub redispatch: bool,
    /// What is tried again.
    pub retry_on: RetryOn,
    /// Methods whose requests may be sent again once they were sent; `None`: all.
    pub sent_again: Option<Vec<String>>,
    /// Until a connection to a server stands.
    pub connect_timeout: Option<Duration>,
    /// Until a server answers.
    pub server_timeout: Option<Duration>,
    /// Until a client sends.
    pub client_timeout: Option<Duration>,
    /// Until a client's next request.
    pub keep_alive_timeout: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            http: false,
            connections: Connections::default(),
            reuse: Reuse::default(),
            forwarded_for: false,
            retries: 3,
            redispatch: false,
            retry_on: RetryOn::default(),
            sent_again: None,
            connect_timeout: None,
            server_timeout: None,
            client_timeout: None,
            keep_alive_timeout: None,
        }
    }
}

impl Frontend {
    /// What happens to connections on the way from this front end to that back end: the stricter of the two wins.
    pub fn connections(&self, backend: &Backend) -> Connections {
        match (self.options.connections, backend.options.connections) {
            (Connections::Close, _) | (_, Connections::Close) => Connections::Close,
            (Connections::ServerClose, _) | (_, Connections::ServerClose) => {
                Connections::ServerClose
            }
            (Connections::KeepAlive, Connections::KeepAlive) => Connections::KeepAlive,
        }
    }

    /// Whether the client's address is passed on.
    pub fn forwarded_for(&self, backend: &Backend) -> bool {
        self.options.forwarded_for || backend.options.forwarded_for
    }
}

/// The file that the distribution's package brings: no front end yet.
pub const PACKAGED: &str = "global
	log /dev/log	local0
	log /dev/log	local1 notice
	chroot /var/lib/haproxy
	stats socket /run/haproxy/admin.sock mode 660 level admin
	stats timeout 30s
	user haproxy
	group haproxy
	daemon

defaults
	log	global
	mode	http
	option	httplog
	option	dontlognull
	timeout connect 5000
	timeout client  50000
	timeout server  50000
";

#[cfg(test)]
mod tests;
