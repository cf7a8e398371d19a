//! Encryption at rest, for states, history and plan files: age files, a standard format that a user opens without us.
//!
//! Sealed for recipients, a text is one age file. Sealed with a passphrase, it is two in a row: an armoured one that
//! holds a fresh X25519 identity under the passphrase, and the text for that identity. A passphrase is made costly to
//! guess, and so costly to use; this way a process pays once, not at every commit of its journal:
//!
//! ```text
//! sed '/END AGE/q' FILE > key.age;  sed '1,/END AGE/d' FILE > text.age;  age -d -i key.age text.age
//! ```
//!
//! Everything that opens is tried, so that a key is rotated by naming the new one and keeping the old one for reading.

use std::borrow::Cow;
use std::io::{Read as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use age::secrecy::{ExposeSecret as _, SecretString};
use age::{DecryptError, Decryptor, EncryptError, Encryptor, Identity, Recipient};
use async_trait::async_trait;
use seachange_core::secret::Secret;
use seachange_core::spec::Encryption;
use seachange_core::store::{Created, StateStore, StoreError};

/// How an age file begins.
const BINARY: &[u8] = b"age-encryption.org/v1\n";
/// How an armoured one begins, and ends.
const ARMOUR: (&[u8], &[u8]) =
    (b"-----BEGIN AGE ENCRYPTED FILE-----\n", b"-----END AGE ENCRYPTED FILE-----\n");
/// How an age identity begins.
const AGE_IDENTITY: &str = "AGE-SECRET-KEY-1";
/// 2 to this power rounds of scrypt: 128 MiB and a few tenths of a second, once a process. Tests guard nothing.
const WORK: u8 = if cfg!(test) { 10 } else { 17 };
/// More work than this is not done for anybody's file.
const MOST_WORK: u8 = 20;

/// Why something cannot be sealed or opened. No text and no key is ever part of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Neither a passphrase nor a recipient.
    #[error("encryption needs a passphrase or recipients to seal with")]
    NothingToSealWith,
    /// A recipient that is none.
    #[error("recipient {number} is none: expected age1…, ssh-ed25519 … or ssh-rsa …")]
    Recipient {
        /// Counted from 1.
        number: usize,
    },
    /// A key that is one by its form, and cannot be used.
    #[error("key {number} to open with cannot be used: {detail}")]
    Key {
        /// Counted from 1.
        number: usize,
        /// Why.
        detail: &'static str,
    },
    /// It is not encrypted, and must be.
    #[error("it is plain text, and encryption is required")]
    Plain,
    /// It is encrypted, and none of the keys opens it.
    #[error("it is encrypted, and none of the {keys} keys given opens it")]
    NoKey {
        /// How many there are.
        keys: usize,
    },
    /// It was changed or cut off.
    #[error("it is damaged: {detail}")]
    Damaged {
        /// What the format says.
        detail: String,
    },
}

/// Seals and opens.
pub struct Seal {
    recipients: Vec<Box<dyn Recipient + Send + Sync>>,
    identities: Vec<Box<dyn Identity + Send + Sync>>,
    /// The first one seals, if nothing else does.
    passphrases: Vec<SecretString>,
    seals_with_passphrase: bool,
    required: bool,
    known: Mutex<Vec<Known>>,
}

/// An identity that a passphrase stands before, once it is open.
#[derive(Clone)]
struct Known {
    /// As the file has it.
    sealed: Vec<u8>,
    identity: age::x25519::Identity,
    /// Under the passphrase that seals.
    current: bool,
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seal").field("required", &self.required).finish_non_exhaustive()
    }
}

/// Whether the bytes are encrypted.
pub fn is_sealed(bytes: &[u8]) -> bool {
    bytes.starts_with(BINARY) || bytes.starts_with(ARMOUR.0)
}

impl Seal {
    /// Checks the keys. No passphrase is tried yet.
    pub fn new(keys: &Encryption) -> Result<Self, SealError> {
        let recipients = keys.recipients.iter().enumerate().map(|(at, text)| recipient(at, text));
        let recipients: Vec<_> = recipients.collect::<Result<_, _>>()?;
        if recipients.is_empty() && keys.passphrase.is_none() {
            return Err(SealError::NothingToSealWith);
        }
        let mut passphrases: Vec<SecretString> = keys.passphrase.iter().map(secret).collect();
        let mut identities = Vec::new();
        for (at, key) in keys.keys.iter().enumerate() {
            match identity(at, key.expose())? {
                Some(identity) => identities.push(identity),
                None => passphrases.push(secret(key)),
            }
        }
        Ok(Self {
            seals_with_passphrase: recipients.is_empty(),
            recipients,
            identities,
            passphrases,
            required: keys.required,
            known: Mutex::default(),
        })
    }

