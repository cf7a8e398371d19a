//! The local cloud a command works on: served by this process, or by another one whose guest this process is.

use std::path::Path;
use std::time::Duration;

use seachange_core::secret::Secret;
use seachange_local_cloud::join::{self, Guest};
use seachange_local_cloud::serve::{ServeConfig, ServeError, Serving, serve};
use seachange_local_cloud::spaces::Access;
use seachange_local_cloud::world::StoreError;

use crate::failure::{Failure, Result};

/// How long another process may take to open its doors, or to close them.
const OPENING: Duration = Duration::from_secs(5);

/// A world on this machine, open as long as this value is kept.
pub(crate) enum World {
    /// This process serves it.
    Served(Box<Serving>),
    /// Another process does.
    Joined(Box<Guest>),
}

impl World {
    /// Serves the world of a folder, or joins whoever serves it. The fingerprints shall count as keys of the account.
    pub(crate) async fn enter(folder: &Path, fingerprints: &[String]) -> Result<Self> {
        let failed = |error: &(dyn std::error::Error + 'static)| {
            Failure::of(error)
                .while_(format!("the local cloud in {} cannot be started", folder.display()))
        };
        let began = tokio::time::Instant::now();
        loop {
            let mut config = ServeConfig::in_folder(folder.to_owned());
            config.extra_key_fingerprints = fingerprints.to_vec();
            let in_use = match serve(config).await {
                Ok(serving) => return Ok(Self::Served(Box::new(serving))),
                Err(error @ ServeError::Store(StoreError::InUse { .. })) => error,
                Err(error) => {
                    return Err(failed(&error).help("to begin anew: seachange local reset"));
                }
            };
            match join::join(folder, fingerprints).await {
                Ok(Some(guest)) => return Ok(Self::Joined(Box::new(guest))),
                Ok(None) if began.elapsed() < OPENING => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Ok(None) => return Err(failed(&in_use).help(busy(folder))),
                Err(error) => return Err(failed(&error).help(busy(folder))),
            }
        }
    }

    pub(crate) fn api_url(&self) -> &str {
        match self {
            Self::Served(serving) => &serving.api_url,
            Self::Joined(guest) => &guest.note.api_url,
        }
    }

    pub(crate) fn registry_url(&self) -> &str {
        match self {
            Self::Served(serving) => &serving.registry_url,
            Self::Joined(guest) => &guest.note.registry_url,
        }
    }

    pub(crate) fn token(&self) -> &Secret {
        match self {
            Self::Served(serving) => &serving.token,
            Self::Joined(guest) => &guest.token,
        }
    }

    pub(crate) fn ssh_private_key(&self) -> &Secret {
        match self {
            Self::Served(serving) => &serving.ssh_private_key,
            Self::Joined(guest) => &guest.ssh_private_key,
        }
    }

    pub(crate) fn spaces(&self) -> &Access {
        match self {
            Self::Served(serving) => &serving.spaces,
            Self::Joined(guest) => &guest.spaces,
        }
    }

    pub(crate) fn port_offset(&self) -> u16 {
        match self {
            Self::Served(serving) => serving.port_offset,
            Self::Joined(guest) => guest.note.port_offset,
        }
    }

    /// Leaves it. Whoever serves it stays until the last guest has left.
    pub(crate) async fn leave(self) {
        if let Self::Served(serving) = self {
            serving.shutdown().await;
        }
    }
}

/// What to do about a world that another process has.
pub(crate) fn busy(folder: &Path) -> String {
    match join::served_by(folder) {
        Some(note) => format!(
            "process {} serves it at {}: stop that one first (kill {}), or use its world with --local",
            note.process, note.api_url, note.process
        ),
        None => {
            "another command is just beginning or ending: run the same command again".to_owned()
        }
    }
}
