//! A Space: the part of S3 that keeps states, over HTTP, with every request's signature checked.
//!
//! Path style only (`/BUCKET/KEY`), every bucket is there unless [`Habits::absent`] names it, and objects are files, so that
//! they outlive the process. Engines of S3 differ in what a conditional write is worth: [`Habits`] has what was measured
//! of them. What goes wrong with a single request is a rule of [`crate::fault`], as everywhere.

mod answer;
mod shelf;
mod signature;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use seachange_core::secret::Secret;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::doors::open::{Door, serve_http};
use crate::fault::{self, Effect};
use crate::http::decode;
use crate::world::World;
use answer::{Refusal, empty, error};
use shelf::{Condition, Shelf};
use signature::Signer;

/// What a conditional write is worth.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Conditions {
    /// Of any number of rivals one wins.
    #[default]
    Honoured,
    /// They are not looked at.
    Ignored,
    /// It looks first and writes then: one at a time it keeps its word.
    LookedAtFirst,
}

/// How this engine behaves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Habits {
    /// What a conditional write is worth.
    pub conditions: Conditions,
    /// `If-Match` with a quoted ETag, as the RFC has it, never matches.
    pub refuses_quoted_etags: bool,
    /// The buckets keep old versions, or say so.
    pub versioning: bool,
    /// Listings do not show what was written in the last so many milliseconds.
    pub stale_list_millis: u64,
    /// Buckets that are not there.
    pub absent: Vec<String>,
}

/// Who may come in.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Keys {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) read_only_id: String,
    pub(crate) read_only_secret: String,
}

impl Keys {
    /// New ones.
    pub(crate) fn random() -> Self {
        let word = || format!("{:016x}", rand::random::<u64>());
        let (id, read_only_id) = (format!("DO00LOCAL{}", word()), format!("DO00READ{}", word()));
        let secret = || format!("{}{}{}", word(), word(), word());
        Self { id, secret: secret(), read_only_id, read_only_secret: secret() }
    }

    fn of(&self, id: &str) -> Option<(&str, bool)> {
        match id {
            _ if id == self.id => Some((&self.secret, true)),
            _ if id == self.read_only_id => Some((&self.read_only_secret, false)),
            _ => None,
        }
    }
}

/// The way into the Spaces of a world.
#[derive(Debug, Clone)]
pub struct Access {
    /// Where they are.
    pub endpoint: String,
    /// A key that may do everything: its id,
    pub id: String,
    /// and its secret.
    pub key: Secret,
    /// A key that may only read: its id,
    pub read_only_id: String,
    /// and its secret.
    pub read_only_key: Secret,
}

impl Access {
    pub(crate) fn new(endpoint: String, keys: Keys) -> Self {
        Self {
            endpoint,
            id: keys.id,
            key: Secret::new(keys.secret),
            read_only_id: keys.read_only_id,
            read_only_key: Secret::new(keys.read_only_secret),
        }
    }
}

/// The open door. It closes when this is dropped.
#[derive(Debug)]
pub(crate) struct Spaces {
    address: SocketAddr,
    _door: Door,
}

/// Why there is no answer: the connection closes without one.
#[derive(Debug, thiserror::Error)]
#[error("no answer, as a rule wants it")]
struct NoAnswer;

struct Site {
    world: Arc<World>,
    shelf: Shelf,
    keys: Keys,
}

impl Spaces {
    /// Opens the door on objects that are files in a folder; port 0 takes a free one.
    pub(crate) async fn open(
        world: Arc<World>,
        folder: PathBuf,
        keys: Keys,
        address: SocketAddr,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let site = Arc::new(Site { world, shelf: Shelf::new(folder), keys });
        let door = Door::behind(listener, move |stream, _, closing| {
            let site = Arc::clone(&site);
            async move {
                let service = service_fn(move |request: Request<Incoming>| {
                    let site = Arc::clone(&site);
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.map_err(|_| NoAnswer)?.to_bytes();
                        site.answer(&head, &body).await
                    }
                });
                serve_http(stream, closing, service).await;
            }
        });
        Ok(Self { address, _door: door })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A request, taken apart.
struct Ask<'a> {
    method: &'a Method,
    bucket: String,
    key: String,
    query: Vec<(String, String)>,
    head: &'a Parts,
    body: &'a Bytes,
}