    /// Seals a text.
    pub fn close(&self, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        if !self.seals_with_passphrase {
            let recipients = self.recipients.iter().map(|recipient| &**recipient as &dyn Recipient);
            return encrypt(recipients, plain);
        }
        let Known { mut sealed, identity, .. } = self.current()?;
        sealed.extend(encrypt([&identity.to_public() as &dyn Recipient].into_iter(), plain)?);
        Ok(sealed)
    }

    /// Opens what was sealed. Plain text comes back as it is, unless encryption is required.
    pub fn open(&self, bytes: &[u8]) -> Result<Vec<u8>, SealError> {
        if bytes.starts_with(ARMOUR.0) {
            let end = bytes
                .windows(ARMOUR.1.len())
                .position(|window| window == ARMOUR.1)
                .ok_or_else(|| damaged("the armour has no end"))?;
            let (sealed, text) = bytes.split_at(end + ARMOUR.1.len());
            let identity = self.unlock(sealed)?;
            return self.decrypt([&identity as &dyn Identity].into_iter(), text);
        }
        if bytes.starts_with(BINARY) {
            let identities = self.identities.iter().map(|identity| &**identity as &dyn Identity);
            return self.decrypt(identities, bytes);
        }
        if self.required { Err(SealError::Plain) } else { Ok(bytes.to_vec()) }
    }

    /// The identity this process seals for: the newest it opened with the present passphrase, else a fresh one.
    fn current(&self) -> Result<Known, SealError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(current) = known.iter().rev().find(|known| known.current) {
            return Ok(current.clone());
        }
        let passphrase = self.passphrases.first().ok_or(SealError::NothingToSealWith)?;
        let identity = age::x25519::Identity::generate();
        let mut guard = age::scrypt::Recipient::new(passphrase.clone());
        guard.set_work_factor(WORK);
        let text = identity.to_string();
        let sealed = age::encrypt_and_armor(&guard, text.expose_secret().as_bytes())
            .map_err(|error| unsealable(&error))?
            .into_bytes();
        let fresh = Known { sealed, identity, current: true };
        known.push(fresh.clone());
        Ok(fresh)
    }

    /// The identity in an armoured file, with whichever passphrase opens it.
    fn unlock(&self, sealed: &[u8]) -> Result<age::x25519::Identity, SealError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.iter().find(|known| known.sealed == sealed) {
            return Ok(known.identity.clone());
        }
        for (at, passphrase) in self.passphrases.iter().enumerate() {
            let mut guard = age::scrypt::Identity::new(passphrase.clone());
            guard.set_max_work_factor(MOST_WORK);
            let text = match age::decrypt(&guard, sealed) {
                Ok(text) => text,
                Err(DecryptError::NoMatchingKeys | DecryptError::DecryptionFailed) => continue,
                Err(error) => return Err(damaged(&error.to_string())),
            };
            let identity: age::x25519::Identity = std::str::from_utf8(&text)
                .ok()
                .and_then(|text| text.trim().parse().ok())
                .ok_or_else(|| damaged("what the passphrase opens is no identity"))?;
            let current = at == 0 && self.seals_with_passphrase;
            known.push(Known { sealed: sealed.to_vec(), identity: identity.clone(), current });
            return Ok(identity);
        }
        Err(self.no_key())
    }

    fn decrypt<'a>(
        &self,
        identities: impl Iterator<Item = &'a dyn Identity>,
        bytes: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let explain = |error: DecryptError| match error {
            DecryptError::NoMatchingKeys => self.no_key(),
            error => damaged(&error.to_string()),
        };
        let mut plain = Vec::new();
        let decryptor = Decryptor::new_buffered(bytes).map_err(explain)?;
        let mut reader = decryptor.decrypt(identities).map_err(explain)?;
        reader.read_to_end(&mut plain).map_err(|error| damaged(&error.to_string()))?;
        Ok(plain)
    }

    fn no_key(&self) -> SealError {
        SealError::NoKey { keys: self.identities.len() + self.passphrases.len() }
    }
}

/// A store whose states are sealed. Locks are not: whoever waits must read who holds them.
pub struct SealedStore {
    store: Arc<dyn StateStore>,
    seal: Arc<Seal>,
}

