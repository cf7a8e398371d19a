//! The bytes of one commit: a line about the commit, then the state's own file.
//!
//! The first line is what the log needs to know without reading the state: whose commit it is and on what it builds.
//! The rest is exactly what core's state file says, so that a person can cut it off and use it.

use jiff::Timestamp;
use seachange_core::state::{State, file};
use serde::{Deserialize, Serialize};

use crate::seal::is_sealed;

/// The newest envelope this version writes.
const FORMAT: u32 = 1;

/// What is said about a commit beside its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Format of this line.
    log: u32,
    /// Serial it builds on.
    pub parent: u64,
    /// Epoch of the lock it was written under.
    pub epoch: u64,
    /// Proof of authorship after a lost answer.
    pub nonce: String,
    /// When, by the writer's clock.
    pub at: Timestamp,
    /// Who: user, host or CI job.
    pub by: String,
}

/// A state as the log holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// What is said about it.
    pub envelope: Envelope,
    /// The state, with its serial.
    pub state: State,
}

/// Why bytes are no commit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// The first line is not one this version wrote.
    #[error("not a readable commit: {detail}")]
    Envelope {
        /// Where and why.
        detail: String,
    },
    /// It was encrypted, and nothing was given to open it with.
    #[error("it is encrypted, and no key was given")]
    Sealed,
    /// Written by a newer version.
    #[error("log format {found} is newer than the newest this version knows ({FORMAT})")]
    Newer {
        /// The format found.
        found: u32,
    },
    /// The state below it.
    #[error(transparent)]
    State(#[from] file::ReadError),
}

impl Envelope {
    /// What this version says about a commit.
    pub fn new(parent: u64, epoch: u64, nonce: String, at: Timestamp, by: String) -> Self {
        Self { log: FORMAT, parent, epoch, nonce, at, by }
    }
}

/// The bytes of a commit.
pub fn write(commit: &Commit) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(&commit.envelope).unwrap_or_default();
    bytes.push(b'\n');
    bytes.extend(file::write(&commit.state));
    bytes
}

/// A commit from its bytes.
pub fn read(bytes: &[u8]) -> Result<Commit, CommitError> {
    if is_sealed(bytes) {
        return Err(CommitError::Sealed);
    }
    let end = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len());
    let envelope = read_envelope(&bytes[..end])?;
    let state = file::read(&bytes[end..])?;
    Ok(Commit { envelope, state })
}

fn read_envelope(line: &[u8]) -> Result<Envelope, CommitError> {
    #[derive(Deserialize)]
    struct Head {
        log: u32,
    }
    let malformed = |error: serde_json::Error| CommitError::Envelope { detail: error.to_string() };
    let head: Head = serde_json::from_slice(line).map_err(malformed)?;
    if head.log > FORMAT {
        return Err(CommitError::Newer { found: head.log });
    }
    serde_json::from_slice(line).map_err(malformed)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use seachange_core::state::State;

    use super::{Commit, CommitError, Envelope, read, write};

    #[test]
    fn a_commit_reads_back_and_a_torn_or_newer_one_is_refused() {
        let envelope = Envelope::new(6, 2, "n".to_owned(), Timestamp::UNIX_EPOCH, "ci".to_owned());
        let commit = Commit { envelope, state: State::empty("l", "webgui") };
        let bytes = write(&commit);
        assert_eq!(bytes.iter().filter(|&&byte| byte == b'\n').count(), 2);
        assert_eq!(read(&bytes).as_ref(), Ok(&commit));
        for cut in [0, 1, bytes.len() / 3, bytes.len() - 3] {
            assert!(read(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        let newer = String::from_utf8(bytes).unwrap().replacen("\"log\":1", "\"log\":2", 1);
        assert_eq!(read(newer.as_bytes()), Err(CommitError::Newer { found: 2 }));
    }
}
