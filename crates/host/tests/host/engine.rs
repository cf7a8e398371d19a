//! The droplet's Docker Engine: as much of the API as a release needs, strict about versions and names.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::droplet::World;

pub(crate) struct Engine {
    pub(crate) is_down: bool,
    /// Minor number of the newest API version it speaks.
    pub(crate) minor: u32,
    /// `REPOSITORY@DIGEST` of images that are there.
    pub(crate) images: BTreeSet<String>,
    /// Lines that a pull answers instead of success.
    pub(crate) pull_answer: Option<&'static str>,
    pub(crate) registry_auth: Option<String>,
    /// Name to what `inspect` says of it.
    pub(crate) containers: BTreeMap<String, Value>,
    pub(crate) log: Vec<u8>,
    /// Just before the next stop somebody else's container takes the place of the one there.
    pub(crate) has_rival: bool,
    /// Changing requests, as `METHOD path`, without the version; a container by its name, `#` where it was named by id.
    pub(crate) changes: Vec<String>,
    /// All requests.
    pub(crate) requests: usize,
}

impl Default for Engine {
    fn default() -> Self {
        Self {
            is_down: false,
            minor: 41,
            images: BTreeSet::new(),
            pull_answer: None,
            registry_auth: None,
            containers: BTreeMap::new(),
            log: Vec::new(),
            has_rival: false,
            changes: Vec::new(),
            requests: 0,
        }
    }
}

/// Serves one connection to the socket.
pub(crate) async fn serve<S>(stream: S, world: Arc<Mutex<World>>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(|request: Request<Incoming>| {
        let world = Arc::clone(&world);
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let mut world = world.lock().unwrap();
            Ok::<_, Infallible>(world.engine.answer(&head, &body))
        }
    });
    drop(
        hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await,
    );
}

type Answer = Response<Full<Bytes>>;

fn reply(status: u16, body: impl Into<Bytes>) -> Answer {
    Response::builder()
        .status(StatusCode::from_u16(status).unwrap())
        .body(Full::new(body.into()))
        .unwrap()
}

fn json_reply(status: u16, body: &Value) -> Answer {
    reply(status, body.to_string())
}

fn refuse(status: u16, message: &str) -> Answer {
    json_reply(status, &json!({ "message": message }))
}

impl Engine {
    fn answer(&mut self, head: &http::request::Parts, body: &[u8]) -> Answer {
        self.requests += 1;
        let version = format!("1.{}", self.minor);
        if head.uri.path() == "/_ping" {
            let mut answer = reply(200, "OK");
            answer.headers_mut().insert("api-version", version.parse().unwrap());
            return answer;
        }
        let (asked, path) = head.uri.path().strip_prefix("/v1.").unwrap().split_once('/').unwrap();
        if asked.parse::<u32>().unwrap() > self.minor {
            return refuse(
                400,
                &format!("client version 1.{asked} is too new. Maximum supported is {version}"),
            );
        }
        let query: BTreeMap<String, String> =
            form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes())
                .into_owned()
                .collect();
        let segments: Vec<&str> = path.split('/').collect();
        if head.method != Method::GET {
            let marked = match segments.as_slice() {
                ["containers", id, ..] => match self.find(id) {
                    Some(name) if name != *id => path.replacen(id, &format!("#{name}"), 1),
                    _ => path.to_owned(),
                },
                _ => path.to_owned(),
            };
            self.changes.push(format!("{} {marked}", head.method));
        }
        if path.ends_with("/stop") && std::mem::take(&mut self.has_rival) {
            for container in self.containers.values_mut() {
                container["Id"] = json!(format!("rival-{}", self.requests));
                container["State"]["Status"] = json!("running");
            }
        }
        match (head.method.as_str(), segments.as_slice()) {
            ("GET", ["images", .., "json"]) => {
                let name = &path["images/".len()..path.len() - "/json".len()];
                if self.images.contains(name) {
                    reply(200, "{}")
                } else {
                    refuse(404, "No such image")
                }
            }
            ("POST", ["images", "create"]) => self.pull(head, &query),
            ("GET", ["containers", "json"]) => self.list(&query),
            ("POST", ["containers", "create"]) => self.create(&query["name"], body),
            (method, ["containers", name, rest @ ..]) => {
                let Some(name) = self.find(name) else {
                    return refuse(404, &format!("No such container: {name}"));
                };
                self.touch(method, &name, rest)
            }
            _ => reply(404, "page not found"),
        }
    }

    fn pull(&mut self, head: &http::request::Parts, query: &BTreeMap<String, String>) -> Answer {
        self.registry_auth =
            head.headers.get("x-registry-auth").map(|auth| auth.to_str().unwrap().to_owned());
        if let Some(lines) = self.pull_answer {
            return reply(200, lines);
        }
        self.images.insert(format!("{}@{}", query["fromImage"], query["tag"]));
        reply(
            200,
            "{\"status\":\"Downloading\",\"id\":\"a\",\"progressDetail\":{\"current\":7,\"total\":9}}\n",
        )
    }

    fn list(&self, query: &BTreeMap<String, String>) -> Answer {
        assert_eq!(query["all"], "true");
        let filters: Value = serde_json::from_str(&query["filters"]).unwrap();
        let (name, value) = filters["label"][0].as_str().unwrap().split_once('=').unwrap();
        let found = self
            .containers
            .values()
            .filter(|container| container["Config"]["Labels"][name] == value);
        json_reply(200, &found.map(|container| json!({ "Id": container["Id"] })).collect())
    }

    fn create(&mut self, name: &str, body: &[u8]) -> Answer {
        let body: Value = serde_json::from_slice(body).unwrap();
        if self.find(name).is_some() {
            return refuse(409, "Conflict. The container name is already in use");
        }
        if !self.images.contains(body["Image"].as_str().unwrap()) {
            return refuse(404, "No such image");
        }
        if let Some(bad) = body["Env"]
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one.as_str().unwrap().starts_with('='))
        {
            return refuse(
                400,
                &format!("invalid environment variable: {}", bad.as_str().unwrap()),
            );
        }
        let id = format!("c{}", self.requests);
        let created = format!("2026-11-22T10:00:{:02}.5Z", self.changes.len());
        let container = json!({
            "Id": id, "Name": format!("/{name}"), "Created": created, "Config": body,
            "State": { "Status": "created", "ExitCode": 0 },
        });
        self.containers.insert(name.to_owned(), container);
        json_reply(201, &json!({ "Id": id, "Warnings": [] }))
    }

    fn touch(&mut self, method: &str, name: &str, rest: &[&str]) -> Answer {
        let container = self.containers.get_mut(name).unwrap();
        match (method, rest) {
            ("GET", ["json"]) => json_reply(200, container),
            ("GET", ["logs"]) => reply(200, self.log.clone()),
            ("POST", ["start"]) => {
                container["State"]["Status"] = json!("running");
                reply(204, "")
            }
            ("POST", ["stop"]) if container["State"]["Status"] != "running" => reply(304, ""),
            ("POST", ["stop"]) => {
                container["State"] = json!({ "Status": "exited", "ExitCode": 143 });
                reply(204, "")
            }
            ("DELETE", []) => {
                self.containers.remove(name);
                reply(204, "")
            }
            _ => reply(404, "page not found"),
        }
    }

    fn find(&self, name_or_id: &str) -> Option<String> {
        let is_it = |(name, container): &(&String, &Value)| {
            *name == name_or_id || container["Id"] == name_or_id
        };
        self.containers.iter().find(is_it).map(|(name, _)| name.clone())
    }
}
