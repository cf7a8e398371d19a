//! Tags and their spelling.
//!
//! The account keeps a tag as it was first written and compares without case, but a URL must have the first writing:
//! an account with `prod` answers 404 to `/v2/tags/PROD`. So our spelling is tried first, which is right nearly
//! always and costs nothing; only a 404 makes us ask, and what was learned is kept.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use seachange_core::cloud::{CloudError, DropletId};

use crate::pages;
use crate::request::tags;
use crate::transport::Transport;

/// The account's spellings as far as they were learned, by their lower case.
#[derive(Debug, Default)]
pub(super) struct Spellings(Mutex<BTreeMap<String, String>>);

impl Spellings {
    /// The account's spelling if it was learned, else ours.
    pub(super) fn known(&self, tag: &str) -> String {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&tag.to_ascii_lowercase()).map_or_else(|| tag.to_owned(), Clone::clone)
    }

    fn learn(&self, name: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(name.to_ascii_lowercase(), name.to_owned());
    }

    fn forget(&self, tag: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(&tag.to_ascii_lowercase());
    }
}

/// One request if the tag is there under this spelling, else three: the second creates the tag or tells its spelling.
pub(super) async fn tag(
    transport: &Transport,
    spellings: &Spellings,
    tag: &str,
    ids: &[DropletId],
) -> Result<(), CloudError> {
    if ids.is_empty() {
        return Ok(());
    }
    match transport.send(&tags::tag(&spellings.known(tag), ids)).await {
        Err(CloudError::NotFound { .. }) => {}
        other => return other.map(drop),
    }
    let create = tags::create(tag);
    let name = transport.send(&create).await?.into_one(&create)?.name;
    spellings.learn(&name);
    transport.send(&tags::tag(&name, ids)).await.map(drop)
}

/// One request if the tag is there under this spelling.
pub(super) async fn untag(
    transport: &Transport,
    spellings: &Spellings,
    tag: &str,
    ids: &[DropletId],
) -> Result<(), CloudError> {
    if ids.is_empty() {
        return Ok(());
    }
    let first = spellings.known(tag);
    match transport.send(&tags::untag(&first, ids)).await {
        Err(CloudError::NotFound { .. }) => {}
        other => return other.map(drop),
    }
    // Another spelling, or a droplet that is gone and has taken its tags along: the others must still lose theirs.
    match look_up(transport, spellings, tag).await? {
        Some(name) => each(transport, &name, ids).await,
        None => Ok(()),
    }
}

/// One request if the tag is there under this spelling.
pub(super) async fn delete(
    transport: &Transport,
    spellings: &Spellings,
    tag: &str,
) -> Result<(), CloudError> {
    let first = spellings.known(tag);
    let mut outcome = transport.send(&tags::delete(&first)).await;
    if matches!(outcome, Err(CloudError::NotFound { .. }))
        && let Some(name) = look_up(transport, spellings, tag).await?
        && name != first
    {
        outcome = transport.send(&tags::delete(&name)).await;
    }
    match outcome {
        Ok(_) | Err(CloudError::NotFound { .. }) => {
            spellings.forget(tag);
            Ok(())
        }
        Err(error) => Err(error),
    }
}

async fn each(transport: &Transport, tag: &str, ids: &[DropletId]) -> Result<(), CloudError> {
    for id in ids {
        match transport.send(&tags::untag(tag, &[*id])).await {
            Ok(_) | Err(CloudError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The account's own spelling of a tag; `None` if it has no such tag in any spelling.
async fn look_up(
    transport: &Transport,
    spellings: &Spellings,
    tag: &str,
) -> Result<Option<String>, CloudError> {
    let all = pages::all(transport, tags::page).await?;
    let found = all.into_iter().find(|candidate| candidate.name.eq_ignore_ascii_case(tag));
    match &found {
        Some(found) => spellings.learn(&found.name),
        None => spellings.forget(tag),
    }
    Ok(found.map(|found| found.name))
}
