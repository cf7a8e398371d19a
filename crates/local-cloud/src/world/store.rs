//! Keeps a world in a folder: one file, replaced whole, under a lock that ends with the process.

use std::fs::{File, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Resources;

/// Why a folder cannot keep a world.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it.
    #[error("the world in {} is in use by another command", folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// The file system says no.
    #[error("cannot use {}", path.display())]
    Io {
        /// What was opened.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Another version wrote it.
    #[error(
        "the world in {} has format {found}, and this version keeps format {FORMAT}: begin anew with `seachange local reset`",
        path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// The file is no world.
    #[error("{} is no world that this version can read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: serde_json::Error,
    },
}

/// The format this version keeps. A world is for rehearsals: it is begun anew rather than carried over.
const FORMAT: u64 = 1;

#[derive(Serialize, Deserialize)]
struct Kept<R> {
    format: u64,
    saved_at: Timestamp,
    resources: R,
}

#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    format: u64,
}

/// A folder with a world.
pub(super) struct Store {
    path: PathBuf,
    _lock: File,
}

impl Store {
    /// Takes the folder, and reads what is in it.
    pub(super) fn open(
        folder: &Path,
    ) -> Result<(Self, Option<(Resources, Timestamp)>), StoreError> {
        let path = folder.join("world.json");
        let io = |at: &Path| {
            let path = at.to_owned();
            move |source| StoreError::Io { path, source }
        };
        std::fs::create_dir_all(folder).map_err(io(folder))?;
        let lock_path = folder.join("world.lock");
        let lock = File::create(&lock_path).map_err(io(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::InUse { folder: folder.to_owned() });
            }
            Err(TryLockError::Error(error)) => return Err(io(&lock_path)(error)),
        }
        let kept = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(io(&path)(error)),
            Ok(bytes) => Some(read(&path, &bytes)?),
        };
        Ok((Self { path, _lock: lock }, kept))
    }

    /// Replaces the file. A world that cannot be saved goes on in memory, and says so.
    pub(super) fn save(&self, resources: &Resources, saved_at: Timestamp) {
        let beside = self.path.with_extension("json.new");
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&beside)?;
            let kept = Kept { format: FORMAT, saved_at, resources };
            file.write_all(&serde_json::to_vec(&kept)?)?;
            std::fs::rename(&beside, &self.path)
        };
        if let Err(error) = write() {
            tracing::warn!(path = %self.path.display(), %error, "the local world was not saved");
        }
    }
}

fn read(path: &Path, bytes: &[u8]) -> Result<(Resources, Timestamp), StoreError> {
    let unreadable = |source| StoreError::Unreadable { path: path.to_owned(), source };
    let Head { format } = serde_json::from_slice(bytes).map_err(unreadable)?;
    if format != FORMAT {
        return Err(StoreError::Format { path: path.to_owned(), found: format });
    }
    let kept: Kept<Resources> = serde_json::from_slice(bytes).map_err(unreadable)?;
    Ok((kept.resources, kept.saved_at))
}
