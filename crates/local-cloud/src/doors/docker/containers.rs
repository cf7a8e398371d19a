//! Containers over the API: what the machine's engine does, and what the sockets have to do with it.

use std::time::Duration;

use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};

use super::{Answer, Call, Refusal, document, empty, wire};
use crate::machine::containers::{Container, Engine, EngineError, Force, KILLED, State};

/// Asks the engine something.
fn look<T>(
    call: &Call,
    act: impl FnOnce(&Engine, jiff::Timestamp) -> Result<T, EngineError>,
) -> Result<T, Refusal> {
    let looked = call.site.machine(call.address, |machine, now| act(machine.engine(), now));
    Ok(looked.ok_or_else(Refusal::gone)??)
}

/// Has the engine do something.
fn change<T>(
    call: &Call,
    act: impl FnOnce(&mut Engine, jiff::Timestamp) -> Result<T, EngineError>,
) -> Result<T, Refusal> {
    let changed = call.site.machine(call.address, |machine, now| act(machine.engine_mut(), now));
    Ok(changed.ok_or_else(Refusal::gone)??)
}

/// `GET /containers/json`.
pub(super) fn list(call: &Call) -> Answer {
    let filters = wire::Filters::read(call.asked("filters").unwrap_or_default())
        .map_err(|error| Refusal::bad(format!("invalid filter: {error}")))?;
    let summaries = look(call, |engine, now| {
        let is_up = |container: &&Container| {
            call.has("all")
                || matches!(container.life(now).state, State::Running | State::Restarting { .. })
        };
        let mut found: Vec<_> = engine
            .containers()
            .filter(is_up)
            .filter(|container| filters.admit(container, now))
            .collect();
        found.sort_by_key(|container| std::cmp::Reverse(container.created_at));
        Ok(found.into_iter().map(|container| wire::summary(container, now)).collect::<Vec<_>>())
    })?;
    Ok(document(&summaries.into()))
}

/// `POST /containers/create`.
pub(super) fn create(call: &Call) -> Answer {
    let name = call.asked("name").unwrap_or_default().to_owned();
    let new = wire::new_container(&call.body, name).map_err(Refusal::bad)?;
    let id = change(call, |engine, now| engine.create(new, now))?;
    let mut response = document(&serde_json::json!({ "Id": id, "Warnings": [] }));
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

/// `GET /containers/{name}/json`.
pub(super) fn inspect(call: &Call, name: &str) -> Answer {
    look(call, |engine, now| Ok(wire::inspect(engine.find(name)?, now)))
        .map(|container| document(&container))
}

/// `POST /containers/{name}/start`. It listens when this is answered.
pub(super) async fn start(call: &Call, name: &str) -> Answer {
    let started = change(call, |engine, now| engine.start(name, now))?;
    call.site.settle().await;
    Ok(empty(if started { StatusCode::NO_CONTENT } else { StatusCode::NOT_MODIFIED }))
}

/// `POST /containers/{name}/stop`: the app finishes what it is at, within its time, and is killed after it.
pub(super) async fn stop(call: &Call, name: &str) -> Answer {
    let id = look(call, |engine, _| Ok(engine.find(name)?.id.clone()))?;
    let seconds = match call.asked("t").map(str::parse) {
        None => look(call, |engine, _| Ok(engine.find(&id)?.stop_seconds()))?,
        Some(Ok(seconds)) => seconds,
        Some(Err(_)) => return Err(Refusal::bad("invalid t")),
    };
    let within = Duration::from_secs(seconds);
    let begin = || change(call, |engine, now| engine.begin_stop(&id, within, now));
    let (doors, begun) = call.site.take_app(call.address, &id, begin).await;
    if !begun? {
        return Ok(empty(StatusCode::NOT_MODIFIED));
    }
    let finish = async {
        for door in doors {
            door.finish().await;
        }
    };
    let code = match tokio::time::timeout(within, finish).await {
        Ok(()) => 0,
        Err(_) => KILLED,
    };
    change(call, |engine, now| engine.stopped(&id, code, now))?;
    call.site.settle().await;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `POST /containers/{name}/kill`.
pub(super) async fn kill(call: &Call, name: &str) -> Answer {
    match call.asked("signal").unwrap_or("SIGKILL") {
        "SIGKILL" | "KILL" | "9" => {}
        other => return Err(Refusal::bad(format!("the simulated engine cannot send {other}"))),
    }
    change(call, |engine, now| engine.kill(name, now))?;
    call.site.settle().await;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `DELETE /containers/{name}`.
pub(super) async fn remove(call: &Call, name: &str) -> Answer {
    let force = if call.has("force") { Force::Yes } else { Force::No };
    change(call, |engine, now| engine.remove(name, force, now))?;
    call.site.settle().await;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `GET /containers/{name}/logs`: frames of eight bytes and a line, as without a terminal.
pub(super) fn logs(call: &Call, name: &str) -> Answer {
    if !call.has("stdout") && !call.has("stderr") {
        return Err(Refusal::bad("Bad parameters: you must choose at least one stream"));
    }
    let mut lines = look(call, |engine, now| Ok(engine.find(name)?.lines(now)))?;
    lines.retain(|line| call.has(if wire::is_error(line) { "stderr" } else { "stdout" }));
    // `all`, or anything that is no number, is everything.
    let tail = call.asked("tail").and_then(|tail| tail.parse().ok()).unwrap_or(usize::MAX);
    let skipped = lines.len().saturating_sub(tail);
    let frames: Vec<u8> = lines.iter().skip(skipped).flat_map(|line| wire::frame(line)).collect();
    let mut response = Response::new(Full::from(frames).boxed_unsync());
    let stream = HeaderValue::from_static("application/vnd.docker.multiplexed-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, stream);
    Ok(response)
}
