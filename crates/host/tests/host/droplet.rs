//! The droplet: one SSH server on loopback and the world behind it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use russh::keys::key::safe_rng;
use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, PrivateKey, PublicKey};
use russh::server::{
    Auth, ChannelOpenHandle, Config as ServerConfig, Handle, Handler, Msg, Session,
};
use russh::{Channel, ChannelId, ChannelOpenFailure, Disconnect};
use seachange_core::host::{HostKey, Target};
use seachange_core::secret::Secret;
use seachange_host::{Config, Keys, SshHost};
use tokio::net::{TcpListener, TcpStream};

use crate::engine::{self, Engine};
use crate::sftp::Sftp;

/// What is behind the door, and what came through it.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) connections: usize,
    /// Algorithms of keys offered or used.
    pub(crate) authentications: Vec<String>,
    pub(crate) commands: Vec<String>,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// What HAProxy has loaded.
    pub(crate) loaded: Option<Vec<u8>>,
    pub(crate) haproxy_is_down: bool,
    /// It checks a file and then cannot have what the file asks for.
    pub(crate) haproxy_cannot_load: bool,
    /// Which of HAProxy's processes serves.
    pub(crate) haproxy_process: u64,
    /// What was said on HAProxy's admin socket, `show info` left out.
    pub(crate) admin: Vec<String>,
    /// Whether the floating IP and the detour are in use, as `show stat` will say; the rest is not simulated.
    pub(crate) in_use: (bool, bool),
    pub(crate) in_flight: u64,
    /// Connections to the floating IP.
    pub(crate) on_the_floating_ip: usize,
    pub(crate) cloud_init: Option<(u32, String)>,
    /// The command beginning so does not answer: before or after its effect.
    pub(crate) death: Option<(&'static str, Death)>,
    pub(crate) engine: Engine,
    handles: Vec<Handle>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    Before,
    After,
}

/// The door.
pub(crate) struct Droplet {
    port: u16,
    host_keys: Vec<PublicKey>,
    client_key: PrivateKey,
    world: Arc<Mutex<World>>,
}

pub(crate) fn generate(algorithm: Algorithm) -> PrivateKey {
    PrivateKey::random(&mut safe_rng(), algorithm).unwrap()
}

pub(crate) fn host_key(key: &PublicKey) -> HostKey {
    HostKey(key.to_openssh().unwrap())
}

impl Droplet {
    /// A droplet with an ed25519 host key that lets in one ed25519 key.
    pub(crate) async fn start() -> Self {
        Self::with_keys(vec![generate(Algorithm::Ed25519)], generate(Algorithm::Ed25519)).await
    }

    pub(crate) async fn with_keys(host_keys: Vec<PrivateKey>, client_key: PrivateKey) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let public = host_keys.iter().map(|key| key.public_key().clone()).collect();
        let world = Arc::new(Mutex::new(World::default()));
        let config = Arc::new(ServerConfig {
            keys: host_keys,
            auth_rejection_time: Duration::ZERO,
            ..ServerConfig::default()
        });
        let visitor = Visitor {
            world: Arc::clone(&world),
            accepted: client_key.public_key().clone(),
            channels: BTreeMap::new(),
        };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                visitor.world.lock().unwrap().connections += 1;
                let (config, visitor) = (Arc::clone(&config), visitor.fresh());
                tokio::spawn(async move {
                    let world = Arc::clone(&visitor.world);
                    let Ok(running) = russh::server::run_stream(config, stream, visitor).await
                    else {
                        return;
                    };
                    world.lock().unwrap().handles.push(running.handle());
                    drop(running.await);
                });
            }
        });
        Self { port, host_keys: public, client_key, world }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// The droplet with its first host key pinned.
    pub(crate) fn target(&self) -> Target {
        self.target_with(Some(host_key(&self.host_keys[0])))
    }

    pub(crate) fn target_with(&self, key: Option<HostKey>) -> Target {
        Target { address: Ipv4Addr::LOCALHOST, host_key: key, next_host_key: None }
    }

    pub(crate) fn host(&self) -> SshHost {
        let text = self.client_key.to_openssh(LineEnding::LF).unwrap().to_string();
        self.host_with(Keys::Text(Secret::new(text)))
    }

    pub(crate) fn host_with(&self, keys: Keys) -> SshHost {
        let config = Config { ssh_port: self.port, ..Config::new(keys) };
        SshHost::new(config).unwrap()
    }

    /// Closes every connection from the droplet's side.
    pub(crate) async fn cut(&self) {
        let handles = std::mem::take(&mut self.world().handles);
        for handle in handles {
            handle
                .disconnect(Disconnect::ByApplication, String::new(), String::new())
                .await
                .unwrap();
        }
    }
}

/// One connection.
struct Visitor {
    world: Arc<Mutex<World>>,
    accepted: PublicKey,
    channels: BTreeMap<ChannelId, Channel<Msg>>,
}

impl Visitor {
    fn fresh(&self) -> Self {
        let (world, accepted) = (Arc::clone(&self.world), self.accepted.clone());
        Self { world, accepted, channels: BTreeMap::new() }
    }
}

impl Handler for Visitor {
    type Error = russh::Error;

