//! The account: its limits, its SSH keys, and its allowance of requests.

use std::collections::VecDeque;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use md5::{Digest as _, Md5};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::refusal::{Answer, Refusal};
use super::{Inner, World};

/// The account's limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Most droplets at a time.
    pub droplets: u64,
    /// Most reserved IPs at a time.
    pub reserved_ips: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { droplets: 10_000, reserved_ips: 3 }
    }
}

/// An SSH key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Key {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Its text.
    pub public_key: String,
    /// MD5 fingerprint.
    pub fingerprint: String,
}

/// The requests of the last hour, to hold the documented limits.
#[derive(Debug, Default)]
pub(crate) struct Window {
    times: VecDeque<Instant>,
}

/// What the rate headers say of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allowance {
    pub(crate) limit: usize,
    pub(crate) remaining: usize,
    /// From now until the oldest request leaves the window.
    pub(crate) reset: Duration,
    /// The request is one too many; seconds to wait, if the minute is what is used up.
    pub(crate) refused: Option<Option<u64>>,
}

const HOUR: usize = 5_000;
const MINUTE: usize = 250;

impl Window {
    /// Counts a request.
    pub(crate) fn count(&mut self, limited: bool) -> Allowance {
        let now = Instant::now();
        let hour = Duration::from_secs(3600);
        while self.times.front().is_some_and(|time| now.duration_since(*time) >= hour) {
            self.times.pop_front();
        }
        let minute = Duration::from_secs(60);
        let recent: Vec<Instant> = self
            .times
            .iter()
            .rev()
            .take_while(|time| now.duration_since(**time) < minute)
            .copied()
            .collect();
        let reset = self.times.front().map_or(hour, |oldest| hour - now.duration_since(*oldest));
        let refused = match recent.last() {
            Some(oldest) if limited && recent.len() >= MINUTE => {
                Some(Some((minute - now.duration_since(*oldest)).as_secs() + 1))
            }
            _ if limited && self.times.len() >= HOUR => Some(None),
            _ => None,
        };
        if refused.is_none() {
            self.times.push_back(now);
        }
        let remaining = if matches!(refused, Some(Some(_))) {
            0
        } else {
            HOUR.saturating_sub(self.times.len())
        };
        Allowance { limit: HOUR, remaining, reset, refused }
    }
}

impl World {
    /// All keys.
    pub(crate) fn keys(&self) -> Vec<Key> {
        self.act(|inner, _| inner.resources.keys.values().cloned().collect())
    }

    /// A key by id or fingerprint. A lent fingerprint is a key that everybody has always had.
    pub(crate) fn key(&self, id: &str) -> Answer<Key> {
        self.act(|inner, _| {
            let known = inner
                .resources
                .keys
                .values()
                .find(|key| key.id.to_string() == id || key.fingerprint == id);
            let lent = || {
                let public_key = inner.config.lent_keys.get(id)?.clone();
                Some(Key { id: 1, name: "lent".to_owned(), public_key, fingerprint: id.to_owned() })
            };
            known.cloned().or_else(lent).ok_or_else(Refusal::not_found)
        })
    }

    /// Lends further fingerprints the key that stands in for those lent already, or else the account's first.
    pub(crate) fn lend_keys(&self, fingerprints: &[String]) {
        self.act(|inner, _| {
            let stand_in = inner.config.lent_keys.values().next().cloned();
            let own = || inner.resources.keys.values().next().map(|key| key.public_key.clone());
            let Some(public_key) = stand_in.or_else(own) else { return };
            let lent = fingerprints.iter().map(|found| (found.clone(), public_key.clone()));
            inner.config.lent_keys.extend(lent);
        });
    }

    /// Adds a key.
    pub(crate) fn add_key(&self, name: &str, public_key: &str) -> Answer<Key> {
        self.act(|inner, _| {
            let fingerprint = fingerprint(public_key).ok_or_else(|| {
                Refusal::unprocessable(
                    "Key invalid, key should be of the format `ssh-rsa AAAA... email`",
                )
            })?;
            if name.is_empty() {
                return Err(Refusal::unprocessable("Name can't be blank"));
            }
            if inner.resources.keys.values().any(|key| key.fingerprint == fingerprint) {
                return Err(Refusal::unprocessable("SSH Key is already in use on your account"));
            }
            let key = Key {
                id: inner.id(),
                name: name.to_owned(),
                public_key: public_key.to_owned(),
                fingerprint,
            };
            inner.resources.keys.insert(key.id, key.clone());
            inner.changed();
            Ok(key)
        })
    }

    /// Renames a key, by id or fingerprint.
    pub(crate) fn rename_key(&self, id: &str, name: &str) -> Answer<Key> {
        let key = self.key(id)?;
        self.act(|inner, _| {
            let key = inner.resources.keys.get_mut(&key.id).ok_or_else(Refusal::not_found)?;
            if name.is_empty() {
                return Err(Refusal::unprocessable("Name can't be blank"));
            }
            name.clone_into(&mut key.name);
            let renamed = key.clone();
            inner.changed();
            Ok(renamed)
        })
    }

    /// Removes a key, by id or fingerprint.
    pub(crate) fn remove_key(&self, id: &str) -> Answer<()> {
        let key = self.key(id)?;
        self.act(|inner, _| {
            inner.resources.keys.remove(&key.id).ok_or_else(Refusal::not_found)?;
            inner.changed();
            Ok(())
        })
    }

    /// The account's limits.
    pub(crate) fn limits(&self) -> Limits {
        self.act(|inner, _| inner.config.limits)
    }
}

impl Inner {
    /// The text of a key named by id or fingerprint.
    pub(super) fn public_key(&self, id: &str) -> Option<String> {
        let known = self
            .resources
            .keys
            .values()
            .find(|key| key.id.to_string() == id || key.fingerprint == id);
        known.map(|key| key.public_key.clone()).or_else(|| self.config.lent_keys.get(id).cloned())
    }
}

/// MD5 over the key's bytes, in pairs.
pub fn fingerprint(public_key: &str) -> Option<String> {
    let mut words = public_key.split_whitespace();
    let kind = words.next()?;
    let bytes = BASE64_STANDARD.decode(words.next()?).ok()?;
    let sound = kind.starts_with("ssh-") || kind.starts_with("ecdsa-");
    let pairs: Vec<String> = Md5::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    (sound && bytes.len() > 32).then(|| pairs.join(":"))
}
