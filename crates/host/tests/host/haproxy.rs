//! HAProxy's configuration, and deaths between its steps.

use seachange_core::host::{Host, HostError, Installed, Target};

use crate::droplet::{CONFIG, Death, Droplet};

const OLD: &str = "frontend old\n";
const NEW: &str = "frontend new\n";

async fn config(host: &impl Host, target: &Target) -> Option<String> {
    host.balancing(target).await.unwrap().config
}

async fn with_old() -> Droplet {
    let droplet = Droplet::start().await;
    droplet.world().files.insert(CONFIG.to_owned(), OLD.into());
    droplet.world().loaded = Some(OLD.into());
    droplet
}

#[tokio::test]
async fn a_configuration_is_checked_swapped_in_and_reloaded_once() {
    let droplet = with_old().await;
    let (host, target) = (droplet.host(), droplet.target());
    assert_eq!(host.install_config(&target, NEW).await, Ok(Installed::Changed));
    let new = format!("{CONFIG}.seachange-new");
    let commands = [
        format!("haproxy -c -f {new}"),
        format!("mv -f {new} {CONFIG}"),
        "systemctl reload haproxy".to_owned(),
    ];
    assert_eq!(droplet.world().commands, commands);
    assert_eq!(host.install_config(&target, NEW).await, Ok(Installed::AlreadySo));
    assert_eq!(droplet.world().commands.len(), 3, "nothing was run again");
    assert!(droplet.world().leftovers().is_empty());
}

#[tokio::test]
async fn a_refused_configuration_leaves_everything_as_it_was() {
    let droplet = with_old().await;
    let error = droplet.host().install_config(&droplet.target(), "bad\n").await.unwrap_err();
    let HostError::ConfigRefused { path, detail } = error else { panic!("{error:?}") };
    assert_eq!(path, CONFIG);
    assert!(detail.contains("unknown keyword 'bad'"), "{detail}");
    let world = droplet.world();
    assert_eq!(world.files[CONFIG], OLD.as_bytes());
    assert_eq!(world.loaded.as_deref(), Some(OLD.as_bytes()));
    assert!(world.leftovers().is_empty());
}

#[tokio::test]
async fn after_a_death_anywhere_the_next_call_finishes() {
    for command in ["haproxy -c", "mv", "systemctl reload"] {
        for death in [Death::Before, Death::After] {
            let droplet = with_old().await;
            droplet.world().death = Some((command, death));
            let (host, target) = (droplet.host(), droplet.target());
            host.install_config(&target, NEW).await.unwrap_err();
            droplet.world().death = None;
            let installed = host.install_config(&target, NEW).await;
            let world = droplet.world();
            assert_eq!(installed, Ok(Installed::Changed), "{death:?} {command}");
            assert_eq!(world.files[CONFIG], NEW.as_bytes(), "{death:?} {command}");
            assert_eq!(world.loaded.as_deref(), Some(NEW.as_bytes()), "{death:?} {command}");
            assert!(world.leftovers().is_empty(), "{death:?} {command}: {:?}", world.leftovers());
        }
    }
}

#[tokio::test]
async fn a_reload_that_is_due_survives_a_refused_configuration() {
    let droplet = with_old().await;
    let (host, target) = (droplet.host(), droplet.target());
    droplet.world().death = Some(("systemctl reload", Death::Before));
    host.install_config(&target, NEW).await.unwrap_err();
    droplet.world().death = None;
    host.install_config(&target, "bad\n").await.unwrap_err();
    assert_eq!(host.install_config(&target, NEW).await, Ok(Installed::Changed));
    assert_eq!(droplet.world().loaded.as_deref(), Some(NEW.as_bytes()));
}

#[tokio::test]
async fn the_digest_is_of_the_file_and_none_without_it() {
    let droplet = Droplet::start().await;
    let (host, target) = (droplet.host(), droplet.target());
    assert_eq!(config(&host, &target).await, None);
    // Larger than one packet of the protocol.
    droplet.world().files.insert(CONFIG.to_owned(), vec![b'a'; 1_000_000]);
    let digest = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";
    assert_eq!(config(&host, &target).await.as_deref(), Some(digest));
    let large = "b".repeat(300_000);
    host.install_config(&target, &large).await.unwrap();
    assert_eq!(droplet.world().files[CONFIG], large.as_bytes());
}

#[tokio::test]
async fn a_reload_that_the_old_process_survives_is_an_error_and_stays_due() {
    let droplet = with_old().await;
    droplet.world().haproxy_cannot_load = true;
    let (host, target) = (droplet.host(), droplet.target());
    let error = host.install_config(&target, NEW).await.unwrap_err();
    let HostError::Failed { operation, detail, .. } = error else { panic!("{error:?}") };
    assert_eq!(operation, "reloading HAProxy");
    assert!(detail.contains("the old process still serves"), "{detail}");
    droplet.world().haproxy_cannot_load = false;
    assert_eq!(host.install_config(&target, NEW).await, Ok(Installed::Changed));
    assert_eq!(host.install_config(&target, NEW).await, Ok(Installed::AlreadySo));
}

#[tokio::test]
async fn a_detour_is_seen_by_the_next_look_and_ended_by_a_reload() {
    let droplet = with_old().await;
    let (host, target) = (droplet.host(), droplet.target());
    assert_eq!(host.install_config(&target, NEW).await, Ok(Installed::Changed));
    let before = host.balancing(&target).await.unwrap();
    assert!(!before.detour);

    droplet.world().in_use = (false, true);
    droplet.world().in_flight = 3;
    droplet.world().on_the_floating_ip = 1;
    let to = "198.18.0.9:8080".parse().unwrap();
    assert_eq!(host.detour(&target, Some(to)).await, Ok(3));
    let said = droplet.world().admin.pop().unwrap();
    assert_eq!(
        said,
        "set server live/detour addr 198.18.0.9 port 8080;set server live/detour state ready;\
         set server live/floating_ip state drain;show stat"
    );
    let taken = host.balancing(&target).await.unwrap();
    assert!(taken.detour);
    assert_eq!(taken.config, before.config);
    assert_eq!(host.install_config(&target, NEW).await, Ok(Installed::Changed));
    assert_eq!(host.balancing(&target).await.as_ref(), Ok(&before));

    // One process says nothing of what another one has begun.
    droplet.world().on_the_floating_ip = 5;
    assert_eq!(host.detour(&target, Some(to)).await, Ok(5));
    droplet.world().in_use = (true, false);
    droplet.world().in_flight = 0;
    assert_eq!(host.detour(&target, None).await, Ok(0));
    assert_eq!(host.balancing(&target).await.as_ref(), Ok(&before));
    assert_eq!(host.install_config(&target, NEW).await, Ok(Installed::AlreadySo));
}

#[tokio::test]
async fn a_detour_that_haproxy_does_not_take_is_an_error() {
    let droplet = with_old().await;
    let (host, target) = (droplet.host(), droplet.target());
    // It stays where it was; it goes elsewhere.
    for (in_use, to) in [((true, false), "198.18.0.9:8080"), ((false, true), "198.18.0.8:8080")] {
        droplet.world().in_use = in_use;
        let error = host.detour(&target, Some(to.parse().unwrap())).await.unwrap_err();
        let HostError::Failed { detail, .. } = error else { panic!("{error:?}") };
        assert!(detail.contains("HAProxy did not do it"), "{detail}");
    }
}
