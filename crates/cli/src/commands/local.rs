//! `seachange local`: the DigitalOcean on this machine, for curl, doctl, Terraform, and for another shell.

use std::path::Path;

use seachange_engine::context::Stop;
use seachange_local_cloud::join;
use seachange_local_cloud::serve::{Driver, ServeConfig, serve};
use seachange_local_cloud::world::Limits;

use crate::args::{Droplets, LocalCommand};
use crate::env;
use crate::failure::{Context as _, Failure, Result};
use crate::output::Printer;
use crate::world::busy;

/// Serves or resets.
pub(crate) async fn run(command: &LocalCommand, printer: Printer) -> Result<u8> {
    match command {
        LocalCommand::Serve {
            port,
            folder,
            droplets,
            droplet_limit,
            reserved_ip_limit,
            rate_limits,
        } => {
            let mut config = ServeConfig::in_folder(folder.clone());
            config.port = *port;
            config.driver = match droplets {
                Droplets::Simulated => Driver::Simulated,
                Droplets::Docker => Driver::Docker,
            };
            config.rate_limits = *rate_limits;
            config.limits = Limits { droplets: *droplet_limit, reserved_ips: *reserved_ip_limit };
            serving(config, printer).await
        }
        LocalCommand::Reset { folder } => reset(folder, printer),
    }
}

async fn serving(config: ServeConfig, printer: Printer) -> Result<u8> {
    let folder = config.folder.clone();
    let serving = serve(config)
        .await
        .context(|| format!("the local cloud in {} cannot be started", folder.display()))
        .map_err(|failure| match join::served_by(&folder) {
            Some(_) => failure.help(busy(&folder)),
            None => failure,
        })?;
    let key = folder.join("id_ed25519");
    write_key(&key, serving.ssh_private_key.expose())
        .context(|| format!("cannot write {}", key.display()))?;
    let exports = [
        (env::API_URL, serving.api_url.clone()),
        (env::TOKEN, serving.token.expose().to_owned()),
        (env::REGISTRY_MIRROR, serving.registry_url.clone()),
        (env::SPACES_ENDPOINT, serving.spaces.endpoint.clone()),
        (env::SPACES_KEY[0], serving.spaces.id.clone()),
        (env::SPACES_KEY[1], serving.spaces.key.expose().to_owned()),
        (env::PORT_OFFSET, serving.port_offset.to_string()),
        ("SSH_PRIVATE_KEY_FILE", key.display().to_string()),
        ("SSH_KEY_FINGERPRINT", serving.ssh_fingerprint.clone()),
    ];
    if printer.json {
        let object: serde_json::Map<_, _> =
            exports.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        printer.out_json(&object.into());
    } else {
        for (name, value) in exports {
            printer.out(&format!("export {name}={value}"));
        }
        printer.talk("serving until stopped (Ctrl-C)");
    }
    let stop = Stop::new();
    crate::session::heed_signals(stop.clone());
    stop.wait().await;
    serving.shutdown().await;
    Ok(crate::exit::FINE)
}

/// Writes a private key that only its owner can read.
fn write_key(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())
}

fn reset(folder: &Path, printer: Printer) -> Result<u8> {
    if !folder.join("world.json").exists() {
        return Err(Failure::new(format!("{} holds no local world", folder.display())));
    }
    if join::served_by(folder).is_some() {
        return Err(
            Failure::new(format!("the world in {} is in use", folder.display())).help(busy(folder))
        );
    }
    std::fs::remove_dir_all(folder).context(|| format!("cannot remove {}", folder.display()))?;
    printer.talk(&format!("removed {}", folder.display()));
    Ok(crate::exit::FINE)
}
