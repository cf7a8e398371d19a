//! The API's own shapes: containers as JSON, filters, log frames.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::EngineVersion;
use crate::images;
use crate::machine::containers::{Container, Env, Life, NewContainer, Restart, State};

/// What an absent time looks like.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// The pairs of a query.
pub(super) fn pairs(query: &str) -> Vec<(String, String)> {
    form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

/// A segment of a path without its escapes.
pub(super) fn plain(segment: &str) -> String {
    form_urlencoded::parse(segment.as_bytes())
        .next()
        .map_or_else(String::new, |(name, _)| name.into_owned())
}

/// `GET /version`.
pub(super) fn version(engine: EngineVersion) -> Value {
    let api = |(major, minor)| format!("{major}.{minor}");
    json!({
        "Platform": { "Name": "" },
        "Version": engine.engine,
        "ApiVersion": api(engine.api),
        "MinAPIVersion": api(engine.least_api),
        "Os": "linux",
        "Arch": "amd64",
        "Components": [{ "Name": "Engine", "Version": engine.engine }],
    })
}

/// One element of `GET /containers/json`.
pub(super) fn summary(container: &Container, now: Timestamp) -> Value {
    let life = container.life(now);
    json!({
        "Id": container.id,
        "Names": [format!("/{}", container.name)],
        "Image": container.image,
        "ImageID": image_id(container),
        "Created": container.created_at.as_second(),
        "Labels": container.labels,
        "State": word(life),
        "Status": word(life),
        "Ports": container.ports.iter().map(|(inside, outside)| json!({ "IP": "0.0.0.0", "PrivatePort": inside, "PublicPort": outside, "Type": "tcp" })).collect::<Vec<_>>(),
    })
}

/// `GET /containers/{name}/json`.
pub(super) fn inspect(container: &Container, now: Timestamp) -> Value {
    let life = container.life(now);
    let (code, ended) = match life.state {
        State::Exited { code, at } => (code, at.to_string()),
        State::Restarting { code } => (code, NEVER.to_owned()),
        State::Created | State::Running => (0, NEVER.to_owned()),
    };
    let bindings: BTreeMap<String, Value> = container
        .ports
        .iter()
        .map(|(inside, outside)| {
            let binding = json!([{ "HostIp": "0.0.0.0", "HostPort": outside.to_string() }]);
            (format!("{inside}/tcp"), binding)
        })
        .collect();
    json!({
        "Id": container.id,
        "Created": container.created_at.to_string(),
        "Name": format!("/{}", container.name),
        "RestartCount": life.restarts,
        "Image": image_id(container),
        "State": {
            "Status": word(life),
            "Running": matches!(life.state, State::Running | State::Restarting { .. }),
            "Paused": false,
            "Restarting": matches!(life.state, State::Restarting { .. }),
            "OOMKilled": false,
            "Dead": false,
            "ExitCode": code,
            "Error": "",
            "StartedAt": life.started.map_or(NEVER.to_owned(), |at| at.to_string()),
            "FinishedAt": ended,
        },
        "Config": {
            "Image": container.image,
            "Env": container.env.0,
            "Labels": container.labels,
            "StopTimeout": container.stop_timeout,
        },
        "HostConfig": {
            "PortBindings": bindings,
            "RestartPolicy": { "Name": container.restart, "MaximumRetryCount": 0 },
        },
        "NetworkSettings": { "Ports": bindings },
    })
}

fn image_id(container: &Container) -> &str {
    let image = images::by_digest(&container.digest);
    image.map_or(container.digest.as_str(), |image| image.config.digest.as_str())
}

fn word(life: Life) -> &'static str {
    match life.state {
        State::Created => "created",
        State::Running => "running",
        State::Restarting { .. } => "restarting",
        State::Exited { .. } => "exited",
    }
}

