//! Events as lines of a log and as objects of a stream.

use std::net::Ipv4Addr;
use std::time::Duration;

use seachange_core::address::Address;
use seachange_core::event::{Event, Outcome};
use seachange_core::release::Phase;
use seachange_report::event::{Names, json, line};

use crate::snapshot;

/// One of every kind.
fn every() -> Vec<Event> {
    let text = |text: &str| text.to_owned();
    let workers = |numbers: std::ops::RangeInclusive<u32>| numbers.map(Address::Worker).collect();
    let digest = format!("sha256:{}", "b7".repeat(32)).parse().expect("a digest");
    let took = Duration::from_millis(2_340);
    vec![
        Event::RefreshStarted,
        Event::RefreshFinished { requests: 7, took },
        Event::RunStarted { steps: 4 },
        Event::StepStarted { step: 0, addresses: workers(2..=11), what: text("creating") },
        Event::StepStarted { step: 1, addresses: workers(1..=1), what: text("first boot") },
        Event::StepProgress { step: 1, what: text("waiting for cloud-init") },
        Event::StepFinished { step: 0, outcome: Outcome::Added, what: text("10 droplets"), took },
        Event::StepFinished { step: 1, outcome: Outcome::AlreadySo, what: text("ready"), took },
        Event::StepStarted { step: 2, addresses: vec![Address::Release], what: text("releasing") },
        Event::Phase { phase: Phase::Staging },
        Event::Pull { worker: 2, digest, bytes: 1_048_576, total: Some(4_194_304) },
        Event::Phase { phase: Phase::Gating },
        Event::Probe { worker: Some(2), seen: text("200 in 3 ms"), in_a_row: 1, needed: 3 },
        Event::Phase { phase: Phase::Switching },
        Event::Switched { ip: Ipv4Addr::new(203, 0, 113, 5), worker: 2, took },
        Event::Phase { phase: Phase::Verifying },
        Event::Probe { worker: None, seen: text("502 in 9 ms"), in_a_row: 0, needed: 1 },
        Event::StepFailed { step: 2, why: text("release: no answer from the new release") },
        Event::StepSkipped { step: 3 },
        Event::Note { text: text("the lock was taken over from ci@runner-7") },
        Event::Stopping,
    ]
}

#[test]
fn a_log_has_a_line_for_what_people_read() {
    let lines: Vec<String> = every().iter().filter_map(line).collect();
    assert!(lines.iter().all(|line| !line.contains('\n')));
    snapshot("event_lines", &lines.join("\n"));
}

#[test]
fn a_line_says_which_step_it_is_about() {
    let mut names = Names::default();
    let lines: Vec<String> = every()
        .iter()
        .filter_map(|event| {
            names.learn(event);
            names.line(event)
        })
        .collect();
    snapshot("event_named_lines", &lines.join("\n"));
    let plan = crate::world::World::empty("webgui").plan(&crate::specs::webgui("1.0"));
    let skipped = Names::of(&plan).line(&Event::StepSkipped { step: 0 });
    insta::assert_snapshot!(skipped.expect("a line"), @"  create droplet.worker[1]: not tried");
}

#[test]
fn a_stream_has_an_object_for_every_event() {
    let at = "2026-11-23T12:00:00Z".parse().expect("a time");
    let objects: Vec<_> = every().iter().map(|event| json(event, at)).collect();
    for object in &objects {
        for key in ["type", "@level", "@module", "@timestamp", "@message"] {
            assert!(object[key].is_string(), "{object} has no {key}");
        }
    }
    let lines: Vec<String> = objects.iter().map(ToString::to_string).collect();
    snapshot("event_objects", &lines.join("\n"));
}
