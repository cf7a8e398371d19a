//! Images and containers, through the forwarded socket.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use seachange_core::host::{ContainerSpec, ContainerState, Credentials, Host, HostError};
use seachange_core::image::{Digest, ImageRef};
use seachange_core::secret::Secret;
use serde_json::json;

use crate::droplet::Droplet;

const PASSWORD: &str = "canary-hunter2";

fn image() -> ImageRef {
    "registry.example/team/webgui:1.1".parse().unwrap()
}

fn digest(digit: &str) -> Digest {
    format!("sha256:{}", digit.repeat(64)).parse().unwrap()
}

fn spec(digest: Digest, config: &str) -> ContainerSpec {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    ContainerSpec {
        name: "webgui".to_owned(),
        image: image(),
        digest: digest.clone(),
        env: vec![("DATABASE_PASSWORD".to_owned(), Secret::new(PASSWORD))],
        port: 8080,
        labels: BTreeMap::from([
            pair("stack", "webgui"),
            pair("digest", digest.as_str()),
            pair("config", config),
        ]),
        stop_timeout: Duration::from_secs(10),
    }
}

fn credentials() -> Credentials {
    Credentials { username: Secret::new("ci"), password: Secret::new(PASSWORD) }
}

#[tokio::test]
async fn a_release_is_pulled_created_left_alone_and_replaced() {
    let droplet = Droplet::start().await;
    let (host, target) = (droplet.host(), droplet.target());
    let changes = || std::mem::take(&mut droplet.world().engine.changes);

    let seen = Mutex::new(Vec::new());
    let progress = |done, all| seen.lock().unwrap().push((done, all));
    host.pull(&target, &image(), &digest("a"), Some(&credentials()), &progress).await.unwrap();
    assert_eq!(*seen.lock().unwrap(), [(7, Some(9))]);
    assert_eq!(changes(), ["POST images/create"]);
    assert!(droplet.world().engine.registry_auth.is_some());
    let before = droplet.world().engine.requests;
    host.pull(&target, &image(), &digest("a"), Some(&credentials()), &|_, _| {}).await.unwrap();
    assert_eq!(
        droplet.world().engine.requests - before,
        1,
        "a digest that is there costs one look"
    );

    let first = host.ensure_container(&target, &spec(digest("a"), "k1")).await.unwrap();
    assert_eq!(changes(), ["POST containers/create", "POST containers/#webgui/start"]);
    assert_eq!(first.state, ContainerState::Running);
    assert_eq!(first.labels["digest"], digest("a").as_str());
    let again = host.ensure_container(&target, &spec(digest("a"), "k1")).await.unwrap();
    assert_eq!((changes(), again), (Vec::new(), first.clone()));

    droplet.world().engine.containers.get_mut("webgui").unwrap()["State"] =
        json!({ "Status": "exited", "ExitCode": 1 });
    assert_eq!(
        host.containers(&target, "webgui").await.unwrap()[0].state,
        ContainerState::Exited { code: 1 }
    );
    host.ensure_container(&target, &spec(digest("a"), "k1")).await.unwrap();
    assert_eq!(changes(), ["POST containers/#webgui/start"]);

    let second = host.ensure_container(&target, &spec(digest("a"), "k2")).await.unwrap();
    let replaced = [
        "POST containers/#webgui/stop",
        "DELETE containers/#webgui",
        "POST containers/create",
        "POST containers/#webgui/start",
    ];
    assert_eq!(changes(), replaced);
    assert!(second.id != first.id && second.labels["config"] == "k2");
    assert_eq!(host.containers(&target, "webgui").await.unwrap(), [second]);
    assert_eq!(host.containers(&target, "other").await.unwrap(), []);

    host.remove_container(&target, "webgui").await.unwrap();
    assert_eq!(changes(), ["POST containers/#webgui/stop", "DELETE containers/#webgui"]);
    host.remove_container(&target, "webgui").await.unwrap();
    assert_eq!(changes(), Vec::<String>::new());
}

