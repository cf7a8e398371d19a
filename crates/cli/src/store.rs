//! Where a stack's states are kept: named by the spec, reached with keys from the environment.

use std::path::Path;
use std::sync::Arc;

use seachange_core::spec::{Spec, StateLocation};
use seachange_core::store::StateStore;
use seachange_digitalocean::space::{Credentials, Space, SpaceConfig};
use seachange_engine::store::Log;
use seachange_engine::store::folder::FolderStore;

use crate::env;
use crate::failure::{Failure, Result};
use crate::session::LOCAL_FOLDER;
use crate::source::Source;

/// The store the spec names. No request is sent.
pub(crate) fn open(spec: &Spec) -> Result<Arc<dyn StateStore>> {
    match &spec.state {
        StateLocation::Local { path } => Ok(folder(Path::new(path))),
        StateLocation::Spaces { bucket, region, endpoint, prefix, path_style } => {
            let credentials = env::spaces_key().ok_or_else(|| {
                let (first, second) = (env::SPACES_KEY, env::AWS_KEY);
                Failure::new(format!(
                    "no key for the Space `{bucket}`: neither {} and {} nor {} and {} are set",
                    first[0], first[1], second[0], second[1]
                ))
                .help(format!(
                    "export {}=… {}=… (cloud.digitalocean.com/account/api/spaces), or add --local to rehearse without an account",
                    first[0], first[1]
                ))
            })?;
            let config = SpaceConfig {
                bucket: bucket.clone(),
                // What is signed must name some region; stores that have none take this one.
                region: region.clone().unwrap_or_else(|| "us-east-1".to_owned()),
                endpoint: endpoint.clone(),
                prefix: prefix.clone(),
                path_style: *path_style,
            };
            space(&config, credentials)
        }
    }
}

/// The log of the stack a command is about, for commands that need nothing else: no token, no key, no cloud.
pub(crate) fn log(source: &Source) -> Result<Log> {
    let store = match source.local {
        true => folder(&Path::new(LOCAL_FOLDER).join("state")),
        false => open(&source.spec)?,
    };
    Ok(Log::new(store, &source.spec.stack))
}

/// A bucket.
fn space(config: &SpaceConfig, credentials: Credentials) -> Result<Arc<dyn StateStore>> {
    let space = Space::connect(config, credentials).map_err(|error| Failure::of(&error))?;
    Ok(Arc::new(space))
}

/// A folder.
pub(crate) fn folder(path: &Path) -> Arc<dyn StateStore> {
    Arc::new(FolderStore::new(path))
}
