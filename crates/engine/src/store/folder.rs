//! A store in a folder: one file per key, readable by any tool.
//!
//! A create writes a temporary file beside the target, makes it durable, and gives it its name by a hard link, which
//! fails if the name is taken: whoever reads a name reads a whole object, and of any number of rivals one wins. File
//! and folder are made durable before the answer, so that an answered create survives a power cut.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use seachange_core::store::{Created, StateStore, StoreError};

/// Files whose names begin so are not objects.
const TEMPORARY: &str = ".new-";

/// Objects as files below a folder.
#[derive(Debug, Clone)]
pub struct FolderStore {
    root: PathBuf,
}

impl FolderStore {
    /// A store in this folder, which is made when the first object is.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Runs a blocking piece of work on the thread pool. What it fails with left nothing behind under the key.
    async fn blocking<T: Send + 'static>(
        &self,
        operation: String,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let refused = |detail: String| StoreError::Refused {
            store: self.name(),
            operation: operation.clone(),
            detail,
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result.map_err(|error| refused(error.to_string())),
            Err(lost) => Err(StoreError::Unknown {
                store: self.name(),
                operation: operation.clone(),
                detail: lost.to_string(),
            }),
        }
    }
}

#[async_trait]
impl StateStore for FolderStore {
    fn name(&self) -> String {
        self.root.display().to_string()
    }

    async fn create(&self, key: &str, bytes: &[u8]) -> Result<Created, StoreError> {
        let (path, bytes) = (self.root.join(key), bytes.to_vec());
        self.blocking(format!("create {key}"), move || {
            let temporary = write_beside(&path, &bytes)?;
            let linked = fs::hard_link(&temporary, &path);
            fs::remove_file(&temporary)?;
            match linked {
                Ok(()) => sync_folder(&path).map(|()| Created::Yes),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Created::Taken),
                Err(error) => Err(error),
            }
        })
        .await
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.root.join(key);
        self.blocking(format!("get {key}"), move || match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if absent(&error) => Ok(None),
            Err(error) => Err(error),
        })
        .await
    }

    async fn list(&self, prefix: &str, limit: usize) -> Result<Vec<String>, StoreError> {
        let (root, prefix) = (self.root.clone(), prefix.to_owned());
        self.blocking(format!("list {prefix}"), move || {
            let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
            let mut keys = Vec::new();
            collect(&root, folder, &mut keys)?;
            keys.retain(|key| key.starts_with(&prefix));
            keys.sort_unstable();
            keys.truncate(limit);
            Ok(keys)
        })
        .await
    }

    async fn put(&self, key: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let (path, bytes) = (self.root.join(key), bytes.to_vec());
        self.blocking(format!("put {key}"), move || {
            let temporary = write_beside(&path, &bytes)?;
            fs::rename(&temporary, &path)?;
            sync_folder(&path)
        })
        .await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let path = self.root.join(key);
        self.blocking(format!("delete {key}"), move || match fs::remove_file(&path) {
            Ok(()) => sync_folder(&path),
            Err(error) if absent(&error) => Ok(()),
            Err(error) => Err(error),
        })
        .await
    }
}

/// Writes the bytes durably to a new file in the path's folder and answers its name.
fn write_beside(path: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let folder = folder_of(path);
    make_folder(folder)?;
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let temporary = folder.join(format!("{TEMPORARY}{}-{number}", std::process::id()));
    // A process of the same number may have died here; its file belongs to nobody.
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(temporary)
}

/// Makes the folder and every missing one above it, each durable in its parent.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder_of(folder);
    if parent != folder {
        make_folder(parent)?;
    }
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => sync_folder(folder),
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => path,
    }
}

/// Adds every object's key below `folder`, which is a key's leading part or empty.
fn collect(root: &Path, folder: &str, keys: &mut Vec<String>) -> io::Result<()> {
    let entries = match fs::read_dir(root.join(folder)) {
        Ok(entries) => entries,
        Err(error) if absent(&error) => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| !name.starts_with(TEMPORARY)) else {
            continue;
        };
        let key = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
        if entry.file_type()?.is_dir() {
            collect(root, &key, keys)?;
        } else {
            keys.push(key);
        }
    }
    Ok(())
}

fn absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
