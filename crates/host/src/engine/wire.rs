//! What we send to and read from the engine: the few fields we need, in the API's own shape.
//!
//! States are words, not an enum: a word that a newer engine invents must not make a container unreadable. What holds
//! the app's environment does not derive `Debug`.

use std::collections::BTreeMap;

use http::StatusCode;
use seachange_core::host::{Container, ContainerSpec, ContainerState};
use serde::{Deserialize, Serialize};

/// Every label of ours begins with it on the engine.
const LABEL_PREFIX: &str = "seachange.";

/// `GET /containers/json`, one element.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Summary {
    pub(super) id: String,
}

/// `GET /containers/{id}/json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Inspect {
    id: String,
    name: String,
    created: Option<String>,
    state: State,
    config: InspectConfig,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    status: String,
    #[serde(default)]
    exit_code: i64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InspectConfig {
    labels: Option<BTreeMap<String, String>>,
    stop_timeout: Option<u64>,
}

impl Inspect {
    /// Seconds the container may take to stop: the engine's default is 10.
    pub(super) fn stop_seconds(&self) -> u64 {
        self.config.stop_timeout.unwrap_or(10)
    }

    pub(super) fn into_container(self) -> Container {
        let labels = self.config.labels.unwrap_or_default();
        let ours = labels.into_iter().filter_map(|(name, value)| {
            name.strip_prefix(LABEL_PREFIX).map(|name| (name.to_owned(), value))
        });
        Container {
            id: self.id,
            name: self.name.trim_start_matches('/').to_owned(),
            state: match self.state.status.as_str() {
                "created" => ContainerState::Created,
                "running" => ContainerState::Running,
                "restarting" => ContainerState::Restarting,
                "exited" => ContainerState::Exited { code: self.state.exit_code },
                other => ContainerState::Other(other.to_owned()),
            },
            labels: ours.collect(),
            created_at: self.created.and_then(|time| time.parse().ok()),
        }
    }
}

/// The `filters` of a listing: containers of the stack.
pub(super) fn stack_filter(stack: &str) -> String {
    serde_json::json!({ "label": [format!("{LABEL_PREFIX}stack={stack}")] }).to_string()
}

/// The answer to `POST /containers/create`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Created {
    pub(super) id: String,
}

/// `POST /containers/create`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Create {
    image: String,
    env: Vec<String>,
    labels: BTreeMap<String, String>,
    exposed_ports: BTreeMap<String, Empty>,
    stop_timeout: u64,
    host_config: HostConfig,
}

