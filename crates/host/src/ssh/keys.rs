//! Private keys: where they come from, and what can be wrong with them.
//!
//! People paste keys into CI variables, so the usual accidents get their own words: the public half, a key that needs
//! a passphrase, the wrong passphrase, lost line breaks. No message ever holds a part of the text.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use russh::keys::{PrivateKey, decode_secret_key};
use seachange_core::secret::Secret;

/// Where the private key comes from.
#[derive(Debug, Clone)]
pub enum Keys {
    /// The text itself: OpenSSH, PKCS#8, PKCS#1, SEC1 or PuTTY form.
    Text(Secret),
    /// A file that holds such a text.
    File(PathBuf),
    /// An SSH agent behind this unix socket; its keys are offered in its order.
    Agent(PathBuf),
}

/// What is wrong with the private key. `origin` says where it came from.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("the SSH key file {} cannot be read", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// It is a public key.
    #[error("{origin} is a public key; the private one is needed (the file without `.pub`)")]
    Public {
        /// Where it came from.
        origin: String,
    },
    /// It is encrypted and there is no passphrase.
    #[error("{origin} is encrypted and no passphrase is given")]
    PassphraseMissing {
        /// Where it came from.
        origin: String,
    },
    /// The passphrase does not open it.
    #[error("the passphrase does not open {origin}")]
    WrongPassphrase {
        /// Where it came from.
        origin: String,
    },
    /// It is not a private key we can read.
    #[error("{origin} cannot be used as a private key: {why}")]
    Unreadable {
        /// Where it came from.
        origin: String,
        /// What is wrong with its form.
        why: &'static str,
    },
}

/// Keys ready to be offered.
pub(crate) enum Loaded {
    /// One key of our own.
    Key(Arc<PrivateKey>),
    /// Whatever the agent behind this socket holds at the moment of a connection.
    Agent(PathBuf),
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(_) => f.write_str("Key([redacted])"),
            Self::Agent(path) => f.debug_tuple("Agent").field(path).finish(),
        }
    }
}

/// Reads and checks the keys. An agent is asked later, at each connection.
pub(crate) fn load(keys: &Keys, passphrase: Option<&Secret>) -> Result<Loaded, KeyError> {
    let key = match keys {
        Keys::Agent(path) => return Ok(Loaded::Agent(path.clone())),
        Keys::Text(text) => read(text.expose(), "the SSH key given as text", passphrase)?,
        Keys::File(path) => {
            read(&file(path)?, &format!("the SSH key file {}", path.display()), passphrase)?
        }
    };
    Ok(Loaded::Key(Arc::new(key)))
}

fn file(path: &Path) -> Result<String, KeyError> {
    std::fs::read_to_string(path).map_err(|source| KeyError::File { path: path.to_owned(), source })
}

fn read(text: &str, origin: &str, passphrase: Option<&Secret>) -> Result<PrivateKey, KeyError> {
    let origin = origin.to_owned();
    // Indentation comes with YAML block texts, and the decoder compares whole lines.
    let text =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
    if is_public(&text) {
        return Err(KeyError::Public { origin });
    }
    match decode_secret_key(&text, None) {
        Ok(key) => Ok(key),
        Err(error) if is_encrypted(&text, &error) => match passphrase {
            None => Err(KeyError::PassphraseMissing { origin }),
            Some(_) if is_old_encryption(&text) && !text.contains("BEGIN RSA") => {
                Err(KeyError::Unreadable { origin, why: OLD_ENCRYPTION })
            }
            // The decoder's own words tell nothing more than that the bytes came out wrong.
            Some(passphrase) => decode_secret_key(&text, Some(passphrase.expose()))
                .map_err(|_| KeyError::WrongPassphrase { origin }),
        },
        Err(_) => Err(KeyError::Unreadable { origin, why: why_unreadable(&text) }),
    }
}

fn is_public(text: &str) -> bool {
    let openssh =
        ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"].iter().any(|start| text.starts_with(start));
    openssh
        || (text.starts_with("----")
            && text.lines().next().is_some_and(|line| line.contains("PUBLIC KEY")))
}

fn is_encrypted(text: &str, error: &russh::keys::Error) -> bool {
    matches!(error, russh::keys::Error::KeyIsEncrypted)
        || text.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----")
        || (text.starts_with("PuTTY-User-Key-File-") && !text.contains("\nEncryption: none"))
}

/// Encryption by a header inside a PEM text: of its many forms the decoder knows AES-128 around an RSA key.
fn is_old_encryption(text: &str) -> bool {
    text.contains("\nProc-Type: 4,ENCRYPTED")
}

const OLD_ENCRYPTION: &str =
    "it is encrypted in an outdated form; `ssh-keygen -p -f FILE` converts it";

