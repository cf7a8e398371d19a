//! Digests from a small registry that wants a token.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use seachange_core::host::{Credentials, Registry, RegistryError};
use seachange_core::image::{Digest, ImageRef};
use seachange_core::secret::Secret;
use seachange_host::{OciRegistry, RegistryConfig};
use tokio::net::TcpListener;

const PASSWORD: &str = "canary-hunter2";
const MANIFEST: &str = r#"{"schemaVersion":2,"manifests":[]}"#;

/// How the registry behaves.
#[derive(Clone, Copy)]
enum Manner {
    Open,
    OpenWithoutHeader,
    Basic,
    Token,
    Broken,
}

struct Fixture {
    base: String,
    seen: Arc<Mutex<Vec<String>>>,
}

fn digest(digit: &str) -> Digest {
    format!("sha256:{}", digit.repeat(64)).parse().unwrap()
}

async fn registry(manner: Manner) -> Fixture {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (address, log) = (base.clone(), Arc::clone(&seen));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (address, log) = (address.clone(), Arc::clone(&log));
            let service = service_fn(move |request: Request<Incoming>| {
                log.lock().unwrap().push(format!("{} {}", request.method(), request.uri()));
                let answer = answer(manner, &address, &request);
                async move { Ok::<_, Infallible>(answer) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(async move { drop(connection.await) });
        }
    });
    Fixture { base, seen }
}

fn answer(manner: Manner, base: &str, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let authorization =
        request.headers().get(header::AUTHORIZATION).map(|value| value.to_str().unwrap());
    let login = format!("Basic {}", STANDARD.encode(format!("ci:{PASSWORD}")));
    let reply = |status: u16| Response::builder().status(status);
    let done = |builder: http::response::Builder, body: &'static str| {
        builder.body(Full::from(body)).unwrap()
    };
    if request.uri().path() == "/token" {
        let query = request.uri().query().unwrap();
        assert!(
            query.contains("scope=repository%3Ateam%2Fwebgui%3Apull")
                && query.contains("service=s"),
            "{query}"
        );
        let is_known = authorization == Some(&login);
        return if is_known {
            done(reply(200), r#"{"token":"t1"}"#)
        } else {
            done(reply(401), "no")
        };
    }
    let challenge = match manner {
        Manner::Basic => Some(("Basic realm=\"r\"".to_owned(), login)),
        Manner::Token => {
            Some((format!("Bearer realm=\"{base}/token\",service=\"s\""), "Bearer t1".to_owned()))
        }
        Manner::Open | Manner::OpenWithoutHeader | Manner::Broken => None,
    };
    if let Some((challenge, wanted)) = challenge
        && authorization != Some(&wanted)
    {
        return done(reply(401).header(header::WWW_AUTHENTICATE, challenge), "");
    }
    match (manner, request.uri().path()) {
        (Manner::Broken, _) => done(reply(503), ""),
        (Manner::OpenWithoutHeader, _) => done(reply(200), MANIFEST),
        (_, "/v2/team/webgui/manifests/1.1") => {
            done(reply(200).header("docker-content-digest", digest("a").as_str()), MANIFEST)
        }
        _ => done(reply(404), ""),
    }
}

impl Fixture {
    async fn resolve(&self, image: &str, password: Option<&str>) -> Result<Digest, RegistryError> {
        let config =
            RegistryConfig { mirror: Some(self.base.clone()), ..RegistryConfig::default() };
        let credentials = password.map(|password| Credentials {
            username: Secret::new("ci"),
            password: Secret::new(password),
        });
        let image: ImageRef = image.parse().unwrap();
        OciRegistry::new(config).unwrap().resolve(&image, credentials.as_ref()).await
    }
}

const IMAGE: &str = "registry.example/team/webgui:1.1";

#[tokio::test]
async fn an_open_registry_is_asked_once() {
    let registry = registry(Manner::Open).await;
    assert_eq!(registry.resolve(IMAGE, Some(PASSWORD)).await, Ok(digest("a")));
    assert_eq!(*registry.seen.lock().unwrap(), ["HEAD /v2/team/webgui/manifests/1.1"]);
    let missing = registry.resolve("registry.example/team/webgui:2", None).await;
    assert!(matches!(missing, Err(RegistryError::NotFound { .. })), "{missing:?}");
}

#[tokio::test]
async fn logins_are_made_as_asked_for() {
    for manner in [Manner::Basic, Manner::Token] {
        let registry = registry(manner).await;
        assert_eq!(registry.resolve(IMAGE, Some(PASSWORD)).await, Ok(digest("a")));
        for password in [Some("wrong-canary"), None] {
            let error = registry.resolve(IMAGE, password).await.unwrap_err();
            assert!(matches!(error, RegistryError::Refused { .. }), "{error:?}");
            assert!(!format!("{error} {error:?}").contains("wrong-canary"), "{error:?}");
        }
    }
}

#[tokio::test]
async fn a_missing_header_is_made_up_for() {
    use sha2::Digest as _;
    let registry = registry(Manner::OpenWithoutHeader).await;
    let hex: String =
        sha2::Sha256::digest(MANIFEST).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(registry.resolve(IMAGE, None).await.unwrap().as_str(), format!("sha256:{hex}"));
    // A registry that answers another digest than the one asked for is not believed.
    let pinned = format!("registry.example/team/webgui@{}", digest("b"));
    let error = registry.resolve(&pinned, None).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unavailable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_registry_in_trouble_is_unavailable() {
    let broken = registry(Manner::Broken).await;
    let error = broken.resolve(IMAGE, None).await.unwrap_err();
    assert!(error.to_string().contains("503"), "{error}");
    let nobody = Fixture { base: "http://127.0.0.1:1".to_owned(), seen: Arc::default() };
    let error = nobody.resolve(IMAGE, None).await.unwrap_err();
    assert!(error.to_string().contains("connection refused"), "{error}");
}
