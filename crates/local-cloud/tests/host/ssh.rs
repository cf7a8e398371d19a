//! SSH and SFTP over real sockets.

use seachange_core::bootstrap::Bootstrap;
use seachange_core::cloud::Cloud;
use seachange_core::host::{Host, HostError, Service, Target};

use crate::ground::{ground, key, ssh, ssh_with};
use crate::suite;

#[tokio::test]
async fn contact() {
    suite::contact(&ground().await, &ssh()).await;
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