fn why_unreadable(text: &str) -> &'static str {
    if text.is_empty() {
        "it is empty"
    } else if text.starts_with("-----BEGIN") && text.lines().count() == 1 {
        "its line breaks are lost"
    } else if is_old_encryption(text) {
        OLD_ENCRYPTION
    } else if text.starts_with("-----BEGIN") && !text.contains("-----END") {
        "its end is missing"
    } else if text.starts_with("-----BEGIN") {
        "it is damaged or of a kind that is not supported (supported are ed25519, ecdsa and rsa)"
    } else {
        "it has no `-----BEGIN … PRIVATE KEY-----` line"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use russh::keys::key::safe_rng;
    use russh::keys::ssh_key::LineEnding;
    use russh::keys::ssh_key::private::RsaKeypair;
    use russh::keys::{Algorithm, EcdsaCurve};

    fn generate(algorithm: Algorithm) -> PrivateKey {
        PrivateKey::random(&mut safe_rng(), algorithm).unwrap()
    }

    fn text_of(key: &PrivateKey) -> String {
        key.to_openssh(LineEnding::LF).unwrap().to_string()
    }

    fn load_text(text: &str, passphrase: Option<&str>) -> Result<Loaded, KeyError> {
        load(&Keys::Text(Secret::new(text)), passphrase.map(Secret::new).as_ref())
    }

    fn public_half(loaded: Result<Loaded, KeyError>) -> String {
        match loaded.unwrap() {
            Loaded::Key(key) => key.public_key().to_openssh().unwrap(),
            Loaded::Agent(_) => panic!("an agent"),
        }
    }

    #[test]
    fn every_kind_of_key_is_read_and_is_the_same_key() {
        let p256 = Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 };
        let rsa = PrivateKey::from(RsaKeypair::random(&mut safe_rng(), 2048).unwrap());
        for key in [generate(Algorithm::Ed25519), generate(p256), rsa] {
            let public = key.public_key().to_openssh().unwrap();
            assert_eq!(public_half(load_text(&text_of(&key), None)), public);
        }
    }

    #[test]
    fn pasted_keys_may_be_indented_and_have_windows_line_ends() {
        let key = generate(Algorithm::Ed25519);
        let pasted =
            text_of(&key).lines().map(|line| format!("    {line}  \r\n")).collect::<String>();
        assert_eq!(public_half(load_text(&pasted, None)), key.public_key().to_openssh().unwrap());
    }

    #[test]
    fn an_encrypted_key_wants_its_passphrase() {
        let key = generate(Algorithm::Ed25519);
        let text = text_of(&key.encrypt(&mut safe_rng(), "right").unwrap());
        assert!(matches!(load_text(&text, None), Err(KeyError::PassphraseMissing { .. })));
        assert!(matches!(load_text(&text, Some("wrong")), Err(KeyError::WrongPassphrase { .. })));
        assert_eq!(
            public_half(load_text(&text, Some("right"))),
            key.public_key().to_openssh().unwrap()
        );
        // A passphrase that is not needed does no harm.
        assert_eq!(
            public_half(load_text(&text_of(&key), Some("x"))),
            key.public_key().to_openssh().unwrap()
        );

        let mut pkcs8 = Vec::new();
        russh::keys::encode_pkcs8_pem_encrypted(&key, b"right", 10, &mut pkcs8).unwrap();
        let pkcs8 = String::from_utf8(pkcs8).unwrap();
        assert!(matches!(load_text(&pkcs8, None), Err(KeyError::PassphraseMissing { .. })));
        assert!(matches!(load_text(&pkcs8, Some("wrong")), Err(KeyError::WrongPassphrase { .. })));
        assert_eq!(
            public_half(load_text(&pkcs8, Some("right"))),
            key.public_key().to_openssh().unwrap()
        );
    }

    #[test]
    fn accidents_are_named_and_never_echoed() {
        let key = generate(Algorithm::Ed25519);
        let text = text_of(&key);
        let public = key.public_key().to_openssh().unwrap();
        let lost = text.replace('\n', " ");
        let cut = text.lines().take(3).collect::<Vec<_>>().join("\n");
        let canary = "b3BlbnNz";
        assert!(text.contains(canary));
        let said = |text: &str| {
            let error = load_text(text, Some("hunter2")).unwrap_err();
            let all = format!("{error} {error:?}");
            assert!(
                !all.contains(canary) && !all.contains("hunter2") && !all.contains("AAAA"),
                "{all}"
            );
            error.to_string()
        };
        assert!(said(&public).contains("is a public key"));
        assert!(said(&lost).contains("line breaks are lost"));
        assert!(said(&cut).contains("end is missing"));
        assert!(said("").contains("empty"));
        assert!(said("hello").contains("no `-----BEGIN"));
    }

    #[test]
    fn outdated_encryption_is_named() {
        for (kind, cipher) in
            [("EC", "AES-128-CBC"), ("RSA", "AES-256-CBC"), ("RSA", "DES-EDE3-CBC")]
        {
            let text = format!(
                "-----BEGIN {kind} PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: {cipher},{}\n\n{}\n-----END {kind} PRIVATE KEY-----\n",
                "0".repeat(32),
                "QUJD".repeat(8),
            );
            let error = load_text(&text, Some("right")).unwrap_err();
            assert!(error.to_string().contains("outdated"), "{kind} {cipher}: {error}");
        }
    }

    #[test]
    fn a_file_is_named_in_the_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("id_ed25519");
        let missing = load(&Keys::File(path.clone()), None).unwrap_err();
        assert!(missing.to_string().contains("id_ed25519"));
        let key = generate(Algorithm::Ed25519);
        std::fs::write(&path, text_of(&key)).unwrap();
        assert_eq!(
            public_half(load(&Keys::File(path), None)),
            key.public_key().to_openssh().unwrap()
        );
    }
}
