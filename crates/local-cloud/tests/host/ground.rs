//! What every test stands on: a world in which nothing takes time, with its doors open.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use russh::keys::PrivateKey;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use seachange_core::bootstrap::Bootstrap;
use seachange_core::cloud::{Cloud, DropletCreate, DropletId};
use seachange_core::host::{
    Boot, ContainerSpec, FirstHostKey, Host, Probe, ProbeOutcome, Route, Target,
};
use seachange_core::image::{Digest, ImageRef};
use seachange_core::secret::Secret;
use seachange_host::{Dial, Keys, SshHost};
use seachange_local_cloud::docker;
use seachange_local_cloud::doors::{self, Doors};
use seachange_local_cloud::images::{Image, catalogue};
use seachange_local_cloud::in_process::InProcess;
use seachange_local_cloud::machine::BootTimings;
use seachange_local_cloud::world::{Addresses, Timings, World, WorldConfig};

pub(crate) const STACK: &str = "webgui";
pub(crate) const PORT: u16 = 8080;

/// Held while a test uses a block of addresses: tests run at the same time, in one process or in many.
const BLOCK_PORT: u16 = 7_001;

/// A world, its client, and its open doors, if there are any.
pub(crate) struct Ground {
    pub(crate) world: Arc<World>,
    pub(crate) cloud: InProcess,
    doors: Option<Doors>,
    lab: Option<docker::Droplets>,
    fingerprint: String,
    images: BTreeMap<String, (ImageRef, Digest)>,
    _block: TcpListener,
}

/// A private key and the text of its public half. The first is the one that every droplet accepts.
pub(crate) fn key(number: u8) -> (String, String) {
    let key = PrivateKey::from(Ed25519Keypair::from_seed(&[number; 32]));
    let text = key.to_openssh(LineEnding::LF).unwrap().to_string();
    (text, key.public_key().to_openssh().unwrap())
}

/// Nothing takes time.
pub(crate) fn at_once() -> Timings {
    let none = Duration::ZERO;
    Timings {
        boot: none,
        address: none,
        first_boot: BootTimings { ssh: none, cloud_init: none },
        action: none,
        delete: none,
        list_lag: none,
        read_lag: none,
    }
}

/// The ground without doors, for what happens in process.
pub(crate) async fn closed_ground(timings: Timings) -> Ground {
    // Above what `serve` takes.
    let free = |number: u8| {
        let socket = (Ipv4Addr::new(127, number, 0, 1), BLOCK_PORT);
        Some((number, TcpListener::bind(socket).ok()?))
    };
    let (number, block) = (130..250).find_map(free).unwrap();
    let config = WorldConfig {
        timings,
        addresses: Addresses::loopback((number, 0)),
        ..WorldConfig::default()
    };
    let world = World::new(config);
    let cloud = InProcess::new(Arc::clone(&world), Duration::ZERO);
    let fingerprint = cloud.create_ssh_key("test", &key(1).1).await.unwrap().fingerprint;
    let images = simulated();
    Ground { world, cloud, doors: None, lab: None, fingerprint, images, _block: block }
}

fn simulated() -> BTreeMap<String, (ImageRef, Digest)> {
    let entry = |image: &Image| {
        let name = format!("registry.example/webgui:{}", image.version);
        (image.version.to_owned(), (name.parse().unwrap(), image.digest().clone()))
    };
    catalogue().iter().map(entry).collect()
}

/// The ground of the lab: droplets are containers, and these images are in its registry.
#[cfg(feature = "lab")]
pub(crate) async fn lab_ground(folder: &std::path::Path) -> Ground {
    let config =
        WorldConfig { timings: at_once(), addresses: docker::ADDRESSES, ..WorldConfig::default() };
    let world = World::new(config);
    let lab = docker::start(Arc::clone(&world), folder).await.unwrap();
    let cloud = InProcess::new(Arc::clone(&world), Duration::ZERO);
    let fingerprint = cloud.create_ssh_key("test", &key(1).1).await.unwrap().fingerprint;
    let images = crate::lab::push();
    let block = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    Ground { world, cloud, doors: None, lab: Some(lab), fingerprint, images, _block: block }
}

pub(crate) async fn ground() -> Ground {
    ground_with(doors::Config::default()).await
}

pub(crate) async fn ground_with(config: doors::Config) -> Ground {
    open_ground(at_once(), config).await
}

pub(crate) async fn open_ground(timings: Timings, config: doors::Config) -> Ground {
    let ground = closed_ground(timings).await;
    let doors = doors::start(Arc::clone(&ground.world), config).await.unwrap();
    Ground { doors: Some(doors), ..ground }
}

/// The project's own client.
pub(crate) fn ssh() -> SshHost {
    ssh_with(&key(1).0)
}

/// The same with another key.
pub(crate) fn ssh_with(key: &str) -> SshHost {
    ssh_by(key, Dial::offset_privileged(doors::PORT_OFFSET))
}

/// The same by another way.
pub(crate) fn ssh_by(key: &str, dial: Dial) -> SshHost {
    let mut config = seachange_host::Config::new(Keys::Text(Secret::new(key)));
    config.dial = dial;
    config.operation_timeout = Duration::from_secs(20);
    SshHost::new(config).unwrap()
}

impl Ground {
    pub(crate) fn doors(&self) -> &Doors {
        self.doors.as_ref().unwrap()
    }

    /// Closes all doors.
    pub(crate) async fn shut(self) -> Arc<World> {
        if let Some(doors) = self.doors {
            doors.shutdown().await;
        }
        if let Some(lab) = self.lab {
            lab.shutdown().await;
        }
        self.world
    }

