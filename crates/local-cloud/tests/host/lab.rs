//! The same suite on real systems: the droplets are containers with systemd, OpenSSH, Docker Engine and HAProxy.
//!
//! As root and with Docker: tests/lab/run.

use std::collections::BTreeMap;
use std::process::Command;

use seachange_core::cloud::DropletId;
use seachange_core::image::{Digest, ImageRef};
use seachange_host::{Dial, OciRegistry, RegistryConfig};
use seachange_local_cloud::docker::{Droplets, REGISTRY};

use crate::ground::{key, lab_ground, ssh_by};
use crate::suite;

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_suite() {
    let folder = tempfile::tempdir().unwrap();
    let ground = lab_ground(folder.path()).await;
    let host = ssh_by(&key(1).0, Dial::default());
    // All at once: each has droplets of its own, and a first boot takes its time.
    tokio::join!(
        suite::contact(&ground, &host),
        suite::host_keys(&ground, &host),
        suite::containers(&ground, &host),
        suite::pulls(&ground, &host),
        suite::behaviours(&ground, &host),
        suite::configuration(&ground, &host),
        suite::ways(&ground, &host),
        suite::detour(&ground, &host),
    );
    let mirror = Some(Droplets::registry_url());
    let registry =
        OciRegistry::new(RegistryConfig { mirror, ..RegistryConfig::default() }).unwrap();
    suite::registry(&ground, &registry, true).await;
    ground.shut().await;
}

/// Puts what `tests/lab/images` has made into the world's registry.
pub(crate) fn push() -> BTreeMap<String, (ImageRef, Digest)> {
    let here = Droplets::local_registry();
    docker(&["tag", &format!("{here}/webgui:1.1"), &format!("{here}/team/webgui:1.1")]);
    docker(&["push", "--quiet", &format!("{here}/team/webgui:1.1")]);
    let push = |version: &str| {
        let name = format!("{here}/webgui:{version}");
        docker(&["push", "--quiet", &name]);
        let digests = docker(&["inspect", "--format", "{{json .RepoDigests}}", &name]);
        let digests: Vec<String> = serde_json::from_str(&digests).unwrap();
        let repository = format!("{here}/webgui@");
        let digest = digests.iter().find_map(|digest| digest.strip_prefix(&repository)).unwrap();
        let image = format!("{REGISTRY}/webgui:{version}").parse().unwrap();
        (version.to_owned(), (image, digest.parse().unwrap()))
    };
    ["1.0", "1.1", "unhealthy", "crash"].map(push).into()
}

/// Gives the droplet other host keys.
pub(crate) fn impersonate(id: DropletId) {
    let other = "rm /etc/ssh/ssh_host_*; ssh-keygen -A; systemctl reload ssh";
    docker(&["exec", &format!("seachange-lab-{id}"), "sh", "-c", other]);
}

fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    assert!(output.status.success(), "docker {arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}
