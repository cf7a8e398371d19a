//! DigitalOcean's OpenAPI file as a judge: is this body one that the API takes, is this answer one that it gives?
//!
//! The file is read in place and is no part of this repository. Its dialect is turned into JSON Schema and its known
//! faults are repaired in [`schema`]. Beyond the file, an answer must have its root key, and neither side may use a
//! key that the file does not declare. Other crates' tests include this file by path, so it knows none of ours.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

#[path = "openapi/schema.rs"]
mod schema;

use schema::Direction;

/// The whole file, ready to be asked.
pub(crate) struct Contract {
    file: Value,
    request_components: Value,
    response_components: Value,
    /// Made once each: a schema takes longer to compile than to ask.
    validators: Mutex<BTreeMap<String, Arc<Validator>>>,
}

/// Judges one body.
pub(crate) struct Validator {
    /// What is judged, for messages.
    subject: String,
    /// `None` if there must be no body.
    schema: Option<jsonschema::Validator>,
}

/// An example of the file's own, for one response of one operation.
#[derive(Debug, Clone)]
pub(crate) struct Example {
    /// Upper-case method.
    pub(crate) method: String,
    /// Path with its parameters in braces.
    pub(crate) template: String,
    /// Status.
    pub(crate) status: u16,
    /// The example's name in the file, or `example`.
    pub(crate) name: String,
    /// The body.
    pub(crate) body: Value,
}

/// Reads the file named by `SEACHANGE_OPENAPI`, else the one beside the repository. If there is none, tests on a
/// developer's machine say so and check nothing; in CI (`CI` is set) that is a failure.
pub(crate) fn load() -> Option<Contract> {
    #[expect(
        clippy::disallowed_methods,
        reason = "tests have no composition root to get the environment from"
    )]
    let environment = |name: &str| std::env::var_os(name);
    let path = environment("SEACHANGE_OPENAPI").map_or_else(
        || {
            PathBuf::from(env!("CARGO_MANIFEST_DIR"))
                .join("../../../shared/api/digitalocean-openapi.json")
        },
        PathBuf::from,
    );
    match std::fs::read(&path) {
        Ok(bytes) => match serde_json::from_slice(&bytes) {
            Ok(file) => Some(Contract::new(file)),
            Err(error) => panic!("{} is not JSON: {error}", path.display()),
        },
        Err(error) => {
            let missing = format!("{} cannot be read ({error})", path.display());
            assert!(environment("CI").is_none(), "{missing}, and CI must check the contract");
            // Straight to the file descriptor: the test harness would swallow a print of a passing test.
            let note = writeln!(
                std::io::stderr(),
                "{missing}: the API contract was NOT checked; set SEACHANGE_OPENAPI to the file"
            );
            drop(note);
            None
        }
    }
}

impl Contract {
    fn new(mut file: Value) -> Self {
        schema::repair(&mut file);
        let components = |direction| schema::convert_components(&file, direction);
        Self {
            request_components: components(Direction::Request),
            response_components: components(Direction::Response),
            validators: Mutex::default(),
            file,
        }
    }

    /// Judges request bodies. `path` may be a template or a real path, with or without a query.
    pub(crate) fn request(&self, method: &str, path: &str) -> Arc<Validator> {
        let (template, operation) = self.operation(method, path);
        let subject = format!("the request {method} {template}");
        let body = operation.pointer("/requestBody/content/application~1json/schema");
        self.validator(subject, body, Direction::Request)
    }

    /// Judges answers. Statuses from 400 on that are not listed fall under the file's `default`.
    pub(crate) fn response(&self, method: &str, path: &str, status: u16) -> Arc<Validator> {
        let (template, operation) = self.operation(method, path);
        let subject = format!("the answer {status} to {method} {template}");
        let Some(response) = self.response_object(operation, status) else {
            panic!("{subject} is not in the file");
        };
        let body = response.pointer("/content/application~1json/schema");
        self.validator(subject, body, Direction::Response)
    }

    /// The path of the file that a real path belongs to.
    pub(crate) fn template(&self, method: &str, path: &str) -> &str {
        self.operation(method, path).0
    }

    /// The names that an operation takes in its query.
    pub(crate) fn query_parameters(&self, method: &str, path: &str) -> Vec<String> {
        let (_, operation) = self.operation(method, path);
        let parameters = operation["parameters"].as_array().map_or(&[][..], Vec::as_slice);
        let resolved = parameters.iter().map(|parameter| self.resolve(parameter));
        resolved
            .filter(|parameter| parameter["in"] == "query")
            .filter_map(|parameter| parameter["name"].as_str().map(str::to_owned))
            .collect()
    }

