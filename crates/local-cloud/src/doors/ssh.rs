//! The SSH server of a droplet: commands, SFTP, the Docker socket, and the ports of its loopback address.
//!
//! It lets in root with a key that was put on the droplet at creation, and nobody else. Everything runs on the machine
//! behind the address *at that moment*: when the droplet goes, so does the connection.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use russh::keys::{PrivateKey, PublicKey};
use russh::server::{
    self, Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey,
};
use russh::{Channel, ChannelId, ChannelOpenFailure, Disconnect, MethodKind, MethodSet};
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::TcpStream;

use super::open::Door;
use super::{SSH_PORT, Site, docker, noted, sftp};
use crate::machine::haproxy::admin;
use crate::machine::{DOCKER_SOCKET, shell};

/// The stream number of standard error.
const STDERR: u32 = 1;
/// HAProxy takes no more in one line.
const MOST_COMMANDS: u64 = 16 * 1024;

/// Opens the SSH port of the machine at the address.
pub(super) async fn open(site: &Arc<Site>, address: Ipv4Addr) -> Option<Door> {
    site.machine(address, |_, _| ())?;
    let socket = site.socket(address, SSH_PORT);
    let site = Arc::clone(site);
    let door = Door::open(socket, move |stream, _, _| {
        let guest = Guest { site: Arc::clone(&site), address, channels: HashMap::new() };
        // Each connection shows the key that is in use at its beginning.
        let key = site.machine(address, |machine, _| machine.private_host_key());
        serve(config(key), stream, guest)
    });
    noted(door.await, socket)
}

fn config(key: Option<PrivateKey>) -> Arc<server::Config> {
    Arc::new(server::Config {
        server_id: russh::SshId::Standard("SSH-2.0-OpenSSH_9.6p1 Ubuntu-3ubuntu13".into()),
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        // Guessing is no danger on a loopback address, and every refused key would cost this long.
        auth_rejection_time: Duration::ZERO,
        keys: key.into_iter().collect(),
        nodelay: true,
        ..server::Config::default()
    })
}

async fn serve(config: Arc<server::Config>, stream: TcpStream, guest: Guest) {
    let session = match server::run_stream(config, stream, guest).await {
        Ok(session) => session,
        Err(error) => {
            tracing::debug!(%error, "an SSH handshake ended badly");
            return;
        }
    };
    // The library runs the session in a task of its own; this one ends it when the door is dropped.
    let _hang_up = HangUp(session.handle());
    if let Err(error) = session.await {
        tracing::debug!(%error, "an SSH session ended badly");
    }
}

/// Ends a session when dropped.
struct HangUp(server::Handle);

impl Drop for HangUp {
    fn drop(&mut self) {
        let handle = self.0.clone();
        // Without a runtime there is no session either.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let farewell = handle.disconnect(
                    Disconnect::ByApplication,
                    "the droplet is gone".to_owned(),
                    "en".to_owned(),
                );
                if farewell.await.is_err() {
                    tracing::trace!("the session had ended already");
                }
            });
        }
    }
}

/// Somebody at the door of one machine.
struct Guest {
    site: Arc<Site>,
    address: Ipv4Addr,
    /// Sessions that have not said yet what they are for.
    channels: HashMap<ChannelId, Channel<Msg>>,
}

impl Guest {
    fn admits(&self, user: &str, key: &PublicKey) -> Auth {
        let authorized = self.site.world.authorized_keys(self.address);
        let mut keys = authorized.iter().filter_map(|line| PublicKey::from_openssh(line).ok());
        if user == "root" && keys.any(|known| known.key_data() == key.key_data()) {
            Auth::Accept
        } else {
            Auth::reject()
        }
    }
}

impl Handler for Guest {
    type Error = russh::Error;

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(self.admits(user, offer.public_key))
    }

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(self.admits(user, key.public_key))
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.channels.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.channels.remove(&channel);
        let line = String::from_utf8_lossy(command);
        let ran = self.site.machine(self.address, |machine, now| {
            let before = machine.revision();
            let output = shell::run(machine, now, &line);
            (output, machine.revision() != before)
        });
        let Some((output, changed)) = ran else {
            return session.channel_failure(channel);
        };
        if changed {
            // Whoever hears that HAProxy was reloaded may rely on it.
            self.site.settle().await;
        }
        session.channel_success(channel)?;
        if !output.stdout.is_empty() {
            session.data(channel, output.stdout)?;
        }
        if !output.stderr.is_empty() {
            session.extended_data(channel, STDERR, output.stderr.into_bytes())?;
        }
        session.exit_status_request(channel, output.status)?;
        session.eof(channel)?;
        session.close(channel)
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        match self.channels.remove(&id) {
            Some(channel) if name == "sftp" => {
                session.channel_success(id)?;
                let files = sftp::Files::new(Arc::clone(&self.site), self.address);
                russh_sftp::server::run(channel.into_stream(), files).await;
                Ok(())
            }
            _ => session.channel_failure(id),
        }
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        channel: Channel<Msg>,
        path: &str,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        let site = &self.site;
        let has_docker = site.machine(self.address, |machine, now| machine.has_docker(now));
        // One is a link to the other's folder.
        let is_engine = path == DOCKER_SOCKET || path == "/run/docker.sock";
        let is_admin = path == admin::SOCKET
            && site.machine(self.address, |machine, now| machine.balancer(now).is_some())
                == Some(true);
        if is_admin {
            reply.accept().await;
            let site = Arc::clone(site);
            tokio::spawn(administer(site, self.address, channel.into_stream()));
        } else if is_engine && has_docker == Some(true) {
            reply.accept().await;
            tokio::spawn(docker::serve(Arc::clone(site), self.address, channel.into_stream()));
        } else {
            reply.reject(ChannelOpenFailure::ConnectFailed).await;
        }
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        let is_here = matches!(host, "localhost" | "127.0.0.1");
        let port = u16::try_from(port).ok().filter(|_| is_here);
        let Some(port) = port else {
            reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
            return Ok(());
        };
        match TcpStream::connect(self.site.socket(self.address, port)).await {
            Ok(mut onward) => {
                reply.accept().await;
                tokio::spawn(async move {
                    let mut stream = channel.into_stream();
                    let copied = tokio::io::copy_bidirectional(&mut stream, &mut onward).await;
                    if let Err(error) = copied {
                        tracing::debug!(%error, "a forwarded port ended badly");
                    }
                });
            }
            Err(_) => reply.reject(ChannelOpenFailure::ConnectFailed).await,
        }
        Ok(())
    }
}

/// HAProxy's admin socket: one line of commands, its answer, and the end.
async fn administer(
    site: Arc<Site>,
    address: Ipv4Addr,
    mut stream: impl AsyncRead + AsyncWrite + Unpin + Send,
) {
    let mut line = String::new();
    let served = async {
        BufReader::new(&mut stream).take(MOST_COMMANDS).read_line(&mut line).await?;
        let said = site.administer(address, &line).await;
        stream.write_all(said.as_bytes()).await?;
        stream.shutdown().await
    };
    if let Err(error) = served.await {
        tracing::debug!(%error, "a talk with HAProxy ended badly");
    }
}
