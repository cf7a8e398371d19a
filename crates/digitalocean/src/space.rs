//! A Space, or any S3-compatible store, as a [`StateStore`].
//!
//! Signing, addressing and listing are object_store's, with its repetitions off: a create that is repeated by a client
//! whose first answer got lost loses against itself. The way there is our own (`wire`), so that each failure keeps
//! what decides here: was it sent, was it answered, and with which words. Reads are not repeated either; who asks knows
//! better how long to be patient.

mod refusal;
mod wire;

use std::sync::Arc;

use async_trait::async_trait;
use http::Method;
use object_store::aws::{AmazonS3, AmazonS3Builder, AwsAuthorizer, AwsCredential};
use object_store::client::{HttpRequest, HttpRequestBody};
use object_store::list::{PaginatedListOptions, PaginatedListStore as _};
use object_store::path::Path;
use object_store::{ObjectStore as _, ObjectStoreExt as _, PutMode, RetryConfig};
use seachange_core::secret::Secret;
use seachange_core::store::{Created, StateStore, StoreError};

use crate::transport::http_client;
use wire::{Connector, Failed, Wire};

/// The most keys S3 lists at a time.
const PAGE: usize = 1000;

/// Which bucket, and where in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpaceConfig {
    /// Its name.
    pub bucket: String,
    /// Region slug: part of the signature, and of DigitalOcean's host name.
    pub region: String,
    /// Scheme, host and port of another store than DigitalOcean's. Plain `http` is taken for loopback addresses only.
    pub endpoint: Option<String>,
    /// Put before every key, without a `/` at its ends; may be empty.
    pub prefix: String,
    /// The bucket in the path instead of in the host name: many stores know it only so.
    pub path_style: bool,
}

/// A Spaces key.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// Its public half.
    pub id: String,
    /// Its secret half.
    pub key: Secret,
}

/// What a bucket does with objects that are overwritten or deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versioning {
    /// It forgets them.
    Never,
    /// It keeps them. Ceph then ignores the conditions of writes.
    Enabled,
    /// It keeps those of the time when it was enabled.
    Suspended,
}

/// States in a bucket.
#[derive(Debug)]
pub struct Space {
    store: AmazonS3,
    wire: Arc<Wire>,
    credential: AwsCredential,
    /// Address of the bucket itself.
    address: String,
    config: SpaceConfig,
    host: String,
}

impl Space {
    /// Checks what can be checked without a request.
    pub fn connect(config: &SpaceConfig, credentials: Credentials) -> Result<Self, StoreError> {
        let endpoint = config
            .endpoint
            .clone()
            .unwrap_or_else(|| format!("https://{}.digitaloceanspaces.com", config.region));
        let refused = |detail: String| StoreError::Refused {
            store: format!("Space {} at {endpoint}", config.bucket),
            operation: "connect".to_owned(),
            detail,
        };
        check(config, &credentials).map_err(|why| refused(why.to_owned()))?;
        let mut url = http_client::base(&endpoint).map_err(|error| refused(error.to_string()))?;
        let host = url.authority().to_owned();
        // No certificate for *.HOST covers a bucket whose name has a dot.
        let in_host = !config.path_style && !config.bucket.contains('.');
        if in_host {
            let host = format!("{}.{}", config.bucket, url.host_str().unwrap_or_default());
            url.set_host(Some(&host)).map_err(|error| refused(error.to_string()))?;
        }
        let origin = url.as_str().trim_end_matches('/').to_owned();
        let address = if in_host { origin.clone() } else { format!("{origin}/{}", config.bucket) };
        let wire = Arc::new(Wire::new(&url).map_err(|error| refused(error.to_string()))?);
        let store = AmazonS3Builder::new()
            .with_bucket_name(&config.bucket)
            .with_region(&config.region)
            .with_endpoint(origin)
            .with_virtual_hosted_style_request(in_host)
            .with_access_key_id(&credentials.id)
            .with_secret_access_key(credentials.key.expose())
            .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
            .with_disable_bulk_delete(true)
            .with_http_connector(Connector(Arc::clone(&wire)))
            .build()
            .map_err(|error| refused(error.to_string()))?;
        Ok(Self {
            store,
            wire,
            credential: AwsCredential {
                key_id: credentials.id,
                secret_key: credentials.key.expose().to_owned(),
                token: None,
            },
            address,
            config: config.clone(),
            host,
        })
    }

