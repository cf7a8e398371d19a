//! The droplet's own host key: the pair for its first contact, and the one it then makes for itself.
//!
//! The next pair is made under a third name and moved, public half first, so that a pair that is there is whole. It
//! lies beside the key in use until the caller has written it down; then it is moved over that one.

use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{PrivateKey, PublicKey};
use seachange_core::host::{FirstHostKey, HostError, HostKey, Target};
use seachange_core::secret::Secret;

use crate::ssh::exec::{run, run_well};
use crate::ssh::{Ssh, failed};

const USED: &str = "/etc/ssh/ssh_host_ed25519_key";
const USED_PUBLIC: &str = "/etc/ssh/ssh_host_ed25519_key.pub";
const NEXT: &str = "/etc/ssh/seachange_next_host_key";
const NEXT_PUBLIC: &str = "/etc/ssh/seachange_next_host_key.pub";
const CANDIDATE: &str = "/etc/ssh/seachange_next_host_key-new";
const CANDIDATE_PUBLIC: &str = "/etc/ssh/seachange_next_host_key-new.pub";
/// Keys of other types, which nobody pins.
const OTHERS: [&str; 6] = [
    "/etc/ssh/ssh_host_rsa_key",
    "/etc/ssh/ssh_host_rsa_key.pub",
    "/etc/ssh/ssh_host_ecdsa_key",
    "/etc/ssh/ssh_host_ecdsa_key.pub",
    "/etc/ssh/ssh_host_dsa_key",
    "/etc/ssh/ssh_host_dsa_key.pub",
];

/// A new pair for user-data.
pub(crate) fn first() -> FirstHostKey {
    let pair = PrivateKey::from(Ed25519Keypair::random(&mut russh::keys::key::safe_rng()));
    // An Ed25519 key always has a text; with an empty one SSH would never answer.
    FirstHostKey {
        public: HostKey(pair.public_key().to_openssh().unwrap_or_default()),
        private: Secret::new(
            pair.to_openssh(LineEnding::LF).map(|text| text.to_string()).unwrap_or_default(),
        ),
    }
}

/// Makes the next pair, unless it is there; answers its public half.
pub(crate) async fn make_next(ssh: &Ssh, target: &Target) -> Result<HostKey, HostError> {
    if !is_there(ssh, target, NEXT).await? {
        run_well(ssh, target, &["rm", "-f", CANDIDATE, CANDIDATE_PUBLIC]).await?;
        let make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", CANDIDATE];
        run_well(ssh, target, &make).await?;
        run_well(ssh, target, &["mv", "-f", CANDIDATE_PUBLIC, NEXT_PUBLIC]).await?;
        run_well(ssh, target, &["mv", "-f", CANDIDATE, NEXT]).await?;
    }
    let read = run(ssh, target, &["cat", NEXT_PUBLIC]).await?;
    public_half(&read.text)
        .ok_or_else(|| failed(target.address, "reading the next host key", read.words()))
}

/// Moves the next pair over the one in use, unless that was done, and makes SSH show it and no other.
pub(crate) async fn use_next(ssh: &Ssh, target: &Target) -> Result<(), HostError> {
    for (from, to) in [(NEXT_PUBLIC, USED_PUBLIC), (NEXT, USED)] {
        if is_there(ssh, target, from).await? {
            run_well(ssh, target, &["mv", "-f", from, to]).await?;
        }
    }
    let mut remove = vec!["rm", "-f"];
    remove.extend(OTHERS);
    run_well(ssh, target, &remove).await?;
    run_well(ssh, target, &["systemctl", "reload", "ssh"]).await?;
    ssh.forget(target.address).await;
    Ok(())
}

async fn is_there(ssh: &Ssh, target: &Target, path: &str) -> Result<bool, HostError> {
    Ok(run(ssh, target, &["test", "-f", path]).await?.is_success())
}

/// The key as it is compared, without a comment.
fn public_half(text: &str) -> Option<HostKey> {
    let mut key = PublicKey::from_openssh(text.trim()).ok()?;
    key.set_comment("");
    key.to_openssh().ok().map(HostKey)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_key_is_a_pair_made_for_once() {
        let key = first();
        let private = PrivateKey::from_openssh(key.private.expose()).unwrap();
        assert_eq!(private.public_key().to_openssh().unwrap(), key.public.0);
        assert_ne!(first().public, key.public);
    }

    #[test]
    fn a_public_half_is_read_without_its_comment() {
        let key = first().public;
        assert_eq!(public_half(&format!("{} root@web\n", key.0)), Some(key.clone()));
        assert_eq!(public_half(&key.0), Some(key));
        assert_eq!(public_half("cat: No such file or directory\n"), None);
    }
}
