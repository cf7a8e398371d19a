//! What every `Cloud` and every `StateStore` must do, run over each that there is: the world in process on a virtual clock,
//! the HTTP client on the world's own door, and the stores. The suites know the traits only, so that a lab can run them
//! too. What every `Host` must do is in `tests/host`.

#![expect(clippy::unwrap_used, reason = "a suite that cannot be set up has failed")]

mod cloud;
mod store;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use seachange_core::secret::Secret;
use seachange_digitalocean::space::{Credentials, Space, SpaceConfig};
use seachange_digitalocean::{Client, Config};
use seachange_engine::store::folder::FolderStore;
use seachange_engine::store::memory::MemoryStore;
use seachange_local_cloud::http::Http;
use seachange_local_cloud::in_process::InProcess;
use seachange_local_cloud::machine::BootTimings;
use seachange_local_cloud::serve::{ServeConfig, serve};
use seachange_local_cloud::world::{Limits, Timings, World, WorldConfig};

fn world(timings: Timings) -> Arc<World> {
    World::new(WorldConfig {
        timings,
        limits: Limits { droplets: 460, reserved_ips: 2 },
        token: Some("conformance".to_owned()),
        ..WorldConfig::default()
    })
}

#[tokio::test(start_paused = true)]
async fn the_world_in_process_is_a_cloud() {
    let world = world(Timings::realistic());
    cloud::suite(&InProcess::new(world, Duration::from_millis(80))).await;
}

#[tokio::test]
async fn the_client_on_the_world_s_own_door_is_a_cloud() {
    let ms = Duration::from_millis;
    let first_boot = BootTimings { ssh: ms(1), cloud_init: ms(1) };
    let timings = Timings {
        boot: ms(200),
        address: ms(20),
        first_boot,
        action: ms(150),
        delete: ms(150),
        ..Timings::quick()
    };
    let world = world(timings);
    let door = Http::open(Arc::clone(&world), (Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let mut config = Config::new(Secret::new("conformance"));
    config.base_url = format!("http://{}", door.address());
    let client = Client::new(config).unwrap();
    cloud::suite(&client).await;
}

#[tokio::test]
async fn memory_is_a_store() {
    store::suite(Arc::new(MemoryStore::new())).await;
}

#[tokio::test]
async fn a_folder_is_a_store() {
    let folder = tempfile::tempdir().unwrap();
    store::suite(Arc::new(FolderStore::new(folder.path().join("state")))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_on_the_world_s_own_spaces_is_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let serving = serve(ServeConfig::in_folder(folder.path().to_owned())).await.unwrap();
    let space = |prefix: &str| {
        let config = SpaceConfig {
            bucket: "conformance".to_owned(),
            region: "ams3".to_owned(),
            endpoint: Some(serving.spaces.endpoint.clone()),
            prefix: prefix.to_owned(),
            path_style: true,
        };
        let credentials =
            Credentials { id: serving.spaces.id.clone(), key: serving.spaces.key.clone() };
        Arc::new(Space::connect(&config, credentials).unwrap())
    };
    store::suite(space("")).await;
    store::suite(space("a/prefix")).await;
    serving.shutdown().await;
}
