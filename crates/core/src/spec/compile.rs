//! From a checked document to a [`Spec`]: defaults, and the rules that need more than one key.

use std::collections::BTreeMap;
use std::time::Duration;

use super::check::{Checked, Fitting};
use super::format::duration;
use super::{
    App, Deploy, Domain, FloatingIp, LoadBalancer, PrivateKey, Record, Spec, Ssh, SshKeyRef,
    StateLocation, Workers,
};
use crate::diagnostic::Diagnostic;
use crate::host::Credentials;
use crate::secret::Secret;
use crate::settings::{Health, Verify};

const BASE_IMAGE: &str = "ubuntu-24-04-x64";

/// Builds the spec. `None` if something that is needed did not fit; the problems say what.
pub(super) fn compile(root: &Checked, problems: &mut Vec<Diagnostic>) -> Option<Spec> {
    rules(root, problems);
    let workers = root.get("workers")?;
    Some(Spec {
        stack: root.text("stack")?.to_owned(),
        region: root.text("region")?.to_owned(),
        state: state(root.get("state")),
        ssh: root.get("ssh").and_then(ssh),
        workers: Workers {
            count: narrow(workers.number("count").unwrap_or(2)),
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
        deploy: Deploy { verify: commands(root.get("deploy")) },
    })
}

/// The rules that need more than one key.
fn rules(root: &Checked, problems: &mut Vec<Diagnostic>) {
    let mut refuse = |path: &str, message: &str, help: &str| {
        let span = root.get(path).map(|checked| checked.span.clone());
        problems.push(Diagnostic::error(path, span, message).help(help));
    };
    let has = |key: &str| root.get(key).is_some();
    let address = has("floating_ip") || has("reserved_ip");
    if has("floating_ip") && has("reserved_ip") {
        refuse(
            "reserved_ip",
            "`floating_ip` and `reserved_ip` are the same thing",
            "keep one of them",
        );
    }
    if has("app") && !has("ssh") {
        refuse(
            "app",
            "an app needs `ssh`: it is put on the workers over SSH",
            "add ssh: { keys: […], private_key: … }",
        );
    }
    if has("app") && !address {
        refuse(
            "app",
            "an app needs a `floating_ip`: a release moves it from worker to worker",
            "add floating_ip: {}",
        );
    }
    let count = root.get("workers").map_or(2, |workers| workers.number("count").unwrap_or(2));
    if has("app") && count < 2 {
        refuse(
            "workers",
            "an app needs at least 2 workers: a new release starts on one while the other serves",
            "write count: 2",
        );
    }
    if has("load_balancer") && !address {
        refuse(
            "load_balancer",
            "a load balancer needs a `floating_ip`: that is where it sends requests",
            "add floating_ip: {}",
        );
    }
    if has("load_balancer") && has("ssh") && !has("app") {
        refuse(
            "load_balancer",
            "a load balancer that is set up over SSH needs an `app`: its port is where requests go",
            "add app: { image: … }, or leave out ssh: then the droplet is made and nothing is put on it",
        );
    }
    if has("domain") && !has("load_balancer") && !address {
        refuse(
            "domain",
            "a domain needs a `load_balancer` or a `floating_ip` to point to",
            "add floating_ip: {}",
        );
    }
    if let Some(state) = root.get("state")
        && state.get("local").is_some() == state.get("spaces").is_some()
    {
        refuse(
            "state",
            "the state is kept in exactly one place",
            "write either local: { path: … } or spaces: { bucket: … }",
        );
    }
    if let Some(spaces) = root.get("state").and_then(|state| state.get("spaces"))
        && spaces.get("region").is_none()
        && spaces.get("endpoint").is_none()
    {
        refuse("state", "`state.spaces` needs a `region` or an `endpoint`", "add region: ams3");
    }
    if let Some(domain) = root.get("domain") {
        duplicates(domain, problems);
    }
    literals(root, problems);
}

fn duplicates(domain: &Checked, problems: &mut Vec<Diagnostic>) {
    let mut seen = BTreeMap::new();
    for record in domain.list("records") {
        let Some(name) = record.text("name") else { continue };
        if seen.insert(name, ()).is_some() {
            let message = format!("the record `{name}` stands here a second time");
            problems.push(
                Diagnostic::error("domain.records", Some(record.span.clone()), message)
                    .help("keep one of them"),
            );
        }
    }
}

/// Secrets that stand in the file itself.
fn literals(root: &Checked, problems: &mut Vec<Diagnostic>) {
    for path in ["app.registry.password", "ssh.passphrase", "ssh.private_key"] {
        let found = path.split('.').try_fold(root, |at, key| at.get(key));
        let Some(found) = found
            .filter(|found| found.literal && found.as_text().is_some_and(|text| text != "agent"))
        else {
            continue;
        };
        problems.push(
            Diagnostic::error(
                path,
                Some(found.span.clone()),
                format!("`{path}` stands in the file as it is"),
            )
            .warning()
            .help("take it from the environment: ${env:NAME}"),
        );
    }
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
        };
    }
    let path = state.and_then(|state| state.get("local")).and_then(|local| local.text("path"));
    StateLocation::Local { path: path.unwrap_or(".seachange").to_owned() }
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
        port: narrow(ssh.number("port").unwrap_or(22)),
    })
}

fn load_balancer(balancer: &Checked) -> Option<LoadBalancer> {
    Some(LoadBalancer {
        size: balancer.text("size")?.to_owned(),
        image: balancer.text("image").unwrap_or(BASE_IMAGE).to_owned(),
        listen: narrow(balancer.number("listen").unwrap_or(80)),
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
    let time = |at: Option<&Checked>, key: &str, default: u64| {
        at.and_then(|at| at.text(key)).and_then(duration).unwrap_or(Duration::from_secs(default))
    };
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
    let health = app.get("health");
    let verify = app.get("verify");
    let path = health.and_then(|health| health.text("path")).unwrap_or("/");
    let status = health.and_then(|health| health.number("status")).unwrap_or(200);
    Some(App {
        image: app.text("image")?.parse().ok()?,
        port: narrow(app.number("port").unwrap_or(8080)),
        registry,
        env,
        health: Health {
            path: path.to_owned(),
            status: narrow(status),
            successes: narrow(health.and_then(|health| health.number("successes")).unwrap_or(3)),
            interval: time(health, "interval", 2),
            timeout: time(health, "timeout", 120),
        },
        verify: Verify {
            path: verify.and_then(|verify| verify.text("path")).unwrap_or(path).to_owned(),
            status: narrow(verify.and_then(|verify| verify.number("status")).unwrap_or(status)),
            contains: verify.and_then(|verify| verify.text("contains")).map(str::to_owned),
            timeout: time(verify, "timeout", 30),
        },
        stop_timeout: time(Some(app), "stop_timeout", 30),
    })
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
