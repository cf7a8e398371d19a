//! DigitalOcean's HTTP API as a [`Cloud`](seachange_core::cloud::Cloud).
//!
//! ```text
//! adapter ──► request (values)  ──► transport ──► the API
//!    ▲                                │  retry   what may be sent again
//!    └── convert ◄── wire (answers) ◄─┘  rate    when the next request may go
//! ```
//!
//! Requests are values, answers are plain structs, and both can be judged without a socket. `adapter` puts them
//! together into [`Client`]. The rule above all others: what creates is never sent twice unless the first try
//! certainly was not processed. Beside it, [`space`] keeps states in a Space. Nothing here knows state, plans, or what a droplet is for.

mod adapter;
mod config;
mod convert;
mod pages;
mod rate;
mod refusal;
pub mod request;
pub mod retry;
pub mod space;
mod transport;
pub mod wire;

pub use adapter::Client;
pub use config::{Config, ConfigError, Retries};
