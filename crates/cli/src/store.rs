//! Where a stack's states are kept: named by the spec, reached with keys from the environment, sealed if the spec says so.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use seachange_core::spec::{Spec, StateLocation};
use seachange_core::state::{State, file};
use seachange_core::store::StateStore;
use seachange_digitalocean::space::{Credentials, Space, SpaceConfig};
use seachange_engine::context::Ids;
use seachange_engine::seal::{Seal, SealError, SealedStore, is_sealed};
use seachange_engine::store::folder::FolderStore;
use seachange_engine::store::{Log, ProbeError, probe};
use seachange_local_cloud::spaces::Access;

use crate::args::SpecArguments;
use crate::env;
use crate::failure::{Context as _, Failure, Result};
use crate::output::Printer;
use crate::session::LOCAL_FOLDER;
use crate::source::{Need, Source};
use crate::world::World;

/// Signed where a store has no regions.
const NO_REGION: &str = "us-east-1";

/// Does something at the place of a stack's states, for commands that need nothing else: no token, and no way to a droplet.
/// With `--local` its world is open for as long.
pub(crate) async fn visit<T>(
    arguments: &SpecArguments,
    printer: Printer,
    act: impl AsyncFnOnce(&Place, &Log) -> Result<T>,
) -> Result<T> {
    let Source { spec, local, .. } = Source::read(arguments, Need::Access, printer)?;
    if !local {
        let place = Place::of(&spec)?;
        return act(&place, &place.log(&spec.stack)).await;
    }
    let folder = Path::new(LOCAL_FOLDER);
    let world = World::enter(folder, &[]).await?;
    let done = async {
        let place = Place::on(&world, folder, &spec)?;
        act(&place, &place.log(&spec.stack)).await
    };
    let done = done.await;
    world.leave().await;
    done
}

/// A place for states.
pub(crate) struct Place {
    /// With everything in it as it is on the wire.
    bare: Arc<dyn StateStore>,
    /// The same, if it is a bucket: whether it can be trusted has to be found out.
    space: Option<Arc<Space>>,
    seal: Option<Arc<Seal>>,
}

impl Place {
    /// The place the spec names. No request is sent.
    pub(crate) fn of(spec: &Spec) -> Result<Self> {
        match &spec.state {
            StateLocation::Local { path } => Self::folder(Path::new(path), spec),
            StateLocation::Spaces { bucket, .. } => {
                let credentials = env::spaces_key().ok_or_else(|| no_key(bucket))?;
                Self::space(spec, env::get(env::SPACES_ENDPOINT), credentials)
            }
        }
    }

    /// The same on a local cloud: a real bucket is never touched.
    pub(crate) fn on(world: &World, folder: &Path, spec: &Spec) -> Result<Self> {
        match &spec.state {
            StateLocation::Local { .. } => Self::folder(&folder.join("state"), spec),
            StateLocation::Spaces { .. } => {
                let Access { endpoint, id, key, .. } = world.spaces();
                let credentials = Credentials { id: id.clone(), key: key.clone() };
                Self::space(spec, Some(endpoint.clone()), credentials)
            }
        }
    }

    /// The spec's bucket, perhaps in another store than the spec names.
    fn space(spec: &Spec, elsewhere: Option<String>, credentials: Credentials) -> Result<Self> {
        match &spec.state {
            StateLocation::Local { path } => Self::folder(Path::new(path), spec),
            StateLocation::Spaces { bucket, region, endpoint, prefix, path_style } => {
                let config = SpaceConfig {
                    bucket: bucket.clone(),
                    region: region.clone().unwrap_or_else(|| NO_REGION.to_owned()),
                    path_style: *path_style || elsewhere.is_some(),
                    endpoint: elsewhere.or_else(|| endpoint.clone()),
                    prefix: prefix.clone(),
                };
                let space =
                    Space::connect(&config, credentials).map_err(|error| Failure::of(&error))?;
                let space = Arc::new(space);
                let bare = Arc::clone(&space) as Arc<dyn StateStore>;
                Ok(Self { bare, space: Some(space), seal: seal(spec)? })
            }
        }
    }