#[tokio::test]
async fn a_container_that_somebody_else_put_there_meanwhile_is_not_touched() {
    let droplet = Droplet::start().await;
    droplet.world().engine.images.insert(image().pinned(&digest("a")));
    let (host, target) = (droplet.host(), droplet.target());
    host.ensure_container(&target, &spec(digest("a"), "k1")).await.unwrap();
    droplet.world().engine.has_rival = true;
    let error = host.ensure_container(&target, &spec(digest("a"), "k2")).await.unwrap_err();
    assert!(error.to_string().contains("already in use"), "{error}");
    droplet.world().engine.has_rival = true;
    host.remove_container(&target, "webgui").await.unwrap();
    let there = host.containers(&target, "webgui").await.unwrap();
    assert_eq!(there.len(), 1);
    assert!(there[0].id.starts_with("rival") && there[0].state == ContainerState::Running);
}

#[tokio::test]
async fn a_container_that_was_only_created_is_gone_on_from() {
    let droplet = Droplet::start().await;
    droplet.world().engine.images.insert(image().pinned(&digest("a")));
    let (host, target) = (droplet.host(), droplet.target());
    host.ensure_container(&target, &spec(digest("a"), "k1")).await.unwrap();
    droplet.world().engine.containers.get_mut("webgui").unwrap()["State"]["Status"] =
        json!("created");
    droplet.world().engine.changes.clear();
    let container = host.ensure_container(&target, &spec(digest("a"), "k1")).await.unwrap();
    assert_eq!(container.state, ContainerState::Running);
    assert_eq!(droplet.world().engine.changes, ["POST containers/#webgui/start"]);
}

#[tokio::test]
async fn a_registry_s_refusal_is_final_and_tells_no_secret() {
    let droplet = Droplet::start().await;
    let (host, target) = (droplet.host(), droplet.target());
    let pull = async || {
        host.pull(&target, &image(), &digest("a"), Some(&credentials()), &|_, _| {})
            .await
            .unwrap_err()
    };

    droplet.world().engine.pull_answer = Some("{\"error\":\"denied: canary-hunter2 is wrong\"}\n");
    let error = pull().await;
    assert!(matches!(error, HostError::PullFailed { .. }), "{error:?}");
    assert!(!format!("{error} {error:?}").contains(PASSWORD), "{error}");

    droplet.world().engine.pull_answer =
        Some("{\"error\":\"Get https://registry.example: i/o timeout\"}\n");
    let error = pull().await;
    assert!(matches!(error, HostError::Failed { .. }), "{error:?}");

    droplet.world().engine.pull_answer = Some("{\"status\":\"Digest: sha256:other\"}\n");
    let error = pull().await;
    assert!(error.to_string().contains("does not have the image"), "{error}");
}

#[tokio::test]
async fn an_engine_that_quotes_the_environment_tells_no_secret() {
    let droplet = Droplet::start().await;
    droplet.world().engine.images.insert(image().pinned(&digest("a")));
    let mut spec = spec(digest("a"), "k1");
    spec.env = vec![(String::new(), Secret::new(PASSWORD))];
    let host = droplet.host();
    let error = host.ensure_container(&droplet.target(), &spec).await.unwrap_err();
    assert!(error.to_string().contains("invalid environment variable: =[redacted]"), "{error}");
    assert!(!format!("{error:?} {host:?} {spec:?}").contains(PASSWORD));
}

#[tokio::test]
async fn the_engine_is_spoken_to_in_a_version_it_knows() {
    let droplet = Droplet::start().await;
    let (host, target) = (droplet.host(), droplet.target());
    for minor in [41, 44, 53, 60] {
        droplet.world().engine.minor = minor;
        host.forget(target.address).await;
        host.containers(&target, "webgui").await.unwrap();
    }
    droplet.world().engine.minor = 40;
    host.forget(target.address).await;
    let error = host.containers(&target, "webgui").await.unwrap_err();
    assert!(error.to_string().contains("at least 1.41"), "{error}");
}

#[tokio::test]
async fn the_last_lines_of_a_log_are_read() {
    let droplet = Droplet::start().await;
    droplet.world().engine.images.insert(image().pinned(&digest("a")));
    let (host, target) = (droplet.host(), droplet.target());
    host.ensure_container(&target, &spec(digest("a"), "k1")).await.unwrap();
    droplet.world().engine.log =
        b"\x01\0\0\0\0\0\0\x08one\ntwo\n\x02\0\0\0\0\0\0\x06three\n".to_vec();
    assert_eq!(host.logs(&target, "webgui", 2).await.unwrap(), ["two", "three"]);
    let error = host.logs(&target, "other", 2).await.unwrap_err();
    assert!(error.to_string().contains("No such container"), "{error}");
}
