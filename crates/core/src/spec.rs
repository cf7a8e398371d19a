//! What the user wants, validated: the types only. Reading is in the modules beside.
//!
//! A [`Spec`] is complete (defaults filled in) and consistent (every rule that needs no network holds). Where the text
//! may hold a secret the type is [`Secret`], so that it cannot reach a log, an error or a file by accident.

mod check;
mod compile;
mod document;
mod format;
mod keys;
mod problems;
mod redact;
mod rules;
mod schema;
mod shape;
mod suggest;
mod variables;

use std::collections::BTreeMap;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::bootstrap::hex;
use crate::diagnostic::Diagnostic;
use crate::host::Credentials;
use crate::image::ImageRef;
use crate::secret::Secret;
use crate::settings::{Health, Settings, Verify};

use problems::Problems;
pub use schema::schema;
pub use variables::Variables;

/// Reads a spec: the spec and its warnings, or everything that is wrong with it. Never panics, in bounded memory.
pub fn read(text: &[u8], variables: &Variables<'_>) -> (Option<Spec>, Vec<Diagnostic>) {
    let mut problems = Problems::default();
    let root = document::parse(text, &mut problems)
        .and_then(|root| check::check(&root, &shape::SPEC, "", variables, &mut problems));
    if let Some(root) = &root {
        rules::check(root, &mut problems);
    }
    let spec = root.as_ref().and_then(compile::compile);
    (spec.filter(|_| !problems.refuse()), problems.told())
}

/// The text as it may be shown: what is or may be a secret is blotted out, and every other byte stays in its place.
pub fn shown(text: &[u8]) -> String {
    redact::shown(text)
}

/// One stack, as its owner wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Names everything.
    pub stack: String,
    /// Region slug.
    pub region: String,
    /// Where the state is kept.
    pub state: StateLocation,
    /// How states and saved plans are encrypted, if they are.
    pub encryption: Option<Encryption>,
    /// The way into the droplets; without it nothing is contacted over SSH.
    pub ssh: Option<Ssh>,
    /// The droplets that run the app.
    pub workers: Workers,
    /// The address that users' requests reach the live worker by.
    pub floating_ip: Option<FloatingIp>,
    /// The droplet in front of it.
    pub load_balancer: Option<LoadBalancer>,
    /// The names users type.
    pub domain: Option<Domain>,
    /// What runs on the workers.
    pub app: Option<App>,
    /// How a release goes.
    pub deploy: Deploy,
}

/// Where the state is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateLocation {
    /// A folder.
    Local {
        /// Its path, relative to where the command runs.
        path: String,
    },
    /// A Space, or any S3-compatible store.
    Spaces {
        /// The bucket.
        bucket: String,
        /// Region slug.
        region: Option<String>,
        /// Another endpoint than the region's.
        endpoint: Option<String>,
        /// Before every key: the bucket may hold other things too.
        prefix: String,
        /// The bucket in the path instead of in the host name.
        path_style: bool,
    },
}

/// What states and saved plans are sealed with, and opened with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encryption {
    /// Seals, unless there are recipients, and opens.
    pub passphrase: Option<Secret>,
    /// Seal: public keys.
    pub recipients: Vec<String>,
    /// Open as well: private keys and earlier passphrases.
    pub keys: Vec<Secret>,
    /// Plain text is refused.
    pub required: bool,
}

/// The way into the droplets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ssh {
    /// Account keys put into every droplet at creation.
    pub keys: Vec<SshKeyRef>,
    /// Our half.
    pub private_key: PrivateKey,
    /// Opens an encrypted private key.
    pub passphrase: Option<Secret>,
    /// Login name.
    pub user: String,
    /// Port.
    pub port: u16,
}

/// An SSH key of the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SshKeyRef {
    /// One that is there.
    Fingerprint(String),
    /// One to be added.
    Managed {
        /// Its name.
        name: String,
        /// OpenSSH public key text.
        public_key: String,
        /// MD5 fingerprint of that text, colon-separated.
        fingerprint: String,
    },
}

/// Where the private key comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PrivateKey {
    /// Its text.
    Text(Secret),
    /// A file.
    File(String),
    /// The SSH agent.
    Agent,
}