    /// A folder.
    pub(crate) fn folder(path: &Path, spec: &Spec) -> Result<Self> {
        Ok(Self { bare: Arc::new(FolderStore::new(path)), space: None, seal: seal(spec)? })
    }

    /// A stack's log there.
    pub(crate) fn log(&self, stack: &str) -> Log {
        let store = match &self.seal {
            Some(seal) => Arc::new(SealedStore::new(Arc::clone(&self.bare), Arc::clone(seal))),
            None => Arc::clone(&self.bare),
        };
        Log::new(store, stack)
    }

    /// Finds out by racing whether the store honours conditional writes. A folder is known to.
    pub(crate) async fn probe(&self, races: usize, ids: &dyn Ids) -> Result<()> {
        let Some(space) = &self.space else { return Ok(()) };
        match probe(&*self.bare, races, ids).await {
            Ok(()) => Ok(()),
            Err(ProbeError::Store(error)) => Err(Failure::of(&error)),
            Err(error) => {
                let mut failure = Failure::of(&error).help(
                    "turn the bucket's versioning off or take another store; --lock=advisory goes on without, and stops at a fork",
                );
                failure.causes.push(space.describe().await);
                Err(failure)
            }
        }
    }

    /// What is written to a file of the user's: sealed, if states are.
    pub(crate) fn close(&self, plain: Vec<u8>) -> Result<Vec<u8>> {
        match &self.seal {
            Some(seal) => seal.close(&plain).context(|| "cannot encrypt".to_owned()),
            None => Ok(plain),
        }
    }

    /// What opens such files.
    pub(crate) fn seal(&self) -> Option<&Seal> {
        self.seal.as_deref()
    }

    /// Saves a state that the store did not take beside the user's files, over none that is there.
    pub(crate) fn rescue(&self, state: &State) -> Result<PathBuf> {
        use std::io::Write as _;
        let bytes = self.close(file::write(state))?;
        let names = (0..1000).map(|count| match count {
            0 => format!("{}-{}.rescued-state.json", state.stack, state.serial),
            count => format!("{}-{}.rescued-state.{count}.json", state.stack, state.serial),
        });
        for path in names.map(PathBuf::from) {
            match std::fs::File::create_new(&path) {
                Ok(mut file) => {
                    file.write_all(&bytes)
                        .context(|| format!("cannot save the state to {}", path.display()))?;
                    return Ok(path);
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(Failure::of(&error)
                        .while_(format!("cannot save the state to {}", path.display())));
                }
            }
        }
        Err(Failure::new("cannot save the state: this folder is full of rescued ones"))
    }
}

/// What a file of the user's says, given what opens it.
pub(crate) fn open(path: &Path, seal: Option<&Seal>) -> Result<Vec<u8>> {
    let bytes = std::fs::read(path).context(|| format!("cannot read {}", path.display()))?;
    unseal(seal, bytes)
        .map_err(|error| Failure::of(&error).while_(format!("cannot decrypt {}", path.display())))
}

/// What bytes say, given what opens them.
pub(crate) fn unseal(
    seal: Option<&Seal>,
    bytes: Vec<u8>,
) -> std::result::Result<Vec<u8>, SealError> {
    match seal {
        Some(seal) => seal.open(&bytes),
        None if is_sealed(&bytes) => Err(SealError::NoKey { keys: 0 }),
        None => Ok(bytes),
    }
}

/// What the spec seals with.
pub(crate) fn seal(spec: &Spec) -> Result<Option<Arc<Seal>>> {
    let seal = spec.encryption.as_ref().map(Seal::new).transpose();
    let seal = seal.context(|| "`state.encryption` cannot be used".to_owned())?;
    Ok(seal.map(Arc::new))
}

fn no_key(bucket: &str) -> Failure {
    let ([id, key], [other_id, other_key]) = (env::SPACES_KEY, env::AWS_KEY);
    Failure::new(format!(
        "no key for the Space `{bucket}`: neither {id} and {key} nor {other_id} and {other_key} are set"
    ))
    .help(format!(
        "export {id}=… {key}=… (cloud.digitalocean.com/account/api/spaces), or add --local to rehearse without an account"
    ))
}
