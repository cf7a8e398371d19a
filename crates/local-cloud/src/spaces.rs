//! A Space: the part of S3 that keeps states, over HTTP, with every request's signature checked.
//!
//! Path style only (`/BUCKET/KEY`), every bucket is there unless [`Habits::absent`] names it, and objects are files, so that
//! they outlive the process. Engines of S3 differ in what a conditional write is worth: [`Habits`] has what was measured
//! of them. What goes wrong with a single request is a rule of [`crate::fault`], as everywhere. What is asked for and not
//! kept here (sub-resources, copies, uploads in parts) is refused, never taken for something else.

mod answer;
mod list;
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
use jiff::Timestamp;
use seachange_core::secret::Secret;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::doors::open::{Door, serve_http};
use crate::fault::{self, Effect};
use crate::http::{NoAnswer, decode};
use crate::world::World;
use answer::{Refusal, empty};
use list::Listing;
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

/// How long an engine that looks first takes until it writes: long enough for rivals to have looked too.
const BETWEEN: Duration = Duration::from_millis(25);
/// What a listing may be asked by; the last is a client's note to itself, which a request for an object may have too.
const OF_LISTINGS: [&str; 9] = [
    "list-type",
    "prefix",
    "max-keys",
    "start-after",
    "continuation-token",
    "delimiter",
    "encoding-type",
    "fetch-owner",
    NOTE,
];
const NOTE: &str = "x-id";

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
    bucket: &'a str,
    key: &'a str,
    query: Vec<(String, String)>,
    head: &'a Parts,
    body: &'a Bytes,
}

impl Ask<'_> {
    fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// Whether nothing is asked for but that.
    fn has_only(&self, known: &[&str]) -> bool {
        self.query.iter().all(|(name, _)| known.contains(&name.as_str()))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl Site {
    async fn answer(&self, head: &Parts, body: &Bytes) -> Result<Response<Full<Bytes>>, NoAnswer> {
        let (method, path) = (head.method.as_str(), head.uri.path());
        let strike = self.world.with_faults(|faults| faults.strike(method, path));
        let respond = async {
            let answer = self.serve(head, body, strike.as_ref()).await;
            answer.unwrap_or_else(|refusal| answer::error(refusal, None, path))
        };
        fault::suffer(strike.as_ref(), respond, |failure| answer::failed(&failure, path))
            .await
            .ok_or(NoAnswer)
    }

    async fn serve(
        &self,
        head: &Parts,
        body: &Bytes,
        strike: Option<&Effect>,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let signer = Signer::of(head)?;
        let (secret, may_write) = self.keys.of(&signer.id).ok_or(Refusal::UNKNOWN_KEY)?;
        // Clients go by the machine's clock, whatever time it is in the world.
        signer.check(head, body, secret, Timestamp::now())?;
        let path = decode(head.uri.path());
        let path = path.strip_prefix('/').unwrap_or(&path);
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let ask = Ask {
            method: &head.method,
            bucket,
            key,
            query: signature::query(head.uri.query().unwrap_or_default()),
            head,
            body,
        };
        let habits = self.world.with_habits(|habits| habits.clone());
        if !is_name(ask.bucket) {
            return Err(Refusal::INVALID_BUCKET);
        }
        if habits.absent.iter().any(|absent| absent == ask.bucket) {
            return Err(Refusal::NO_BUCKET);
        }
        let changes = !matches!(*ask.method, Method::GET | Method::HEAD);
        if changes && !may_write {
            return Err(Refusal::ACCESS_DENIED);
        }
        if ask.key.is_empty() {
            self.bucket(&ask, &habits)
        } else {
            self.object(&ask, &habits, strike).await
        }
    }

    fn bucket(&self, ask: &Ask<'_>, habits: &Habits) -> Result<Response<Full<Bytes>>, Refusal> {
        match ask.method.as_str() {
            "HEAD" | "PUT" if ask.has_only(&[NOTE]) => Ok(empty(200)),
            "GET" if ask.has_only(&["versioning", NOTE]) && ask.query("versioning").is_some() => {
                Ok(answer::versioning(habits.versioning))
            }
            "GET" if ask.has_only(&["location", NOTE]) && ask.query("location").is_some() => {
                Ok(answer::location())
            }
            "GET" if ask.has_only(&OF_LISTINGS) && ask.query("list-type") == Some("2") => {
                let listing = Listing::of(ask)?;
                let stale = Duration::from_millis(habits.stale_list_millis);
                let keys = self.shelf.keys(ask.bucket, stale)?;
                let (page, more) = listing.page(&keys);
                answer::listing(ask.bucket, &listing, &page, more, |key| {
                    self.shelf.look(ask.bucket, key)
                })
            }
            _ => Err(Refusal::NOT_IMPLEMENTED),
        }
    }

    async fn object(
        &self,
        ask: &Ask<'_>,
        habits: &Habits,
        strike: Option<&Effect>,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let (bucket, key) = (ask.bucket, ask.key);
        match ask.method.as_str() {
            _ if !ask.has_only(&[NOTE]) || ask.header("x-amz-copy-source").is_some() => {
                Err(Refusal::NOT_IMPLEMENTED)
            }
            "GET" | "HEAD" => Ok(answer::object(self.shelf.get(bucket, key)?)),
            "DELETE" if strike == Some(&Effect::Forget) => Ok(empty(204)),
            "DELETE" => self.shelf.delete(bucket, key).map(|()| empty(204)),
            "PUT" => {
                signature::check_digest(ask.header("content-md5"), ask.body)?;
                let mut condition = condition(ask, habits)?;
                match habits.conditions {
                    Conditions::Honoured => {}
                    Conditions::Ignored => condition = None,
                    Conditions::LookedAtFirst => {
                        if let Some(condition) = condition.take() {
                            self.shelf.holds(bucket, key, &condition)?;
                            tokio::time::sleep(BETWEEN).await;
                        }
                    }
                }
                let etag = self.shelf.put(bucket, key, ask.body, condition.as_ref())?;
                Ok(answer::put(&etag))
            }
            _ => Err(Refusal::NOT_IMPLEMENTED),
        }
    }
}

/// On what a write depends.
fn condition(ask: &Ask<'_>, habits: &Habits) -> Result<Option<Condition>, Refusal> {
    Ok(match (ask.header("if-none-match"), ask.header("if-match")) {
        (None, None) => None,
        (Some("*"), None) => Some(Condition::Absent),
        // Whoever refuses quotes takes them for a part of the ETag, which no ETag has.
        (None, Some(etag)) if habits.refuses_quoted_etags => {
            Some(Condition::Matches(etag.to_owned()))
        }
        (None, Some(etag)) => Some(Condition::Matches(etag.trim_matches('"').to_owned())),
        _ => return Err(Refusal::NOT_IMPLEMENTED),
    })
}

/// Whether a bucket can be called so.
fn is_name(bucket: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (3..=63).contains(&bucket.len())
        && bucket.bytes().all(|byte| plain(byte) || b"-.".contains(&byte))
        && bucket.bytes().next().is_some_and(plain)
}
