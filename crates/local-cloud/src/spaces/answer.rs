//! Answers in S3's XML.

use std::fmt::Write as _;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;

use super::Ask;
use super::shelf::Object;
use super::signature::encode;

/// The most keys a listing has.
const PAGE: usize = 1000;
const HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
const SCHEMA: &str = "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"";

/// Why a request is not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: &'static str,
}

impl Refusal {
    pub(super) const UNSIGNED: Self = Self::new(403, "AccessDenied");
    pub(super) const UNKNOWN_KEY: Self = Self::new(403, "InvalidAccessKeyId");
    pub(super) const WRONG_SIGNATURE: Self = Self::new(403, "SignatureDoesNotMatch");
    pub(super) const SKEWED: Self = Self::new(403, "RequestTimeTooSkewed");
    pub(super) const ACCESS_DENIED: Self = Self::new(403, "AccessDenied");
    pub(super) const WRONG_BODY: Self = Self::new(400, "XAmzContentSHA256Mismatch");
    pub(super) const BAD_DIGEST: Self = Self::new(400, "BadDigest");
    pub(super) const INVALID: Self = Self::new(400, "InvalidArgument");
    pub(super) const KEY_TOO_LONG: Self = Self::new(400, "KeyTooLongError");
    pub(super) const NO_BUCKET: Self = Self::new(404, "NoSuchBucket");
    pub(super) const NO_KEY: Self = Self::new(404, "NoSuchKey");
    pub(super) const PRECONDITION_FAILED: Self = Self::new(412, "PreconditionFailed");
    pub(super) const INTERNAL: Self = Self::new(500, "InternalError");
    pub(super) const NOT_IMPLEMENTED: Self = Self::new(501, "NotImplemented");

    const fn new(status: u16, code: &'static str) -> Self {
        Self { status, code }
    }

    /// The usual one of a status.
    pub(super) fn of_status(status: u16) -> Self {
        Self::new(
            status,
            match status {
                403 => "AccessDenied",
                404 => "NoSuchKey",
                409 => "ConditionalRequestConflict",
                412 => "PreconditionFailed",
                429 | 503 => "SlowDown",
                _ => "InternalError",
            },
        )
    }
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Self {
        tracing::warn!(%error, "an object cannot be kept");
        Self::INTERNAL
    }
}

pub(super) fn error(refusal: &Refusal, path: &str) -> Response<Full<Bytes>> {
    let Refusal { status, code } = refusal;
    let resource = escape(path);
    let body = format!(
        "{HEAD}<Error><Code>{code}</Code><Resource>{resource}</Resource><RequestId>local</RequestId></Error>"
    );
    text(*status, "application/xml", body)
}

pub(super) fn versioning(enabled: bool) -> Response<Full<Bytes>> {
    let status = if enabled { "<Status>Enabled</Status>" } else { "" };
    let body =
        format!("{HEAD}<VersioningConfiguration {SCHEMA}>{status}</VersioningConfiguration>");
    text(200, "application/xml", body)
}

pub(super) fn location() -> Response<Full<Bytes>> {
    text(200, "application/xml", format!("{HEAD}<LocationConstraint {SCHEMA}/>"))
}

/// A page of ListObjectsV2, of all the bucket's objects in the order of their keys.
pub(super) fn listing(
    ask: &Ask<'_>,
    objects: Vec<Object>,
) -> Result<Response<Full<Bytes>>, Refusal> {
    let prefix = ask.query("prefix").unwrap_or_default();
    let after = ask.query("continuation-token").or(ask.query("start-after")).unwrap_or_default();
    let most = ask.query("max-keys").map_or(Ok(PAGE), str::parse);
    let most = most.map_err(|_| Refusal::INVALID)?.min(PAGE);
    let fits = |object: &Object| object.key.starts_with(prefix) && object.key.as_str() > after;
    let mut found: Vec<Object> = objects.into_iter().filter(fits).collect();
    let more = found.len() > most;
    found.truncate(most);
    let name = |key: &str| match ask.query("encoding-type") {
        Some("url") => encode(key, true),
        _ => escape(key),
    };
    let mut body = format!(
        "{HEAD}<ListBucketResult {SCHEMA}><Name>{}</Name><Prefix>{}</Prefix><KeyCount>{}</KeyCount>\
         <MaxKeys>{most}</MaxKeys><IsTruncated>{more}</IsTruncated>",
        escape(&ask.bucket),
        name(prefix),
        found.len()
    );
    if let Some(last) = found.last().filter(|_| more) {
        let token = escape(&last.key);
        let _: std::fmt::Result =
            write!(body, "<NextContinuationToken>{token}</NextContinuationToken>");
    }
    for Object { key, written, etag, size } in &found {
        let _: std::fmt::Result = write!(
            body,
            "<Contents><Key>{}</Key><LastModified>{written:.3}</LastModified><ETag>&quot;{etag}&quot;</ETag>\
             <Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>",
            name(key)
        );
    }
    body.push_str("</ListBucketResult>");
    Ok(text(200, "application/xml", body))
}

pub(super) fn object((object, bytes): (Object, Vec<u8>)) -> Response<Full<Bytes>> {
    let mut response = tagged(200, &object.etag, Bytes::from(bytes));
    let written = object.written.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, object.size.into());
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    if let Ok(written) = HeaderValue::from_str(&written) {
        headers.insert(header::LAST_MODIFIED, written);
    }
    response
}

pub(super) fn put(etag: String) -> Response<Full<Bytes>> {
    tagged(200, &etag, Bytes::new())
}

pub(super) fn empty(status: u16) -> Response<Full<Bytes>> {
    response(status, Bytes::new())
}

pub(super) fn text(status: u16, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = response(status, body.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn tagged(status: u16, etag: &str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = response(status, body);
    if let Ok(etag) = HeaderValue::from_str(&format!("\"{etag}\"")) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    response
}

fn response(status: u16, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let name = HeaderValue::from_static("seachange-local-cloud");
    response.headers_mut().insert(header::SERVER, name);
    response
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