impl SealedStore {
    /// Seals what goes into this store, and opens what comes out.
    pub fn new(store: Arc<dyn StateStore>, seal: Arc<Seal>) -> Self {
        Self { store, seal }
    }

    /// Runs a piece of the cipher's work, which may take a while, off the runtime's threads.
    async fn work(
        &self,
        operation: String,
        work: impl FnOnce(&Seal) -> Result<Vec<u8>, SealError> + Send + 'static,
    ) -> Result<Vec<u8>, StoreError> {
        let seal = Arc::clone(&self.seal);
        let done = tokio::task::spawn_blocking(move || work(&seal)).await;
        let detail = match done {
            Ok(Ok(bytes)) => return Ok(bytes),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        Err(StoreError::Refused { store: self.name(), operation, detail })
    }

    /// The bytes as the store gets them.
    async fn sealed<'a>(&self, key: &str, bytes: &'a [u8]) -> Result<Cow<'a, [u8]>, StoreError> {
        if !is_state(key) {
            return Ok(Cow::Borrowed(bytes));
        }
        let plain = bytes.to_vec();
        let seal = move |seal: &Seal| seal.close(&plain);
        self.work(format!("seal {key}"), seal).await.map(Cow::Owned)
    }
}

#[async_trait]
impl StateStore for SealedStore {
    fn name(&self) -> String {
        self.store.name()
    }

    async fn create(&self, key: &str, bytes: &[u8]) -> Result<Created, StoreError> {
        self.store.create(key, &self.sealed(key, bytes).await?).await
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        match self.store.get(key).await? {
            Some(bytes) if is_state(key) => {
                let open = move |seal: &Seal| seal.open(&bytes);
                self.work(format!("open {key}"), open).await.map(Some)
            }
            found => Ok(found),
        }
    }

    async fn list(&self, prefix: &str, limit: usize) -> Result<Vec<String>, StoreError> {
        self.store.list(prefix, limit).await
    }

    async fn put(&self, key: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.store.put(key, &self.sealed(key, bytes).await?).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.store.delete(key).await
    }
}

fn is_state(key: &str) -> bool {
    key.contains("/state/")
}

fn secret(text: &Secret) -> SecretString {
    SecretString::from(text.expose().to_owned())
}

fn recipient(at: usize, text: &str) -> Result<Box<dyn Recipient + Send + Sync>, SealError> {
    if let Ok(recipient) = text.parse::<age::x25519::Recipient>() {
        return Ok(Box::new(recipient));
    }
    match text.parse::<age::ssh::Recipient>() {
        Ok(recipient) => Ok(Box::new(recipient)),
        Err(_) => Err(SealError::Recipient { number: at + 1 }),
    }
}

/// What a key opens with; `None` for a passphrase.
fn identity(at: usize, text: &str) -> Result<Option<Box<dyn Identity + Send + Sync>>, SealError> {
    let unusable = |detail| SealError::Key { number: at + 1, detail };
    let text = text.trim();
    if text.starts_with(AGE_IDENTITY) {
        let identity: age::x25519::Identity = text.parse().map_err(unusable)?;
        return Ok(Some(Box::new(identity)));
    }
    if !text.starts_with("-----BEGIN ") {
        return Ok(None);
    }
    let text = format!("{text}\n");
    match age::ssh::Identity::from_buffer(text.as_bytes(), None) {
        Ok(identity @ age::ssh::Identity::Unencrypted(_)) => Ok(Some(Box::new(identity))),
        Ok(age::ssh::Identity::Encrypted(_)) => {
            Err(unusable("an encrypted private key cannot be asked for its passphrase here"))
        }
        Ok(age::ssh::Identity::Unsupported(_)) | Err(_) => {
            Err(unusable("no private key of a kind that opens (ed25519, rsa)"))
        }
    }
}

fn encrypt<'a>(
    recipients: impl Iterator<Item = &'a dyn Recipient>,
    plain: &[u8],
) -> Result<Vec<u8>, SealError> {
    let mut sealed = Vec::with_capacity(plain.len() + 512);
    let encryptor = Encryptor::with_recipients(recipients).map_err(|error| unsealable(&error))?;
    let failed = |error: std::io::Error| damaged(&error.to_string());
    let mut writer = encryptor.wrap_output(&mut sealed).map_err(failed)?;
    writer.write_all(plain).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(sealed)
}

fn unsealable(error: &EncryptError) -> SealError {
    damaged(&error.to_string())
}

