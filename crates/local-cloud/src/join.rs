//! A world that another process serves: how a second command finds it, and why it is not left standing there.
//!
//! Beside a served world lies a note of where its doors are. Guests hold a shared lock for as long as they use them, and
//! whoever serves closes only when it can have that lock alone. A killed process leaves its note behind but not its locks,
//! and the next one to serve the world writes a new note: so a note counts only while the world is locked.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

use seachange_core::secret::Secret;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::serve::Identity;
use crate::spaces::Access;

const NOTE: &str = "served.json";
const GUESTS: &str = "guests.lock";
/// A door on this machine answers at once, or nobody is behind it.
const ANSWER: Duration = Duration::from_secs(5);

/// Who serves a world, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The process.
    pub process: u32,
    /// Its API.
    pub api_url: String,
    /// Its image registry.
    pub registry_url: String,
    /// Its Spaces.
    pub spaces_url: String,
    /// Added to ports below 1024.
    pub port_offset: u16,
}

/// A stay in a world that another process serves. It stays open until this value is dropped.
#[derive(Debug)]
pub struct Guest {
    /// Where everything is.
    pub note: Note,
    /// The token the API takes.
    pub token: Secret,
    /// The key every droplet lets in.
    pub ssh_private_key: Secret,
    /// Where its Spaces are, and the keys for them.
    pub spaces: Access,
    _stay: File,
}

/// Joins the world of a folder with keys of these fingerprints; `None` if nobody serves it at this moment.
pub async fn join(folder: &Path, fingerprints: &[String]) -> std::io::Result<Option<Guest>> {
    let stay = File::create(folder.join(GUESTS))?;
    // Whoever serves holds it alone only for its last moment.
    stay.lock_shared()?;
    let Some(note) = served_by(folder) else { return Ok(None) };
    let identity: Identity = read(&folder.join("identity.json"))?;
    lend(&note, fingerprints).await?;
    Ok(Some(Guest {
        spaces: Access::new(note.spaces_url.clone(), identity.spaces),
        token: Secret::new(identity.token),
        ssh_private_key: Secret::new(identity.ssh_private_key),
        note,
        _stay: stay,
    }))
}

/// Who serves the world of a folder, if anybody does and its doors are open.
pub fn served_by(folder: &Path) -> Option<Note> {
    let lock = File::open(folder.join("world.lock")).ok()?;
    match lock.try_lock_shared() {
        Err(TryLockError::WouldBlock) => read(&folder.join(NOTE)).ok(),
        Ok(()) | Err(TryLockError::Error(_)) => None,
    }
}

/// Leaves the note, once the doors are open.
pub(crate) fn invite(folder: &Path, note: &Note) -> std::io::Result<()> {
    let beside = folder.join("served.json.new");
    std::fs::write(&beside, serde_json::to_vec(note)?)?;
    std::fs::rename(&beside, folder.join(NOTE))
}

/// Waits until the last guest is gone and takes the note away. Nobody comes in while the value is kept.
pub(crate) async fn last_out(folder: &Path) -> Option<File> {
    let folder = folder.to_owned();
    let waiting = tokio::task::spawn_blocking(move || {
        let door = File::create(folder.join(GUESTS))?;
        door.lock()?;
        std::fs::remove_file(folder.join(NOTE))?;
        Ok::<_, std::io::Error>(door)
    });
    match waiting.await {
        Ok(Ok(door)) => Some(door),
        Ok(Err(error)) => {
            tracing::warn!(%error, "whether others use the local world is not known");
            None
        }
        Err(_) => None,
    }
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> std::io::Result<T> {
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

/// Has the world take these fingerprints for its own key.
async fn lend(note: &Note, fingerprints: &[String]) -> std::io::Result<()> {
    let address = note.api_url.trim_start_matches("http://");
    let body = serde_json::to_string(fingerprints)?;
    let asked = async {
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        let head = format!(
            "POST /_local/lent_keys HTTP/1.1\r\nhost: {address}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer.starts_with("HTTP/1.1 204"))
    };
    match tokio::time::timeout(ANSWER, asked).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(std::io::Error::other("its API refuses another command's keys")),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
    }
}
