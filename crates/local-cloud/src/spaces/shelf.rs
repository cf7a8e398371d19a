//! Objects as files: a folder a bucket, a file a key. One lock decides who was first.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use md5::{Digest as _, Md5};
use seachange_core::bootstrap::hex;

use super::answer::Refusal;
use super::signature::encode;
use crate::http::decode;

/// The longest name a file can have.
const LONGEST: usize = 250;

/// All objects of all buckets.
pub(super) struct Shelf {
    folder: PathBuf,
    deciding: Mutex<()>,
}

/// What is known of an object besides its bytes.
#[derive(Debug, Clone)]
pub(super) struct Object {
    pub(super) key: String,
    pub(super) written: Timestamp,
    pub(super) etag: String,
    pub(super) size: u64,
}

/// On what a write depends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    None,
    /// Nothing is there.
    Absent,
    /// What is there has this ETag.
    Matches(String),
}

impl Shelf {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, deciding: Mutex::default() }
    }

    pub(super) fn get(&self, bucket: &str, key: &str) -> Result<(Object, Vec<u8>), Refusal> {
        let _decided = self.deciding.lock().unwrap_or_else(PoisonError::into_inner);
        self.read(bucket, key)?.ok_or(Refusal::NO_KEY)
    }

    /// Writes, if the condition holds at that instant; the object's ETag.
    pub(super) fn put(
        &self,
        bucket: &str,
        key: &str,
        bytes: &[u8],
        condition: &Condition,
    ) -> Result<String, Refusal> {
        let _decided = self.deciding.lock().unwrap_or_else(PoisonError::into_inner);
        self.judge(bucket, key, condition)?;
        let path = self.path(bucket, key)?;
        std::fs::create_dir_all(self.folder.join(encode(bucket, true)))?;
        // No key has this name: an encoded one has no `+`.
        let beside = path.with_file_name("+new");
        std::fs::write(&beside, bytes)?;
        std::fs::rename(&beside, &path)?;
        Ok(etag(bytes))
    }

    /// Whether the condition holds now.
    pub(super) fn holds(
        &self,
        bucket: &str,
        key: &str,
        condition: &Condition,
    ) -> Result<(), Refusal> {
        let _decided = self.deciding.lock().unwrap_or_else(PoisonError::into_inner);
        self.judge(bucket, key, condition)
    }

    /// Deletes; what is not there is deleted already.
    pub(super) fn delete(&self, bucket: &str, key: &str) -> Result<(), Refusal> {
        let _decided = self.deciding.lock().unwrap_or_else(PoisonError::into_inner);
        match std::fs::remove_file(self.path(bucket, key)?) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// All objects in the order of their keys, but for those that are younger than that.
    pub(super) fn list(&self, bucket: &str, stale: Duration) -> Result<Vec<Object>, Refusal> {
        let _decided = self.deciding.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = match std::fs::read_dir(self.folder.join(encode(bucket, true))) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let mut keys = Vec::new();
        for entry in entries {
            let entry = entry?;
            let age = SystemTime::now().duration_since(entry.metadata()?.modified()?);
            let name = entry.file_name();
            let name = name.to_str().filter(|name| !name.starts_with('+'));
            if stale.is_zero() || age.is_ok_and(|age| age >= stale) {
                keys.extend(name.map(decode));
            }
        }
        keys.sort_unstable();
        let read = |key: &String| self.read(bucket, key).transpose();
        keys.iter().filter_map(read).map(|read| read.map(|(object, _)| object)).collect()
    }

    fn judge(&self, bucket: &str, key: &str, condition: &Condition) -> Result<(), Refusal> {
        let there = self.read(bucket, key)?;
        match (condition, there) {
            (Condition::None, _) | (Condition::Absent, None) => Ok(()),
            (Condition::Matches(etag), Some((object, _))) if object.etag == *etag => Ok(()),
            (Condition::Absent | Condition::Matches(_), _) => Err(Refusal::PRECONDITION_FAILED),
        }
    }

    fn read(&self, bucket: &str, key: &str) -> Result<Option<(Object, Vec<u8>)>, Refusal> {
        let path = self.path(bucket, key)?;
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let written = std::fs::metadata(&path)?.modified()?;
        let written = Timestamp::try_from(written).unwrap_or(Timestamp::UNIX_EPOCH);
        let (key, size) = (key.to_owned(), bytes.len() as u64);
        Ok(Some((Object { key, written, etag: etag(&bytes), size }, bytes)))
    }

    fn path(&self, bucket: &str, key: &str) -> Result<PathBuf, Refusal> {
        let (bucket, name) = (encode(bucket, true), encode(key, true));
        // An encoded name has no `/`; these two have a meaning of their own.
        let strange = |name: &str| name.len() > LONGEST || matches!(name, "." | "..");
        if strange(&bucket) || strange(&name) {
            return Err(Refusal::KEY_TOO_LONG);
        }
        Ok(self.folder.join(bucket).join(name))
    }
}

fn etag(bytes: &[u8]) -> String {
    hex(&Md5::digest(bytes))
}
