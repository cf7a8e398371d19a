//! Objects as files: a folder a bucket, a file a key, which is percent-encoded and so leads nowhere else. One lock decides
//! who was first.

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
    pub(super) written: Timestamp,
    pub(super) etag: String,
    pub(super) size: u64,
}

/// On what a write depends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
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
        condition: Option<&Condition>,
    ) -> Result<String, Refusal> {
        let _decided = self.deciding.lock().unwrap_or_else(PoisonError::into_inner);
        condition.map_or(Ok(()), |condition| self.judge(bucket, key, condition))?;
        let path = self.path(bucket, key)?;
        std::fs::create_dir_all(self.folder.join(bucket))?;
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

    /// What is known of an object.
    pub(super) fn look(&self, bucket: &str, key: &str) -> Result<Option<Object>, Refusal> {
        let _decided = self.deciding.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(self.read(bucket, key)?.map(|(object, _)| object))
    }

    /// All keys in their order, but for those of objects that are younger than that.
    pub(super) fn keys(&self, bucket: &str, stale: Duration) -> Result<Vec<String>, Refusal> {
        let _decided = self.deciding.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = match std::fs::read_dir(self.folder.join(bucket)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let mut keys = Vec::new();
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_str().filter(|name| !name.starts_with('+'));
            let is_old = || {
                let written = entry.metadata()?.modified()?;
                let age = SystemTime::now().duration_since(written);
                std::io::Result::Ok(age.is_ok_and(|age| age >= stale))
            };
            if stale.is_zero() || is_old()? {
                keys.extend(name.map(decode));
            }
        }
        keys.sort_unstable();
        Ok(keys)
    }

    fn judge(&self, bucket: &str, key: &str, condition: &Condition) -> Result<(), Refusal> {
        let there = self.read(bucket, key)?;
        match (condition, there) {
            (Condition::Absent, None) => Ok(()),
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
        let size = bytes.len() as u64;
        Ok(Some((Object { written, etag: etag(&bytes), size }, bytes)))
    }

    fn path(&self, bucket: &str, key: &str) -> Result<PathBuf, Refusal> {
        // An encoded name has no `/`; these two have a meaning of their own.
        let name = match encode(key, true) {
            name if name == "." || name == ".." => name.replace('.', "%2E"),
            name => name,
        };
        if name.len() > LONGEST {
            return Err(Refusal::KEY_TOO_LONG);
        }
        Ok(self.folder.join(bucket).join(name))
    }
}

fn etag(bytes: &[u8]) -> String {
    hex(&Md5::digest(bytes))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Condition, Refusal, Shelf, etag};

    #[test]
    fn no_key_leads_out_of_its_bucket_or_to_another_key() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(folder.path().join("spaces"));
        let mut keys =
            [".", "..", "../../x", "/x", "a", "a/b", "a%2Fb", "%2E", "+new", "ä", "a\0b", "A"];
        for key in keys {
            shelf.put("one", key, key.as_bytes(), Some(&Condition::Absent)).unwrap();
        }
        for key in keys {
            assert_eq!(shelf.get("one", key).unwrap().1, key.as_bytes());
            assert!(matches!(shelf.get("two", key), Err(Refusal::NO_KEY)));
        }
        keys.sort_unstable();
        assert_eq!(shelf.keys("one", Duration::ZERO).unwrap(), keys);
        assert!(shelf.keys("one", Duration::from_secs(3600)).unwrap().is_empty());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        for _ in 0..2 {
            shelf.delete("one", "..").unwrap();
        }
        assert_eq!(shelf.keys("one", Duration::ZERO).unwrap().len(), keys.len() - 1);
        let long = shelf.put("one", &"x".repeat(300), b"", None);
        assert_eq!(long, Err(Refusal::KEY_TOO_LONG));
    }

    #[test]
    fn a_condition_decides() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(folder.path().to_owned());
        let put = |body: &[u8], condition| shelf.put("one", "k", body, Some(&condition)).is_ok();
        let is = |body: &[u8]| Condition::Matches(etag(body));
        assert!(!put(b"1", is(b"0")));
        assert!(put(b"1", Condition::Absent));
        assert!(!put(b"2", Condition::Absent));
        assert!(!put(b"2", is(b"0")));
        assert!(put(b"2", is(b"1")));
        assert_eq!(shelf.get("one", "k").unwrap().1, b"2");
    }
}
