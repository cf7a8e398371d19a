//! Every answer of the API's door, held against DigitalOcean's own file: one long story over all its paths.
//!
//! The story is a table of requests. What an earlier answer said is put into a later path or body by name, so that the
//! table reads like a session at the prompt.

#![expect(clippy::unwrap_used, reason = "a door that does not answer at all has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use seachange_local_cloud::fault::{Effect, Rule};
use seachange_local_cloud::http::Http;
use seachange_local_cloud::machine::BootTimings;
use seachange_local_cloud::world::{Addresses, Limits, Timings, World, WorldConfig};
use serde_json::{Value, json};

#[path = "../../digitalocean/tests/openapi.rs"]
mod openapi;

const TOKEN: &str = "contract";
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDmL5BvDgMTzJ3uT0sS1GkO0mG2mJqY1mE8nF4v2vZ7a contract";

/// Everything the door answers: the story must have been there.
const PATHS: [&str; 49] = [
    "GET /v2/account",
    "GET /v2/account/keys",
    "POST /v2/account/keys",
    "GET /v2/account/keys/{ssh_key_identifier}",
    "PUT /v2/account/keys/{ssh_key_identifier}",
    "DELETE /v2/account/keys/{ssh_key_identifier}",
    "GET /v2/actions",
    "GET /v2/actions/{action_id}",
    "GET /v2/domains",
    "POST /v2/domains",
    "GET /v2/domains/{domain_name}",
    "DELETE /v2/domains/{domain_name}",
    "GET /v2/domains/{domain_name}/records",
    "POST /v2/domains/{domain_name}/records",
    "GET /v2/domains/{domain_name}/records/{domain_record_id}",
    "PUT /v2/domains/{domain_name}/records/{domain_record_id}",
    "PATCH /v2/domains/{domain_name}/records/{domain_record_id}",
    "DELETE /v2/domains/{domain_name}/records/{domain_record_id}",
    "GET /v2/droplets",
    "POST /v2/droplets",
    "DELETE /v2/droplets",
    "GET /v2/droplets/{droplet_id}",
    "DELETE /v2/droplets/{droplet_id}",
    "GET /v2/droplets/{droplet_id}/actions",
    "POST /v2/droplets/{droplet_id}/actions",
    "GET /v2/droplets/{droplet_id}/actions/{action_id}",
    "GET /v2/floating_ips",
    "POST /v2/floating_ips",
    "GET /v2/floating_ips/{floating_ip}",
    "DELETE /v2/floating_ips/{floating_ip}",
    "GET /v2/floating_ips/{floating_ip}/actions",
    "POST /v2/floating_ips/{floating_ip}/actions",
    "GET /v2/floating_ips/{floating_ip}/actions/{action_id}",
    "GET /v2/images",
    "GET /v2/images/{image_id}",
    "GET /v2/regions",
    "GET /v2/reserved_ips",
    "POST /v2/reserved_ips",
    "GET /v2/reserved_ips/{reserved_ip}",
    "DELETE /v2/reserved_ips/{reserved_ip}",
    "GET /v2/reserved_ips/{reserved_ip}/actions",
    "POST /v2/reserved_ips/{reserved_ip}/actions",
    "GET /v2/reserved_ips/{reserved_ip}/actions/{action_id}",
    "GET /v2/sizes",
    "GET /v2/tags",
    "POST /v2/tags",
    "GET /v2/tags/{tag_id}",
    "DELETE /v2/tags/{tag_id}",
    "POST /v2/tags/{tag_id}/resources",
];

/// A session with the door, each answer of which is judged.
struct Session {
    contract: openapi::Contract,
    http: reqwest::Client,
    url: String,
    /// What earlier answers said.
    known: BTreeMap<&'static str, String>,
    seen: BTreeSet<String>,
    wrong: Vec<String>,
}

impl Session {
    /// Sends a request, with `{name}` replaced by what is known, and judges its answer.
    async fn send(&mut self, method: &str, path: &str, body: Value, expected: u16) -> Value {
        self.send_as(TOKEN, method, path, body, expected).await
    }

