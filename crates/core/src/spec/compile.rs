//! From a checked document to a [`Spec`]: the defaults are here and nowhere else.

use std::collections::BTreeMap;
use std::time::Duration;

use super::check::{Checked, Fitting};
use super::format::duration;
use super::{
    App, Deploy, Domain, Encryption, FloatingIp, LoadBalancer, PrivateKey, Record, Spec, Ssh,
    SshKeyRef, StateLocation, Workers,
};
use crate::host::Credentials;
use crate::secret::Secret;
use crate::settings::{Health, USUAL_DRAIN, Verify};

const BASE_IMAGE: &str = "ubuntu-24-04-x64";
/// Before every key in a bucket.
const PREFIX: &str = "seachange";

/// Builds the spec. `None` if something that is needed did not fit; the problems say what.
pub(super) fn compile(root: &Checked) -> Option<Spec> {
    let workers = root.get("workers")?;
    Some(Spec {
        stack: root.text("stack")?.to_owned(),
        region: root.text("region")?.to_owned(),
        state: state(root.get("state")),
        encryption: root.get("state").and_then(|state| state.get("encryption")).map(encryption),
        ssh: root.get("ssh").and_then(ssh),
        workers: Workers {
            count: count(workers),
            size: workers.text("size")?.to_owned(),
            image: workers.text("image").unwrap_or(BASE_IMAGE).to_owned(),
        },
        floating_ip: root
            .get("floating_ip")
            .or_else(|| root.get("reserved_ip"))
            .map(|_| FloatingIp {}),
        load_balancer: root.get("load_balancer").and_then(load_balancer),
        domain: root.get("domain").and_then(domain),
        app: root.get("app").and_then(app),
        deploy: Deploy {
            verify: commands(root.get("deploy")),
            drain: time(root.get("deploy"), "drain", USUAL_DRAIN.as_secs()),
        },
    })
}

fn state(state: Option<&Checked>) -> StateLocation {
    let spaces = state.and_then(|state| state.get("spaces"));
    if let Some(spaces) = spaces
        && let Some(bucket) = spaces.text("bucket")
    {
        let text = |key| spaces.text(key).map(str::to_owned);
        return StateLocation::Spaces {
            bucket: bucket.to_owned(),
            region: text("region"),
            endpoint: text("endpoint"),
            prefix: text("prefix").unwrap_or_else(|| PREFIX.to_owned()),
            path_style: spaces.flag("path_style").unwrap_or(spaces.get("endpoint").is_some()),
        };
    }
    let path = state.and_then(|state| state.get("local")).and_then(|local| local.text("path"));
    StateLocation::Local { path: path.unwrap_or(".seachange").to_owned() }
}

fn encryption(encryption: &Checked) -> Encryption {
    let texts = |key| encryption.list(key).iter().filter_map(Checked::as_text);
    Encryption {
        passphrase: encryption.text("passphrase").map(Secret::new),
        recipients: texts("recipients").map(str::to_owned).collect(),
        keys: texts("keys").map(Secret::new).collect(),
        required: encryption.flag("required").unwrap_or(false),
    }
}

fn ssh(ssh: &Checked) -> Option<Ssh> {
    let key = |key: &Checked| match key.as_text() {
        Some(fingerprint) => Some(SshKeyRef::Fingerprint(fingerprint.to_owned())),
        None => {
            let public_key = key.text("public_key")?.to_owned();
            let fingerprint = super::keys::fingerprint(&public_key)?;
            Some(SshKeyRef::Managed { name: key.text("name")?.to_owned(), public_key, fingerprint })
        }
    };
    let private_key = match ssh.get("private_key") {
        None => PrivateKey::Agent,
        Some(value) => match value.as_text() {
            Some("agent") => PrivateKey::Agent,
            Some(text) => PrivateKey::Text(Secret::new(text)),
            None => PrivateKey::File(value.text("file")?.to_owned()),
        },
    };
    Some(Ssh {
        keys: ssh.list("keys").iter().filter_map(key).collect(),
        private_key,
        passphrase: ssh.text("passphrase").map(Secret::new),
        user: ssh.text("user").unwrap_or("root").to_owned(),
        port: ssh_port(ssh),
    })
}