#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct HostConfig {
    restart_policy: RestartPolicy,
    log_config: LogConfig,
    port_bindings: BTreeMap<String, [PortBinding; 1]>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RestartPolicy {
    name: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct LogConfig {
    #[serde(rename = "Type")]
    driver: &'static str,
    config: BTreeMap<&'static str, &'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PortBinding {
    host_ip: &'static str,
    host_port: String,
}

impl Create {
    pub(super) fn new(spec: &ContainerSpec) -> Self {
        let port = format!("{}/tcp", spec.port);
        let prefixed =
            |(name, value): (&String, &String)| (format!("{LABEL_PREFIX}{name}"), value.clone());
        let mut labels: BTreeMap<_, _> = spec.labels.iter().map(prefixed).collect();
        labels.insert(format!("{LABEL_PREFIX}digest"), spec.digest.to_string());
        Self {
            image: spec.image.pinned(&spec.digest),
            env: spec
                .env
                .iter()
                .map(|(name, value)| format!("{name}={}", value.expose()))
                .collect(),
            labels,
            exposed_ports: BTreeMap::from([(port.clone(), Empty {})]),
            stop_timeout: spec.stop_timeout.as_secs(),
            host_config: HostConfig {
                // Not `always`: a container that somebody stopped on purpose stays stopped when the droplet reboots.
                restart_policy: RestartPolicy { name: "unless-stopped" },
                // The driver's default keeps logs for ever, on a disk of 25 GB.
                log_config: LogConfig {
                    driver: "json-file",
                    config: BTreeMap::from([("max-file", "3"), ("max-size", "10m")]),
                },
                port_bindings: BTreeMap::from([(
                    port,
                    [PortBinding { host_ip: "0.0.0.0", host_port: spec.port.to_string() }],
                )]),
            },
        }
    }
}

/// One line of `POST /images/create`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PullLine {
    pub(super) id: Option<String>,
    pub(super) status: Option<String>,
    #[serde(rename = "progressDetail")]
    pub(super) progress: Option<PullDetail>,
    pub(super) error: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PullDetail {
    pub(super) current: Option<u64>,
    pub(super) total: Option<u64>,
}

/// The engine's words for an error: `{"message": …}`, or whatever it sent.
pub(super) fn message(status: StatusCode, body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Message {
        message: String,
    }
    match serde_json::from_slice::<Message>(body) {
        Ok(words) if !words.message.trim().is_empty() => words.message.trim().to_owned(),
        _ => match String::from_utf8_lossy(body).trim() {
            "" => format!("the engine answered {status}"),
            text => format!(
                "the engine answered {status}: {}",
                text.chars().take(500).collect::<String>()
            ),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use seachange_core::secret::Secret;

    #[test]
    fn a_container_is_created_as_the_api_wants_it() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let spec = ContainerSpec {
            name: "webgui".to_owned(),
            image: "registry.gitlab.com/mebbinghaus/webgui:1.1".parse().unwrap(),
            digest: digest.parse().unwrap(),
            env: vec![("KEY".to_owned(), Secret::new("a=b c"))],
            port: 8080,
            labels: BTreeMap::from([("stack".to_owned(), "webgui".to_owned())]),
            stop_timeout: Duration::from_secs(20),
        };
        let sent = serde_json::to_value(Create::new(&spec)).unwrap();
        let wanted = serde_json::json!({
            "Image": format!("registry.gitlab.com/mebbinghaus/webgui@{digest}"),
            "Env": ["KEY=a=b c"],
            "Labels": { "seachange.stack": "webgui", "seachange.digest": digest },
            "ExposedPorts": { "8080/tcp": {} },
            "StopTimeout": 20,
            "HostConfig": {
                "RestartPolicy": { "Name": "unless-stopped" },
                "LogConfig": { "Type": "json-file", "Config": { "max-size": "10m", "max-file": "3" } },
                "PortBindings": { "8080/tcp": [{ "HostIp": "0.0.0.0", "HostPort": "8080" }] },
            },
        });
        assert_eq!(sent, wanted);
    }

    #[test]
    fn an_inspected_container_keeps_unknown_words_and_only_our_labels() {
        let read = |status: &str| {
            let json = serde_json::json!({
                "Id": "c1", "Name": "/webgui", "Created": "2026-11-22T10:00:00.123456789Z",
                "State": { "Status": status, "ExitCode": 137, "Running": false },
                "Config": { "Labels": { "seachange.digest": "d", "maintainer": "m" }, "StopTimeout": 30 },
            });
            serde_json::from_value::<Inspect>(json).unwrap()
        };
        assert_eq!(read("exited").stop_seconds(), 30);
        let container = read("exited").into_container();
        assert_eq!(container.name, "webgui");
        assert_eq!(container.state, ContainerState::Exited { code: 137 });
        assert_eq!(container.labels, BTreeMap::from([("digest".to_owned(), "d".to_owned())]));
        assert_eq!(container.created_at.unwrap().to_string(), "2026-11-22T10:00:00.123456789Z");
        assert_eq!(
            read("stopping").into_container().state,
            ContainerState::Other("stopping".to_owned())
        );
    }

    #[test]
    fn an_error_is_the_engine_s_own_words() {
        let said = |body: &str| message(StatusCode::NOT_FOUND, body.as_bytes());
        assert_eq!(said(r#"{"message":"No such container: x"}"#), "No such container: x");
        assert_eq!(said(""), "the engine answered 404 Not Found");
        assert_eq!(said("page not found"), "the engine answered 404 Not Found: page not found");
    }
}
