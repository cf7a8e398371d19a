//! The Docker Engine API through a forwarded socket.

use seachange_core::bootstrap::Bootstrap;
use seachange_core::host::{ContainerSpec, Credentials, Host, HostError};
use seachange_core::secret::Secret;
use seachange_local_cloud::doors::{Config, EngineVersion};
use seachange_local_cloud::images::Images;

use crate::forward::Client;
use crate::ground::{PORT, STACK, ground, ground_with, ssh};
use crate::suite;

#[tokio::test]
async fn containers() {
    suite::containers(&ground().await, &ssh()).await;
}

#[tokio::test]
async fn pulls() {
    suite::pulls(&ground().await, &ssh()).await;
}

#[tokio::test]
async fn behaviours() {
    suite::behaviours(&ground().await, &ssh()).await;
}

#[tokio::test]
async fn old_and_new_engines_are_spoken_to() {
    for engine in [EngineVersion::OLD, EngineVersion::NEWEST] {
        let ground = ground_with(Config { engine, ..Config::default() }).await;
        suite::containers(&ground, &ssh()).await;
    }
}

#[tokio::test]
async fn a_private_image_wants_the_right_login() {
    let login = |password: &str| Credentials {
        username: Secret::new("demo"),
        password: Secret::new(password),
    };
    let images = Images { login: Some(login("right-password")), ..Images::default() };
    let ground = ground_with(Config { images, ..Config::default() }).await;
    let (_, worker) = ground.droplet("worker", Bootstrap::Docker).await;
    let spec = ground.spec("1.0");
    for credentials in [None, Some(login("wrong-password"))] {
        let ssh = ssh();
        let pull = ssh.pull(&worker, &spec.image, &spec.digest, credentials.as_ref(), &|_, _| ());
        let error = pull.await.unwrap_err();
        assert!(matches!(error, HostError::PullFailed { .. }), "{error:?}");
        assert!(!format!("{error:?}").contains("wrong-password"));
    }
    let right = login("right-password");
    ssh().pull(&worker, &spec.image, &spec.digest, Some(&right), &|_, _| ()).await.unwrap();
}

#[tokio::test]
async fn a_taken_port_is_refused_in_the_engine_s_words() {
    let ground = ground().await;
    let (_, worker) = ground.worker(&ssh(), "1.0").await;
    let second = ContainerSpec { name: "second".to_owned(), ..ground.spec("1.0") };
    let error = ssh().ensure_container(&worker, &second).await.unwrap_err();
    assert!(error.to_string().contains("port is already allocated"), "{error}");
    assert!(!format!("{error:?}").contains("canary"));
}

#[tokio::test]
async fn a_stopping_app_answers_what_it_has_begun() {
    let ground = ground().await;
    let host = ssh();
    let (_, worker) = ground.worker(&host, "1.0").await;
    let mut client = Client::connect(worker.address, PORT).await;
    assert_eq!(client.version().await, "1.0");
    // The request is with the app after the first poll of the pair; the removal has to go through SSH first.
    let (answer, removed) =
        tokio::join!(client.get("/slow?ms=400"), host.remove_container(&worker, STACK));
    removed.unwrap();
    assert_eq!(answer.unwrap().0, 200);
    assert_eq!(client.version().await, "-", "and nothing more");
    assert_eq!(host.containers(&worker, STACK).await, Ok(Vec::new()));
}

#[tokio::test]
async fn the_same_world_goes_on_behind_new_doors() {
    let ground = ground().await;
    let (id, worker) = ground.worker(&ssh(), "1.0").await;
    let ip = ground.floating_ip(id).await;
    let ground = ground.reopened().await;
    assert_eq!(crate::ground::ask(&ssh(), ip, PORT).await, Ok((200, "1.0".to_owned())));
    ground.run(&ssh(), &worker, "1.1").await;
    assert_eq!(crate::ground::ask(&ssh(), ip, PORT).await, Ok((200, "1.1".to_owned())));
    ground.shut().await;
}
