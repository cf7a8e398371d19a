//! A Space on a scripted server: what goes over the wire, once each, and what every kind of answer comes to.

use seachange_core::secret::Secret;
use seachange_core::store::{Created, StateStore as _, StoreError};
use seachange_digitalocean::space::{Credentials, Space, SpaceConfig, Versioning};

use crate::server::{Reply, Server, answer, answer_with, serve, serve_in_turn};

/// A text that must never be seen anywhere.
const KEY: &str = "do-not-show-this-key-either";

fn config(endpoint: &str) -> SpaceConfig {
    SpaceConfig {
        bucket: "gotcha-state".to_owned(),
        region: "ams3".to_owned(),
        endpoint: Some(endpoint.to_owned()),
        prefix: "team/a".to_owned(),
        path_style: true,
    }
}

fn credentials() -> Credentials {
    Credentials { id: "DO00EXAMPLE".to_owned(), key: Secret::new(KEY) }
}

fn space(server: &Server) -> Space {
    Space::connect(&config(&server.url()), credentials()).unwrap()
}

fn stored() -> Reply {
    answer_with(200, "etag", "\"0\"", "")
}

fn error(status: u16, code: &str) -> Reply {
    answer(status, format!("<Error><Code>{code}</Code><Message>Words.</Message></Error>"))
}

fn listing(keys: &[&str], next: Option<&str>) -> Reply {
    let mut xml = "<?xml version=\"1.0\"?><ListBucketResult>".to_owned();
    for key in keys {
        xml.push_str(&format!(
            "<Contents><Key>{key}</Key><Size>1</Size><LastModified>2026-11-22T10:00:00Z</LastModified></Contents>"
        ));
    }
    if let Some(next) = next {
        xml.push_str(&format!("<NextContinuationToken>{next}</NextContinuationToken>"));
    }
    answer(200, xml + "</ListBucketResult>")
}

#[tokio::test]
async fn a_create_is_one_signed_conditional_put() {
    let server = serve_in_turn(vec![stored()]).await;
    let created = space(&server).create("webgui/state/1", b"7").await;
    assert_eq!(created, Ok(Created::Yes));
    assert_eq!(server.lines(), ["PUT /gotcha-state/team/a/webgui/state/1"]);
    let seen = server.seen().remove(0);
    let header = |wanted: &str| {
        let found = seen.headers.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.as_str())
    };
    assert_eq!(seen.body, 7);
    assert_eq!(header("if-none-match"), Some("*"));
    assert_eq!(header("content-length"), Some("1"));
    // `printf 7 | sha256sum` and `printf 7 | openssl md5 -binary | base64`
    assert_eq!(
        header("x-amz-content-sha256"),
        Some("7902699be42c8a8e46fbbb4501726517e86b22c56a189f7625a6da49081b2451")
    );
    assert_eq!(header("content-md5"), Some("jxTkX87qFnpaNt7dS+olQw=="));
    let scope = "/ams3/s3/aws4_request, SignedHeaders=";
    assert!(seen.authorization.starts_with("AWS4-HMAC-SHA256 Credential=DO00EXAMPLE/"));
    assert!(seen.authorization.contains(scope), "{}", seen.authorization);
    assert!(seen.authorization.contains("if-none-match"), "the condition is signed");
    assert!(header("transfer-encoding").is_none() && header("x-amz-trailer").is_none());
    let checksum = seen.headers.iter().find(|(name, _)| name.starts_with("x-amz-checksum"));
    assert_eq!(checksum, None);
    assert!(!format!("{:?}", seen.headers).contains(KEY));
}

#[tokio::test]
async fn the_newest_key_costs_one_request_and_many_keys_cost_pages() {
    let server = serve_in_turn(vec![
        listing(&["team/a/webgui/state/1"], Some("more")),
        listing(&["team/a/webgui/state/1"], Some("more")),
        listing(&["team/a/webgui/state/2"], None),
    ])
    .await;
    let space = space(&server);
    assert_eq!(space.list("webgui/state/", 1).await.unwrap(), ["webgui/state/1"]);
    let all = space.list("webgui/state/", 1500).await.unwrap();
    assert_eq!(all, ["webgui/state/1", "webgui/state/2"]);
    let query = "list-type=2&prefix=team%2Fa%2Fwebgui%2Fstate%2F&max-keys";
    assert_eq!(
        server.lines(),
        [
            format!("GET /gotcha-state?{query}=1"),
            format!("GET /gotcha-state?{query}=1000"),
            format!("GET /gotcha-state?continuation-token=more&{query}=1000"),
        ]
    );
}