impl Ask<'_> {
    fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl Site {
    async fn answer(&self, head: &Parts, body: &Bytes) -> Result<Response<Full<Bytes>>, NoAnswer> {
        let (method, path) = (head.method.as_str(), head.uri.path());
        let strike = self.world.with_faults(|faults| faults.strike(method, path));
        match strike {
            Some(Effect::Fail { status, body: form, .. }) => Ok(failed(status, form)),
            Some(Effect::FailAfter { status }) => {
                drop(self.respond(head, body).await);
                Ok(failed(status, fault::Body::Json))
            }
            Some(Effect::DropBefore) => Err(NoAnswer),
            Some(Effect::DropAfter) => {
                drop(self.respond(head, body).await);
                Err(NoAnswer)
            }
            Some(Effect::Stall { millis }) => {
                let response = self.respond(head, body).await;
                tokio::time::sleep(fault::late(millis)).await;
                Ok(response)
            }
            None | Some(Effect::ActionErrors | Effect::Forget) => {
                Ok(self.respond(head, body).await)
            }
        }
    }

    async fn respond(&self, head: &Parts, body: &Bytes) -> Response<Full<Bytes>> {
        let path = head.uri.path();
        self.serve(head, body).await.unwrap_or_else(|refusal| error(&refusal, path))
    }

    async fn serve(&self, head: &Parts, body: &Bytes) -> Result<Response<Full<Bytes>>, Refusal> {
        let signer = Signer::of(head)?;
        let (secret, may_write) = self.keys.of(&signer.id).ok_or(Refusal::UNKNOWN_KEY)?;
        signer.check(head, body, secret, self.world.now())?;
        let path = decode(head.uri.path().trim_start_matches('/'));
        let (bucket, key) = path.split_once('/').unwrap_or((&path, ""));
        let ask = Ask {
            method: &head.method,
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            query: signature::query(head.uri.query().unwrap_or_default()),
            head,
            body,
        };
        let habits = self.world.with_habits(|habits| habits.clone());
        if ask.bucket.is_empty() {
            return Err(Refusal::NOT_IMPLEMENTED);
        }
        if habits.absent.contains(&ask.bucket) {
            return Err(Refusal::NO_BUCKET);
        }
        let changes = !matches!(*ask.method, Method::GET | Method::HEAD);
        if changes && !may_write {
            return Err(Refusal::ACCESS_DENIED);
        }
        if ask.key.is_empty() {
            self.bucket(&ask, &habits)
        } else {
            self.object(&ask, &habits).await
        }
    }

    fn bucket(&self, ask: &Ask<'_>, habits: &Habits) -> Result<Response<Full<Bytes>>, Refusal> {
        match ask.method.as_str() {
            "HEAD" | "PUT" => Ok(empty(200)),
            "GET" if ask.query("versioning").is_some() => Ok(answer::versioning(habits.versioning)),
            "GET" if ask.query("location").is_some() => Ok(answer::location()),
            "GET" => {
                let stale = Duration::from_millis(habits.stale_list_millis);
                let listed = self.shelf.list(&ask.bucket, stale)?;
                answer::listing(ask, listed)
            }
            _ => Err(Refusal::NOT_IMPLEMENTED),
        }
    }

    async fn object(
        &self,
        ask: &Ask<'_>,
        habits: &Habits,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let (bucket, key) = (ask.bucket.as_str(), ask.key.as_str());
        match ask.method.as_str() {
            "GET" | "HEAD" => Ok(answer::object(self.shelf.get(bucket, key)?)),
            "DELETE" => self.shelf.delete(bucket, key).map(|()| empty(204)),
            "PUT" => {
                signature::check_digest(ask.header("content-md5"), ask.body)?;
                let condition = match habits.conditions {
                    Conditions::Ignored => Condition::None,
                    Conditions::Honoured | Conditions::LookedAtFirst => condition(ask, habits)?,
                };
                if habits.conditions == Conditions::LookedAtFirst {
                    self.shelf.holds(bucket, key, &condition)?;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    return self
                        .shelf
                        .put(bucket, key, ask.body, &Condition::None)
                        .map(answer::put);
                }
                self.shelf.put(bucket, key, ask.body, &condition).map(answer::put)
            }
            _ => Err(Refusal::NOT_IMPLEMENTED),
        }
    }
}

fn condition(ask: &Ask<'_>, habits: &Habits) -> Result<Condition, Refusal> {
    match (ask.header("if-none-match"), ask.header("if-match")) {
        (None, None) => Ok(Condition::None),
        (Some("*"), None) => Ok(Condition::Absent),
        (None, Some(etag)) if etag.starts_with('"') && habits.refuses_quoted_etags => {
            Err(Refusal::PRECONDITION_FAILED)
        }
        (None, Some(etag)) => Ok(Condition::Matches(etag.trim_matches('"').to_owned())),
        _ => Err(Refusal::NOT_IMPLEMENTED),
    }
}

/// What a rule wants instead of an answer.
fn failed(status: u16, form: fault::Body) -> Response<Full<Bytes>> {
    match form {
        fault::Body::Json => error(&Refusal::of_status(status), ""),
        fault::Body::Html => answer::text(status, "text/html", "<html>gateway</html>".to_owned()),
        fault::Body::Empty => empty(status),
    }
}
