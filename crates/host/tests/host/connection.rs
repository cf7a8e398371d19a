//! Keys of both sides, and connections kept, lost and forgotten.

use std::net::Ipv4Addr;

use futures::stream;
use russh::keys::agent::client::AgentClient;
use russh::keys::key::safe_rng;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::RsaKeypair;
use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PrivateKey};
use seachange_core::host::{Boot, Host, HostError, HostKey, Service, Target};
use seachange_core::secret::Secret;
use seachange_host::Keys;
use tokio::net::UnixListener;

use crate::droplet::{Droplet, generate, host_key};

#[tokio::test]
async fn another_key_than_the_pinned_one_is_refused_before_anything_is_sent() {
    let droplet = Droplet::start().await;
    let other = generate(Algorithm::Ed25519);
    let target = droplet.target_with(Some(host_key(other.public_key())));
    let error = droplet.host().contact(&target, Service::Docker).await.unwrap_err();
    let HostError::WrongHostKey { expected, observed, .. } = error else { panic!("{error:?}") };
    assert_eq!(expected, other.public_key().fingerprint(HashAlg::Sha256).to_string());
    assert!(observed.starts_with("SHA256:") && observed != expected);
    assert_eq!(droplet.world().connections, 1);
    assert!(droplet.world().authentications.is_empty(), "our public key was shown to a stranger");
}

#[tokio::test]
async fn a_changed_key_of_another_kind_is_a_wrong_key_too() {
    let droplet = Droplet::start().await;
    let other = generate(Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 });
    let target = droplet.target_with(Some(host_key(other.public_key())));
    let error = droplet.host().contact(&target, Service::Docker).await.unwrap_err();
    assert!(matches!(error, HostError::WrongHostKey { .. }), "{error:?}");
}

#[tokio::test]
async fn a_recorded_key_that_cannot_be_read_lets_nobody_in() {
    let droplet = Droplet::start().await;
    let target = droplet.target_with(Some(HostKey("ssh-ed25519 nonsense".to_owned())));
    let error = droplet.host().contact(&target, Service::Docker).await.unwrap_err();
    assert!(matches!(error, HostError::Failed { .. }), "{error:?}");
    assert_eq!(droplet.world().connections, 0);
}

#[tokio::test]
async fn a_host_with_several_keys_shows_the_pinned_one() {
    let p256 = generate(Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 });
    let pinned = host_key(p256.public_key());
    let keys = vec![generate(Algorithm::Ed25519), p256];
    let droplet = Droplet::with_keys(keys, generate(Algorithm::Ed25519)).await;
    let host = droplet.host();
    let first = host.contact(&droplet.target_with(None), Service::Docker).await.unwrap();
    assert_ne!(first.host_key, pinned, "without a pin the order is ours");
    // The kept connection has shown another key, so it does not serve this target.
    let contact =
        host.contact(&droplet.target_with(Some(pinned.clone())), Service::Docker).await.unwrap();
    assert_eq!(contact.host_key, pinned);
    assert_eq!(droplet.world().connections, 2);
}

#[tokio::test]
async fn the_first_contact_reports_the_key_to_pin() {
    let droplet = Droplet::start().await;
    let contact =
        droplet.host().contact(&droplet.target_with(None), Service::Docker).await.unwrap();
    assert_eq!(Some(contact.host_key), droplet.target().host_key);
}

#[tokio::test]
async fn a_key_the_host_does_not_know_is_named_by_fingerprint() {
    let droplet = Droplet::start().await;
    let stranger = generate(Algorithm::Ed25519);
    let text = stranger.to_openssh(LineEnding::LF).unwrap().to_string();
    let host = droplet.host_with(Keys::Text(Secret::new(text)));
    let error = host.contact(&droplet.target(), Service::Docker).await.unwrap_err();
    let HostError::AuthenticationRefused { offered, .. } = error else { panic!("{error:?}") };
    assert_eq!(offered, stranger.public_key().fingerprint(HashAlg::Sha256).to_string());
}