    /// The same world behind new doors, as after a restart of the program.
    pub(crate) async fn reopened(self) -> Self {
        if let Some(doors) = self.doors {
            doors.shutdown().await;
        }
        let doors = doors::start(Arc::clone(&self.world), doors::Config::default()).await.unwrap();
        Self { doors: Some(doors), ..self }
    }

    /// Lets the sockets catch up, where there are any.
    pub(crate) async fn settle(&self) {
        if let Some(doors) = &self.doors {
            doors.settle().await;
        }
        if let Some(lab) = &self.lab {
            lab.settle().await;
        }
    }

    /// What to run for a version.
    pub(crate) fn spec(&self, version: &str) -> ContainerSpec {
        let (image, digest) = self.images[version].clone();
        let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        ContainerSpec {
            name: STACK.to_owned(),
            image,
            labels: BTreeMap::from([
                label("stack", STACK),
                label("digest", digest.as_str()),
                label("config", "k1"),
            ]),
            digest,
            env: vec![("PASSWORD".to_owned(), Secret::new("canary"))],
            port: PORT,
            stop_timeout: Duration::from_secs(10),
        }
    }

    /// Pulls and runs a version, and waits until it has got as far as it will.
    pub(crate) async fn run(&self, host: &dyn Host, target: &Target, version: &str) {
        let spec = self.spec(version);
        host.pull(target, &spec.image, &spec.digest, None, &|_, _| ()).await.unwrap();
        host.ensure_container(target, &spec).await.unwrap();
        let route = Route::Container { target: target.clone(), port: PORT };
        let probe = Probe { route, path: "/".to_owned(), timeout: Duration::from_secs(20) };
        while self.is_real() && version != "crash" {
            if matches!(host.probe(&probe).await, ProbeOutcome::Answer { .. }) {
                break;
            }
            self.moment().await;
        }
    }

    /// A droplet that is ready, with its doors open.
    pub(crate) async fn droplet(&self, name: &str, bootstrap: Bootstrap) -> (DropletId, Target) {
        self.droplet_with(name, bootstrap, None).await
    }

    /// The same, with a key for the first contact.
    pub(crate) async fn droplet_with(
        &self,
        name: &str,
        bootstrap: Bootstrap,
        first_key: Option<&FirstHostKey>,
    ) -> (DropletId, Target) {
        let create = DropletCreate {
            names: vec![name.to_owned()],
            region: "fra1".to_owned(),
            size: "s-1vcpu-1gb".to_owned(),
            image: "ubuntu-24-04-x64".to_owned(),
            ssh_keys: vec![self.fingerprint.clone()],
            tags: Vec::new(),
            user_data: bootstrap.user_data(first_key),
        };
        let id = self.cloud.create_droplets(&create).await.unwrap()[0].id;
        let address = loop {
            // On a virtual clock this is no waiting; in a world without delays it is not needed.
            match self.cloud.droplet(id).await.unwrap().public_ipv4 {
                Some(address) => break address,
                None => tokio::time::sleep_until(self.world.next_event().unwrap()).await,
            }
        };
        self.settle().await;
        let target = Target { address, host_key: None, next_host_key: None };
        if let (Some(_), Some(service)) = (&self.lab, bootstrap.service()) {
            let ssh = ssh_by(&key(1).0, Dial::default());
            while ssh.contact(&target, service).await.map(|seen| seen.boot) != Ok(Boot::Ready) {
                self.moment().await;
            }
        }
        (id, target)
    }

    /// Whether real systems are behind it, which take their time.
    pub(crate) fn is_real(&self) -> bool {
        self.lab.is_some()
    }

    /// Lets them have a little of it.
    pub(crate) async fn moment(&self) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    /// Somebody else answers at a droplet's address from now on.
    pub(crate) fn impersonate(&self, _id: DropletId, address: Ipv4Addr) {
        #[cfg(feature = "lab")]
        if self.lab.is_some() {
            return crate::lab::impersonate(_id);
        }
        self.world.with_machine(address, |machine, _| machine.impersonate()).unwrap();
    }

    /// A worker that runs this version.
    pub(crate) async fn worker(&self, host: &dyn Host, version: &str) -> (DropletId, Target) {
        let (id, target) = self.droplet("worker", Bootstrap::Docker).await;
        self.run(host, &target, version).await;
        (id, target)
    }

    /// A floating IP for the droplet.
    pub(crate) async fn floating_ip(&self, droplet: DropletId) -> Ipv4Addr {
        let ip = self.cloud.create_reserved_ip(droplet).await.unwrap().ip;
        self.settle().await;
        ip
    }

    /// Moves it.
    pub(crate) async fn assign(&self, ip: Ipv4Addr, droplet: DropletId) {
        self.cloud.assign_reserved_ip(ip, droplet).await.unwrap();
        self.settle().await;
    }

    /// A load balancer with this configuration.
    pub(crate) async fn balancer(&self, host: &dyn Host, config: &str) -> Target {
        let (_, target) = self.droplet("balancer", Bootstrap::Haproxy).await;
        host.install_config(&target, config).await.unwrap();
        target
    }
}

/// What a user gets at an address and port: status and first line.
pub(crate) async fn ask(
    host: &dyn Host,
    address: Ipv4Addr,
    port: u16,
) -> Result<(u16, String), String> {
    let route = Route::Public { address, port, domain: None };
    let timeout = Duration::from_secs(20);
    match host.probe(&Probe { route, path: "/".to_owned(), timeout }).await {
        ProbeOutcome::Answer { status, body, .. } => {
            Ok((status, body.lines().next().unwrap_or_default().to_owned()))
        }
        ProbeOutcome::NoAnswer { detail } => Err(detail),
    }
}
