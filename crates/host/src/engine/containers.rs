//! Containers: seen, made so, removed.
//!
//! [`decide`] is the whole of the decision and is pure. What it asks for is done in an order in which a death in
//! between leaves either no container of that name or one that the next call goes on from. A container is looked for
//! by name and changed by id: a process that was held up in the middle, and robbed of its lock meanwhile, then meets
//! its successor's container as a conflict, and never stops it.

use std::cmp::Reverse;
use std::time::Duration;

use http::Method;
use seachange_core::host::{Container, ContainerSpec, ContainerState, HostError};

use super::wire::{Create, Created, Inspect, Summary, stack_filter};
use super::{Engine, EngineError};

/// The stack's containers, newest first.
pub(crate) async fn list(engine: Engine<'_>, stack: &str) -> Result<Vec<Container>, HostError> {
    let wrong = |error: EngineError| error.during(engine.target, "listing containers");
    let filter = stack_filter(stack);
    let mut call = engine.call(Method::GET, "/containers/json");
    call.query = vec![("all", "true"), ("filters", filter.as_str())];
    let summaries: Vec<Summary> = engine.fetch(call).await.map_err(wrong)?;
    let mut containers = Vec::new();
    for summary in summaries {
        // A listing has no exit code. What was removed since is not there.
        containers.extend(
            inspect(engine, &summary.id).await.map_err(wrong)?.map(Inspect::into_container),
        );
    }
    containers.sort_by_key(|container| Reverse(container.created_at));
    Ok(containers)
}

/// Makes the named container the one specified.
pub(crate) async fn ensure(
    engine: Engine<'_>,
    spec: &ContainerSpec,
) -> Result<Container, HostError> {
    let name = spec.name.as_str();
    let wrong = |verb: &str, error: EngineError| {
        let secrets = spec.env.iter().map(|(_, value)| value);
        error.without(secrets).during(engine.target, &format!("{verb} container {name}"))
    };
    let there = inspect(engine, name).await.map_err(|error| wrong("inspecting", error))?;
    let stop_seconds = there.as_ref().map(Inspect::stop_seconds);
    let there = there.map(Inspect::into_container);
    let id = match decide(there.as_ref(), spec) {
        Step::Leave(container) => return Ok(container.clone()),
        Step::Start(container) => container.id.clone(),
        Step::Replace(container) => {
            take_away(engine, &container.id, stop_seconds)
                .await
                .map_err(|error| wrong("replacing", error))?;
            create(engine, spec).await.map_err(|error| wrong("creating", error))?
        }
        Step::Create => create(engine, spec).await.map_err(|error| wrong("creating", error))?,
    };
    let start = engine.call(Method::POST, format!("/containers/{}/start", escape(&id)));
    engine.send(start).await.map_err(|error| wrong("starting", error))?;
    match inspect(engine, name).await.map_err(|error| wrong("inspecting", error))? {
        Some(container) => Ok(container.into_container()),
        None => Err(wrong(
            "inspecting",
            EngineError::Silent("it is gone right after its start".to_owned()),
        )),
    }
}

/// Stops and removes the container. An absent one is success.
pub(crate) async fn remove(engine: Engine<'_>, name: &str) -> Result<(), HostError> {
    let removal = async {
        match inspect(engine, name).await? {
            None => Ok(()),
            Some(there) => {
                let stop_seconds = there.stop_seconds();
                take_away(engine, &there.into_container().id, Some(stop_seconds)).await
            }
        }
    };
    removal
        .await
        .map_err(|error| error.during(engine.target, &format!("removing container {name}")))
}

/// What is to be done for the container to be the one specified.
#[derive(Debug, PartialEq, Eq)]
enum Step<'a> {
    /// Nothing: it is this one.
    Leave(&'a Container),
    /// It is there and stopped.
    Start(&'a Container),
    /// Another one has the name.
    Replace(&'a Container),
    /// There is none.
    Create,
}

/// Digest and config are compared as our labels have them: the engine's own view of an image or an environment is
/// normalised in ways that differ between versions.
fn decide<'a>(there: Option<&'a Container>, spec: &ContainerSpec) -> Step<'a> {
    let Some(there) = there else { return Step::Create };
    let same_digest =
        there.labels.get("digest").is_some_and(|digest| digest == spec.digest.as_str());
    if !same_digest || there.labels.get("config") != spec.labels.get("config") {
        return Step::Replace(there);
    }
    match there.state {
        // One that keeps crashing is started by the engine's policy again and again: that is the health gate's affair.
        ContainerState::Running | ContainerState::Restarting => Step::Leave(there),
        ContainerState::Created | ContainerState::Exited { .. } => Step::Start(there),
        // Paused, dead, half removed: nothing that a start would mend.
        ContainerState::Other(_) => Step::Replace(there),
    }
}