fn load_balancer(balancer: &Checked) -> Option<LoadBalancer> {
    Some(LoadBalancer {
        size: balancer.text("size")?.to_owned(),
        image: balancer.text("image").unwrap_or(BASE_IMAGE).to_owned(),
        listen: listen(balancer),
    })
}

fn domain(domain: &Checked) -> Option<Domain> {
    let record = |record: &Checked| {
        Some(Record {
            name: record.text("name")?.to_owned(),
            ttl: narrow(record.number("ttl").unwrap_or(300)),
        })
    };
    Some(Domain {
        zone: domain.text("zone")?.to_owned(),
        records: domain.list("records").iter().filter_map(record).collect(),
    })
}

fn app(app: &Checked) -> Option<App> {
    let registry = app.get("registry").and_then(|registry| {
        Some(Credentials {
            username: Secret::new(registry.text("username")?),
            password: Secret::new(registry.text("password")?),
        })
    });
    let env = match app.get("env").map(|env| &env.value) {
        Some(Fitting::Map(map)) => map
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), Secret::new(value.as_text()?))))
            .collect(),
        _ => BTreeMap::new(),
    };
    let health = health(app);
    let verify = app.get("verify");
    let status = verify.and_then(|verify| verify.number("status")).map(narrow);
    Some(App {
        image: app.text("image")?.parse().ok()?,
        port: app_port(app),
        registry,
        env,
        verify: Verify {
            path: verify.and_then(|verify| verify.text("path")).unwrap_or(&health.path).to_owned(),
            status: status.unwrap_or(health.status),
            contains: verify.and_then(|verify| verify.text("contains")).map(str::to_owned),
            timeout: time(verify, "timeout", 30),
        },
        health,
        stop_timeout: time(Some(app), "stop_timeout", 30),
    })
}

/// The app's port.
pub(super) fn app_port(app: &Checked) -> u16 {
    narrow(app.number("port").unwrap_or(8080))
}

/// The port of SSH.
pub(super) fn ssh_port(ssh: &Checked) -> u16 {
    narrow(ssh.number("port").unwrap_or(22))
}

/// The port users come by.
pub(super) fn listen(balancer: &Checked) -> u16 {
    narrow(balancer.number("listen").unwrap_or(80))
}

/// How many workers there are to be.
pub(super) fn count(workers: &Checked) -> u32 {
    narrow(workers.number("count").unwrap_or(2))
}

/// The gate of an app.
pub(super) fn health(app: &Checked) -> Health {
    let health = app.get("health");
    let number = |key| health.and_then(|health| health.number(key));
    Health {
        path: health.and_then(|health| health.text("path")).unwrap_or("/").to_owned(),
        status: narrow(number("status").unwrap_or(200)),
        successes: narrow(number("successes").unwrap_or(3)),
        interval: time(health, "interval", 2),
        timeout: time(health, "timeout", 120),
    }
}

fn time(at: Option<&Checked>, key: &str, default: u64) -> Duration {
    at.and_then(|at| at.text(key)).and_then(duration).unwrap_or(Duration::from_secs(default))
}

fn commands(deploy: Option<&Checked>) -> Vec<Vec<String>> {
    let words = |command: &Checked| match &command.value {
        Fitting::List(words) => {
            words.iter().filter_map(Checked::as_text).map(str::to_owned).collect()
        }
        Fitting::Text(_) | Fitting::Number(_) | Fitting::Map(_) => Vec::new(),
    };
    deploy.map(|deploy| deploy.list("verify").iter().map(words).collect()).unwrap_or_default()
}

/// A number that its form has already bounded.
fn narrow<T: TryFrom<u64> + Default>(number: u64) -> T {
    T::try_from(number).unwrap_or_default()
}
