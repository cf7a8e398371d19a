//! What happens on the droplets and in the image registry, over the network.
//!
//! One SSH connection a droplet carries everything: commands, files, the Docker Engine API (through its forwarded unix
//! socket) and the probes of a container's port. So a droplet needs no open port but SSH, no agent of ours, and no
//! secret on its disk. The crate knows neither the cloud that made the droplets nor plans nor state: it does what one
//! call of [`Host`](seachange_core::host::Host) or [`Registry`](seachange_core::host::Registry) says.
//!
//! Reading order: `ssh` (keys, session, exec, files), `engine` (Docker), `haproxy`, `host_key`, `boot`, `probe`, `registry`, and
//! `adapter`, where they become the two traits.

mod adapter;
mod boot;
mod engine;
mod haproxy;
mod host_key;
mod http1;
mod probe;
mod registry;
mod ssh;

pub use adapter::SshHost;
pub use registry::{OciRegistry, RegistryConfig, RegistrySetupError};
pub use ssh::keys::{KeyError, Keys};
pub use ssh::{Config, Dial};
