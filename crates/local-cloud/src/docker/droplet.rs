//! One container for each droplet, from its first boot to its end.
//!
//! Each has a task of its own, so that a slow start keeps nobody waiting and what happens to one droplet happens in order.

use std::collections::BTreeSet;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use seachange_core::cloud::DropletId;
use tokio::task::JoinSet;

use super::network::BRIDGE;
use super::{DockerError, GATEWAY, IMAGE, REGISTRY, command};
use crate::world::World;
use crate::world::droplets::Blueprint;

/// What our containers are known by.
pub(super) const LABEL: &str = "seachange.lab";

/// Starts a task for each droplet as it appears.
pub(super) async fn keep_all(world: Arc<World>, seeds: PathBuf) {
    let mut changes = world.changes();
    let mut seen = BTreeSet::new();
    let mut tasks = JoinSet::new();
    loop {
        changes.borrow_and_update();
        for droplet in world.blueprints() {
            if seen.insert(droplet.id) {
                tasks.spawn(keep(Arc::clone(&world), droplet, seeds.clone()));
            }
        }
        while tasks.try_join_next().is_some() {}
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Keeps one container in step with its droplet.
async fn keep(world: Arc<World>, droplet: Blueprint, seeds: PathBuf) {
    let mut changes = world.changes();
    let (id, name) = (droplet.id, name(droplet.id));
    if let Err(error) = first_boot(&droplet, &seeds).await {
        tracing::error!(droplet = %id, %error, "the droplet cannot be started and is given up");
        world.lose(id);
    }
    let mut is_on = true;
    loop {
        changes.borrow_and_update();
        let wanted = world.blueprints().into_iter().find(|wanted| wanted.id == id);
        let done = match wanted {
            None => {
                let removed = command("docker", ["rm", "--force", "--volumes", &name]).await;
                if let Err(error) = removed {
                    tracing::warn!(droplet = %id, %error, "the droplet's container cannot be removed");
                }
                let seed = seeds.join(id.to_string());
                if let Err(error) = std::fs::remove_dir_all(seed) {
                    tracing::warn!(droplet = %id, %error, "what the droplet was handed cannot be removed");
                }
                return;
            }
            Some(wanted) if wanted.on == is_on => Ok(()),
            Some(wanted) => {
                is_on = wanted.on;
                let verb = if is_on { "start" } else { "stop" };
                command("docker", [verb, &name]).await.map(drop)
            }
        };
        if let Err(error) = done {
            tracing::warn!(droplet = %id, %error, "the droplet's power cannot be switched");
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// How a droplet's container is called.
pub(super) fn name(id: DropletId) -> String {
    format!("seachange-lab-{id}")
}

async fn first_boot(droplet: &Blueprint, seeds: &Path) -> Result<(), DockerError> {
    let seed = seeds.join(droplet.id.to_string());
    write_seed(droplet, &seed)
        .map_err(|source| DockerError::File { path: seed.display().to_string(), source })?;
    let seed = seed.canonicalize().unwrap_or(seed);
    let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    command("docker", run(droplet, &seed, unified)).await.map(drop)
}

/// `docker run`: what systemd needs to be process 1, without `--privileged`, which asks for more than a confined host has.
///
/// On a host with the unified hierarchy (cgroup v2) each droplet has one of its own, which Docker mounts read-only and
/// systemd has to write to. That was tried with Docker Engine 20.10 on such a hierarchy without controllers, with containers
/// inside the droplet; on a host whose own systemd manages it, it was not.
fn run(droplet: &Blueprint, seed: &Path, unified: bool) -> Vec<String> {
    let (address, registry) = (droplet.address, REGISTRY.split(':').next().unwrap_or(REGISTRY));
    let options = [
        format!("--name={}", name(droplet.id)),
        format!("--label={LABEL}"),
        format!("--hostname={}", droplet.name),
        format!("--network={BRIDGE}"),
        format!("--ip={address}"),
        format!("--add-host={registry}:{GATEWAY}"),
        format!("--volume={}:/var/lib/cloud/seed/nocloud:ro", seed.display()),
        "--cap-add=ALL".to_owned(),
        "--cap-drop=SYS_RESOURCE".to_owned(),
        "--security-opt=seccomp=unconfined".to_owned(),
        "--security-opt=apparmor=unconfined".to_owned(),
        "--security-opt=systempaths=unconfined".to_owned(),
        "--tmpfs=/run".to_owned(),
        "--tmpfs=/run/lock".to_owned(),
        // overlay2 does not go on top of overlay2.
        "--mount=type=volume,dst=/var/lib/docker".to_owned(),
        "--stop-signal=SIGRTMIN+3".to_owned(),
    ];
    let (cgroups, init): (&[&str], &[&str]) = if unified {
        let init = "mount -o remount,rw /sys/fs/cgroup && exec /sbin/init";
        (&["--cgroupns=private"], &["/bin/sh", "-c", init])
    } else {
        (&["--cgroupns=host", "--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw"], &["/sbin/init"])
    };
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    [owned(&["run", "--detach"]), owned(cgroups), options.into(), owned(&[IMAGE]), owned(init)]
        .concat()
}

/// What cloud-init's NoCloud source reads.
fn write_seed(droplet: &Blueprint, seed: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(seed)?;
    let write = |name: &str, text: &str| {
        let mut options = std::fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600);
        std::io::Write::write_all(&mut file.open(seed.join(name))?, text.as_bytes())
    };
    write("user-data", droplet.user_data.as_deref().unwrap_or("#cloud-config\n"))?;
    // JSON is YAML, and quotes as YAML wants it.
    let meta = serde_json::json!({
        "instance-id": droplet.id.to_string(),
        "local-hostname": droplet.name,
        "public-keys": droplet.authorized_keys,
    });
    write("meta-data", &meta.to_string())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn droplet(user_data: Option<&str>) -> Blueprint {
        Blueprint {
            id: DropletId(7),
            name: "webgui-worker-01".to_owned(),
            address: [198, 18, 0, 10].into(),
            authorized_keys: vec!["ssh-ed25519 AAAA a \"quoted\" comment".to_owned()],
            user_data: user_data.map(str::to_owned),
            on: true,
        }
    }

    #[test]
    fn cloud_init_finds_what_the_droplet_was_created_with_and_nobody_else_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let seed = folder.path().join("7");
        write_seed(&droplet(Some("#cloud-config\npackages: [haproxy]\n")), &seed).unwrap();
        let read = |name: &str| std::fs::read_to_string(seed.join(name)).unwrap();
        assert_eq!(read("user-data"), "#cloud-config\npackages: [haproxy]\n");
        let meta: serde_json::Value = serde_json::from_str(&read("meta-data")).unwrap();
        assert_eq!(meta["instance-id"], "7");
        assert_eq!(meta["public-keys"][0], "ssh-ed25519 AAAA a \"quoted\" comment");
        let mode = seed.join("user-data").metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{mode:o}");
        write_seed(&droplet(None), &seed).unwrap();
        assert_eq!(read("user-data"), "#cloud-config\n");
    }

    #[test]
    fn a_container_is_the_droplet_at_its_address() {
        let words = run(&droplet(None), Path::new("/seeds/7"), false);
        for word in ["--name=seachange-lab-7", "--ip=198.18.0.10", "--hostname=webgui-worker-01"] {
            assert!(words.contains(&word.to_owned()), "{word}: {words:?}");
        }
        assert_eq!(words.last().unwrap(), "/sbin/init");
    }

    #[test]
    fn a_unified_host_shows_its_control_groups_to_no_droplet() {
        let has = |unified: bool, part: &str| {
            run(&droplet(None), Path::new("/seeds/7"), unified)
                .iter()
                .any(|word| word.contains(part))
        };
        assert!(has(true, "--cgroupns=private") && !has(true, "--volume=/sys/fs/cgroup"));
        assert!(has(true, "remount,rw /sys/fs/cgroup") && !has(false, "remount"));
        assert!(has(false, "--cgroupns=host") && has(false, "--volume=/sys/fs/cgroup"));
    }
}
