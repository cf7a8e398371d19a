//! The load balancer's configuration, installed as a whole.

use seachange_core::address::Address;
use seachange_core::event::Outcome;
use seachange_core::haproxy::LoadBalancerConfig;
use seachange_core::host::Installed;
use seachange_core::journal::OperationKind;

use super::floating_ip;
use crate::step::{Done, Step, Trouble};

/// Installs the configuration and reloads the service, if it is another one.
pub(crate) async fn configure(
    step: &mut Step<'_>,
    listen: u16,
    port: u16,
) -> Result<Done, Trouble> {
    let host = step.host()?;
    let target = step.target(&Address::LoadBalancer)?;
    let config = LoadBalancerConfig { listen, floating_ip: floating_ip::ours(step)?, port };
    let operation = step.begin(OperationKind::Repeatable, &[Address::LoadBalancer]).await?;
    step.run.journal.must_hold()?;
    let installed = host.install_config(&target, &config.render()).await?;
    let digest = config.digest();
    let change = step.updated(&Address::LoadBalancer, |known| known.config = Some(digest))?;
    step.end(operation, vec![change]).await?;
    let outcome = match installed {
        Installed::AlreadySo => Outcome::AlreadySo,
        Installed::Changed => Outcome::Changed,
    };
    Ok((outcome, format!("port {listen} → {}:{port}", config.floating_ip)))
}
