//! Connections to droplets: one a droplet, kept between calls, opened again when dead.
//!
//! Opening a channel is the only thing that is ever done twice: it has no effect on the other side, so a connection
//! found dead at that moment is replaced once. Whatever happens on a channel after that is never repeated here.

pub(crate) mod exec;
pub(crate) mod files;
pub(crate) mod keys;
pub(crate) mod session;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::client::Msg;
use russh::{Channel, ChannelOpenFailure};
use seachange_core::host::{HostError, Target};
use seachange_core::secret::Secret;

use keys::{KeyError, Keys, Loaded};
use session::Connection;

/// How droplets are reached.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the private key comes from.
    pub keys: Keys,
    /// Opens the private key if it is encrypted.
    pub passphrase: Option<Secret>,
    /// Login name. It must be allowed to use the Docker socket and to replace HAProxy's configuration.
    pub user: String,
    /// Port of the SSH server, before [`Config::dial`] maps it.
    pub ssh_port: u16,
    /// Which socket stands for an address and port; the identity everywhere but in the local cloud.
    pub dial: Dial,
    /// From the first packet to the end of authentication.
    pub connect_timeout: Duration,
    /// One command, one file operation, one engine call.
    pub operation_timeout: Duration,
    /// The longest silence within a pull.
    pub pull_stall_timeout: Duration,
}

impl Config {
    /// The values a DigitalOcean droplet wants.
    pub fn new(keys: Keys) -> Self {
        Self {
            keys,
            passphrase: None,
            user: "root".to_owned(),
            ssh_port: 22,
            dial: Dial::default(),
            connect_timeout: Duration::from_secs(15),
            operation_timeout: Duration::from_secs(60),
            pull_stall_timeout: Duration::from_secs(120),
        }
    }
}

/// Maps an address and a port to the socket that stands for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dial {
    privileged_offset: u16,
}

impl Dial {
    /// Ports below 1024 become that port plus `offset`: for a cloud on loopback addresses that runs without root.
    pub const fn offset_privileged(offset: u16) -> Self {
        Self { privileged_offset: offset }
    }

    /// The socket to connect to.
    pub fn socket(self, address: Ipv4Addr, port: u16) -> SocketAddr {
        let port = if port < 1024 { port.saturating_add(self.privileged_offset) } else { port };
        SocketAddr::from((address, port))
    }
}

/// What to open on the other side of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Door<'a> {
    /// A session, for a command or a subsystem.
    Session,
    /// A unix socket.
    Socket(&'a str),
    /// A TCP port of the droplet's loopback address.
    Port(u16),
}

/// Why a door did not open.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// The connection is fine; the other side says no.
    Refused(ChannelOpenFailure),
    /// There is no connection.
    Host(HostError),
}

impl OpenError {
    /// As the failure of an operation.
    pub(crate) fn during(self, address: Ipv4Addr, operation: &str) -> HostError {
        match self {
            Self::Host(error) => error,
            Self::Refused(reason) => failed(address, operation, refusal(&reason)),
        }
    }
}

/// Words for a refused channel.
pub(crate) fn refusal(reason: &ChannelOpenFailure) -> &'static str {
    match reason {
        ChannelOpenFailure::ConnectFailed => "connection refused",
        ChannelOpenFailure::AdministrativelyProhibited => {
            "the SSH server forbids this kind of forwarding"
        }
        ChannelOpenFailure::ResourceShortage => "the SSH server allows no more sessions",
        _ => "the SSH server does not know this kind of channel",
    }
}

/// The common failure.
pub(crate) fn failed(
    address: Ipv4Addr,
    operation: &str,
    detail: impl std::fmt::Display,
) -> HostError {
    HostError::Failed { address, operation: operation.to_owned(), detail: detail.to_string() }
}

type Slot = tokio::sync::Mutex<Option<Arc<Connection>>>;

/// The kept connections.
pub(crate) struct Ssh {
    pub(crate) config: Config,
    keys: Loaded,
    slots: Mutex<BTreeMap<Ipv4Addr, Arc<Slot>>>,
}

impl Ssh {
    pub(crate) fn new(config: Config) -> Result<Self, KeyError> {
        let keys = keys::load(&config.keys, config.passphrase.as_ref())?;
        Ok(Self { config, keys, slots: Mutex::default() })
    }

    /// The kept connection if it lives and shows the target's key, else a new one.
    pub(crate) async fn connection(&self, target: &Target) -> Result<Arc<Connection>, HostError> {
        let slot = self.slot(target.address);
        let mut kept = slot.lock().await;
        if let Some(connection) = kept.as_ref()
            && connection.serves(target)
        {
            return Ok(Arc::clone(connection));
        }
        *kept = None;
        let connection = Arc::new(session::connect(&self.config, &self.keys, target).await?);
        *kept = Some(Arc::clone(&connection));
        Ok(connection)
    }

    /// Opens a channel, over a new connection if the kept one turns out to be dead.
    pub(crate) async fn open(
        &self,
        target: &Target,
        door: Door<'_>,
    ) -> Result<Channel<Msg>, OpenError> {
        let mut first = true;
        loop {
            let connection = self.connection(target).await.map_err(OpenError::Host)?;
            let limit = self.config.operation_timeout;
            let detail = match tokio::time::timeout(limit, connection.open(door)).await {
                Ok(Ok(channel)) => return Ok(channel),
                Ok(Err(russh::Error::ChannelOpenFailure(reason))) => {
                    // OpenSSH says "connect failed" for one session too many (`MaxSessions`, ten by default).
                    let is_session = matches!(door, Door::Session);
                    let reason =
                        if is_session { ChannelOpenFailure::ResourceShortage } else { reason };
                    return Err(OpenError::Refused(reason));
                }
                Ok(Err(error)) => session::words(&error),
                Err(_) => format!("no answer within {limit:?}"),
            };
            self.drop_connection(target.address, &connection).await;
            if !first {
                let address = target.address;
                return Err(OpenError::Host(HostError::Unreachable { address, detail }));
            }
            first = false;
        }
    }

    /// Forgets the kept connection to the address, if any.
    pub(crate) async fn forget(&self, address: Ipv4Addr) {
        let slot = self.slots.lock().unwrap_or_else(PoisonError::into_inner).remove(&address);
        if let Some(slot) = slot
            && let Some(connection) = slot.lock().await.take()
        {
            connection.close().await;
        }
    }

    /// Drops this connection but not a newer one that another call has opened meanwhile.
    async fn drop_connection(&self, address: Ipv4Addr, dead: &Arc<Connection>) {
        let slot = self.slot(address);
        let mut kept = slot.lock().await;
        if kept.as_ref().is_some_and(|connection| Arc::ptr_eq(connection, dead)) {
            *kept = None;
        }
    }

    fn slot(&self, address: Ipv4Addr) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(address).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::Dial;
    use std::net::Ipv4Addr;

    #[test]
    fn only_privileged_ports_are_moved() {
        let address = Ipv4Addr::new(127, 1, 2, 3);
        let port = |dial: Dial, port| dial.socket(address, port).port();
        assert_eq!(port(Dial::default(), 22), 22);
        let local = Dial::offset_privileged(10_000);
        assert_eq!((port(local, 22), port(local, 1023), port(local, 1024)), (10_022, 11_023, 1024));
    }
}
