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
//!
//! A reload that fails leaves the old process serving, and `systemctl` does not tell: HAProxy checks the file, and then cannot
//! have what it asks for (a port, so many descriptors). So a reload counts when another process answers than before it.
//!
//! A detour is said on the admin socket and is gone with the next reload. A second marker file is made before one is taken
//! and removed after it has ended; while it is there, the configuration counts as another one, and is reloaded.

mod admin;

use std::net::SocketAddrV4;
use std::time::Duration;

use seachange_core::bootstrap::hex;
use seachange_core::haproxy::{BACKEND, DETOUR, FLOATING_IP};
use seachange_core::host::{Balancing, HostError, Installed, Target};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use crate::ssh::exec::{run, run_well};
use crate::ssh::files::Files;
use crate::ssh::{Ssh, failed};

const PATH: &str = "/etc/haproxy/haproxy.cfg";
const CANDIDATE: &str = "/etc/haproxy/haproxy.cfg.seachange-new";
const MARKER: &str = "/etc/haproxy/haproxy.cfg.seachange-reload";

const DETOUR_MARKER: &str = "/etc/haproxy/haproxy.cfg.seachange-detour";
/// How long a new process may take to be there after a reload.
const TAKE_OVER: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How it is configured.
pub(crate) async fn look(ssh: &Ssh, target: &Target) -> Result<Balancing, HostError> {
    let files = Files::open(ssh, target).await?;
    let (installed, detour) = tokio::try_join!(files.read(PATH), files.exists(DETOUR_MARKER))?;
    Ok(Balancing { config: installed.map(|bytes| hex(&Sha256::digest(bytes))), detour })
}

/// Sends new requests straight to an address, or to the floating IP again; how many are in flight on the latter.
pub(crate) async fn detour(
    ssh: &Ssh,
    target: &Target,
    to: Option<SocketAddrV4>,
) -> Result<u64, HostError> {
    let files = Files::open(ssh, target).await?;
    let (first, last) = match to {
        Some(to) => {
            files.write(DETOUR_MARKER, b"").await?;
            let (ip, port) = (to.ip(), to.port());
            let detour = format!(
                "set server {BACKEND}/{DETOUR} addr {ip} port {port};\
                 set server {BACKEND}/{DETOUR} state ready"
            );
            (detour, format!("set server {BACKEND}/{FLOATING_IP} state drain"))
        }
        None => (
            format!("set server {BACKEND}/{FLOATING_IP} state ready"),
            format!("set server {BACKEND}/{DETOUR} state maint"),
        ),
    };
    // Never a moment without a server in use.
    let said = admin::say(ssh, target, &format!("{first};{last};show stat")).await?;
    let floating_ip = admin::server(&said, BACKEND, FLOATING_IP);
    let detour = admin::server(&said, BACKEND, DETOUR);
    match (floating_ip, detour) {
        (Some(floating_ip), Some(detour))
            if floating_ip.is_in_use == to.is_none()
                && detour.is_in_use == to.is_some()
                && to.is_none_or(|to| detour.address == to.to_string()) =>
        {
            if to.is_none() {
                files.remove(DETOUR_MARKER).await?;
                return Ok(floating_ip.sessions);
            }
            Ok(floating_ip.sessions.max(connections(ssh, target, &floating_ip.address).await?))
        }
        _ => {
            let table = said.find("# pxname").unwrap_or(said.len());
            let lines = said[..table].lines().map(str::trim).filter(|line| !line.is_empty());
            let words: Vec<&str> = lines.collect();
            let detail = format!("HAProxy did not do it: {}", words.join("; "));
            Err(failed(target.address, "sending users round the floating IP", detail))
        }
    }
}

/// How many connections to the address there are, whoever has them: a process that a reload has replaced goes on with what it
/// has begun, and answers nobody who asks it.
async fn connections(ssh: &Ssh, target: &Target, to: &str) -> Result<u64, HostError> {
    let look = ["ss", "-H", "-t", "-n", "state", "established", "dst", to];
    let seen = run(ssh, target, &look).await?;
    if !seen.is_success() {
        return Err(failed(target.address, "counting what is in flight (ss)", seen.words()));
    }
    Ok(seen.text.lines().filter(|line| !line.trim().is_empty()).count() as u64)
}

/// Puts the text in place and reloads, unless both are done.
pub(crate) async fn install(
    ssh: &Ssh,
    target: &Target,
    text: &str,
) -> Result<Installed, HostError> {
    let files = Files::open(ssh, target).await?;
    let is_installed = files.read(PATH).await?.is_some_and(|bytes| bytes == text.as_bytes());
    let (reload, detour) = tokio::try_join!(files.exists(MARKER), files.exists(DETOUR_MARKER))?;
    if is_installed && !reload && !detour {
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
    reload_haproxy(ssh, target).await?;
    files.remove(MARKER).await?;
    files.remove(DETOUR_MARKER).await?;
    Ok(Installed::Changed)
}

/// Reloads, and waits until another process than before answers.
async fn reload_haproxy(ssh: &Ssh, target: &Target) -> Result<(), HostError> {
    let before = admin::process(ssh, target).await;
    run_well(ssh, target, &["systemctl", "reload", "haproxy"]).await?;
    let began = Instant::now();
    loop {
        let now = admin::process(ssh, target).await;
        if now.is_some() && now != before {
            return Ok(());
        }
        if began.elapsed() > TAKE_OVER {
            let lines = ["journalctl", "--unit=haproxy", "--lines=5", "--output=cat", "--no-pager"];
            let log = run(ssh, target, &lines).await?;
            let detail = format!("the old process still serves: {}", log.words());
            return Err(failed(target.address, "reloading HAProxy", detail));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
