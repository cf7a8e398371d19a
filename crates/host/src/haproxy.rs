//! HAProxy's configuration: one whole file, checked by HAProxy itself, swapped in, reloaded.
//!
//! Content alone does not tell whether a reload is due: a run may have died between the swap and the reload. So a
//! marker file is made before the swap and removed after the reload, and while it is there the running HAProxy may
//! have an older configuration than the file. Every point of death then leaves something the next call finishes:
//!
//! | died after | file | marker | next call |
//! | --- | --- | --- | --- |
//! | upload or check | old | no | starts over |
//! | marker | old | yes | starts over |
//! | swap | new | yes | reloads |
//! | reload | new | yes | reloads once more, which is harmless |
//! | marker removed | new | no | nothing to do |

use seachange_core::host::{HostError, Installed, Target};
use sha2::{Digest as _, Sha256};

use crate::ssh::Ssh;
use crate::ssh::exec::{run, run_well};
use crate::ssh::files::Files;

const PATH: &str = "/etc/haproxy/haproxy.cfg";
const CANDIDATE: &str = "/etc/haproxy/haproxy.cfg.seachange-new";
const MARKER: &str = "/etc/haproxy/haproxy.cfg.seachange-reload";

/// SHA-256 (hex) of the installed file.
pub(crate) async fn digest(ssh: &Ssh, target: &Target) -> Result<Option<String>, HostError> {
    let installed = Files::open(ssh, target).await?.read(PATH).await?;
    Ok(installed
        .map(|bytes| Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()))
}

/// Puts the text in place and reloads, unless both are done.
pub(crate) async fn install(
    ssh: &Ssh,
    target: &Target,
    text: &str,
) -> Result<Installed, HostError> {
    let files = Files::open(ssh, target).await?;
    let is_installed = files.read(PATH).await?.is_some_and(|bytes| bytes == text.as_bytes());
    if is_installed && !files.exists(MARKER).await? {
        return Ok(Installed::AlreadySo);
    }
    if !is_installed {
        files.write(CANDIDATE, text.as_bytes()).await?;
        let check = run(ssh, target, &["haproxy", "-c", "-f", CANDIDATE]).await?;
        if !check.is_success() {
            files.remove(CANDIDATE).await?;
            return Err(HostError::ConfigRefused { path: PATH.to_owned(), detail: check.words() });
        }
        files.write(MARKER, b"").await?;
        run_well(ssh, target, &["mv", "-f", CANDIDATE, PATH]).await?;
    }
    run_well(ssh, target, &["systemctl", "reload", "haproxy"]).await?;
    files.remove(MARKER).await?;
    Ok(Installed::Changed)
}