    async fn auth_publickey_offered(
        &mut self,
        _user: &str,
        offer: russh::server::PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        self.world.lock().unwrap().authentications.push(offer.algorithm.to_string());
        let known = offer.public_key.key_data() == self.accepted.key_data();
        Ok(if known { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_publickey(
        &mut self,
        user: &str,
        _key: russh::server::VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(if user == "root" { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.channels.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        channel: Channel<Msg>,
        socket_path: &str,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        if socket_path == "/run/haproxy/admin.sock" {
            reply.accept().await;
            tokio::spawn(administer(channel.into_stream(), Arc::clone(&self.world)));
            return Ok(());
        }
        let is_up = !self.world.lock().unwrap().engine.is_down;
        if socket_path != "/var/run/docker.sock" || !is_up {
            reply.reject(ChannelOpenFailure::ConnectFailed).await;
            return Ok(());
        }
        reply.accept().await;
        tokio::spawn(engine::serve(channel.into_stream(), Arc::clone(&self.world)));
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host_to_connect: &str,
        port_to_connect: u32,
        _originator_address: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        let port = u16::try_from(port_to_connect).unwrap();
        let Ok(mut stream) = TcpStream::connect((host_to_connect, port)).await else {
            reply.reject(ChannelOpenFailure::ConnectFailed).await;
            return Ok(());
        };
        reply.accept().await;
        tokio::spawn(async move {
            drop(tokio::io::copy_bidirectional(&mut channel.into_stream(), &mut stream).await);
        });
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let command = String::from_utf8(data.to_vec()).unwrap();
        session.channel_success(channel)?;
        let answer = self.world.lock().unwrap().run(&command);
        if let Some((status, text)) = answer {
            session.data(channel, text.into_bytes())?;
            session.exit_status_request(channel, status)?;
        }
        session.eof(channel)?;
        session.close(channel)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        assert_eq!(name, "sftp");
        let stream = self.channels.remove(&channel).unwrap().into_stream();
        session.channel_success(channel)?;
        russh_sftp::server::run(stream, Sftp::new(Arc::clone(&self.world))).await;
        Ok(())
    }
}

pub(crate) const CONFIG: &str = "/etc/haproxy/haproxy.cfg";

impl World {
    /// The shell. `None`: the connection breaks before an exit status.
    fn run(&mut self, command: &str) -> Option<(u32, String)> {
        self.commands.push(command.to_owned());
        let death =
            self.death.filter(|(begin, _)| command.starts_with(begin)).map(|(_, death)| death);
        if death == Some(Death::Before) {
            return None;
        }
        let answer = self.obey(&command.split(' ').collect::<Vec<_>>());
        if death == Some(Death::After) { None } else { Some(answer) }
    }

    fn obey(&mut self, arguments: &[&str]) -> (u32, String) {
        let fine = (0, String::new());
        match arguments {
            ["cloud-init", "status"] => {
                self.cloud_init.clone().unwrap_or((0, "status: done\n".to_owned()))
            }
            ["cloud-init", "status", "--long"] => {
                (1, "status: error\ndetail:\n('scripts-user', RuntimeError())\n".to_owned())
            }
            ["systemctl", "is-active", "haproxy"] if self.haproxy_is_down => {
                (3, "activating\n".to_owned())
            }
            ["systemctl", "is-active", "haproxy"] => (0, "active\n".to_owned()),
            ["haproxy", "-c", "-f", path] if self.files[*path].starts_with(b"bad") => {
                (1, format!("[ALERT] config : parsing [{path}:1]: unknown keyword 'bad'\n"))
            }
            ["haproxy", "-c", "-f", _] => (0, "Configuration file is valid\n".to_owned()),
            ["mv", "-f", from, to] => {
                let bytes = self.files.remove(*from).unwrap();
                self.files.insert((*to).to_owned(), bytes);
                fine
            }
            ["systemctl", "reload", "haproxy"] => {
                if !self.haproxy_cannot_load {
                    self.loaded = self.files.get(CONFIG).cloned();
                    self.haproxy_process += 1;
                }
                fine
            }
            ["ss", "-H", "-t", "-n", "state", "established", "dst", "198.19.0.10:8080"] => {
                let line = "0 0 198.18.0.11:40000 198.19.0.10:8080\n";
                (0, line.repeat(self.on_the_floating_ip))
            }
            ["journalctl", ..] => {
                (0, "Cannot raise FD limit to 40039, limit is 19999.\n".to_owned())
            }
            _ => (127, "sh: command not found\n".to_owned()),
        }
    }

    /// Names of files beside the configuration.
    pub(crate) fn leftovers(&self) -> BTreeSet<&str> {
        self.files.keys().map(String::as_str).filter(|path| *path != CONFIG).collect()
    }
}

/// HAProxy's admin socket: one line, its answer, the end.
async fn administer(
    mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    world: Arc<Mutex<World>>,
) {
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    let mut line = String::new();
    BufReader::new(&mut stream).read_line(&mut line).await.unwrap();
    let said = {
        let mut world = world.lock().unwrap();
        match line.trim_end() {
            "show info" => format!("Name: HAProxy\nPid: {}\n\n", world.haproxy_process),
            line => {
                world.admin.push(line.to_owned());
                let status = |in_use| if in_use { "no check" } else { "MAINT" };
                let ((floating_ip, detour), count) = (world.in_use, world.in_flight);
                format!(
                    "\n\n\n# pxname,svname,qcur,qmax,scur,status,addr,\n\
                     live,floating_ip,0,0,{count},{},198.19.0.10:8080,\n\
                     live,detour,0,0,0,{},198.18.0.9:8080,\n\n",
                    status(floating_ip),
                    status(detour)
                )
            }
        }
    };
    stream.write_all(said.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
}
