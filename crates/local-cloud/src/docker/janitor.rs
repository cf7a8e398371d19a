//! Who takes everything away, however this process ends.
//!
//! A shell in a process group of its own waits for the end of its standard input, which this process holds: the kernel
//! closes it after a kill -9 too. It alone holds the lock on everything that has our names, until all of it is gone, and
//! it runs the image registry, which would otherwise outlive us. Before it cleans up it waits for the programs that are
//! still at work for us ([`super::programs`]).

use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};

use super::programs::AT_WORK;
use super::{DockerError, GATEWAY, REGISTRY_PORT};

/// What the registry writes, below the world's folder.
pub(super) const REGISTRY_LOG: &str = "registry.log";
/// What droplets are handed at their first boot, private keys among it, below the world's folder.
pub(super) const SEEDS: &str = "droplets";

/// What waits.
#[derive(Debug)]
pub(super) struct Janitor {
    /// Its standard output ends with the image registry, once that is open.
    shell: Child,
}

impl Janitor {
    /// Takes away what an earlier process may have left, and waits for this one's end. Returns when the place is clean.
    pub(super) async fn call(folder: &Path) -> Result<Self, DockerError> {
        Self::call_with(folder, [LOCK, AT_WORK], PATIENCE).await
    }

    async fn call_with(
        folder: &Path,
        locks: [&str; 2],
        patience: u32,
    ) -> Result<Self, DockerError> {
        let config = folder.join("registry.yml");
        let unwritten = |source| DockerError::File { path: config.display().to_string(), source };
        std::fs::write(&config, registry_config(folder)).map_err(unwritten)?;
        let failed = |source| DockerError::NotRun { program: "sh".to_owned(), source };
        let mut shell = Command::new("sh")
            .args(["-c", &script(locks, patience), "janitor"])
            .arg(config)
            .arg(folder.join(REGISTRY_LOG))
            .arg(folder.join(SEEDS))
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let mut said = String::new();
        let mut stdout = shell.stdout.take().map(BufReader::new);
        if let Some(stdout) = &mut stdout {
            stdout.read_line(&mut said).await.map_err(failed)?;
        }
        if !said.is_empty() {
            shell.stdout = stdout.map(BufReader::into_inner);
            return Ok(Self { shell });
        }
        let mut detail = String::new();
        if let Some(mut stderr) = shell.stderr.take() {
            stderr.read_to_string(&mut detail).await.map_err(failed)?;
        }
        match shell.wait().await.map_err(failed)?.code() {
            Some(TAKEN) => Err(DockerError::InUse),
            _ => Err(DockerError::Failed {
                command: format!("locking {}", locks[0]),
                detail: detail.trim().to_owned(),
            }),
        }
    }

    /// Starts the image registry, once the address it listens at exists. What is given ends with it.
    pub(super) async fn open_registry(
        &mut self,
    ) -> Result<impl Future<Output = ()> + Send + use<>, DockerError> {
        let failed = |source| DockerError::NotRun { program: "sh".to_owned(), source };
        if let Some(stdin) = &mut self.shell.stdin {
            stdin.write_all(b"\n").await.map_err(failed)?;
        }
        let held = self.shell.stdout.take();
        Ok(async move {
            let Some(mut held) = held else { return };
            // It writes nothing there, and there is no end but its own.
            while held.read(&mut [0]).await.is_ok_and(|read| read > 0) {}
        })
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
/// How long what is at work may take to end when its world has ended, in seconds.
const AFTERWARDS: u32 = 60;

/// Removes everything that has our names.
const CLEAN_UP: &str = include_str!("clean-up.sh");

/// The registry alone gets no lock: it could outlive the shell. It keeps the shell's first output, by which its end is seen.
fn script([lock, at_work]: [&str; 2], patience: u32) -> String {
    format!(
        "trap '' INT TERM HUP
clean_up() {{
{CLEAN_UP}rm -rf -- \"$seeds\"
}}
seeds=$3
exec 8>> '{at_work}' 9> '{lock}'
flock --wait {patience} --conflict-exit-code {TAKEN} 9 || exit
flock --wait {patience} --conflict-exit-code {TAKEN} 8 || exit
clean_up
flock --unlock 8
echo clean
exec 7>&1 > /dev/null 2>&1
read -r go && {{ setpriv --pdeathsig KILL docker-registry serve \"$1\" > \"$2\" 2>&1 8>&- 9>&- & }}
exec 7>&-
cat > /dev/null
[ -z \"$!\" ] || kill -9 \"$!\"
flock --wait {AFTERWARDS} 8
clean_up
"
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
    use super::super::{droplet, network};
    use super::*;

    const LOCKS: [&str; 2] = [LOCK, AT_WORK];

    #[test]
    fn the_script_is_one() {
        let checked =
            std::process::Command::new("sh").args(["-n", "-c", &script(LOCKS, PATIENCE)]).output();
        let output = checked.unwrap();
        assert!(output.status.success(), "{output:?}\n{}", script(LOCKS, PATIENCE));
    }

    #[test]
    fn what_is_made_is_what_is_taken_away() {
        let line = |words: &str| assert!(CLEAN_UP.contains(words), "{words}\n{CLEAN_UP}");
        line(&format!("label={})", droplet::LABEL));
        line(&format!("docker network rm {} ", network::BRIDGE));
        line(&format!("for hook in {}; do", network::HOOKS.join(" ")));
        line(&format!("-D $hook -j {} ", network::CHAIN));
        line(&format!("-D {} ", network::masquerade()));
        line(&format!("-X {} ", network::CHAIN));
    }

    #[tokio::test]
    async fn whoever_cannot_have_the_lock_is_told_why() {
        let folder = tempfile::tempdir().unwrap();
        let lock = |name: &str| folder.path().join(name).display().to_string();
        let (free, taken, nowhere) = (lock("free"), lock("taken"), lock("nowhere/lock"));
        let held = std::fs::File::create(&taken).unwrap();
        held.lock().unwrap();
        // Another world is served, or something of an earlier one is still at work.
        for locks in [[&*taken, &*free], [&*free, &*taken]] {
            let error = Janitor::call_with(folder.path(), locks, 0).await.unwrap_err();
            assert!(matches!(error, DockerError::InUse), "{error}");
        }
        let failed = Janitor::call_with(folder.path(), [&nowhere, &free], 0).await.unwrap_err();
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