/// The droplets that run the app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workers {
    /// How many.
    pub count: u32,
    /// Size slug.
    pub size: String,
    /// Base image slug, used at creation only.
    pub image: String,
}

/// The floating IP; nothing about it can be chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FloatingIp {}

/// The load balancer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadBalancer {
    /// Size slug.
    pub size: String,
    /// Base image slug, used at creation only.
    pub image: String,
    /// Port for users.
    pub listen: u16,
}

/// A DNS zone and our records in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain {
    /// The zone.
    pub zone: String,
    /// A records that point to the load balancer, or to the floating IP without one.
    pub records: Vec<Record>,
}

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Relative name, `@` for the zone itself.
    pub name: String,
    /// Seconds.
    pub ttl: u32,
}

/// What runs on the workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// The image.
    pub image: ImageRef,
    /// Its port.
    pub port: u16,
    /// The registry's login.
    pub registry: Option<Credentials>,
    /// Its environment; any value may be a secret.
    pub env: BTreeMap<String, Secret>,
    /// The gate before the switch.
    pub health: Health,
    /// The look after it.
    pub verify: Verify,
    /// How long it may take to stop.
    pub stop_timeout: Duration,
}

/// How a release goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deploy {
    /// Commands run here between the gate and the switch.
    pub verify: Vec<Vec<String>>,
    /// How long requests in flight are waited for before the floating IP moves.
    pub drain: Duration,
}

impl Ssh {
    /// MD5 fingerprints of all keys, sorted.
    pub fn fingerprints(&self) -> Vec<String> {
        let mut fingerprints: Vec<String> =
            self.keys
                .iter()
                .map(|key| match key {
                    SshKeyRef::Fingerprint(fingerprint)
                    | SshKeyRef::Managed { fingerprint, .. } => fingerprint.clone(),
                })
                .collect();
        fingerprints.sort();
        fingerprints
    }
}

impl App {
    /// The environment as the container gets it.
    pub fn environment(&self) -> Vec<(String, Secret)> {
        self.env.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// Digest of what a container depends on besides its image, so that a change of it is a new release. The values of the
    /// environment go in together with the stack's name as salt: a change is seen, a value is not.
    pub fn config_digest(&self, stack: &str) -> String {
        let mut hash = Sha256::new();
        let mut add = |text: &str| {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        };
        add(stack);
        add(&self.port.to_string());
        add(&self.stop_timeout.as_millis().to_string());
        for (name, value) in &self.env {
            add(name);
            add(value.expose());
        }
        hex(&hash.finalize())
    }
}

impl Spec {
    /// How the app is reached and judged; `None` without an app.
    pub fn settings(&self) -> Option<Settings> {
        let app = self.app.as_ref()?;
        let full_name = |zone: &str, record: &Record| match record.name.as_str() {
            "@" => zone.to_owned(),
            name => format!("{name}.{zone}"),
        };
        let domains = self
            .domain
            .iter()
            .flat_map(|domain| domain.records.iter().map(|record| full_name(&domain.zone, record)));
        Some(Settings {
            port: app.port,
            health: app.health.clone(),
            verify: app.verify.clone(),
            stop_timeout: app.stop_timeout,
            drain: self.deploy.drain,
            listen: self.load_balancer.as_ref().map(|balancer| balancer.listen),
            domains: domains.collect(),
        })
    }

    /// Digest of everything that is wanted, to tell whether a saved plan was made from this spec. Secrets outside the app's
    /// environment are left out: they change nothing in the world, and a rotated token must not make a plan stale.
    pub fn digest(&self) -> String {
        let Self {
            stack,
            region,
            state,
            encryption: _,
            ssh,
            workers,
            floating_ip,
            load_balancer,
            domain,
            app,
            deploy,
        } = self;
        let keys = ssh.as_ref().map(|ssh| (ssh.fingerprints(), &ssh.user, ssh.port));
        let app = app
            .as_ref()
            .map(|app| (app.image.to_string(), app.config_digest(stack), &app.health, &app.verify));
        let wanted = (
            (stack, region, state, keys, workers),
            (floating_ip, load_balancer, domain, app, deploy),
        );
        hex(&Sha256::digest(format!("{wanted:?}").as_bytes()))
    }
}