    /// Every example of an answer in the file.
    pub(crate) fn examples(&self) -> Vec<Example> {
        let mut found = Vec::new();
        for (template, operations) in entries(&self.file["paths"]) {
            for (method, operation) in entries(operations) {
                for (status, response) in entries(&operation["responses"]) {
                    let Ok(status) = status.parse() else { continue };
                    let content = &self.resolve(response)["content"]["application/json"];
                    let mut add = |name: &str, body: &Value| {
                        found.push(Example {
                            method: method.to_uppercase(),
                            template: template.clone(),
                            status,
                            name: name.to_owned(),
                            body: body.clone(),
                        });
                    };
                    for place in [&content["example"], &content["schema"]["example"]] {
                        if !place.is_null() {
                            add("example", place);
                        }
                    }
                    for (name, example) in entries(&content["examples"]) {
                        add(name, &self.resolve(example)["value"]);
                    }
                }
            }
        }
        found
    }

    /// The template that fits the path best (a literal segment beats a parameter), and its operation.
    fn operation(&self, method: &str, path: &str) -> (&str, &Value) {
        let path = path.split_once('?').map_or(path, |(path, _)| path);
        let best = entries(&self.file["paths"])
            .filter(|(template, operations)| {
                fits(template, path) && operations.get(method.to_lowercase()).is_some()
            })
            .min_by_key(|(template, _)| (*template != path, template.matches('{').count()));
        match best {
            Some((template, operations)) => (template, &operations[method.to_lowercase()]),
            None => panic!("{method} {path} is not in the file"),
        }
    }

    fn response_object<'a>(&'a self, operation: &'a Value, status: u16) -> Option<&'a Value> {
        let responses = &operation["responses"];
        let listed = responses.get(status.to_string());
        let fallback = || responses.get("default").filter(|_| status >= 400);
        listed.or_else(fallback).map(|response| self.resolve(response))
    }

    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        schema::resolve(&self.file, value)
    }

    fn validator(
        &self,
        subject: String,
        body: Option<&Value>,
        direction: Direction,
    ) -> Arc<Validator> {
        let mut made = self.validators.lock().unwrap_or_else(PoisonError::into_inner);
        let validator = made
            .entry(subject)
            .or_insert_with_key(|subject| Arc::new(self.compile(subject.clone(), body, direction)));
        Arc::clone(validator)
    }

    fn compile(&self, subject: String, body: Option<&Value>, direction: Direction) -> Validator {
        let components = match direction {
            Direction::Request => &self.request_components,
            Direction::Response => &self.response_components,
        };
        let schema = body.map(|body| {
            let mut body = schema::convert(&self.file, body, direction);
            if direction == Direction::Response {
                let root_keys = schema::root_keys(&self.file, &body);
                body = json!({ "allOf": [body, { "required": root_keys }] });
            }
            let document =
                json!({ "allOf": [body, { "type": "object" }], "components": components });
            let built = jsonschema::options()
                .with_draft(jsonschema::Draft::Draft202012)
                .should_validate_formats(true)
                .build(&document);
            match built {
                Ok(schema) => schema,
                Err(error) => panic!("{subject} has no usable schema: {error}"),
            }
        });
        Validator { subject, schema }
    }
}

impl Validator {
    /// Every fault of the body, each with the place where it is. No body is `null`.
    pub(crate) fn check(&self, body: &Value) -> Result<(), Vec<String>> {
        let fault = |why: String| format!("{}: {why}", self.subject);
        let faults: Vec<String> = match &self.schema {
            None if body.is_null() => Vec::new(),
            None => vec![fault("there must be no body".to_owned())],
            Some(schema) => schema
                .iter_errors(body)
                .map(|error| fault(format!("at `{}`: {error}", error.instance_path())))
                .collect(),
        };
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }
}

fn entries(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flatten()
}

fn fits(template: &str, path: &str) -> bool {
    let (mut expected, mut actual) = (template.split('/'), path.split('/'));
    loop {
        match (expected.next(), actual.next()) {
            (None, None) => return true,
            (Some(expected), Some(actual)) => {
                let parameter = expected.starts_with('{') && !actual.is_empty();
                if !parameter && expected != actual {
                    return false;
                }
            }
            _ => return false,
        }
    }
}

/// The judge is judged: what the file's prose forbids must fail, and what the service sends must pass.
mod tests {
    use serde_json::json;

    use super::load;

    #[test]
    fn examples_of_the_file_pass_but_for_its_known_gaps() {
        let Some(contract) = load() else { return };
        let examples = contract.examples();
        assert!(examples.len() > 100, "only {} examples were found", examples.len());
        let failing: Vec<_> = examples
            .iter()
            .filter(|example| {
                let validator =
                    contract.response(&example.method, &example.template, example.status);
                validator.check(&example.body).is_err()
            })
            .map(|example| format!("{} {} {}", example.method, example.template, example.name))
            .collect();
        // Keys that the service sends and the file forgot, a wrapper that it forgot, and three wrong examples
        // (alerts, keys, and a tag inside a tag). Seachange uses none of these answers.
        let gaps = [
            "GET /v2/droplets/{droplet_id}/backups example",
            "POST /v2/images/{image_id}/actions example",
            "GET /v2/images/{image_id}/actions/{action_id} example",
            "GET /v2/monitoring/alerts example",
            "POST /v2/reserved_ipv6 reserved_ipv6_reserved",
            "GET /v2/spaces/keys/{access_key} Read Only Key",
            "GET /v2/tags/{tag_id} example",
        ];
        assert_eq!(failing, gaps);
    }

