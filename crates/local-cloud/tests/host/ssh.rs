//! SSH and SFTP over real sockets.

use std::time::Duration;

use seachange_core::bootstrap::Bootstrap;
use seachange_core::cloud::Cloud;
use seachange_core::host::{Boot, Host, HostError, Service, Target};
use seachange_local_cloud::doors;
use seachange_local_cloud::machine::BootTimings;
use seachange_local_cloud::world::Timings;
use tokio::net::TcpStream;

use crate::ground::{at_once, ground, key, open_ground, ssh, ssh_with};
use crate::suite;

#[tokio::test]
async fn contact() {
    suite::contact(&ground().await, &ssh()).await;
}

#[tokio::test]
async fn host_keys() {
    suite::host_keys(&ground().await, &ssh()).await;
}

#[tokio::test]
async fn configuration() {
    suite::configuration(&ground().await, &ssh()).await;
}

#[tokio::test]
async fn a_key_that_was_not_put_there_is_refused() {
    let ground = ground().await;
    let (_, target) = ground.droplet("worker", Bootstrap::Docker).await;
    let error = ssh_with(&key(2).0).contact(&target, Service::Docker).await.unwrap_err();
    assert!(matches!(error, HostError::AuthenticationRefused { .. }), "{error:?}");
}

#[tokio::test]
async fn a_strange_host_key_is_refused_before_a_wrong_login() {
    let ground = ground().await;
    let (_, target) = ground.droplet("worker", Bootstrap::Docker).await;
    let target = Target { host_key: Some(suite::strange_host_key()), ..target };
    let error = ssh_with(&key(2).0).contact(&target, Service::Docker).await.unwrap_err();
    assert!(matches!(error, HostError::WrongHostKey { .. }), "{error:?}");
}

#[tokio::test]
async fn a_connection_ends_with_its_droplet() {
    let ground = ground().await;
    let ssh = ssh();
    let (id, target) = ground.droplet("worker", Bootstrap::Docker).await;
    ssh.contact(&target, Service::Docker).await.unwrap();
    ground.cloud.delete_droplet(id).await.unwrap();
    ground.settle().await;
    let error = ssh.contact(&target, Service::Docker).await.unwrap_err();
    assert!(matches!(error, HostError::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn doors_that_are_shut_let_nobody_in() {
    let ground = ground().await;
    let (_, target) = ground.droplet("worker", Bootstrap::Docker).await;
    ssh().contact(&target, Service::Docker).await.unwrap();
    ground.shut().await;
    let error = ssh().contact(&target, Service::Docker).await.unwrap_err();
    assert!(matches!(error, HostError::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn doors_that_are_dropped_close() {
    let ground = ground().await;
    let (_, target) = ground.droplet("worker", Bootstrap::Docker).await;
    let knock = async || TcpStream::connect((target.address, 10_022)).await;
    knock().await.unwrap();
    drop(ground);
    while knock().await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn doors_open_by_themselves_as_a_boot_goes_on() {
    let ms = Duration::from_millis;
    let first_boot = BootTimings { ssh: ms(40), cloud_init: ms(120) };
    let timings = Timings { first_boot, ..at_once() };
    let ground = open_ground(timings, doors::Config::default()).await;
    let (_, target) = ground.droplet("worker", Bootstrap::Docker).await;
    let ssh = ssh();
    let mut seen = Vec::new();
    loop {
        let stage = match ssh.contact(&target, Service::Docker).await {
            Err(HostError::Unreachable { detail, .. }) => detail,
            Ok(contact) if contact.boot == Boot::Ready => break,
            Ok(_) => "setting up".to_owned(),
            Err(error) => panic!("{error}"),
        };
        seen.push(stage);
        tokio::task::yield_now().await;
    }
    // A slow machine may miss a stage, but none comes twice.
    seen.dedup();
    assert!(seen.len() <= 2 && seen.is_sorted(), "{seen:?}");
}
