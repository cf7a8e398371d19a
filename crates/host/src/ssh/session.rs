//! One connection: handshake with the pinned host key, authentication, channels.
//!
//! The host key is checked before anything of ours is sent, and it is the recorded key or nothing: there is no
//! known_hosts file and no question to a person. A host usually has several keys and shows the one of the first
//! algorithm both sides like, so the recorded key's algorithm goes first in the negotiation.

use std::borrow::Cow;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use russh::client::{self, AuthResult, Handle, Msg};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{Algorithm, HashAlg, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate};
use russh::{Channel, Disconnect, Preferred, SshId};
use seachange_core::host::{HostError, HostKey, Target};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;

use super::keys::Loaded;
use super::{Config, Door, failed};

/// OpenSSH closes the connection after six attempts.
const MOST_AGENT_KEYS: usize = 6;
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVES_UNANSWERED: usize = 3;

/// An authenticated connection.
pub(crate) struct Connection {
    handle: Handle<Pin>,
    shown: PublicKey,
    /// The engine's API version, learnt once a connection.
    pub(crate) engine_version: OnceCell<crate::engine::ApiVersion>,
}

impl Connection {
    /// The key the host has shown.
    pub(crate) fn host_key(&self) -> Result<HostKey, russh::Error> {
        Ok(HostKey(self.shown.to_openssh()?))
    }

    /// Alive as far as known, and to a host that has shown the key the target wants.
    pub(super) fn serves(&self, target: &Target) -> bool {
        let is_shown = |key: &HostKey| {
            parse(key).is_ok_and(|accepted| accepted.key_data() == self.shown.key_data())
        };
        let right_key = target.host_key.is_none() || target.host_keys().any(is_shown);
        right_key && !self.handle.is_closed()
    }

    pub(super) async fn open(&self, door: Door<'_>) -> Result<Channel<Msg>, russh::Error> {
        match door {
            Door::Session => self.handle.channel_open_session().await,
            Door::Socket(path) => self.handle.channel_open_direct_streamlocal(path).await,
            Door::Port(port) => {
                self.handle
                    .channel_open_direct_tcpip("127.0.0.1", port.into(), "127.0.0.1", 0)
                    .await
            }
        }
    }

    /// Says goodbye. A connection that is dead already needs none.
    pub(super) async fn close(&self) {
        if let Err(error) = self.handle.disconnect(Disconnect::ByApplication, "", "en").await {
            tracing::debug!(%error, "goodbye was not heard");
        }
    }
}

/// Connects, checks the host key and authenticates, all within the time for connecting.
pub(crate) async fn connect(
    config: &Config,
    keys: &Loaded,
    target: &Target,
) -> Result<Connection, HostError> {
    let address = target.address;
    let limit = config.connect_timeout;
    match tokio::time::timeout(limit, handshake(config, keys, target)).await {
        Ok(result) => result,
        Err(_) => Err(HostError::Unreachable {
            address,
            detail: format!("no connection within {limit:?}"),
        }),
    }
}

async fn handshake(
    config: &Config,
    keys: &Loaded,
    target: &Target,
) -> Result<Connection, HostError> {
    let address = target.address;
    let unreachable = |detail| HostError::Unreachable { address, detail };
    let expected: Result<Vec<PublicKey>, _> = target.host_keys().map(parse).collect();
    let expected =
        expected.map_err(|error| failed(address, "reading the recorded host key", error))?;
    let socket = config.dial.socket(address, config.ssh_port);
    let stream = TcpStream::connect(socket).await.map_err(|error| unreachable(io_words(&error)))?;
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "small packets may wait");
    }
    let shown = Arc::new(OnceLock::new());
    let settings = Arc::new(client::Config {
        client_id: SshId::Standard(Cow::Borrowed(concat!(
            "SSH-2.0-seachange_",
            env!("CARGO_PKG_VERSION")
        ))),
        preferred: prefer(expected.first()),
        keepalive_interval: Some(KEEPALIVE_INTERVAL),
        keepalive_max: KEEPALIVES_UNANSWERED,
        ..client::Config::default()
    });
    let pin = Pin { expected, shown: Arc::clone(&shown) };
    let mut handle =
        client::connect_stream(settings, stream, pin).await.map_err(|error| match error {
            HandshakeError::Ssh(error) => unreachable(words(&error)),
            HandshakeError::WrongKey { expected, observed } => {
                HostError::WrongHostKey { address, expected, observed }
            }
        })?;
    authenticate(&mut handle, config, keys, address).await?;
    let shown =
        shown.get().cloned().ok_or_else(|| unreachable("the host has shown no key".to_owned()))?;
    Ok(Connection { handle, shown, engine_version: OnceCell::new() })
}

