//! The engine's refusals and a container's life over time.

use super::*;
use crate::images::Images;

const START: Timestamp = Timestamp::UNIX_EPOCH;
const TEN: Duration = Duration::from_secs(10);

fn at(millis: u64) -> Timestamp {
    START + Duration::from_millis(millis)
}

/// An engine with one container of this version, started at the beginning.
fn running(version: &str, restart: Restart) -> Engine {
    let mut engine = Engine::default();
    let id = add(&mut engine, "webgui", version, restart);
    assert_eq!(engine.start(&id, START), Ok(true));
    engine
}

fn add(engine: &mut Engine, name: &str, version: &str, restart: Restart) -> String {
    let image: ImageRef = format!("r.example/webgui:{version}").parse().unwrap();
    engine.pulled(&image, Images::default().find(version).unwrap().digest());
    let new = NewContainer {
        name: name.to_owned(),
        image: image.to_string(),
        ports: BTreeMap::from([(8080, 8080)]),
        restart,
        ..NewContainer::default()
    };
    engine.create(new, START).unwrap()
}

fn state(engine: &Engine, millis: u64) -> State {
    engine.find("webgui").unwrap().life(at(millis)).state
}

#[test]
fn an_image_is_known_by_what_it_was_pulled_as() {
    let mut engine = Engine::default();
    let digest = Images::default().find("1.0").unwrap().digest().clone();
    let pinned = format!("r.example/webgui@{digest}");
    engine.pulled(&pinned.parse().unwrap(), &digest);
    assert_eq!(engine.image(&pinned), Some(&digest));
    assert_eq!(engine.image(digest.as_str()), Some(&digest));
    assert_eq!(engine.image(&format!("r.example/other@{digest}")), None);
    assert_eq!(engine.image("r.example/webgui:1.0"), None);
    engine.pulled(&"r.example/webgui".parse().unwrap(), &digest);
    assert_eq!(engine.image("r.example/webgui:latest"), Some(&digest));
}

#[test]
fn names_and_ports_are_held_by_one() {
    let mut engine = running("1.0", Restart::UnlessStopped);
    let again = NewContainer {
        name: "webgui".to_owned(),
        image: "r.example/webgui:1.0".to_owned(),
        ..NewContainer::default()
    };
    let error = engine.create(again, START).unwrap_err();
    assert_eq!(error.status(), 409);
    assert!(error.to_string().starts_with("Conflict. The container name \"/webgui\" is already"));

    let other = add(&mut engine, "other", "1.1", Restart::No);
    let error = engine.start(&other, START).unwrap_err();
    assert_eq!(error.status(), 500);
    assert!(error.to_string().ends_with("Bind for 0.0.0.0:8080 failed: port is already allocated"));
    assert_eq!(engine.begin_stop("webgui", TEN, START), Ok(true));
    assert!(engine.start(&other, START).is_err(), "a stopping container still has its port");
    engine.stopped("webgui", 0, START).unwrap();
    assert_eq!(engine.start(&other, START), Ok(true));
}

#[test]
fn what_is_missing_is_said() {
    let mut engine = Engine::default();
    assert_eq!(engine.find("x").unwrap_err().to_string(), "No such container: x");
    let new = NewContainer { image: "r.example/a:1".to_owned(), ..NewContainer::default() };
    let error = engine.create(new, START).unwrap_err();
    assert_eq!(
        (error.status(), error.to_string()),
        (404, "No such image: r.example/a:1".to_owned())
    );
}

#[test]
fn a_crashing_container_is_restarted_at_growing_intervals() {
    let engine = running("crash", Restart::UnlessStopped);
    // Runs 300 ms, waits 100; runs 300, waits 200; …
    let seen: Vec<_> = [0, 299, 300, 399, 400, 699, 700, 899, 900]
        .into_iter()
        .map(|millis| matches!(state(&engine, millis), State::Restarting { code: 1 }))
        .collect();
    assert_eq!(seen, [false, false, true, true, false, false, true, true, false]);
    assert_eq!(engine.find("webgui").unwrap().life(at(900)).restarts, 2);
    assert!(engine.listening(at(100)).is_empty());
    let lines = engine.find("webgui").unwrap().lines(at(900));
    assert_eq!(lines.iter().filter(|line| line.contains("fatal")).count(), 2);
    // A long time later it is still answered at once, and the log stays short.
    assert!(engine.find("webgui").unwrap().lines(at(30 * 86_400_000)).len() < 50);
}

#[test]
fn without_a_policy_it_stays_down() {
    let engine = running("crash", Restart::No);
    assert_eq!(state(&engine, 100), State::Running);
    assert_eq!(state(&engine, 5_000), State::Exited { code: 1, at: at(300) });
}

#[test]
fn a_slow_one_listens_late_and_says_when() {
    let engine = running("slow", Restart::No);
    assert!(engine.listening(at(2_999)).is_empty());
    assert_eq!(engine.next_event(at(10)), Some(at(3_000)));
    assert_eq!(engine.listening(at(3_000)).len(), 1);
    assert_eq!(engine.next_event(at(3_000)), None);
}

#[test]
fn a_stopping_container_listens_no_more_and_runs_until_it_has_ended() {
    let mut engine = running("1.0", Restart::UnlessStopped);
    assert_eq!(engine.listening(START).len(), 1);
    assert_eq!(engine.begin_stop("webgui", TEN, at(10)), Ok(true));
    assert!(engine.listening(at(10)).is_empty());
    assert_eq!(state(&engine, 20), State::Running);
    assert_eq!(state(&engine, 10_010), State::Exited { code: KILLED, at: at(10_010) });
    engine.stopped("webgui", 0, at(30)).unwrap();
    assert_eq!(state(&engine, 40), State::Exited { code: 0, at: at(30) });
    assert_eq!(engine.begin_stop("webgui", TEN, at(40)), Ok(false));
    let lines = engine.find("webgui").unwrap().lines(at(50));
    assert_eq!(lines.last().unwrap(), "stopped with code 0");
    assert_eq!(engine.start("webgui", at(60)), Ok(true));
    assert_eq!(engine.start("webgui", at(61)), Ok(false));
}

#[test]
fn a_running_container_is_removed_only_by_force() {
    let mut engine = running("1.0", Restart::No);
    assert_eq!(engine.remove("webgui", Force::No, START).unwrap_err().status(), 409);
    engine.remove("webgui", Force::Yes, START).unwrap();
    assert_eq!(engine.remove("webgui", Force::Yes, START).unwrap_err().status(), 404);
    let mut engine = running("1.0", Restart::No);
    engine.kill("webgui", at(5)).unwrap();
    assert_eq!(state(&engine, 6), State::Exited { code: 137, at: at(5) });
    assert_eq!(engine.kill("webgui", at(7)).unwrap_err().status(), 409);
}

#[test]
fn the_environment_is_neither_printed_nor_stored() {
    let mut engine = running("1.0", Restart::No);
    engine.find_mut("webgui").unwrap().env = Env(vec!["PASSWORD=canary".to_owned()]);
    assert!(!format!("{engine:?}").contains("canary"));
    assert!(!serde_json::to_string(&engine).unwrap().contains("canary"));
}
