//! What a client needs to be told, and why it can refuse.
//!
//! It never reads the environment: the token and the address come from whoever builds the client.

use std::time::Duration;

use seachange_core::secret::Secret;

/// Where the API is, who asks, and how patiently.
#[derive(Debug, Clone)]
pub struct Config {
    /// Scheme, host and port, without `/v2`. Plain `http` is taken for loopback addresses only: the token travels
    /// with every request.
    pub base_url: String,
    /// A personal access token.
    pub token: Secret,
    /// For one try of one request, from connecting to the last byte of the answer.
    pub timeout: Duration,
    /// Most requests in flight at a time.
    pub concurrency: usize,
    /// When to try again.
    pub retries: Retries,
}

/// How often and how long a request is tried again, where it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    /// Tries in all, the first included.
    pub attempts: u32,
    /// The first pause; each further one is twice as long, less up to half of it by chance.
    pub first: Duration,
    /// The longest pause of our own choosing. A longer `retry-after` of the service is obeyed.
    pub longest: Duration,
    /// The longest that one request waits in all, for the rate limit and between tries.
    pub patience: Duration,
    /// The same for a request that changes something. Whoever sends one has just made sure of being allowed to: so long
    /// after that it may still be begun, and no longer. Its caller makes sure again and sends it anew.
    pub changing: Duration,
}

impl Config {
    /// The real API with sensible limits.
    pub fn new(token: Secret) -> Self {
        Self {
            base_url: "https://api.digitalocean.com".to_owned(),
            token,
            timeout: Duration::from_secs(30),
            concurrency: 16,
            retries: Retries::default(),
        }
    }
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            attempts: 6,
            first: Duration::from_millis(500),
            longest: Duration::from_secs(20),
            patience: Duration::from_secs(150),
            changing: Duration::from_secs(4),
        }
    }
}

/// Why no client can be made of a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not a usable address.
    #[error("`{url}` is not a base URL of an API: {why}")]
    Url {
        /// The text.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The token has characters that no token has, such as a line end. It is not shown.
    #[error("the API token is empty or has characters that cannot be sent, such as a line end")]
    Token,
    /// TLS or the connection pool could not be set up.
    #[error("the HTTP client cannot be set up")]
    Setup(#[source] Box<dyn std::error::Error + Send + Sync>),
}