/// Watches the host key.
pub(crate) struct Pin {
    /// The recorded key, and the one that is to replace it.
    expected: Vec<PublicKey>,
    shown: Arc<OnceLock<PublicKey>>,
}

/// How a handshake ends badly.
#[derive(Debug)]
pub(crate) enum HandshakeError {
    /// On the way.
    Ssh(russh::Error),
    /// At the host key; both fingerprints.
    WrongKey { expected: String, observed: String },
}

impl From<russh::Error> for HandshakeError {
    fn from(error: russh::Error) -> Self {
        Self::Ssh(error)
    }
}

impl client::Handler for Pin {
    type Error = HandshakeError;

    async fn check_server_key(
        &mut self,
        shown: &PublicKeyOrCertificate,
    ) -> Result<bool, HandshakeError> {
        let shown = shown.public_key();
        if let Some(expected) = self.expected.first()
            && self.expected.iter().all(|expected| expected.key_data() != shown.key_data())
        {
            let (expected, observed) = (fingerprint(expected), fingerprint(&shown));
            return Err(HandshakeError::WrongKey { expected, observed });
        }
        // Whichever it was, it holds for the life of the connection, re-keying included.
        self.expected = vec![shown.clone()];
        self.shown.get_or_init(|| shown);
        Ok(true)
    }
}

/// The negotiation's defaults, without SHA-1, and with the recorded key's algorithm in front.
fn prefer(expected: Option<&PublicKey>) -> Preferred {
    let mut algorithms = Preferred::DEFAULT.key.into_owned();
    algorithms.retain(|algorithm| *algorithm != Algorithm::Rsa { hash: None });
    if let Some(expected) = expected {
        // The sort is stable: false comes before true.
        algorithms.sort_by_key(|algorithm| !same_kind(algorithm, &expected.algorithm()));
    }
    Preferred { key: Cow::Owned(algorithms), ..Preferred::DEFAULT }
}

fn same_kind(one: &Algorithm, other: &Algorithm) -> bool {
    one == other || (is_rsa(one) && is_rsa(other))
}

/// Whatever the hash.
fn is_rsa(algorithm: &Algorithm) -> bool {
    matches!(algorithm, Algorithm::Rsa { .. })
}

async fn authenticate(
    handle: &mut Handle<Pin>,
    config: &Config,
    keys: &Loaded,
    address: Ipv4Addr,
) -> Result<(), HostError> {
    let unreachable =
        |error: &russh::Error| HostError::Unreachable { address, detail: words(error) };
    let offered = match keys {
        Loaded::Key(key) => {
            let hash =
                rsa_hash(handle, &key.algorithm()).await.map_err(|error| unreachable(&error))?;
            let offer = PrivateKeyWithHashAlg::new(Arc::clone(key), hash);
            let result = handle.authenticate_publickey(&config.user, offer).await;
            if accepted(handle, result.map_err(|error| unreachable(&error))?, address)? {
                return Ok(());
            }
            fingerprint(key.public_key())
        }
        Loaded::Agent(path) => {
            let refused = |why: String| HostError::AuthenticationRefused { address, offered: why };
            match offer_agent_keys(handle, &config.user, path, address).await? {
                Offer::Accepted => return Ok(()),
                Offer::Refused(offered) => return Err(refused(offered)),
            }
        }
    };
    Err(HostError::AuthenticationRefused { address, offered })
}

enum Offer {
    Accepted,
    /// The fingerprints offered, or why there are none.
    Refused(String),
}