/// `POST /containers/create`.
pub(super) fn new_container(body: &[u8], name: String) -> Result<NewContainer, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Create {
        #[serde(default)]
        image: String,
        env: Option<Vec<String>>,
        labels: Option<BTreeMap<String, String>>,
        stop_timeout: Option<u64>,
        host_config: Option<HostConfig>,
    }
    #[derive(Deserialize, Default)]
    #[serde(rename_all = "PascalCase")]
    struct HostConfig {
        port_bindings: Option<BTreeMap<String, Option<Vec<Binding>>>>,
        restart_policy: Option<Policy>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Binding {
        #[serde(default)]
        host_port: String,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Policy {
        #[serde(default)]
        name: String,
    }
    let create: Create = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let host = create.host_config.unwrap_or_default();
    let mut ports = BTreeMap::new();
    for (inside, bindings) in host.port_bindings.unwrap_or_default() {
        let number = |text: &str| {
            text.parse::<u16>().map_err(|_| format!("invalid port specification: {text:?}"))
        };
        let inside = number(inside.strip_suffix("/tcp").unwrap_or(&inside))?;
        for binding in bindings.unwrap_or_default() {
            ports.insert(inside, number(&binding.host_port)?);
        }
    }
    let restart = match host.restart_policy.map(|policy| policy.name).unwrap_or_default().as_str() {
        "" | "no" => Restart::No,
        "always" => Restart::Always,
        "on-failure" => Restart::OnFailure,
        "unless-stopped" => Restart::UnlessStopped,
        other => return Err(format!("invalid restart policy: unknown policy '{other}'")),
    };
    Ok(NewContainer {
        name,
        image: create.image,
        env: Env(create.env.unwrap_or_default()),
        labels: create.labels.unwrap_or_default(),
        ports,
        restart,
        stop_timeout: create.stop_timeout,
    })
}

/// The `filters` of a listing. Each kind must be met by one of its values, and labels by all of them.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Filters {
    label: Values,
    name: Values,
    status: Values,
}

/// `["a"]`, or `{"a": true}` as older clients write it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Values {
    List(Vec<String>),
    Map(BTreeMap<String, bool>),
}

impl Default for Values {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

impl Values {
    fn all(&self) -> Vec<&str> {
        match self {
            Self::List(values) => values.iter().map(String::as_str).collect(),
            Self::Map(values) => values.keys().map(String::as_str).collect(),
        }
    }
}

impl Filters {
    /// Reads them; an empty text is none.
    pub(super) fn read(text: &str) -> Result<Self, serde_json::Error> {
        if text.is_empty() { Ok(Self::default()) } else { serde_json::from_str(text) }
    }

    /// Whether the container is one of those asked for.
    pub(super) fn admit(&self, container: &Container, now: Timestamp) -> bool {
        let has_label = |wanted: &&str| match wanted.split_once('=') {
            Some((name, value)) => container.labels.get(name).is_some_and(|have| have == value),
            None => container.labels.contains_key(*wanted),
        };
        let (names, states) = (self.name.all(), self.status.all());
        let state = word(container.life(now));
        self.label.all().iter().all(has_label)
            && (names.is_empty()
                || names.iter().any(|name| container.name.contains(name.trim_start_matches('/'))))
            && (states.is_empty() || states.contains(&state))
    }
}

/// Whether the app writes the line to its standard error.
pub(super) fn is_error(line: &str) -> bool {
    line.starts_with("error:") || line.starts_with("fatal:")
}

/// One line as a frame of its stream.
pub(super) fn frame(line: &str) -> Vec<u8> {
    let length = u32::try_from(line.len() + 1).unwrap_or(u32::MAX);
    let stream = if is_error(line) { 2 } else { 1 };
    let mut frame = vec![stream, 0, 0, 0];
    frame.extend(length.to_be_bytes());
    frame.extend(line.bytes());
    frame.push(b'\n');
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_read_from_what_clients_send() {
        let body = json!({
            "Image": "r/a:1", "Env": ["A=b"], "Labels": { "x": "y" }, "StopTimeout": 7,
            "HostConfig": {
                "PortBindings": { "8080/tcp": [{ "HostIp": "", "HostPort": "80" }] },
                "RestartPolicy": { "Name": "unless-stopped" },
            },
        });
        let new = new_container(body.to_string().as_bytes(), "n".to_owned()).unwrap();
        assert_eq!(new.ports, BTreeMap::from([(8080, 80)]));
        assert_eq!((new.restart, new.stop_timeout), (Restart::UnlessStopped, Some(7)));
        assert_eq!(new.env.0, ["A=b"]);
        let bad = |body: Value| new_container(body.to_string().as_bytes(), String::new());
        assert!(bad(json!({ "HostConfig": { "RestartPolicy": { "Name": "often" } } })).is_err());
        assert!(bad(json!({ "HostConfig": { "PortBindings": { "x/tcp": [] } } })).is_err());
    }

    #[test]
    fn filters_are_read_in_both_forms_and_unknown_ones_refused() {
        let values = |text| Filters::read(text).map(|filters| filters.label.all().join(" "));
        assert_eq!(values("").unwrap(), "");
        assert_eq!(values(r#"{"label":["a=b","c"]}"#).unwrap(), "a=b c");
        assert_eq!(values(r#"{"label":{"a=b":true}}"#).unwrap(), "a=b");
        assert!(Filters::read(r#"{"colour":["red"]}"#).is_err());
    }

    #[test]
    fn frames_carry_their_length_and_stream() {
        assert_eq!(frame("ab"), [1, 0, 0, 0, 0, 0, 0, 3, b'a', b'b', b'\n']);
        assert_eq!(frame("error: x")[0], 2);
    }
}
