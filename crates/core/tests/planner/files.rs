//! Saved plans: they come back as they were, or not at all; and a world that moved is noticed.

use seachange_core::plan::file::{ReadError, read, stale, write};

use crate::specs::webgui;
use crate::world::World;

#[test]
fn a_plan_comes_back_as_it_was() {
    let plan = World::empty("webgui").plan(&webgui("1.0"));
    assert_eq!(read(&write(&plan)), Ok(plan));
}

#[test]
fn a_changed_or_cut_off_plan_is_refused() {
    let plan = World::empty("webgui").plan(&webgui("1.0"));
    let bytes = write(&plan);
    for length in [0, 1, bytes.len() / 2, bytes.len() - 3] {
        assert!(
            matches!(read(&bytes[..length]), Err(ReadError::Malformed { .. })),
            "{length} bytes"
        );
    }
    let text = String::from_utf8(bytes).expect("JSON");
    let changed = text.replace("s-1vcpu-1gb", "s-8vcpu-16gb");
    assert_ne!(changed, text);
    assert!(matches!(read(changed.as_bytes()), Err(ReadError::Tampered { .. })));
    let newer = text.replacen("\"format\":1", "\"format\":2", 1);
    assert_eq!(read(newer.as_bytes()), Err(ReadError::Newer { found: 2 }));
}

#[test]
fn not_one_byte_of_a_plan_may_be_another() {
    let bytes = write(&World::empty("webgui").plan(&webgui("1.0")));
    for at in 0..bytes.trim_ascii_end().len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 7);
        assert!(read(&flipped).is_err(), "byte {at} of {}", String::from_utf8_lossy(&flipped));
    }
}

#[test]
fn no_secret_is_in_a_plan() {
    let mut spec = webgui("1.0");
    let app = spec.app.as_mut().expect("an app");
    app.env.insert("PASSWORD".to_owned(), seachange_core::secret::Secret::new("canary-value"));
    let text = String::from_utf8(write(&World::empty("webgui").plan(&spec))).expect("JSON");
    assert!(!text.contains("canary-value") && !text.contains("password"), "{text}");
}

#[test]
fn a_world_that_moved_is_noticed_with_both_values() {
    let world = World::applied(&webgui("1.0"));
    let spec = webgui("1.1");
    let plan = world.plan(&spec);
    assert_eq!(stale(&plan, &world.state, &world.look(&spec)), []);

    let mut moved = world.clone();
    moved.point(Some(moved.worker(2)));
    moved.state.serial += 1;
    let mut seen = moved.look(&spec);
    seen.image = moved.look(&webgui("1.2")).image;
    let found: Vec<String> =
        stale(&plan, &moved.state, &seen).iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), 3, "{found:?}");
    assert_eq!(found[0], "serial of the state: planned for 1, now 2");
    assert_eq!(
        found[1],
        format!(
            "floating_ip: planned for 203.0.113.5 at droplet {}, now 203.0.113.5 at droplet {}",
            world.worker(1),
            world.worker(2)
        )
    );
    let first = World::empty("webgui").plan(&webgui("1.0"));
    let found = stale(&first, &world.state, &world.look(&webgui("1.0")));
    assert!(
        found[0]
            .to_string()
            .starts_with("lineage of the state: planned for a stack without a state")
    );
}
