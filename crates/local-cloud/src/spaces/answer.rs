//! Answers in S3's XML.

use std::fmt::Write as _;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;

use super::list::{Entry, Listing};
use super::shelf::Object;
use super::signature::encode;
use crate::fault::{self, Failure};
use crate::http::html;

const HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
const SCHEMA: &str = "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"";

/// Why a request is not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    status: u16,
    code: &'static str,
    message: &'static str,
}

impl Refusal {
    pub(super) const UNSIGNED: Self = Self::new(403, "AccessDenied", "The request is not signed.");
    pub(super) const UNKNOWN_KEY: Self = Self::new(
        403,
        "InvalidAccessKeyId",
        "The access key Id you provided does not exist in our records.",
    );
    pub(super) const WRONG_SIGNATURE: Self = Self::new(
        403,
        "SignatureDoesNotMatch",
        "The request signature we calculated does not match the signature you provided.",
    );
    pub(super) const SKEWED: Self = Self::new(
        403,
        "RequestTimeTooSkewed",
        "The difference between the request time and the server's time is too large.",
    );
    pub(super) const ACCESS_DENIED: Self = Self::new(403, "AccessDenied", "Access Denied.");
    pub(super) const WRONG_BODY: Self = Self::new(
        400,
        "XAmzContentSHA256Mismatch",
        "The provided 'x-amz-content-sha256' header does not match what was computed.",
    );
    pub(super) const BAD_DIGEST: Self = Self::new(
        400,
        "BadDigest",
        "The Content-MD5 you specified did not match what we received.",
    );
    pub(super) const INVALID: Self =
        Self::new(400, "InvalidArgument", "A parameter has no valid value.");
    pub(super) const KEY_TOO_LONG: Self =
        Self::new(400, "KeyTooLongError", "Your key is too long.");
    pub(super) const INVALID_BUCKET: Self =
        Self::new(400, "InvalidBucketName", "The specified bucket is not valid.");
    pub(super) const NO_BUCKET: Self =
        Self::new(404, "NoSuchBucket", "The specified bucket does not exist.");
    pub(super) const NO_KEY: Self =
        Self::new(404, "NoSuchKey", "The specified key does not exist.");
    pub(super) const PRECONDITION_FAILED: Self = Self::new(
        412,
        "PreconditionFailed",
        "At least one of the preconditions you specified did not hold.",
    );
    pub(super) const INTERNAL: Self =
        Self::new(500, "InternalError", "We encountered an internal error. Please try again.");
    pub(super) const NOT_IMPLEMENTED: Self = Self::new(
        501,
        "NotImplemented",
        "A header or parameter you provided implies functionality that is not implemented.",
    );

    const SLOW_DOWN: Self = Self::new(503, "SlowDown", "Please reduce your request rate.");

    const fn new(status: u16, code: &'static str, message: &'static str) -> Self {
        Self { status, code, message }
    }

    /// The usual one of a status.
    fn of_status(status: u16) -> Self {
        let usual = match status {
            403 => Self::ACCESS_DENIED,
            404 => Self::NO_KEY,
            412 => Self::PRECONDITION_FAILED,
            429 | 503 => Self::SLOW_DOWN,
            _ => Self::INTERNAL,
        };
        Self { status, ..usual }
    }
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Self {
        tracing::warn!(%error, "an object cannot be kept");
        Self::INTERNAL
    }
}

pub(super) fn error(refusal: Refusal, message: Option<&str>, path: &str) -> Response<Full<Bytes>> {
    let Refusal { status, code, message: usual } = refusal;
    let (message, resource) = (escape(message.unwrap_or(usual)), escape(path));
    let body = format!(
        "{HEAD}<Error><Code>{code}</Code><Message>{message}</Message><Resource>{resource}</Resource>\
         <RequestId>local</RequestId></Error>"
    );
    text(status, body)
}

/// What a rule wants instead of an answer.
pub(super) fn failed(failure: &Failure<'_>, path: &str) -> Response<Full<Bytes>> {
    let &Failure { status, body, message, retry_after } = failure;
    let mut response = match body {
        fault::Body::Json => error(Refusal::of_status(status), message, path),
        fault::Body::Html => html(status),
        fault::Body::Empty => empty(status),
    };
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

pub(super) fn versioning(enabled: bool) -> Response<Full<Bytes>> {
    let status = if enabled { "<Status>Enabled</Status>" } else { "" };
    let body =
        format!("{HEAD}<VersioningConfiguration {SCHEMA}>{status}</VersioningConfiguration>");
    text(200, body)
}

pub(super) fn location() -> Response<Full<Bytes>> {
    text(200, format!("{HEAD}<LocationConstraint {SCHEMA}/>"))
}

/// A page of ListObjectsV2. What an object is like is asked for one by one, and one that is gone by now is left out.
pub(super) fn listing(
    bucket: &str,
    listing: &Listing<'_>,
    page: &[Entry<'_>],
    more: bool,
    look: impl Fn(&str) -> Result<Option<Object>, Refusal>,
) -> Result<Response<Full<Bytes>>, Refusal> {
    let name = |key: &str| if listing.encoded { encode(key, false) } else { escape(key) };
    let mut body = format!(
        "{HEAD}<ListBucketResult {SCHEMA}><Name>{bucket}</Name><Prefix>{}</Prefix><KeyCount>{}</KeyCount>\
         <MaxKeys>{}</MaxKeys><IsTruncated>{more}</IsTruncated>",
        name(listing.prefix),
        page.len(),
        listing.most,
    );
    let mut element = |tag: &str, text: &str| {
        let _: std::fmt::Result = write!(body, "<{tag}>{text}</{tag}>");
    };
    if !listing.delimiter.is_empty() {
        element("Delimiter", &name(listing.delimiter));
    }
    if listing.encoded {
        element("EncodingType", "url");
    }
    if let Some(last) = page.last().filter(|_| more) {
        element("NextContinuationToken", &escape(last.text()));
    }
    for entry in page {
        match entry {
            Entry::Key(key) => {
                let Some(Object { written, etag, size }) = look(key)? else { continue };
                let key = name(key);
                let object = format!(
                    "<Key>{key}</Key><LastModified>{written:.3}</LastModified><ETag>&quot;{etag}&quot;</ETag>\
                     <Size>{size}</Size><StorageClass>STANDARD</StorageClass>"
                );
                element("Contents", &object);
            }
            Entry::Prefix(prefix) => {
                element("CommonPrefixes", &format!("<Prefix>{}</Prefix>", name(prefix)));
            }
        }
    }
    body.push_str("</ListBucketResult>");
    Ok(text(200, body))
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

pub(super) fn put(etag: &str) -> Response<Full<Bytes>> {
    tagged(200, etag, Bytes::new())
}

pub(super) fn empty(status: u16) -> Response<Full<Bytes>> {
    response(status, Bytes::new())
}

fn text(status: u16, body: String) -> Response<Full<Bytes>> {
    let mut response = response(status, body.into());
    let kind = HeaderValue::from_static("application/xml");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
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

/// Text as XML has it, line ends included: a reader would make others of them.
fn escape(text: &str) -> String {
    let each = |c: char| match c {
        '&' | '<' | '>' | '"' | '\'' | '\r' | '\n' | '\t' => format!("&#{};", u32::from(c)),
        plain => plain.to_string(),
    };
    text.chars().map(each).collect()
}