    #[test]
    fn an_action_is_judged_by_its_own_type() {
        let Some(contract) = load() else { return };
        let action = contract.request("POST", "/v2/reserved_ips/192.0.2.1/actions");
        assert_eq!(action.check(&json!({ "type": "assign", "droplet_id": 1 })), Ok(()));
        assert_eq!(action.check(&json!({ "type": "unassign" })), Ok(()));
        for wrong in [
            json!({ "type": "assign" }),
            json!({ "type": "BOGUS" }),
            json!({ "type": "assign", "droplet_id": "1" }),
            json!({ "type": "assign", "droplet_id": 1, "bogus": true }),
            json!({}),
            json!(null),
        ] {
            assert!(action.check(&wrong).is_err(), "{wrong} passed");
        }
    }

    #[test]
    fn a_record_is_judged_by_its_own_type() {
        let Some(contract) = load() else { return };
        let record = contract.request("POST", "/v2/domains/example.com/records");
        assert_eq!(
            record.check(&json!({ "type": "A", "name": "@", "data": "192.0.2.1", "ttl": 30 })),
            Ok(())
        );
        assert_eq!(record.check(&json!({ "type": "TXT", "name": "@", "data": "text" })), Ok(()));
        for wrong in [
            json!({ "type": "A" }),
            json!({ "type": "BOGUS", "name": "@", "data": "192.0.2.1" }),
            json!({ "type": "A", "name": "@", "data": "192.0.2.1", "id": 1 }),
        ] {
            assert!(record.check(&wrong).is_err(), "{wrong} passed");
        }
    }

    #[test]
    fn an_answer_needs_its_root_key_and_declared_keys_only() {
        let Some(contract) = load() else { return };
        let account = contract.response("GET", "/v2/account", 200);
        assert!(account.check(&json!({})).is_err());
        let keys = contract.response("GET", "/v2/account/keys/1", 200);
        let key = json!({ "id": 1, "name": "a", "public_key": "ssh-rsa A", "fingerprint": "00" });
        assert_eq!(keys.check(&json!({ "ssh_key": key })), Ok(()));
        assert!(keys.check(&json!({ "ssh_key": key, "bogus": 1 })).is_err());
        assert!(keys.check(&json!({ "ssh_key": { "name": "a" } })).is_err());
        let deleted = contract.response("DELETE", "/v2/droplets/1", 204);
        assert_eq!(deleted.check(&json!(null)), Ok(()));
        assert!(deleted.check(&json!({})).is_err());
        let error = contract.response("GET", "/v2/droplets/1", 422);
        assert_eq!(error.check(&json!({ "id": "unprocessable_entity", "message": "no" })), Ok(()));
    }

    #[test]
    fn a_reserved_ip_has_a_droplet_or_null_but_not_just_any_object() {
        let Some(contract) = load() else { return };
        let answer = contract.response("GET", "/v2/reserved_ips/192.0.2.1", 200);
        let with = |droplet| {
            answer.check(&json!({ "reserved_ip": { "ip": "192.0.2.1", "droplet": droplet } }))
        };
        assert_eq!(with(json!(null)), Ok(()));
        assert!(with(json!({ "bogus": 1 })).is_err());
        assert!(with(json!(1)).is_err());
    }

    #[test]
    fn rules_that_the_file_has_only_in_prose_hold() {
        let Some(contract) = load() else { return };
        let create = contract.request("POST", "/v2/droplets");
        let with_names = |count: usize| {
            let names: Vec<_> = (0..count).map(|number| format!("a{number}")).collect();
            create.check(&json!({ "names": names, "size": "s", "image": "i" }))
        };
        assert_eq!(with_names(10), Ok(()));
        assert!(with_names(11).is_err());
        assert!(with_names(0).is_err());
        assert!(contract.request("POST", "/v2/tags").check(&json!({})).is_err());
        let record = contract.request("PUT", "/v2/domains/example.com/records/1");
        assert!(record.check(&json!({ "type": "A", "ttl": 29 })).is_err());
    }

    #[test]
    fn a_query_is_judged_by_its_names() {
        let Some(contract) = load() else { return };
        assert_eq!(contract.template("GET", "/v2/droplets/7?a=b"), "/v2/droplets/{droplet_id}");
        let names = contract.query_parameters("GET", "/v2/droplets");
        assert!(names.contains(&"tag_name".to_owned()), "{names:?}");
        assert!(names.contains(&"per_page".to_owned()), "{names:?}");
    }
}
