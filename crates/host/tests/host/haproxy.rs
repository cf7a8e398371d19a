//! HAProxy's configuration, and deaths between its steps.

use seachange_core::host::{Host, HostError, Installed};

use crate::droplet::{CONFIG, Death, Droplet};

const OLD: &str = "frontend old\n";
const NEW: &str = "frontend new\n";

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
    assert_eq!(host.config_digest(&target).await, Ok(None));
    // Larger than one packet of the protocol.
    droplet.world().files.insert(CONFIG.to_owned(), vec![b'a'; 1_000_000]);
    let digest = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";
    assert_eq!(host.config_digest(&target).await, Ok(Some(digest.to_owned())));
    let large = "b".repeat(300_000);
    host.install_config(&target, &large).await.unwrap();
    assert_eq!(droplet.world().files[CONFIG], large.as_bytes());
}
