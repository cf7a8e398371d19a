//! The same suite without sockets, on a virtual clock, and what only a virtual clock can show.

use std::sync::Arc;
use std::time::Duration;

use seachange_core::bootstrap::Bootstrap;
use seachange_core::cloud::Cloud;
use seachange_core::haproxy::LoadBalancerConfig;
use seachange_core::host::{
    Boot, ContainerState, Credentials, Host, HostError, Probe, ProbeOutcome, Route, Service,
};
use seachange_core::secret::Secret;
use seachange_local_cloud::fault::{Effect, Rule};
use seachange_local_cloud::images::Images;
use seachange_local_cloud::in_process_host::{Config, InProcessHost, served};
use seachange_local_cloud::world::Timings;

use crate::ground::{Ground, PORT, STACK, at_once, closed_ground, key};
use crate::suite;

async fn begin() -> (Ground, InProcessHost) {
    begin_with(Config::default()).await
}

async fn begin_with(config: Config) -> (Ground, InProcessHost) {
    let ground = closed_ground(at_once()).await;
    let host = InProcessHost::new(Arc::clone(&ground.world), config);
    (ground, host)
}

#[tokio::test(start_paused = true)]
async fn the_whole_suite() {
    let (ground, host) = begin().await;
    suite::contact(&ground, &host).await;
    suite::host_keys(&ground, &host).await;
    suite::containers(&ground, &host).await;
    suite::pulls(&ground, &host).await;
    suite::behaviours(&ground, &host).await;
    suite::configuration(&ground, &host).await;
    suite::ways(&ground, &host).await;
    suite::detour(&ground, &host).await;
    suite::registry(&ground, &host.registry(), true).await;
}

#[tokio::test(start_paused = true)]
async fn a_login_is_wanted_where_there_is_one() {
    let login = Credentials { username: Secret::new("demo"), password: Secret::new("right") };
    let images = Images { login: Some(login), ..Images::default() };
    let (ground, host) = begin_with(Config { images, ..Config::default() }).await;
    suite::registry(&ground, &host.registry(), false).await;
}

#[tokio::test(start_paused = true)]
async fn a_first_boot_goes_through_its_stages() {
    let ground = closed_ground(Timings::realistic()).await;
    let host = InProcessHost::new(Arc::clone(&ground.world), Config::default());
    let (_, worker) = ground.droplet("worker", Bootstrap::Docker).await;
    let mut seen = Vec::new();
    loop {
        let now = match host.contact(&worker, Service::Docker).await {
            Err(HostError::Unreachable { detail, .. }) => detail,
            Ok(contact) if contact.boot == Boot::Ready => break,
            Ok(contact) => format!("{:?}", contact.boot),
            Err(error) => panic!("{error}"),
        };
        if seen.last() != Some(&now) {
            seen.push(now);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(seen, ["connection refused", "Running { detail: \"cloud-init: running\" }"]);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_not_put_there_is_refused() {
    let (ground, host) =
        begin_with(Config { public_key: Some(key(2).1), ..Config::default() }).await;
    let (_, worker) = ground.droplet("worker", Bootstrap::Docker).await;
    let error = host.contact(&worker, Service::Docker).await.unwrap_err();
    assert!(matches!(error, HostError::AuthenticationRefused { .. }), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_crashing_container_is_seen_restarting() {
    let (ground, host) = begin().await;
    let (_, worker) = ground.worker(&host, "crash").await;
    tokio::time::sleep(Duration::from_millis(350)).await;
    let state = host.containers(&worker, STACK).await.unwrap()[0].state.clone();
    assert_eq!(state, ContainerState::Restarting);
    let lines = host.logs(&worker, STACK, 1).await.unwrap();
    assert_eq!(lines, ["fatal: cannot start, exiting with code 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_answer_is_none_when_patience_ends() {
    let (ground, host) = begin().await;
    let (_, target) = ground.worker(&host, "1.0").await;
    let ask = async |millis: u64, path: &str| {
        let route = Route::Container { target: target.clone(), port: PORT };
        let timeout = Duration::from_millis(millis);
        host.probe(&Probe { route, path: path.to_owned(), timeout }).await
    };
    let late = ask(100, "/slow?ms=200").await;
    assert_eq!(late, ProbeOutcome::NoAnswer { detail: "timed out after 100ms".to_owned() });
    let ProbeOutcome::Answer { took, .. } = ask(300, "/slow?ms=200").await else { panic!("late") };
    assert_eq!(took, Duration::from_millis(200));
}

#[tokio::test(start_paused = true)]
async fn the_oracle_tells_what_users_get() {
    let (ground, host) = begin().await;
    let (old, _) = ground.worker(&host, "1.0").await;
    let (new, target) = ground.worker(&host, "unhealthy").await;
    let ip = ground.floating_ip(old).await;
    let text = LoadBalancerConfig { listen: 80, floating_ip: ip, port: PORT }.render();
    let balancer = ground.balancer(&host, &text).await;
    let users = || served(&ground.world, balancer.address, 80);
    assert_eq!(users().as_deref(), Some("1.0"));
    ground.assign(ip, new).await;
    assert_eq!(users(), None);
    ground.run(&host, &target, "1.1").await;
    assert_eq!(users().as_deref(), Some("1.1"));
    ground.cloud.delete_droplet(new).await.unwrap();
    assert_eq!(users(), None);
}

#[tokio::test(start_paused = true)]
async fn faults_strike_hosts_before_and_after() {
    let (ground, host) = begin().await;
    let (_, worker) = ground.worker(&host, "1.0").await;
    let strike = |call: &str, effect| {
        let path = format!("/hosts/{}/{call}", worker.address);
        let rule = Rule { method: "HOST".to_owned(), path, after: 0, times: 1, effect };
        ground.world.with_faults(|faults| faults.add(rule));
    };
    strike("remove_container", Effect::DropBefore);
    assert!(host.remove_container(&worker, STACK).await.is_err());
    assert_eq!(host.containers(&worker, STACK).await.unwrap().len(), 1);
    strike("remove_container", Effect::DropAfter);
    let error = host.remove_container(&worker, STACK).await.unwrap_err();
    assert!(matches!(error, HostError::Unreachable { .. }), "{error:?}");
    assert!(host.containers(&worker, STACK).await.unwrap().is_empty());
    // And everything is as before once the rules are used up.
    assert!(host.ensure_container(&worker, &ground.spec("1.0")).await.is_ok());
}
