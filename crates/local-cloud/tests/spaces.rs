//! The Spaces as any S3 client meets them: what is answered, to whom, and what an engine's habits change. The requests are
//! signed by object_store, so that two hands have written down what a signature is.

#![expect(clippy::unwrap_used, reason = "a door that cannot be asked has failed")]

use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::{HttpRequest, HttpRequestBody};
use seachange_core::secret::Secret;
use seachange_local_cloud::fault::{Body, Effect, Rule};
use seachange_local_cloud::serve::{ServeConfig, Serving, serve};
use seachange_local_cloud::spaces::{Conditions, Habits};
use tempfile::TempDir;

/// What RGW has for the MD5 of `one`, and everybody else too.
const ONE: &str = "f97c5d29941bfb1b2fdab0874906ab82";
const ONE_IN_BASE64: &str = "+XxdKZQb+xsv2rCHSQargg==";

struct Door {
    serving: Serving,
    http: reqwest::Client,
    _folder: TempDir,
}

#[derive(Debug)]
struct Said {
    status: u16,
    headers: reqwest::header::HeaderMap,
    body: String,
}

impl Said {
    /// The refusal's code.
    fn code(&self) -> &str {
        let code = self.body.split("<Code>").nth(1).and_then(|rest| rest.split("</Code>").next());
        code.unwrap_or_default()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Door {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let serving = serve(ServeConfig::in_folder(folder.path().to_owned())).await.unwrap();
        // No certificate is looked at here, but the client wants to know who would.
        drop(rustls::crypto::ring::default_provider().install_default());
        Self { serving, http: reqwest::Client::new(), _folder: folder }
    }

    fn request(&self, ask: &str, headers: &[(&str, &str)], body: &str) -> HttpRequest {
        let (method, path) = ask.split_once(' ').unwrap();
        let mut request = HttpRequest::new(HttpRequestBody::from(body.as_bytes().to_vec()));
        *request.method_mut() = method.parse().unwrap();
        *request.uri_mut() = format!("{}{path}", self.serving.spaces.endpoint).parse().unwrap();
        for (name, value) in headers {
            let name: http::HeaderName = name.parse().unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        request
    }

    fn sign(&self, request: &mut HttpRequest, id: &str, key: &Secret) {
        let (key_id, secret_key) = (id.to_owned(), key.expose().to_owned());
        let credential = AwsCredential { key_id, secret_key, token: None };
        AwsAuthorizer::new(&credential, "s3", "fra1").try_authorize(request, None).unwrap();
    }

    async fn send(&self, request: HttpRequest) -> Result<Said, reqwest::Error> {
        let (parts, body) = request.into_parts();
        let body = body.as_bytes().unwrap().clone();
        let request = http::Request::from_parts(parts, body).try_into()?;
        let answer = self.http.execute(request).await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Ok(Said { status, headers, body: answer.text().await? })
    }

    /// A request with these headers, signed with the key that may do everything.
    async fn with(&self, ask: &str, headers: &[(&str, &str)], body: &str) -> Said {
        let mut request = self.request(ask, headers, body);
        let spaces = &self.serving.spaces;
        self.sign(&mut request, &spaces.id, &spaces.key);
        self.send(request).await.unwrap()
    }

    async fn ask(&self, ask: &str) -> Said {
        self.with(ask, &[], "").await
    }

    async fn put(&self, path: &str, body: &str) {
        assert_eq!(self.with(&format!("PUT {path}"), &[], body).await.status, 200, "{path}");
    }

    fn behaves(&self, habits: Habits) {
        self.serving.world.with_habits(|known| *known = habits);
    }
}

#[tokio::test]
async fn objects_are_put_read_and_deleted() {
    let door = Door::open().await;
    let put = door.with("PUT /abc/a/key", &[("content-md5", ONE_IN_BASE64)], "one").await;
    assert_eq!((put.status, put.header("etag")), (200, format!("\"{ONE}\"").as_str()));
    let got = door.ask("GET /abc/a/key").await;
    assert_eq!(
        (got.status, got.body.as_str(), got.header("etag")),
        (200, "one", put.header("etag"))
    );
    assert!(got.header("last-modified").ends_with(" GMT"), "{got:?}");
    let head = door.ask("HEAD /abc/a/key?x-id=HeadObject").await;
    assert_eq!((head.status, head.header("content-length"), head.body.as_str()), (200, "3", ""));
    for _ in 0..2 {
        assert_eq!(door.ask("DELETE /abc/a/key").await.status, 204);
    }
    for (ask, status, code) in [
        ("GET /abc/a/key", 404, "NoSuchKey"),
        ("HEAD /abc/a/key", 404, ""),
        ("HEAD /abc", 200, ""),
        ("GET /AB/key", 400, "InvalidBucketName"),
        ("GET /-ab/key", 400, "InvalidBucketName"),
        ("GET /", 400, "InvalidBucketName"),
        // What is not kept here is not taken for something else.
        ("PUT /abc/key?acl", 501, "NotImplemented"),
        ("PUT /abc/key?partNumber=1&uploadId=x", 501, "NotImplemented"),
        ("POST /abc/key?uploads", 501, "NotImplemented"),
        ("POST /abc?delete", 501, "NotImplemented"),
        ("GET /abc?acl", 501, "NotImplemented"),
        ("GET /abc", 501, "NotImplemented"),
        ("GET /abc?list-type=2&max-keys=many", 400, "InvalidArgument"),
    ] {
        let said = door.ask(ask).await;
        assert_eq!((said.status, said.code()), (status, code), "{ask}: {said:?}");
    }
    let copy = door.with("PUT /abc/key", &[("x-amz-copy-source", "/abc/other")], "").await;
    assert_eq!(copy.code(), "NotImplemented");
    let damaged = door.with("PUT /abc/key", &[("content-md5", ONE_IN_BASE64)], "two").await;
    assert_eq!((damaged.status, damaged.code()), (400, "BadDigest"));
    assert_eq!(door.ask("GET /abc/key").await.code(), "NoSuchKey");
}

#[tokio::test]
async fn nobody_gets_in_without_a_key_of_this_world() {
    let door = Door::open().await;
    door.put("/abc/key", "one").await;
    let spaces = &door.serving.spaces;
    let signed = |ask: &str, body: &str, id: &str, key: &Secret| {
        let mut request = door.request(ask, &[], body);
        door.sign(&mut request, id, key);
        request
    };
    let other = Secret::new("other");
    let read_only = |ask: &str| signed(ask, "two", &spaces.read_only_id, &spaces.read_only_key);
    let mut changed = signed("PUT /abc/key", "one", &spaces.id, &spaces.key);
    *changed.body_mut() = HttpRequestBody::from(b"two".to_vec());
    let mut moved = signed("PUT /abc/other", "one", &spaces.id, &spaces.key);
    *moved.uri_mut() = format!("{}/abc/key", spaces.endpoint).parse().unwrap();
    let mut late = signed("GET /abc/key", "", &spaces.id, &spaces.key);
    late.headers_mut().insert("x-amz-date", "20130524T000000Z".parse().unwrap());
    for (request, status, code) in [
        (door.request("GET /abc/key", &[], ""), 403, "AccessDenied"),
        (signed("GET /abc/key", "", "DO00NOBODY", &spaces.key), 403, "InvalidAccessKeyId"),
        (signed("GET /abc/key", "", &spaces.id, &other), 403, "SignatureDoesNotMatch"),
        (
            signed("GET /abc/key", "", &spaces.id, &spaces.read_only_key),
            403,
            "SignatureDoesNotMatch",
        ),
        (changed, 400, "XAmzContentSHA256Mismatch"),
        (moved, 403, "SignatureDoesNotMatch"),
        (late, 403, "RequestTimeTooSkewed"),
        (read_only("PUT /abc/key"), 403, "AccessDenied"),
        (read_only("DELETE /abc/key"), 403, "AccessDenied"),
        (read_only("GET /abc/key"), 200, ""),
    ] {
        let said = door.send(request).await.unwrap();
        assert_eq!((said.status, said.code()), (status, code), "{said:?}");
    }
    assert_eq!(door.ask("GET /abc/key").await.body, "one");
    door.behaves(Habits { absent: vec!["abc".to_owned()], ..Habits::default() });
    for ask in ["GET /abc/key", "PUT /abc/key", "GET /abc?list-type=2", "DELETE /abc/key"] {
        assert_eq!(door.ask(ask).await.code(), "NoSuchBucket", "{ask}");
    }
    assert_eq!(door.ask("GET /abcd?list-type=2").await.status, 200);
}

#[tokio::test]
async fn listings_page_and_group_and_write_any_key() {
    let door = Door::open().await;
    for path in ["/abc/a/1", "/abc/a/2", "/abc/b", "/abc/c%26%3C%0A%20d"] {
        door.put(path, "one").await;
    }
    let keys = |said: &Said| -> Vec<String> {
        let key = |rest: &str| rest.split("</Key>").next().unwrap().to_owned();
        said.body.split("<Key>").skip(1).map(key).collect()
    };
    let all = door.ask("GET /abc?list-type=2").await;
    assert_eq!(keys(&all), ["a/1", "a/2", "b", "c&#38;&#60;&#10; d"]);
    assert!(all.body.contains(&format!("<ETag>&quot;{ONE}&quot;</ETag><Size>3</Size>")), "{all:?}");
    assert!(all.body.contains("<IsTruncated>false</IsTruncated>"), "{all:?}");
    let encoded = door.ask("GET /abc?list-type=2&prefix=c&encoding-type=url").await;
    assert_eq!(keys(&encoded), ["c%26%3C%0A%20d"]);
    let page = door.ask("GET /abc?list-type=2&max-keys=1&start-after=a/1").await;
    assert_eq!(keys(&page), ["a/2"]);
    assert!(page.body.contains("<NextContinuationToken>a/2</NextContinuationToken>"), "{page:?}");
    let next = door.ask("GET /abc?list-type=2&max-keys=1&continuation-token=a%2F2").await;
    assert_eq!(keys(&next), ["b"]);
    let groups = door.ask("GET /abc?list-type=2&delimiter=%2F&max-keys=2").await;
    assert_eq!(keys(&groups), ["b"]);
    let group = "<CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes>";
    assert!(groups.body.contains(group), "{groups:?}");

    let stale_list_millis = 3_600_000;
    door.behaves(Habits { stale_list_millis, ..Habits::default() });
    assert_eq!(keys(&door.ask("GET /abc?list-type=2").await), Vec::<String>::new());
}

#[tokio::test]
async fn a_condition_is_worth_what_the_engine_s_habits_say() {
    let door = Door::open().await;
    let write = async |condition: (&str, &str)| {
        door.put("/abc/key", "one").await;
        door.with("PUT /abc/key", &[condition], "two").await.status
    };
    let (quoted, stale) = (format!("\"{ONE}\""), "00000000000000000000000000000000");
    let all =
        [("if-none-match", "*"), ("if-match", &quoted), ("if-match", ONE), ("if-match", stale)];
    let statuses = async |habits: Habits| {
        door.behaves(habits);
        let mut found = Vec::new();
        for condition in all {
            found.push(write(condition).await);
        }
        found
    };
    let conditions = |conditions| Habits { conditions, ..Habits::default() };
    assert_eq!(statuses(Habits::default()).await, [412, 200, 200, 412]);
    assert_eq!(statuses(conditions(Conditions::LookedAtFirst)).await, [412, 200, 200, 412]);
    assert_eq!(statuses(conditions(Conditions::Ignored)).await, [200; 4]);
    let ceph = Habits { refuses_quoted_etags: true, ..Habits::default() };
    assert_eq!(statuses(ceph).await, [412, 412, 200, 412]);
    assert_eq!(door.with("PUT /abc/key", &[("if-none-match", ONE)], "").await.status, 501);
    assert_eq!(door.with("PUT /abc/new", &[("if-match", ONE)], "").await.status, 412);

    let status = async |versioning| {
        door.behaves(Habits { versioning, ..Habits::default() });
        door.ask("GET /abc?versioning").await.body.contains("<Status>Enabled</Status>")
    };
    assert!(!status(false).await && status(true).await);
}

#[tokio::test]
async fn rules_strike_here_as_everywhere() {
    let door = Door::open().await;
    let rule = |method: &str, path: &str, effect| {
        let rule = Rule::next(method, path, effect);
        door.serving.world.with_faults(|faults| faults.add(rule));
    };
    let (status, body, message) = (503, Body::Json, Some("not <now>".to_owned()));
    let slow = Effect::Fail { status, body, message, retry_after: Some(7) };
    rule("PUT", "/abc/**", slow);
    let said = door.with("PUT /abc/a/b/c", &[], "one").await;
    assert_eq!((said.status, said.code(), said.header("retry-after")), (503, "SlowDown", "7"));
    assert!(said.body.contains("not &#60;now&#62;"), "{said:?}");
    assert_eq!(door.ask("GET /abc/a/b/c").await.status, 404);

    rule("PUT", "/abc/a/*/c", Effect::FailAfter { status: 500 });
    let said = door.with("PUT /abc/a/b/c", &[], "one").await;
    assert_eq!((said.status, said.code()), (500, "InternalError"));
    assert_eq!(door.ask("GET /abc/a/b/c").await.body, "one");

    rule("DELETE", "/abc/**", Effect::Forget);
    assert_eq!(door.ask("DELETE /abc/a/b/c").await.status, 204);
    assert_eq!(door.ask("GET /abc/a/b/c").await.status, 200);

    for (effect, there) in [(Effect::DropBefore, 404), (Effect::DropAfter, 200)] {
        rule("PUT", "/abc/lost", effect);
        let mut request = door.request("PUT /abc/lost", &[], "one");
        let spaces = &door.serving.spaces;
        door.sign(&mut request, &spaces.id, &spaces.key);
        door.send(request).await.unwrap_err();
        assert_eq!(door.ask("GET /abc/lost").await.status, there);
    }
}
