//! The HTTP client beneath: TLS, roots of trust, pooling, and which addresses secrets may go to.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use rustls::{ClientConfig, RootCertStore};

use crate::config::ConfigError;

/// Idle connections are dropped before the service drops them: a create on a dying connection ends in doubt.
const IDLE: Duration = Duration::from_secs(20);
const CONNECT: Duration = Duration::from_secs(10);

/// Checks the base URL. Without TLS the token would be readable on the way, so that is for loopback only.
pub(crate) fn base(text: &str) -> Result<Url, ConfigError> {
    let refuse = |why| ConfigError::Url { url: text.to_owned(), why };
    let url = Url::parse(text).map_err(|_| refuse("it is not a URL"))?;
    let host = url.host_str().ok_or_else(|| refuse("it has no host"))?;
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(host) => {}
        "http" => return Err(refuse("only a loopback address may be asked without TLS")),
        _ => return Err(refuse("its scheme is neither https nor http")),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("it has a user or a password"));
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(refuse("it goes on behind the host and port"));
    }
    Ok(url)
}

/// One pooled client. It follows no redirect (the token would go along) and repeats nothing by itself.
pub(crate) fn new(base: &Url, timeout: Duration) -> Result<reqwest::Client, ConfigError> {
    let builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls(base)?)
        .user_agent(concat!("seachange/", env!("CARGO_PKG_VERSION")))
        .timeout(timeout)
        .connect_timeout(CONNECT.min(timeout))
        .pool_idle_timeout(IDLE)
        .tcp_nodelay(true)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never());
    // The usual proxy variables are honoured on the way out, but nothing on this machine is behind a proxy.
    let builder = if base.scheme() == "http" { builder.no_proxy() } else { builder };
    builder.build().map_err(|error| ConfigError::Setup(error.into()))
}

/// TLS by ring. Trusted are the system's roots (a company's own proxy may be among them) *and* Mozilla's, compiled in:
/// bare CI images have no roots at all. Not read for plain http, where they cost a millisecond for nothing.
fn tls(base: &Url) -> Result<ClientConfig, ConfigError> {
    let mut roots = RootCertStore::empty();
    if base.scheme() == "https" {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let mozilla = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned();
        roots.add_parsable_certificates(mozilla);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ConfigError::Setup(error.into()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{base, new};

    #[test]
    fn the_token_goes_over_tls_or_to_this_machine() {
        for good in [
            "https://api.digitalocean.com",
            "https://proxy.example:8443/",
            "http://127.0.0.1:1",
            "http://127.8.0.1",
            "http://localhost:4000",
            "http://[::1]:4000",
        ] {
            let url = base(good).unwrap();
            assert!(new(&url, Duration::from_secs(1)).is_ok(), "{good}");
        }
        for bad in [
            "",
            "api.digitalocean.com",
            "ftp://127.0.0.1",
            "http://api.digitalocean.com",
            "http://192.0.2.1",
            "http://localhost.example",
            "http://127.0.0.1.example",
            "https://user@api.digitalocean.com",
            "https://api.digitalocean.com/v2",
            "https://api.digitalocean.com?a=b",
        ] {
            assert!(base(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
