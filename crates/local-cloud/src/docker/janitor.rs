//! Who takes everything away, however this process ends.
//!
//! A shell in a process group of its own waits for the end of its standard input, which this process holds: the kernel
//! closes it after a kill -9 too. It alone holds the lock on everything that has our names, until all of it is gone, and
//! it runs the image registry, which would otherwise outlive us.

use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};

use super::network::{BRIDGE, CHAIN, HOOKS};
use super::{DockerError, GATEWAY, REGISTRY_PORT, droplet};

/// What the registry writes, below the world's folder.
pub(super) const REGISTRY_LOG: &str = "registry.log";

/// What waits.
#[derive(Debug)]
pub(super) struct Janitor {
    shell: Child,
}

impl Janitor {
    /// Takes away what an earlier process may have left, and waits for this one's end. Returns when the place is clean.
    pub(super) async fn call(folder: &Path) -> Result<Self, DockerError> {
        Self::call_with(folder, LOCK, PATIENCE).await
    }

    async fn call_with(folder: &Path, lock: &str, patience: u32) -> Result<Self, DockerError> {
        let config = folder.join("registry.yml");
        let unwritten = |source| DockerError::File { path: config.display().to_string(), source };
        std::fs::write(&config, registry_config(folder)).map_err(unwritten)?;
        let failed = |source| DockerError::Missing { program: "sh".to_owned(), source };
        let mut shell = Command::new("sh")
            .args(["-c", &script(lock, patience), "janitor"])
            .arg(config)
            .arg(folder.join(REGISTRY_LOG))
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let mut said = String::new();
        if let Some(stdout) = shell.stdout.take() {
            BufReader::new(stdout).read_line(&mut said).await.map_err(failed)?;
        }
        if !said.is_empty() {
            return Ok(Self { shell });
        }
        let mut detail = String::new();
        if let Some(mut stderr) = shell.stderr.take() {
            stderr.read_to_string(&mut detail).await.map_err(failed)?;
        }
        match shell.wait().await.map_err(failed)?.code() {
            Some(TAKEN) => Err(DockerError::InUse),
            _ => Err(DockerError::Failed {
                command: format!("locking {lock}"),
                detail: detail.trim().to_owned(),
            }),
        }
    }

    /// Starts the image registry, once the address it listens at exists.
    pub(super) async fn open_registry(&mut self) -> Result<(), DockerError> {
        let Some(stdin) = &mut self.shell.stdin else { return Ok(()) };
        let told = stdin.write_all(b"\n").await;
        told.map_err(|source| DockerError::Missing { program: "sh".to_owned(), source })
    }

    /// Lets it begin; returns when it is done.
    pub(super) async fn dismiss(&mut self) {
        drop(self.shell.stdin.take());
        if let Err(error) = self.shell.wait().await {
            tracing::warn!(%error, "whether all containers are gone is not known");
        }
    }
}

/// Held by the one who has droplets on this machine; `tests/lab/teardown` takes it too.
const LOCK: &str = "/run/seachange-lab.lock";
/// How long an earlier world may take to be gone, in seconds.
const PATIENCE: u32 = 30;
/// How the shell ends if somebody else still holds the lock by then.
const TAKEN: i32 = 75;

fn script(lock: &str, patience: u32) -> String {
    format!(
        "trap '' INT TERM HUP
exec 9> '{lock}'
flock --wait {patience} --conflict-exit-code {TAKEN} 9 || exit
{clean_up}echo clean
exec > /dev/null 2>&1
read -r go && {{ docker-registry serve \"$1\" > \"$2\" 2>&1 & }}
cat > /dev/null
[ -z \"$!\" ] || kill -9 \"$!\"
{clean_up}",
        clean_up = clean_up(),
    )
}

/// Removes everything that has our names. Nothing of it being there is fine.
fn clean_up() -> String {
    let label = droplet::LABEL;
    let unhook = HOOKS.map(|hook| {
        format!("while iptables -w -t nat -D {hook} -j {CHAIN} 2> /dev/null; do :; done\n")
    });
    let masquerade = super::network::masquerade();
    format!(
        "ids=$(docker ps --all --quiet --filter label={label})
[ -z \"$ids\" ] || docker rm --force --volumes $ids > /dev/null
docker network rm {BRIDGE} > /dev/null 2>&1
{}while iptables -w -t nat -D {masquerade} 2> /dev/null; do :; done
iptables -w -t nat -F {CHAIN} 2> /dev/null
iptables -w -t nat -X {CHAIN} 2> /dev/null
true
",
        unhook.concat()
    )
}

fn registry_config(folder: &Path) -> String {
    let root = folder.canonicalize().unwrap_or_else(|_| folder.to_owned()).join("registry");
    // JSON is YAML, and quotes as YAML wants it.
    serde_json::json!({
        "version": 0.1,
        "log": { "level": "warn" },
        "storage": { "filesystem": { "rootdirectory": root }, "delete": { "enabled": true } },
        "http": { "addr": format!("{GATEWAY}:{REGISTRY_PORT}") },
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_one() {
        let checked =
            std::process::Command::new("sh").args(["-n", "-c", &script(LOCK, PATIENCE)]).output();
        let output = checked.unwrap();
        assert!(output.status.success(), "{output:?}\n{}", script(LOCK, PATIENCE));
    }

    #[tokio::test]
    async fn whoever_cannot_have_the_lock_is_told_why() {
        let folder = tempfile::tempdir().unwrap();
        let lock = folder.path().join("lock").display().to_string();
        let held = std::fs::File::create(&lock).unwrap();
        held.lock().unwrap();
        let taken = Janitor::call_with(folder.path(), &lock, 0).await.unwrap_err();
        assert!(matches!(taken, DockerError::InUse), "{taken}");
        let nowhere = folder.path().join("nowhere/lock").display().to_string();
        let failed = Janitor::call_with(folder.path(), &nowhere, 0).await.unwrap_err();
        assert!(matches!(failed, DockerError::Failed { .. }), "{failed}");
        assert!(failed.to_string().contains("nowhere/lock"), "{failed}");
    }

    #[test]
    fn the_registry_s_configuration_is_yaml_with_an_absolute_path() {
        let folder = tempfile::tempdir().unwrap();
        let config: serde_json::Value =
            serde_json::from_str(&registry_config(folder.path())).unwrap();
        assert_eq!(config["http"]["addr"], "198.18.0.1:5000");
        let root = config["storage"]["filesystem"]["rootdirectory"].as_str().unwrap();
        assert!(Path::new(root).is_absolute(), "{root}");
    }
}