#[tokio::test]
async fn nobody_at_the_port_is_unreachable() {
    let droplet = Droplet::start().await;
    let port =
        tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let text = generate(Algorithm::Ed25519).to_openssh(LineEnding::LF).unwrap().to_string();
    let keys = Keys::Text(Secret::new(text));
    let config = seachange_host::Config { ssh_port: port, ..seachange_host::Config::new(keys) };
    let host = seachange_host::SshHost::new(config).unwrap();
    let error = host.contact(&droplet.target(), Service::Docker).await.unwrap_err();
    assert!(
        matches!(error, HostError::Unreachable { ref detail, .. } if detail == "connection refused"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_host_that_accepts_and_says_nothing_is_unreachable() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let text = generate(Algorithm::Ed25519).to_openssh(LineEnding::LF).unwrap().to_string();
    let config = seachange_host::Config {
        ssh_port: listener.local_addr().unwrap().port(),
        connect_timeout: std::time::Duration::from_millis(50),
        ..seachange_host::Config::new(Keys::Text(Secret::new(text)))
    };
    let host = seachange_host::SshHost::new(config).unwrap();
    let target = Target { address: Ipv4Addr::LOCALHOST, host_key: None, next_host_key: None };
    let error = host.contact(&target, Service::Docker).await.unwrap_err();
    assert!(error.to_string().contains("no connection within 50ms"), "{error}");
    drop(listener);
}

#[tokio::test]
async fn calls_at_the_same_time_share_one_connection() {
    let droplet = Droplet::start().await;
    let (host, target) = (droplet.host(), droplet.target());
    let calls = (0..8).map(|_| host.containers(&target, "webgui"));
    for result in futures::future::join_all(calls).await {
        result.unwrap();
    }
    assert_eq!(droplet.world().connections, 1);
}

#[tokio::test]
async fn an_agent_s_rsa_key_signs_with_sha_2() {
    let key = PrivateKey::from(RsaKeypair::random(&mut safe_rng(), 2048).unwrap());
    let droplet = Droplet::with_keys(vec![generate(Algorithm::Ed25519)], key.clone()).await;
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("agent");
    let listener = UnixListener::bind(&socket).unwrap();
    let connections = stream::unfold(listener, |listener| async move {
        Some((listener.accept().await.map(|(stream, _)| stream), listener))
    });
    tokio::spawn(async move {
        russh::keys::agent::server::serve(Box::pin(connections), NoQuestions).await
    });
    let host = droplet.host_with(Keys::Agent(socket.clone()));

    let error = host.contact(&droplet.target(), Service::Docker).await.unwrap_err();
    assert!(error.to_string().contains("holds no keys"), "{error}");

    let mut agent = AgentClient::connect_uds(&socket).await.unwrap();
    agent.add_identity(&generate(Algorithm::Ed25519), &[]).await.unwrap();
    agent.add_identity(&key, &[]).await.unwrap();
    host.contact(&droplet.target(), Service::Docker).await.unwrap();
    let used = droplet.world().authentications.clone();
    assert!(used.iter().any(|algorithm| algorithm == "rsa-sha2-512"), "{used:?}");
    assert!(!used.iter().any(|algorithm| algorithm == "ssh-rsa"), "{used:?}");
}

#[derive(Clone)]
struct NoQuestions;

impl russh::keys::agent::server::Agent for NoQuestions {}

#[tokio::test]
async fn an_agent_that_is_not_there_is_said_to_be_so() {
    let droplet = Droplet::start().await;
    let host = droplet.host_with(Keys::Agent("/nonexistent/agent".into()));
    let error = host.contact(&droplet.target(), Service::Docker).await.unwrap_err();
    assert!(matches!(error, HostError::AuthenticationRefused { .. }), "{error:?}");
    assert!(error.to_string().contains("/nonexistent/agent"), "{error}");
}

#[tokio::test]
async fn a_connection_is_kept_reopened_when_lost_and_forgotten_when_told() {
    let droplet = Droplet::start().await;
    let (host, target) = (droplet.host(), droplet.target());
    for _ in 0..3 {
        host.containers(&target, "webgui").await.unwrap();
        host.balancing(&target).await.unwrap();
    }
    assert_eq!(droplet.world().connections, 1);
    droplet.cut().await;
    host.containers(&target, "webgui").await.unwrap();
    assert_eq!(droplet.world().connections, 2);
    host.forget(target.address).await;
    host.forget(target.address).await;
    host.containers(&target, "webgui").await.unwrap();
    assert_eq!(droplet.world().connections, 3);
}

#[tokio::test]
async fn the_first_boot_is_followed_to_its_end() {
    let droplet = Droplet::start().await;
    let host = droplet.host();
    let boot = async |service| host.contact(&droplet.target(), service).await.unwrap().boot;
    let running = |detail: &str| Boot::Running { detail: detail.to_owned() };

    droplet.world().cloud_init = Some((0, "status: running\n".to_owned()));
    assert_eq!(boot(Service::Docker).await, running("cloud-init: running"));
    droplet.world().cloud_init = Some((1, "status: error\n".to_owned()));
    let detail = "status: error; detail:; ('scripts-user', RuntimeError())".to_owned();
    assert_eq!(boot(Service::Docker).await, Boot::Failed { detail });
    droplet.world().cloud_init = None;
    droplet.world().engine.is_down = true;
    assert_eq!(
        boot(Service::Docker).await,
        running("Docker Engine: /var/run/docker.sock: connection refused")
    );
    droplet.world().engine.is_down = false;
    assert_eq!(boot(Service::Docker).await, Boot::Ready);
    droplet.world().haproxy_is_down = true;
    assert_eq!(boot(Service::Haproxy).await, running("HAProxy: activating"));
    droplet.world().haproxy_is_down = false;
    assert_eq!(boot(Service::Haproxy).await, Boot::Ready);
}