async fn inspect(engine: Engine<'_>, name: &str) -> Result<Option<Inspect>, EngineError> {
    match engine.fetch(engine.call(Method::GET, format!("/containers/{}/json", escape(name)))).await
    {
        Ok(container) => Ok(Some(container)),
        Err(error) if error.is_absent() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Creates it; its id.
async fn create(engine: Engine<'_>, spec: &ContainerSpec) -> Result<String, EngineError> {
    let body = serde_json::to_vec(&Create::new(spec));
    let mut call = engine.call(Method::POST, "/containers/create");
    call.query = vec![("name", spec.name.as_str())];
    call.body = Some(body.map_err(|error| EngineError::Silent(error.to_string()))?);
    engine.fetch::<Created>(call).await.map(|created| created.id)
}

/// Stops, then removes, with the volumes that have no name (nothing could ever mount them again).
async fn take_away(
    engine: Engine<'_>,
    id: &str,
    stop_seconds: Option<u64>,
) -> Result<(), EngineError> {
    let absent_is_fine = |result: Result<_, EngineError>| match result {
        Err(error) if !error.is_absent() => Err(error),
        _ => Ok(()),
    };
    // No `t`: the engine knows how long this container may take, and so must our patience.
    let mut stop = engine.call(Method::POST, format!("/containers/{}/stop", escape(id)));
    stop.limit += Duration::from_secs(stop_seconds.unwrap_or_default());
    absent_is_fine(engine.send(stop).await)?;
    let mut removal = engine.call(Method::DELETE, format!("/containers/{}", escape(id)));
    removal.query = vec![("force", "true"), ("v", "true")];
    absent_is_fine(engine.send(removal).await)
}

/// For a segment of a path.
pub(super) fn escape(name: &str) -> String {
    form_urlencoded::byte_serialize(name.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn digest(digit: &str) -> String {
        format!("sha256:{}", digit.repeat(64))
    }

    fn labels(digest: &str, config: &str) -> BTreeMap<String, String> {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        BTreeMap::from([pair("digest", digest), pair("config", config), pair("release", "7")])
    }

    fn there(state: ContainerState, labels: BTreeMap<String, String>) -> Container {
        Container {
            id: "c1".to_owned(),
            name: "webgui".to_owned(),
            state,
            labels,
            created_at: None,
        }
    }

    fn spec() -> ContainerSpec {
        ContainerSpec {
            name: "webgui".to_owned(),
            image: "registry.example/webgui:1".parse().unwrap(),
            digest: digest("a").parse().unwrap(),
            env: Vec::new(),
            port: 8080,
            labels: labels(&digest("a"), "k1"),
            stop_timeout: Duration::from_secs(10),
        }
    }

    #[test]
    fn an_equal_container_is_left_or_started() {
        let equal = |state| there(state, labels(&digest("a"), "k1"));
        for state in [ContainerState::Running, ContainerState::Restarting] {
            let there = equal(state);
            assert_eq!(decide(Some(&there), &spec()), Step::Leave(&there));
        }
        for state in [ContainerState::Created, ContainerState::Exited { code: 137 }] {
            let there = equal(state);
            assert_eq!(decide(Some(&there), &spec()), Step::Start(&there));
        }
        for word in ["paused", "dead", "removing"] {
            let there = equal(ContainerState::Other(word.to_owned()));
            assert_eq!(decide(Some(&there), &spec()), Step::Replace(&there));
        }
    }

    #[test]
    fn any_other_is_replaced_and_none_is_created() {
        assert_eq!(decide(None, &spec()), Step::Create);
        let other = [labels(&digest("b"), "k1"), labels(&digest("a"), "k2"), BTreeMap::new()];
        for labels in other {
            let there = there(ContainerState::Running, labels);
            assert_eq!(decide(Some(&there), &spec()), Step::Replace(&there), "{there:?}");
        }
    }

    #[test]
    fn labels_that_tell_the_story_but_not_the_content_do_not_replace() {
        let mut spec = spec();
        spec.labels.insert("release".to_owned(), "8".to_owned());
        let there = there(ContainerState::Running, labels(&digest("a"), "k1"));
        assert_eq!(decide(Some(&there), &spec), Step::Leave(&there));
    }
}
