//! The image registry over HTTP, asked by the project's own client and by hand.

use seachange_core::host::{Credentials, Registry};
use seachange_core::secret::Secret;
use seachange_host::{OciRegistry, RegistryConfig};
use seachange_local_cloud::doors::Config;
use seachange_local_cloud::images::{Challenge, Images, catalogue};

use crate::forward::Client;
use crate::ground::{Ground, ground, ground_with};
use crate::suite;

fn client(ground: &Ground) -> OciRegistry {
    let mirror = Some(format!("http://{}", ground.doors().registry()));
    OciRegistry::new(RegistryConfig { mirror, ..RegistryConfig::default() }).unwrap()
}

fn login(password: &str) -> Credentials {
    Credentials { username: Secret::new("demo"), password: Secret::new(password) }
}

#[tokio::test]
async fn open_to_all() {
    let ground = ground().await;
    suite::registry(&ground, &client(&ground), true).await;
}

#[tokio::test]
async fn with_a_login_by_token_and_by_password() {
    for challenge in [Challenge::Bearer, Challenge::Basic] {
        let images = Images { login: Some(login("right")), challenge, ..Images::default() };
        let ground = ground_with(Config { images, ..Config::default() }).await;
        let registry = client(&ground);
        suite::registry(&ground, &registry, false).await;
        let image = "registry.example/team/webgui:1.0".parse().unwrap();
        let wrong = registry.resolve(&image, Some(&login("wrong"))).await;
        assert!(wrong.is_err(), "{challenge:?}: {wrong:?}");
        let right = registry.resolve(&image, Some(&login("right"))).await;
        assert_eq!(right, Ok(ground.spec("1.0").digest), "{challenge:?}");
    }
}

#[tokio::test]
async fn an_image_is_whole_down_to_its_layer() {
    let ground = ground().await;
    let at = ground.doors().registry();
    let get = async |path: &str| {
        let mut client = Client::connect(at.ip(), at.port()).await;
        client.get(&format!("/v2/any/name{path}")).await.unwrap()
    };
    let (_, manifest) = get("/manifests/1.0").await;
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let layer = &manifest["layers"][0];
    let (status, bytes) = get(&format!("/blobs/{}", layer["digest"].as_str().unwrap())).await;
    assert_eq!((status, bytes.len() as u64), (200, layer["size"].as_u64().unwrap()));
    assert_eq!(bytes.as_bytes(), catalogue()[0].layer.bytes);
    let (status, config) =
        get(&format!("/blobs/{}", manifest["config"]["digest"].as_str().unwrap())).await;
    assert_eq!((status, config.as_bytes()), (200, &catalogue()[0].config.bytes[..]));
    let (status, body) = get("/manifests/9.9").await;
    assert_eq!(status, 404);
    assert!(body.contains("MANIFEST_UNKNOWN"), "{body}");
}
