//! The host half over real sockets and in process: the project's own client against the simulated droplets.

mod balancer;
mod docker;
mod forward;
mod ground;
mod in_process;
mod registry;
mod ssh;
mod suite;
