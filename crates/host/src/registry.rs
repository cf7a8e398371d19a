//! The image registry, read side: which digest a tag stands for now.
//!
//! Two requests of our own rather than a client library: a HEAD of the manifest (which pull limits do not count) and,
//! if the registry asks for it, one for a token. The digest is the one of what the tag names, so for an image of
//! several platforms it is the index's: the same reference then means the same bits on every droplet. Credentials are
//! sent only when asked for, only over TLS (or to a registry that is itself without), and are in no error.

mod challenge;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use reqwest::{Client, Response};
use seachange_core::host::{Credentials, Registry, RegistryError};
use seachange_core::image::{Digest, ImageRef};
use sha2::{Digest as _, Sha256};

use challenge::{Challenge, basic};

const DIGEST_HEADER: &str = "docker-content-digest";
/// Indexes first: what the tag names, not what one platform would get.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json";
/// Registries accept manifests of up to 4 MiB.
const MOST_BODY: usize = 4 * 1024 * 1024;

/// How registries are reached.
#[derive(Debug, Clone)]
pub struct RegistryConfig {
    /// A base address such as `http://127.0.0.1:5000` that answers for every registry host (the local cloud's).
    pub mirror: Option<String>,
    /// For each request.
    pub timeout: Duration,
}

impl Default for RegistryConfig {
    fn default() -> Self {
        Self { mirror: None, timeout: Duration::from_secs(20) }
    }
}

/// The HTTP client could not be set up: TLS roots or proxy settings of this machine.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client for image registries cannot be set up")]
pub struct RegistrySetupError {
    source: reqwest::Error,
}

/// Registries that speak the OCI distribution protocol: all of them.
pub struct OciRegistry {
    client: Client,
    mirror: Option<String>,
}

impl OciRegistry {
    /// Sets up the client; connects nowhere.
    pub fn new(config: RegistryConfig) -> Result<Self, RegistrySetupError> {
        // The choice of the cryptography is the process's; the first one made stays.
        drop(rustls::crypto::ring::default_provider().install_default());
        let builder = Client::builder()
            .user_agent(concat!("seachange/", env!("CARGO_PKG_VERSION")))
            .timeout(config.timeout)
            .connect_timeout(config.timeout);
        // A proxy cannot reach this machine's loopback addresses.
        let builder = if config.mirror.is_some() { builder.no_proxy() } else { builder };
        let client = builder.build().map_err(|source| RegistrySetupError { source })?;
        Ok(Self { client, mirror: config.mirror.map(|base| base.trim_end_matches('/').to_owned()) })
    }

    fn base(&self, image: &ImageRef) -> String {
        self.mirror.clone().unwrap_or_else(|| base_of(&image.registry))
    }

    async fn send(&self, asked: &Asked<'_>, method: Method) -> Result<Response, RegistryError> {
        let request =
            self.client.request(method.clone(), &asked.url).header(header::ACCEPT, MANIFESTS);
        let answer = request.send().await.map_err(|error| asked.unavailable(words(&error)))?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        let authorization = self.authorize(asked, answer.headers()).await?;
        let request = self.client.request(method, &asked.url).header(header::ACCEPT, MANIFESTS);
        let request = request.header(header::AUTHORIZATION, authorization);
        request.send().await.map_err(|error| asked.unavailable(words(&error)))
    }

    async fn authorize(
        &self,
        asked: &Asked<'_>,
        headers: &HeaderMap,
    ) -> Result<HeaderValue, RegistryError> {
        let Some(challenge) = challenge::choose(headers) else {
            return Err(asked.refused("it wants a login of a kind that is not known"));
        };
        let (realm, service, scope) = match challenge {
            Challenge::Basic => {
                let no_login = || asked.refused("it wants a login and none is given");
                return basic(asked.credentials.ok_or_else(no_login)?)
                    .ok_or_else(|| asked.refused("the login cannot be sent in a header"));
            }
            Challenge::Bearer { realm, service, scope } => (realm, service, scope),
        };
        if is_downgrade(&asked.url, &realm) {
            return Err(
                asked.refused("it names a token service without TLS; nothing was sent there")
            );
        }
        let scope = scope.unwrap_or_else(|| format!("repository:{}:pull", asked.image.repository));
        let mut query = vec![("scope", scope)];
        query.extend(service.map(|service| ("service", service)));
        let mut request = self.client.get(&realm).query(&query);
        if let Some(credentials) = asked.credentials {
            let login = basic(credentials)
                .ok_or_else(|| asked.refused("the login cannot be sent in a header"))?;
            request = request.header(header::AUTHORIZATION, login);
        }
        let answer = request.send().await.map_err(|error| asked.unavailable(words(&error)))?;
        if !answer.status().is_success() {
            let what =
                if asked.credentials.is_some() { "the login" } else { "a request without login" };
            return Err(
                asked.bad_status(answer.status(), &format!("its token service answered {what}"))
            );
        }
        let body = whole_body(answer).await.map_err(|detail| asked.unavailable(detail))?;
        challenge::bearer(&body)
            .ok_or_else(|| asked.unavailable("its token service answered no token".to_owned()))
    }
}