#[derive(Debug, PartialEq)]
enum Told {
    Yes,
    Taken,
    Unknown,
    Refused(&'static str),
}

async fn create_against(reply: Reply) -> Result<Created, StoreError> {
    let server = serve(move |_, _| reply.clone()).await;
    let told = space(&server).create("webgui/state/1", b"7").await;
    assert_eq!(server.seen().len(), 1, "nothing is ever repeated beneath");
    told
}

#[tokio::test(start_paused = true)]
async fn every_end_of_a_create_is_told_apart_and_none_is_repeated() {
    let cases = [
        (stored(), Told::Yes),
        (error(412, "PreconditionFailed"), Told::Taken),
        (error(409, "ConditionalRequestConflict"), Told::Taken),
        (error(500, "InternalError"), Told::Unknown),
        (error(503, "SlowDown"), Told::Unknown),
        (error(429, "TooManyRequests"), Told::Unknown),
        // Stored, but the answer lacks what S3 always says.
        (answer(200, ""), Told::Unknown),
        (Reply::HangUp, Told::Unknown),
        (Reply::BreakOff, Told::Unknown),
        (Reply::Silence, Told::Unknown),
        (error(403, "InvalidAccessKeyId"), Told::Refused("the access key is not known there")),
        (error(403, "SignatureDoesNotMatch"), Told::Refused("the secret key does not fit")),
        (error(403, "AccessDenied"), Told::Refused("the access key may not do that")),
        (error(403, "RequestTimeTooSkewed"), Told::Refused("the clock of this machine")),
        (error(404, "NoSuchBucket"), Told::Refused("there is no bucket gotcha-state")),
        (error(501, "NotImplemented"), Told::Refused("the store does not do that")),
        (error(301, "PermanentRedirect"), Told::Refused("is not in ams3")),
        (answer(404, "<html>"), Told::Refused("this is no answer of an S3 store")),
    ];
    for (reply, expected) in cases {
        let name = format!("{reply:?}");
        let told = create_against(reply).await;
        let text = told.as_ref().err().map(ToString::to_string).unwrap_or_default();
        assert!(!text.contains(KEY) && !text.contains("AWS4"), "{text}");
        match expected {
            Told::Yes => assert_eq!(told, Ok(Created::Yes), "{name}"),
            Told::Taken => assert_eq!(told, Ok(Created::Taken), "{name}"),
            Told::Unknown => {
                assert!(matches!(told, Err(StoreError::Unknown { .. })), "{name}: {told:?}");
            }
            Told::Refused(why) => {
                assert!(matches!(told, Err(StoreError::Refused { .. })), "{name}: {told:?}");
                assert!(text.contains(why) && text.contains("Space gotcha-state at"), "{text}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_where_nobody_listens_is_a_refusal_of_everything() {
    let gone = serve_in_turn(Vec::new()).await;
    let space = space(&gone);
    drop(gone);
    tokio::task::yield_now().await;
    let refused = |error: StoreError| matches!(error, StoreError::Refused { .. });
    assert!(refused(space.create("k", b"7").await.unwrap_err()));
    assert!(refused(space.put("k", b"7").await.unwrap_err()));
    assert!(refused(space.get("k").await.unwrap_err()));
    assert!(refused(space.list("k", 1).await.unwrap_err()));
    assert!(refused(space.delete("k").await.unwrap_err()));
}

#[tokio::test]
async fn an_absent_object_is_none_and_an_absent_bucket_is_not() {
    let server = serve_in_turn(vec![
        error(404, "NoSuchKey"),
        error(404, "NoSuchBucket"),
        answer(200, "seven"),
        answer(204, ""),
        error(404, "NoSuchKey"),
        answer(409, ""),
    ])
    .await;
    let space = space(&server);
    assert_eq!(space.get("k").await, Ok(None));
    assert!(matches!(space.get("k").await, Err(StoreError::Refused { .. })));
    assert_eq!(space.get("k").await, Ok(Some(b"seven".to_vec())));
    assert_eq!(space.delete("k").await, Ok(()));
    assert_eq!(space.delete("k").await, Ok(()));
    assert!(matches!(space.put("k", b"7").await, Err(StoreError::Refused { .. })), "no condition");
}

#[tokio::test]
async fn versioning_and_the_engine_are_told() {
    let status = |status: &str| {
        let body = format!("<VersioningConfiguration>{status}</VersioningConfiguration>");
        answer_with(200, "server", "Ceph Object Gateway (pacific)", &body)
    };
    let server = serve_in_turn(vec![
        status(""),
        status("<Status>Suspended</Status>"),
        status("<Status>Enabled</Status>"),
    ])
    .await;
    let space = space(&server);
    assert_eq!(space.versioning().await, Ok(Versioning::Never));
    assert_eq!(space.versioning().await, Ok(Versioning::Suspended));
    let text = space.describe().await;
    assert!(text.ends_with(": Ceph Object Gateway (pacific), versioning is on"), "{text}");
    assert_eq!(server.lines()[0], "GET /gotcha-state/?versioning=");
}

#[test]
fn what_cannot_be_right_is_refused_before_any_request() {
    let good = config("https://127.0.0.1:9000");
    let space = Space::connect(&good, credentials()).unwrap();
    assert!(!format!("{space:?}").contains(KEY));
    let virtual_host = SpaceConfig { endpoint: None, path_style: false, ..good.clone() };
    let space = Space::connect(&virtual_host, credentials()).unwrap();
    assert_eq!(
        seachange_core::store::StateStore::name(&space),
        "Space gotcha-state at ams3.digitaloceanspaces.com"
    );
    let bad = [
        SpaceConfig { endpoint: Some("http://example.org".to_owned()), ..good.clone() },
        SpaceConfig { endpoint: Some("http://192.0.2.1".to_owned()), ..good.clone() },
        SpaceConfig { endpoint: Some("https://a:b@example.org".to_owned()), ..good.clone() },
        SpaceConfig { bucket: "a/b".to_owned(), ..good.clone() },
        SpaceConfig { bucket: String::new(), ..good.clone() },
        SpaceConfig { region: "ams3/".to_owned(), ..good.clone() },
        SpaceConfig { prefix: "/a".to_owned(), ..good.clone() },
        SpaceConfig { prefix: "a/..".to_owned(), ..good.clone() },
    ];
    for config in bad {
        let refused = Space::connect(&config, credentials());
        assert!(matches!(refused, Err(StoreError::Refused { .. })), "{config:?}");
    }
    for key in ["", "two\nlines"] {
        let wrong = Credentials { id: "DO00EXAMPLE".to_owned(), key: Secret::new(key) };
        let text = Space::connect(&good, wrong).unwrap_err().to_string();
        assert!(!text.contains("two"), "{text}");
    }
}