async fn offer_agent_keys(
    handle: &mut Handle<Pin>,
    user: &str,
    socket: &Path,
    address: Ipv4Addr,
) -> Result<Offer, HostError> {
    let no_keys = |error: russh::keys::Error| {
        Offer::Refused(format!("none: the agent at {}: {error}", socket.display()))
    };
    let mut agent = match AgentClient::connect_uds(socket).await {
        Ok(agent) => agent,
        Err(error) => return Ok(no_keys(error)),
    };
    // Lets the agent use keys that are constrained to destinations; agents without the extension say no, and that is fine.
    if let Some(binding) = handle.agent_session_binding()
        && let Err(error) = agent.bind_session(binding, false).await
    {
        tracing::debug!(%error, "the agent does not bind to sessions");
    }
    let identities = match agent.request_identities().await {
        Ok(identities) => identities,
        Err(error) => return Ok(no_keys(error)),
    };
    let mut offered = Vec::new();
    for identity in identities.into_iter().take(MOST_AGENT_KEYS) {
        let AgentIdentity::PublicKey { key, .. } = identity else { continue };
        offered.push(fingerprint(&key));
        let unreachable = |detail| HostError::Unreachable { address, detail };
        let hash =
            rsa_hash(handle, &key.algorithm()).await.map_err(|error| unreachable(words(&error)))?;
        match handle.authenticate_publickey_with(user, key, hash, &mut agent).await {
            Ok(result) => {
                if accepted(handle, result, address)? {
                    return Ok(Offer::Accepted);
                }
            }
            // The agent would not sign with this key (removed, not confirmed): the next one may do.
            Err(russh::AgentAuthError::Key(error)) => {
                tracing::debug!(%error, "the agent did not sign");
            }
            Err(russh::AgentAuthError::Send(error)) => return Err(unreachable(error.to_string())),
        }
    }
    if offered.is_empty() {
        return Ok(Offer::Refused(format!(
            "none: the agent at {} holds no keys",
            socket.display()
        )));
    }
    Ok(Offer::Refused(offered.join(", ")))
}

/// A refusal and a connection that broke look alike to the library; only the first is final.
fn accepted(
    handle: &Handle<Pin>,
    result: AuthResult,
    address: Ipv4Addr,
) -> Result<bool, HostError> {
    match result {
        AuthResult::Success => Ok(true),
        AuthResult::Failure { remaining_methods, .. }
            if remaining_methods.is_empty() && handle.is_closed() =>
        {
            let detail = "the connection was closed during authentication".to_owned();
            Err(HostError::Unreachable { address, detail })
        }
        AuthResult::Failure { .. } => Ok(false),
    }
}

/// The hash to sign with. RSA with SHA-1 is never used, whatever the server says it would take.
async fn rsa_hash(
    handle: &Handle<Pin>,
    algorithm: &Algorithm,
) -> Result<Option<HashAlg>, russh::Error> {
    if !is_rsa(algorithm) {
        return Ok(None);
    }
    let best = handle.best_supported_rsa_hash().await?.flatten();
    Ok(Some(best.unwrap_or(HashAlg::Sha512)))
}

fn parse(key: &HostKey) -> Result<PublicKey, russh::keys::ssh_key::Error> {
    PublicKey::from_openssh(&key.0)
}

fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// A connection's failure in words.
pub(crate) fn words(error: &russh::Error) -> String {
    match error {
        russh::Error::IO(error) => io_words(error),
        russh::Error::Disconnect
        | russh::Error::HUP
        | russh::Error::SendError
        | russh::Error::RecvError => "the connection was closed".to_owned(),
        other => other.to_string(),
    }
}

/// A socket's failure in words, without the system's numbers.
pub(crate) fn io_words(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof => {
            "the connection was closed".to_owned()
        }
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
            "no route to the host".to_owned()
        }
        ErrorKind::TimedOut => "timed out".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use russh::keys::ssh_key::private::RsaKeypair;
    use russh::keys::{EcdsaCurve, PrivateKey};

    /// A published key and the fingerprint OpenSSH prints for it (GitHub's host key).
    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";
    const FINGERPRINT: &str = "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU";

    #[test]
    fn fingerprints_are_openssh_s() {
        let key = parse(&HostKey(KEY.to_owned())).unwrap();
        assert_eq!(fingerprint(&key), FINGERPRINT);
        assert_eq!(key.to_openssh().unwrap(), KEY);
    }

    #[test]
    fn the_recorded_key_s_algorithm_is_asked_for_first() {
        let p256 = Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 };
        let mut rng = russh::keys::key::safe_rng();
        let rsa = PrivateKey::from(RsaKeypair::random(&mut rng, 2048).unwrap());
        assert_eq!(prefer(None).key.first(), Some(&Algorithm::Ed25519));
        for key in [PrivateKey::random(&mut rng, p256).unwrap(), rsa] {
            let algorithm = key.algorithm();
            let preferred = prefer(Some(key.public_key()));
            assert!(same_kind(preferred.key.first().unwrap(), &algorithm), "{:?}", preferred.key);
            assert!(
                preferred.key.contains(&Algorithm::Ed25519),
                "others must stay, or a changed key is no mismatch"
            );
            assert!(!preferred.key.contains(&Algorithm::Rsa { hash: None }));
        }
    }
}