fn damaged(detail: &str) -> SealError {
    SealError::Damaged { detail: detail.to_owned() }
}

#[cfg(test)]
mod tests {
    use age::secrecy::ExposeSecret as _;
    use seachange_core::secret::Secret;

    use seachange_core::spec::Encryption;

    use super::{Seal, SealError, is_sealed};

    fn nothing() -> Encryption {
        Encryption { passphrase: None, recipients: Vec::new(), keys: Vec::new(), required: false }
    }

    const TEXT: &[u8] = b"{\"format\":1}\n";

    fn passphrase(text: &str, keys: &[&str]) -> Seal {
        Seal::new(&Encryption {
            passphrase: Some(Secret::new(text)),
            keys: keys.iter().map(|text| Secret::new(*text)).collect(),
            ..nothing()
        })
        .unwrap()
    }

    #[test]
    fn a_passphrase_opens_what_it_sealed_and_is_rotated_without_a_flag_day() {
        let old = passphrase("old", &[]);
        let sealed = old.close(TEXT).unwrap();
        assert!(is_sealed(&sealed));
        assert_eq!(old.open(&sealed).as_deref(), Ok(TEXT));
        assert_eq!(passphrase("new", &[]).open(&sealed), Err(SealError::NoKey { keys: 1 }));
        let both = passphrase("new", &["old"]);
        assert_eq!(both.open(&sealed).as_deref(), Ok(TEXT));
        let fresh = both.close(TEXT).unwrap();
        assert_eq!(passphrase("new", &[]).open(&fresh).as_deref(), Ok(TEXT));
        assert!(old.open(&fresh).is_err(), "what is written after the rotation needs the new one");
    }

    #[test]
    fn every_recipient_opens_and_nobody_else() {
        let (one, two) = (age::x25519::Identity::generate(), age::x25519::Identity::generate());
        let stranger = age::x25519::Identity::generate();
        let seal = |opens: &age::x25519::Identity| {
            Seal::new(&Encryption {
                recipients: vec![one.to_public().to_string(), two.to_public().to_string()],
                keys: vec![Secret::new(opens.to_string().expose_secret())],
                ..nothing()
            })
            .unwrap()
        };
        let sealed = seal(&one).close(TEXT).unwrap();
        for opens in [&one, &two] {
            assert_eq!(seal(opens).open(&sealed).as_deref(), Ok(TEXT));
        }
        assert_eq!(seal(&stranger).open(&sealed), Err(SealError::NoKey { keys: 1 }));
    }

    #[test]
    fn a_changed_or_cut_text_is_refused() {
        let identity = age::x25519::Identity::generate();
        let keys = Encryption {
            recipients: vec![identity.to_public().to_string()],
            keys: vec![Secret::new(identity.to_string().expose_secret())],
            ..nothing()
        };
        let seal = Seal::new(&keys).unwrap();
        let sealed = seal.close(TEXT).unwrap();
        for at in [30, sealed.len() / 2, sealed.len() - 1] {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(seal.open(&changed).is_err(), "byte {at} was changed");
            assert!(seal.open(&sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn plain_text_is_read_until_encryption_is_required() {
        assert_eq!(passphrase("p", &[]).open(TEXT).as_deref(), Ok(TEXT));
        let keys = Encryption { passphrase: Some(Secret::new("p")), required: true, ..nothing() };
        assert_eq!(Seal::new(&keys).unwrap().open(TEXT), Err(SealError::Plain));
    }

    #[test]
    fn what_cannot_be_used_is_named_by_its_number_and_never_shown() {
        assert_eq!(Seal::new(&nothing()).unwrap_err(), SealError::NothingToSealWith);
        let keys = |recipients: &[&str], keys: &[&str]| Encryption {
            recipients: recipients.iter().map(|&text| text.to_owned()).collect(),
            keys: keys.iter().map(|&text| Secret::new(text)).collect(),
            ..nothing()
        };
        let wrong = Seal::new(&keys(&["age1nonsense"], &[])).unwrap_err();
        assert_eq!(wrong, SealError::Recipient { number: 1 });
        let good = age::x25519::Identity::generate().to_public().to_string();
        let wrong = Seal::new(&keys(&[&good], &["AGE-SECRET-KEY-1HUNTER2"])).unwrap_err();
        assert!(matches!(wrong, SealError::Key { number: 1, .. }));
        assert!(!wrong.to_string().contains("HUNTER2"));
    }
}
