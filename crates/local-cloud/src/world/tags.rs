//! Tags: the first spelling wins, comparison is without case, and a path needs the first spelling.

use seachange_core::cloud::DropletId;
use serde::{Deserialize, Serialize};

use super::refusal::{Answer, Refusal};
use super::{Inner, World};

/// A tag.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Tag {
    /// As it was first written.
    pub name: String,
}

impl World {
    /// Creates a tag, or answers the one that is there in its own spelling.
    pub(crate) fn create_tag(&self, name: &str) -> Answer<Tag> {
        self.act(|inner, _| {
            let name = inner.canonical_tag(name).map_err(|_| Refusal::bad_tag(name))?;
            inner.changed();
            Ok(Tag { name })
        })
    }

    /// All tags.
    pub(crate) fn tags(&self) -> Vec<(Tag, Vec<DropletId>)> {
        self.act(|inner, _| {
            inner
                .resources
                .tags
                .values()
                .map(|tag| (tag.clone(), inner.tagged(&tag.name)))
                .collect()
        })
    }

    /// One tag, by its first spelling.
    pub(crate) fn tag(&self, name: &str) -> Answer<(Tag, Vec<DropletId>)> {
        self.act(|inner, _| {
            let tag = inner.exact_tag(name)?;
            Ok((tag, inner.tagged(name)))
        })
    }

    /// Puts a tag on droplets, or takes it off.
    pub(crate) fn mark(&self, name: &str, ids: &[DropletId], on: bool) -> Answer<()> {
        self.act(|inner, _| {
            let tag = inner.exact_tag(name)?.name;
            if !ids.iter().all(|id| inner.resources.droplets.contains_key(id)) {
                return Err(Refusal::not_found());
            }
            for id in ids {
                let Some(droplet) = inner.resources.droplets.get_mut(id) else { continue };
                droplet.tags.retain(|found| *found != tag);
                if on {
                    droplet.tags.push(tag.clone());
                }
            }
            inner.changed();
            Ok(())
        })
    }

    /// Deletes a tag, thereby taking it off everything.
    pub(crate) fn delete_tag(&self, name: &str) -> Answer<()> {
        self.act(|inner, _| {
            let tag = inner.exact_tag(name)?.name;
            inner.resources.tags.remove(&tag.to_ascii_lowercase());
            for droplet in inner.resources.droplets.values_mut() {
                droplet.tags.retain(|found| *found != tag);
            }
            inner.changed();
            Ok(())
        })
    }
}

impl Inner {
    /// The account's spelling of a tag, which is this one if it is new.
    pub(super) fn canonical_tag(&mut self, name: &str) -> Answer<String> {
        if !is_sound(name) {
            return Err(unsound());
        }
        let tag = self
            .resources
            .tags
            .entry(name.to_ascii_lowercase())
            .or_insert_with(|| Tag { name: name.to_owned() });
        Ok(tag.name.clone())
    }

    fn exact_tag(&self, name: &str) -> Answer<Tag> {
        let found =
            self.resources.tags.get(&name.to_ascii_lowercase()).filter(|tag| tag.name == name);
        found.cloned().ok_or_else(Refusal::not_found)
    }

    fn tagged(&self, name: &str) -> Vec<DropletId> {
        let droplets = self.resources.droplets.values();
        droplets
            .filter(|droplet| droplet.tags.iter().any(|tag| tag == name))
            .map(|droplet| droplet.id)
            .collect()
    }
}

/// Whether it can be a tag.
pub(super) fn is_sound(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || ":-_".contains(c))
}

/// What is said of one that cannot.
pub(super) fn unsound() -> Refusal {
    Refusal::unprocessable("Tags may contain letters, numbers, colons, dashes, and underscores.")
}
