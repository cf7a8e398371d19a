//! What a droplet's first boot installs: the cloud-init text.
//!
//! It is plain and complete, and anyone on the droplet can read it later. Its only secret is the host key for the first
//! contact, which is worth nothing once that has replaced it. It names only Debian's and
//! Ubuntu's own packages, so that nothing it depends on can vanish. Changing a text here means that droplets created
//! with the old one differ from new ones; that alone is never a reason to replace them.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::host::{FirstHostKey, Service};
use crate::secret::Secret;

/// What a first boot installs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bootstrap {
    /// Nothing: a stack without `ssh` and `app`.
    Nothing,
    /// Docker Engine, on workers.
    Docker,
    /// HAProxy, on the load balancer.
    Haproxy,
}

const DOCKER: &str = "#cloud-config
package_update: true
packages:
  - docker.io
runcmd:
  - [systemctl, enable, --now, docker]
";

const HAPROXY: &str = "#cloud-config
package_update: true
packages:
  - haproxy
runcmd:
  - [systemctl, enable, --now, haproxy]
";

impl Bootstrap {
    /// The cloud-init text, if there is one.
    pub fn text(self) -> Option<&'static str> {
        match self {
            Self::Nothing => None,
            Self::Docker => Some(DOCKER),
            Self::Haproxy => Some(HAPROXY),
        }
    }

    /// The same with a key pair for SSH to show from the beginning. cloud-init makes no others then, and removes those of
    /// the image.
    pub fn user_data(self, key: Option<&FirstHostKey>) -> Option<Secret> {
        let text = self.text()?;
        let Some(key) = key else { return Some(Secret::new(text)) };
        let mut text = format!("{text}ssh_deletekeys: true\nssh_keys:\n  ed25519_private: |\n");
        for line in key.private.expose().lines() {
            text.extend(["    ", line, "\n"]);
        }
        text.extend(["  ed25519_public: ", &key.public.0, "\n"]);
        Some(Secret::new(text))
    }

    /// SHA-256 of the text without a key, hex: the API never gives the text back.
    pub fn digest(self) -> Option<String> {
        self.text().map(|text| hex(&Sha256::digest(text.as_bytes())))
    }

    /// The service whose answer ends the first boot.
    pub fn service(self) -> Option<Service> {
        match self {
            Self::Nothing => None,
            Self::Docker => Some(Service::Docker),
            Self::Haproxy => Some(Service::Haproxy),
        }
    }
}

/// Lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _: std::fmt::Result = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::HostKey;

    #[test]
    fn the_key_is_read_back_as_it_went_in_and_changes_no_digest() {
        let private = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\ncanary\n-----END-----\n";
        let public = "ssh-ed25519 AAAA";
        let key =
            FirstHostKey { public: HostKey(public.to_owned()), private: Secret::new(private) };
        assert!(!format!("{key:?}").contains("canary"));
        for bootstrap in [Bootstrap::Docker, Bootstrap::Haproxy] {
            let data = bootstrap.user_data(Some(&key)).unwrap();
            assert!(!format!("{data:?}").contains("canary"));
            let read: serde_json::Value = serde_saphyr::from_str(data.expose()).unwrap();
            assert_eq!(read["ssh_deletekeys"], true);
            let pair = serde_json::json!({ "ed25519_private": private, "ed25519_public": public });
            assert_eq!(read["ssh_keys"], pair);
            assert!(data.expose().starts_with(bootstrap.text().unwrap()));
            let plain = bootstrap.user_data(None).unwrap();
            assert_eq!(bootstrap.digest(), Some(hex(&Sha256::digest(plain.expose()))));
        }
        assert_eq!(Bootstrap::Nothing.user_data(Some(&key)), None);
    }
}