    /// Whether the bucket keeps old versions.
    pub async fn versioning(&self) -> Result<Versioning, StoreError> {
        let operation = "read the bucket's versioning";
        let failed = |error: &(dyn std::error::Error + 'static)| self.explain(operation, error);
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.method_mut() = Method::GET;
        *request.uri_mut() =
            format!("{}/?versioning=", self.address).parse().map_err(|error| failed(&error))?;
        AwsAuthorizer::new(&self.credential, "s3", &self.config.region)
            .try_authorize(&mut request, None)
            .map_err(|error| failed(&error))?;
        let answer = self.wire.send(request).await.map_err(|error| failed(&error))?;
        let body = answer.into_body().bytes().await.map_err(|error| failed(&error))?;
        let text = String::from_utf8_lossy(&body);
        Ok(match refusal::element(&text, "Status") {
            Some("Enabled") => Versioning::Enabled,
            Some("Suspended") => Versioning::Suspended,
            Some(_) | None => Versioning::Never,
        })
    }

    /// What is behind the name, for people: what the engine calls itself, and whether versioning is on.
    pub async fn describe(&self) -> String {
        let versioning = match self.versioning().await {
            Ok(Versioning::Never) => "versioning was never on",
            Ok(Versioning::Enabled) => "versioning is on",
            Ok(Versioning::Suspended) => "versioning is suspended",
            Err(_) => "versioning is unknown",
        };
        let engine = self.wire.engine();
        let engine = engine.as_deref().unwrap_or("an engine that does not say its name");
        format!("{}: {engine}, {versioning}", self.name())
    }

    fn key(&self, key: &str) -> Path {
        Path::from(format!("{}/{key}", self.config.prefix).trim_start_matches('/'))
    }

    /// What became of an operation, from what the wire saw.
    fn explain(&self, operation: &str, error: &(dyn std::error::Error + 'static)) -> StoreError {
        let (store, operation) = (self.name(), operation.to_owned());
        let mut cause = Some(error);
        while let Some(error) = cause {
            match error.downcast_ref::<Failed>() {
                None => cause = error.source(),
                Some(Failed::Answered { status, body }) => {
                    let detail = refusal::text(*status, body, &self.config);
                    return StoreError::Refused { store, operation, detail };
                }
                Some(Failed::NotSent { detail }) => {
                    let detail = detail.clone();
                    return StoreError::Refused { store, operation, detail };
                }
                Some(Failed::InDoubt { detail }) => {
                    let detail = detail.clone();
                    return StoreError::Unknown { store, operation, detail };
                }
            }
        }
        // Something in an answer was not understood: a write may have been done.
        StoreError::Unknown { store, operation, detail: error.to_string() }
    }
}

#[async_trait]
impl StateStore for Space {
    fn name(&self) -> String {
        format!("Space {} at {}", self.config.bucket, self.host)
    }

    async fn create(&self, key: &str, bytes: &[u8]) -> Result<Created, StoreError> {
        let payload = bytes.to_vec().into();
        match self.store.put_opts(&self.key(key), payload, PutMode::Create.into()).await {
            Ok(_) => Ok(Created::Yes),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(Created::Taken),
            Err(error) => Err(self.explain(&format!("create {key}"), &error)),
        }
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let failed = |error| self.explain(&format!("get {key}"), &error);
        match self.store.get(&self.key(key)).await {
            Ok(found) => found.bytes().await.map(|bytes| Some(bytes.into())).map_err(failed),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    async fn list(&self, prefix: &str, limit: usize) -> Result<Vec<String>, StoreError> {
        let own = match self.config.prefix.as_str() {
            "" => String::new(),
            own => format!("{own}/"),
        };
        let below = format!("{own}{prefix}");
        let mut keys = Vec::new();
        let mut page_token = None;
        while keys.len() < limit {
            let max_keys = Some((limit - keys.len()).min(PAGE));
            let options = PaginatedListOptions { max_keys, page_token, ..Default::default() };
            let page = self
                .store
                .list_paginated(Some(&below), options)
                .await
                .map_err(|error| self.explain(&format!("list {prefix}"), &error))?;
            keys.extend(page.result.objects.iter().filter_map(|object| {
                object.location.as_ref().strip_prefix(&own).map(str::to_owned)
            }));
            page_token = page.page_token;
            if page_token.is_none() {
                break;
            }
        }
        keys.truncate(limit);
        Ok(keys)
    }

    async fn put(&self, key: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let payload = bytes.to_vec().into();
        let put = self.store.put(&self.key(key), payload).await;
        put.map(drop).map_err(|error| self.explain(&format!("put {key}"), &error))
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        match self.store.delete(&self.key(key)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.explain(&format!("delete {key}"), &error)),
        }
    }
}

/// What would end in a request to somewhere else, or in a panic of a library on the way.
fn check(config: &SpaceConfig, credentials: &Credentials) -> Result<(), &'static str> {
    let plain = |text: &str, more: &str| {
        text.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || more.contains(char::from(byte))
        })
    };
    let visible = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if config.bucket.is_empty() || !plain(&config.bucket, "-.") {
        return Err("a bucket's name has lower-case letters, digits, - and . only");
    }
    if config.region.is_empty() || !plain(&config.region, "-") {
        return Err("a region has lower-case letters, digits and - only");
    }
    let segment = |text: &str| {
        !text.is_empty() && text != "." && text != ".." && plain(&text.to_ascii_lowercase(), "-_.")
    };
    if !config.prefix.is_empty() && !config.prefix.split('/').all(segment) {
        return Err("a prefix has letters, digits, - _ . and single / only");
    }
    if !visible(&credentials.id) || !visible(credentials.key.expose()) {
        return Err(
            "the access key is empty or has characters that cannot be sent, such as a line end",
        );
    }
    Ok(())
}