impl fmt::Debug for OciRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OciRegistry").field("mirror", &self.mirror).finish_non_exhaustive()
    }
}

#[async_trait]
impl Registry for OciRegistry {
    async fn resolve(
        &self,
        image: &ImageRef,
        credentials: Option<&Credentials>,
    ) -> Result<Digest, RegistryError> {
        let tag = image.tag.as_deref().unwrap_or("latest");
        let reference = image.digest.as_ref().map_or(tag, Digest::as_str);
        let url = format!("{}/v2/{}/manifests/{reference}", self.base(image), image.repository);
        let asked = Asked { image, url, credentials };
        let head = self.send(&asked, Method::HEAD).await?;
        asked.check(head.status())?;
        let digest = match header_digest(head.headers()) {
            Some(digest) => digest,
            // Some registries leave the header out: then it is the digest of the manifest's very bytes.
            None => {
                let answer = self.send(&asked, Method::GET).await?;
                asked.check(answer.status())?;
                digest_of(&whole_body(answer).await.map_err(|detail| asked.unavailable(detail))?)
                    .ok_or_else(|| asked.unavailable("its manifest has no digest".to_owned()))?
            }
        };
        match &image.digest {
            Some(wanted) if *wanted != digest => {
                Err(asked.unavailable(format!("asked for {wanted}, it answered {digest}")))
            }
            _ => Ok(digest),
        }
    }
}

/// One question, and the errors about it.
struct Asked<'a> {
    image: &'a ImageRef,
    url: String,
    credentials: Option<&'a Credentials>,
}

impl Asked<'_> {
    fn refused(&self, detail: &str) -> RegistryError {
        RegistryError::Refused { image: self.image.to_string(), detail: detail.to_owned() }
    }

    fn unavailable(&self, detail: String) -> RegistryError {
        RegistryError::Unavailable { image: self.image.to_string(), detail }
    }

    fn check(&self, status: StatusCode) -> Result<(), RegistryError> {
        if status.is_success() { Ok(()) } else { Err(self.bad_status(status, "it answered")) }
    }

    fn bad_status(&self, status: StatusCode, said: &str) -> RegistryError {
        let detail = format!("{said} {status}");
        let image = self.image.to_string();
        match status {
            StatusCode::NOT_FOUND => RegistryError::NotFound { image, detail },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                RegistryError::Refused { image, detail }
            }
            _ => RegistryError::Unavailable { image, detail },
        }
    }
}

/// Docker Hub answers under another name; registries on this machine are without TLS, as for Docker itself.
fn base_of(registry: &str) -> String {
    let host = registry.split(':').next().unwrap_or(registry);
    match registry {
        "docker.io" => "https://registry-1.docker.io".to_owned(),
        _ if host == "localhost" || host.starts_with("127.") => format!("http://{registry}"),
        _ => format!("https://{registry}"),
    }
}

/// A registry behind TLS that names a token service without: not even an anonymous request goes there.
fn is_downgrade(registry: &str, realm: &str) -> bool {
    registry.starts_with("https:") && !realm.starts_with("https:")
}

fn header_digest(headers: &HeaderMap) -> Option<Digest> {
    headers.get(DIGEST_HEADER)?.to_str().ok()?.parse().ok()
}

fn digest_of(body: &[u8]) -> Option<Digest> {
    let hex: String = Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}").parse().ok()
}

async fn whole_body(mut answer: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(|error| words(&error))? {
        body.extend_from_slice(&piece);
        if body.len() > MOST_BODY {
            return Err("its answer is larger than 4 MiB".to_owned());
        }
    }
    Ok(body)
}

/// The innermost cause: the outer ones say that a request failed, which is known.
fn words(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    match cause.downcast_ref::<std::io::Error>() {
        Some(cause) => crate::ssh::session::io_words(cause),
        None => cause.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_answer_under_their_own_address_or_the_mirror_s() {
        assert_eq!(base_of("docker.io"), "https://registry-1.docker.io");
        assert_eq!(base_of("registry.gitlab.com"), "https://registry.gitlab.com");
        assert_eq!(base_of("registry.example:5000"), "https://registry.example:5000");
        assert_eq!(base_of("localhost:5000"), "http://localhost:5000");
        assert_eq!(base_of("127.0.0.1:5000"), "http://127.0.0.1:5000");
        let mirror = Some("http://127.0.0.9:5000/".to_owned());
        let registry =
            OciRegistry::new(RegistryConfig { mirror, ..RegistryConfig::default() }).unwrap();
        assert_eq!(registry.base(&"nginx".parse().unwrap()), "http://127.0.0.9:5000");
    }

    #[test]
    fn a_login_does_not_leave_tls() {
        assert!(is_downgrade("https://r.example/v2/", "http://r.example/token"));
        assert!(is_downgrade("https://r.example/v2/", "/token"));
        assert!(!is_downgrade("https://r.example/v2/", "https://auth.example/token"));
        assert!(!is_downgrade("http://127.0.0.1:5000/v2/", "http://127.0.0.1:5000/token"));
    }

    #[test]
    fn the_digest_of_a_body_is_its_sha_256() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(digest_of(b"").unwrap().as_str(), empty);
    }
}