    async fn send_as(
        &mut self,
        token: &str,
        method: &str,
        path: &str,
        body: Value,
        expected: u16,
    ) -> Value {
        let path = self.filled(path);
        let url = format!("{}{path}", self.url);
        let mut request = self.http.request(method.parse().unwrap(), url).bearer_auth(token);
        if !body.is_null() {
            request = request
                .header("content-type", "application/json")
                .body(self.filled(&body.to_string()));
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        for header in ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", "x-request-id"]
        {
            assert!(answer.headers().contains_key(header), "{method} {path}: no {header}");
        }
        let request_id = json!(answer.headers()["x-request-id"].to_str().unwrap());
        let text = answer.text().await.unwrap();
        assert_eq!(status, expected, "{method} {path}: {text}");
        let value: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        if status >= 400 && value.get("error").is_none() {
            assert_eq!(value["request_id"], request_id, "{method} {path}: {text}");
        }
        let (bare, _) = path.split_once('?').unwrap_or((&path, ""));
        self.seen.insert(format!("{method} {}", self.contract.template(method, bare)));
        if let Err(faults) = self.contract.response(method, bare, status).check(&value) {
            self.wrong.extend(faults.into_iter().map(|fault| format!("{method} {path}: {fault}")));
        }
        value
    }

    fn filled(&self, text: &str) -> String {
        let known = self.known.iter();
        known.fold(text.to_owned(), |text, (name, value)| {
            text.replace(&format!("{{{name}}}"), value)
        })
    }

    /// Keeps what an answer says for later requests.
    fn keep(&mut self, name: &'static str, value: &Value) {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        assert_ne!(text, "null", "{name} is in no answer");
        self.known.insert(name, text);
    }

    fn number(&self, name: &str) -> u64 {
        self.known[name].parse().unwrap()
    }

    /// Asks again until the answer is as it should be: things take their time here too.
    async fn until(&mut self, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..500 {
            let value = self.send("GET", path, Value::Null, 200).await;
            if is_so(&value) {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{path} never became what it should");
    }
}

async fn open(rate_limits: bool) -> (Arc<World>, Http, String) {
    let ms = Duration::from_millis;
    let timings = Timings {
        boot: ms(30),
        address: ms(10),
        first_boot: BootTimings { ssh: ms(10), cloud_init: ms(10) },
        action: ms(200),
        delete: ms(30),
        ..Timings::quick()
    };
    let config = WorldConfig {
        timings,
        limits: Limits { droplets: 4, reserved_ips: 1 },
        token: Some(TOKEN.to_owned()),
        rate_limits,
        addresses: Addresses::loopback((78, 0)),
        ..WorldConfig::default()
    };
    let world = World::new(config);
    let door = Http::open(Arc::clone(&world), (Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let url = format!("http://{}", door.address());
    (world, door, url)
}

fn session(contract: openapi::Contract, url: String) -> Session {
    // The client insists on one, though nothing here speaks TLS. Whoever comes second finds one installed.
    drop(rustls::crypto::ring::default_provider().install_default());
    let (known, seen, wrong) = Default::default();
    Session { contract, http: reqwest::Client::new(), url, known, seen, wrong }
}

#[tokio::test]
async fn every_answer_is_one_that_digitalocean_gives() {
    let Some(contract) = openapi::load() else { return };
    let (world, _door, url) = open(false).await;
    let mut s = session(contract, url);
    let none = Value::Null;

    s.send("GET", "/v2/account", none.clone(), 200).await;
    s.send_as("wrong", "GET", "/v2/account", none.clone(), 401).await;
    for list in ["sizes", "regions", "images", "account/keys", "tags", "droplets", "domains"] {
        s.send("GET", &format!("/v2/{list}"), none.clone(), 200).await;
        s.send("GET", &format!("/v2/{list}?per_page=1&page=1"), none.clone(), 200).await;
        s.send("GET", &format!("/v2/{list}?per_page=201"), none.clone(), 400).await;
    }
    s.send("GET", "/v2/images/ubuntu-24-04-x64", none.clone(), 200).await;
    s.send("GET", "/v2/images/nothing", none.clone(), 404).await;
    for list in ["images?type=application", "images?private=true", "images?tag_name=PROD"] {
        let found = s.send("GET", &format!("/v2/{list}"), none.clone(), 200).await;
        assert_eq!(found["meta"]["total"], 0, "{list}");
    }
    let found = s.send("GET", "/v2/images?type=distribution", none.clone(), 200).await;
    assert_ne!(found["meta"]["total"], 0);

    let key = json!({ "name": "contract", "public_key": KEY });
    let made = s.send("POST", "/v2/account/keys", key.clone(), 201).await;
    s.keep("key", &made["ssh_key"]["fingerprint"]);
    s.send("POST", "/v2/account/keys", key, 422).await;
    s.send("GET", "/v2/account/keys/{key}", none.clone(), 200).await;
    let renamed = s.send("PUT", "/v2/account/keys/{key}", json!({ "name": "renamed" }), 200).await;
    assert_eq!(renamed["ssh_key"]["name"], "renamed");
    s.send("PUT", "/v2/account/keys/{key}", json!({ "name": "" }), 422).await;
    for method in ["GET", "PUT", "DELETE"] {
        s.send(method, "/v2/account/keys/1", none.clone(), 404).await;
    }

    s.send("POST", "/v2/tags", json!({ "name": "PROD" }), 201).await;
    s.send("POST", "/v2/tags", json!({ "name": "no spaces" }), 400).await;
    s.send("GET", "/v2/tags/PROD", none.clone(), 200).await;
    s.send("GET", "/v2/tags/nothing", none.clone(), 404).await;

    let droplet = |names: Value| {
        let mut body = json!({ "size": "s-1vcpu-1gb", "image": "ubuntu-24-04-x64", "region": "fra1",
            "ssh_keys": ["{key}"], "tags": ["seachange:contract"] });
        body.as_object_mut().unwrap().extend(names.as_object().unwrap().clone());
        body
    };
    let made = s.send("POST", "/v2/droplets", droplet(json!({ "name": "one" })), 202).await;
    s.keep("one", &made["droplet"]["id"]);
    s.keep("boot", &made["links"]["actions"][0]["id"]);
    let made =
        s.send("POST", "/v2/droplets", droplet(json!({ "names": ["two", "three"] })), 202).await;
    s.keep("two", &made["droplets"][0]["id"]);
    s.keep("three", &made["droplets"][1]["id"]);
    s.send("POST", "/v2/droplets", json!({ "name": "x" }), 422).await;
    let five = json!({ "names": ["a", "b", "c", "d", "e"] });
    s.send("POST", "/v2/droplets", droplet(five), 422).await;
    s.send("GET", "/v2/actions/{boot}", none.clone(), 200).await;
    s.send("GET", "/v2/actions/1", none.clone(), 404).await;
    s.send("GET", "/v2/droplets/{one}/actions/{boot}", none.clone(), 200).await;
    for droplet in ["{one}", "{two}", "{three}"] {
        let path = format!("/v2/droplets/{droplet}");
        s.until(&path, |value| {
            value["droplet"]["status"] == "active"
                && value["droplet"]["networks"]["v4"].as_array().is_some_and(|all| !all.is_empty())
        })
        .await;
    }
    s.send("GET", "/v2/droplets?tag_name=seachange:contract&per_page=2", none.clone(), 200).await;
    s.send("GET", "/v2/droplets?tag_name=seachange:contract&per_page=2&page=2", none.clone(), 200)
        .await;
    s.send("GET", "/v2/droplets?name=two", none.clone(), 200).await;
    let found = s.send("GET", "/v2/droplets?type=gpus", none.clone(), 200).await;
    assert_eq!(found["meta"]["total"], 0);
    s.send("GET", "/v2/droplets/1", none.clone(), 404).await;

    let resources =
        json!({ "resources": [{ "resource_id": "{one}", "resource_type": "droplet" }] });
    s.send("POST", "/v2/tags/PROD/resources", resources.clone(), 204).await;
    s.send("POST", "/v2/tags/nothing/resources", resources.clone(), 404).await;
    let absent = json!({ "resources": [{ "resource_id": "{one}", "resource_type": "volume" }] });
    s.send("POST", "/v2/tags/PROD/resources", absent, 404).await;
    s.send("GET", "/v2/tags", none.clone(), 200).await;
    s.send("DELETE", "/v2/tags/PROD/resources", resources, 204).await;

    let made =
        s.send("POST", "/v2/droplets/{one}/actions", json!({ "type": "power_off" }), 201).await;
    s.keep("off", &made["action"]["id"]);
    s.send("POST", "/v2/droplets/{one}/actions", json!({ "type": "power_on" }), 422).await;
    s.until("/v2/actions/{off}", |value| value["action"]["status"] == "completed").await;
    s.send("GET", "/v2/droplets/{one}/actions", none.clone(), 200).await;
    for refused in [json!({ "type": "nonsense" }), json!({ "type": "rename", "name": "no host" })] {
        s.send("POST", "/v2/droplets/{one}/actions", refused, 422).await;
    }

    for (kind, key) in [("reserved_ips", "reserved_ip"), ("floating_ips", "floating_ip")] {
        let all = format!("/v2/{kind}");
        let made = s.send("POST", &all, json!({ "droplet_id": s.number("two") }), 202).await;
        s.keep("ip", &made[key]["ip"]);
        s.keep("assigned", &made["links"]["actions"][0]["id"]);
        s.send("POST", &all, json!({ "region": "fra1" }), 422).await;
        s.send("GET", &all, none.clone(), 200).await;
        let (one, actions) = (format!("{all}/{{ip}}"), format!("{all}/{{ip}}/actions"));
        s.until("/v2/actions/{assigned}", |value| value["action"]["status"] == "completed").await;
        s.send("GET", &one, none.clone(), 200).await;
        s.send("GET", &format!("{all}/192.0.2.1"), none.clone(), 404).await;
        let assign = json!({ "type": "assign", "droplet_id": s.number("three") });
        let made = s.send("POST", &actions, assign.clone(), 201).await;
        s.keep("move", &made["action"]["id"]);
        s.send("POST", &actions, assign, 422).await;
        s.send("POST", &actions, json!({ "type": "nonsense" }), 422).await;
        let path = format!("{actions}/{{move}}");
        s.until(&path, |value| value["action"]["status"] == "completed").await;
        s.send("GET", &actions, none.clone(), 200).await;
        let made = s.send("POST", &actions, json!({ "type": "unassign" }), 201).await;
        s.keep("move", &made["action"]["id"]);
        s.until(&path, |value| value["action"]["status"] == "completed").await;
        s.send("GET", &one, none.clone(), 200).await;
        s.send("DELETE", &one, none.clone(), 204).await;
        s.send("DELETE", &one, none.clone(), 404).await;
        s.send("GET", &actions, none.clone(), 404).await;
    }
    s.send("GET", "/v2/actions", none.clone(), 200).await;
    s.send("GET", "/v2/actions?per_page=2&page=2", none.clone(), 200).await;

    let zone = json!({ "name": "example.org", "ip_address": "192.0.2.1" });
    s.send("POST", "/v2/domains", zone.clone(), 201).await;
    s.send("POST", "/v2/domains", zone, 422).await;
    s.send("GET", "/v2/domains", none.clone(), 200).await;
    s.send("GET", "/v2/domains/example.org", none.clone(), 200).await;
    s.send("GET", "/v2/domains/example.net", none.clone(), 404).await;
    let records = "/v2/domains/example.org/records";
    for record in [
        json!({ "type": "A", "name": "www", "data": "192.0.2.1", "ttl": 300 }),
        json!({ "type": "MX", "name": "@", "data": "mail.example.org.", "priority": 10 }),
        json!({ "type": "CAA", "name": "@", "data": "letsencrypt.org.", "flags": 0, "tag": "issue" }),
        json!({ "type": "SRV", "name": "_sip._tcp", "data": "sip.example.org.", "priority": 1, "port": 5060, "weight": 5 }),
    ] {
        let made = s.send("POST", records, record, 201).await;
        s.keep("record", &made["domain_record"]["id"]);
    }
    for record in [
        json!({ "type": "A", "name": "www", "data": "nonsense" }),
        json!({ "type": "AAAA", "name": "www", "data": "192.0.2.1" }),
        json!({ "type": "MX", "name": "@", "data": "mail.example.org." }),
        json!({ "type": "CAA", "name": "@", "data": "letsencrypt.org.", "tag": "issue" }),
        json!({ "type": "CAA", "name": "@", "data": "letsencrypt.org.", "flags": 256, "tag": "issue" }),
        json!({ "type": "CAA", "name": "@", "data": "letsencrypt.org.", "flags": 0, "tag": "allow" }),
        json!({ "type": "SRV", "name": "_sip._tcp", "data": "sip.example.org.", "priority": 1, "port": 5060 }),
        json!({ "type": "SOA", "name": "@", "data": "1800" }),
    ] {
        s.send("POST", records, record, 422).await;
    }
    s.send("GET", records, none.clone(), 200).await;
    let found = s.send("GET", &format!("{records}?type=SOA"), none.clone(), 200).await;
    s.keep("soa", &found["domain_records"][0]["id"]);
    let soa = format!("{records}/{{soa}}");
    s.send("PATCH", &soa, json!({ "type": "SOA", "ttl": 3600 }), 200).await;
    for change in [json!({ "type": "SOA", "data": "1" }), json!({ "type": "TXT" })] {
        s.send("PATCH", &soa, change, 422).await;
    }
    s.send("DELETE", &soa, none.clone(), 422).await;
    s.send("GET", &format!("{records}?name=www.example.org&type=A"), none.clone(), 200).await;
    let one = format!("{records}/{{record}}");
    s.send("GET", &one, none.clone(), 200).await;
    let change = json!({ "type": "SRV", "priority": 2 });
    s.send("PATCH", &one, change, 200).await;
    let whole = json!({ "type": "SRV", "name": "_sip._tcp", "data": "sip.example.org.", "priority": 3, "port": 5060, "weight": 5 });
    s.send("PUT", &one, whole, 200).await;
    s.send("DELETE", &one, none.clone(), 204).await;
    s.send("GET", &one, none.clone(), 404).await;
    s.send("DELETE", "/v2/domains/example.org", none.clone(), 204).await;

    // Answers that say nothing of the service's own: only what they are not.
    for status in [500, 503, 429] {
        let rule = Rule::next("GET", "/v2/account", Effect::fail(status));
        world.with_faults(|faults| faults.add(rule));
        s.send("GET", "/v2/account", none.clone(), status).await;
    }

    s.send("DELETE", "/v2/droplets/{one}", none.clone(), 204).await;
    // However many droplets there are, the world is saved once.
    let changes = *world.changes().borrow();
    s.send("DELETE", "/v2/droplets?tag_name=seachange:contract", none.clone(), 204).await;
    assert_eq!(*world.changes().borrow(), changes + 1);
    s.send("DELETE", "/v2/droplets/1", none.clone(), 404).await;
    s.send("DELETE", "/v2/tags/PROD", none.clone(), 204).await;
    s.send("DELETE", "/v2/account/keys/{key}", none.clone(), 204).await;

    assert!(s.wrong.is_empty(), "{}", s.wrong.join("\n"));
    let missing: Vec<&str> = PATHS.into_iter().filter(|path| !s.seen.contains(*path)).collect();
    assert!(missing.is_empty(), "nobody asked: {missing:?}");
}

#[tokio::test]
async fn whoever_asks_too_often_is_refused_as_digitalocean_refuses() {
    let Some(contract) = openapi::load() else { return };
    let (_world, _door, url) = open(true).await;
    let mut s = session(contract, url);
    for _ in 0..250 {
        s.send("GET", "/v2/account", Value::Null, 200).await;
    }
    s.send("GET", "/v2/account", Value::Null, 429).await;
    assert!(s.wrong.is_empty(), "{}", s.wrong.join("\n"));
}
