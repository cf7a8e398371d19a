//! The boundary to where states are kept: a create-only store of small objects.
//!
//! Only creations decide. A commit of the state is the creation of `state/SERIAL`; holding the lock is the creation
//! of `lock/EPOCH`. Nothing is overwritten but a holder's own heartbeat, and nothing is deleted but long-gone serials.
//! The protocol lives in the engine, once, over these few verbs; a backend is a folder, memory, or a Space.

use async_trait::async_trait;

/// What a create did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// The object is ours: it was created with these bytes, durably.
    Yes,
    /// Somebody's object was there first; it is untouched.
    Taken,
}

/// What went wrong with the store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Credentials, bucket, permissions, disk: nothing was written.
    #[error("the state store {store} refused {operation}: {detail}")]
    Refused {
        /// Which store, as a person would name it.
        store: String,
        /// Verb and key.
        operation: String,
        /// The store's words.
        detail: String,
    },
    /// The outcome of a write is not known. Read the key back.
    #[error(
        "the state store {store} did not answer {operation}: it may or may not have been done: {detail}"
    )]
    Unknown {
        /// Which store.
        store: String,
        /// Verb and key.
        operation: String,
        /// What was seen.
        detail: String,
    },
}

/// Small objects under keys. Keys are ASCII path segments joined by `/`.
#[async_trait]
pub trait StateStore: Send + Sync {
    /// How a person would name this store (a path or a bucket).
    fn name(&self) -> String;
    /// Creates the object if the key is free; of any number of rivals exactly one gets `Yes`. Never retried inside.
    async fn create(&self, key: &str, bytes: &[u8]) -> Result<Created, StoreError>;
    /// The object's bytes, `None` if there is none. Sees every create that was answered before it was called.
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError>;
    /// The first `limit` keys below the prefix, in ascending byte order.
    async fn list(&self, prefix: &str, limit: usize) -> Result<Vec<String>, StoreError>;
    /// Writes the object whether or not it is there. Only for a holder's own heartbeat and release mark.
    async fn put(&self, key: &str, bytes: &[u8]) -> Result<(), StoreError>;
    /// Deletes the object. Only for pruning far below the head. An absent one is success.
    async fn delete(&self, key: &str) -> Result<(), StoreError>;
}
