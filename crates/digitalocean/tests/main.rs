//! The one test binary of this crate.

#[cfg(test)]
mod contract;
#[cfg(test)]
mod listing;
#[cfg(test)]
#[path = "../../core/tests/mangled/mangle.rs"]
mod mangle;
#[cfg(test)]
mod mangled;
mod openapi;
#[cfg(test)]
mod retrying;
#[cfg(test)]
mod server;
#[cfg(test)]
mod space;
#[cfg(test)]
mod verbs;
