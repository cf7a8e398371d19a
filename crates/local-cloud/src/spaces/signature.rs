//! AWS's signature, version 4, of a request's headers and body: whoever has no key gets no answer.
//!
//! Source: "Authenticating Requests: Using the Authorization Header" in the Amazon S3 API reference.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use http::request::Parts;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use md5::Md5;
use seachange_core::bootstrap::hex;
use sha2::{Digest as _, Sha256};

use super::answer::Refusal;
use crate::http::decode;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// A request may be signed so long ago, or so far ahead.
const SKEW: SignedDuration = SignedDuration::from_mins(15);
/// The body is not part of the signature.
const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// What the `Authorization` header says.
#[derive(Debug)]
pub(super) struct Signer {
    /// The key that it was signed with.
    pub(super) id: String,
    /// `DATE/REGION/SERVICE/aws4_request`.
    scope: String,
    headers: Vec<String>,
    signature: String,
}

impl Signer {
    pub(super) fn of(head: &Parts) -> Result<Self, Refusal> {
        let said = header(head, "authorization").ok_or(Refusal::UNSIGNED)?;
        let said = said.strip_prefix(ALGORITHM).ok_or(Refusal::UNSIGNED)?;
        let part = |name: &str| {
            let mut parts = said.split(',').map(str::trim);
            let found = parts.find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
            found.ok_or(Refusal::UNSIGNED)
        };
        let (id, scope) = part("Credential")?.split_once('/').ok_or(Refusal::UNSIGNED)?;
        Ok(Self {
            id: id.to_owned(),
            scope: scope.to_owned(),
            headers: part("SignedHeaders")?.split(';').map(str::to_owned).collect(),
            signature: part("Signature")?.to_owned(),
        })
    }

    /// Whether the secret signed exactly this, just now.
    pub(super) fn check(
        &self,
        head: &Parts,
        body: &[u8],
        secret: &str,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let stamp = header(head, "x-amz-date").ok_or(Refusal::UNSIGNED)?;
        let signed = DateTime::strptime("%Y%m%dT%H%M%SZ", &stamp).map_err(|_| Refusal::UNSIGNED)?;
        let signed = signed.to_zoned(TimeZone::UTC).map_err(|_| Refusal::UNSIGNED)?.timestamp();
        if now.duration_since(signed).abs() > SKEW {
            return Err(Refusal::SKEWED);
        }
        let payload = header(head, "x-amz-content-sha256").ok_or(Refusal::UNSIGNED)?;
        if payload != UNSIGNED_PAYLOAD && payload != hex(&Sha256::digest(body)) {
            return Err(Refusal::WRONG_BODY);
        }
        let scope: Vec<&str> = self.scope.split('/').collect();
        let [date, _, "s3", "aws4_request"] = scope[..] else {
            return Err(Refusal::WRONG_SIGNATURE);
        };
        let must_be_signed = |name: &str| name == "host" || name.starts_with("x-amz-");
        let mut sent = head.headers.keys().map(http::HeaderName::as_str);
        let unsigned = |name: &str| !self.headers.iter().any(|signed| signed == name);
        if !stamp.starts_with(date) || sent.any(|name| must_be_signed(name) && unsigned(name)) {
            return Err(Refusal::WRONG_SIGNATURE);
        }
        let request = hex(&Sha256::digest(self.canonical(head, &payload)));
        let text = format!("{ALGORITHM}\n{stamp}\n{}\n{request}", self.scope);
        let mut key = format!("AWS4{secret}").into_bytes();
        for part in scope {
            key = keyed(&key, part)?.finalize().into_bytes().to_vec();
        }
        let signature = unhex(&self.signature).ok_or(Refusal::WRONG_SIGNATURE)?;
        // Compares in constant time.
        keyed(&key, &text)?.verify_slice(&signature).map_err(|_| Refusal::WRONG_SIGNATURE)
    }

    fn canonical(&self, head: &Parts, payload: &str) -> String {
        let mut pairs: Vec<(String, String)> = query(head.uri.query().unwrap_or_default())
            .iter()
            .map(|(name, value)| (encode(name, true), encode(value, true)))
            .collect();
        pairs.sort_unstable();
        let pairs: Vec<String> =
            pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let headers: String = self
            .headers
            .iter()
            .map(|name| format!("{name}:{}\n", header(head, name).unwrap_or_default()))
            .collect();
        format!(
            "{}\n{}\n{}\n{headers}\n{}\n{payload}",
            head.method,
            encode(&decode(head.uri.path()), false),
            pairs.join("&"),
            self.headers.join(";")
        )
    }
}

/// All values of a header, as they are signed.
fn header(head: &Parts, name: &str) -> Option<String> {
    let values = head.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let values: Vec<String> =
        values.map(|value| value.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    (!values.is_empty()).then(|| values.join(","))
}

fn keyed(key: &[u8], text: &str) -> Result<Hmac<Sha256>, Refusal> {
    let mut mac = Hmac::new_from_slice(key).map_err(|_| Refusal::INTERNAL)?;
    mac.update(text.as_bytes());
    Ok(mac)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2).map(str::from_utf8);
    pairs.map(|pair| u8::from_str_radix(pair.ok()?, 16).ok()).collect()
}

/// A body whose digest was sent along has to be that.
pub(super) fn check_digest(digest: Option<&str>, body: &[u8]) -> Result<(), Refusal> {
    match digest {
        Some(digest) if digest != STANDARD.encode(Md5::digest(body)) => Err(Refusal::BAD_DIGEST),
        Some(_) | None => Ok(()),
    }
}

/// The pairs of a query.
pub(super) fn query(text: &str) -> Vec<(String, String)> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.map(|(name, value)| (decode(name), decode(value))).collect()
}

/// Percent-encoding of everything but letters, digits and `-._~`; slashes too, if they are not what parts a path.
pub(super) fn encode(text: &str, slashes: bool) -> String {
    let one = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        b'/' if !slashes => "/".to_owned(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

#[cfg(test)]
mod tests {
    //! The examples of AWS's own documentation, and what becomes of them when something is changed on the way.

    use http::request::Parts;
    use http::{Method, Request};
    use jiff::Timestamp;
    use seachange_core::bootstrap::hex;
    use sha2::{Digest as _, Sha256};

    use super::{Refusal, Signer};

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    const BODY: &[u8] = b"Welcome to Amazon S3.";
    const NOW: &str = "2013-05-24T00:10:00Z";

    fn check(head: &Parts, body: &[u8], now: &str) -> Result<(), Refusal> {
        let now: Timestamp = now.parse().unwrap();
        Signer::of(head).and_then(|signer| signer.check(head, body, SECRET, now))
    }

    fn example(request: &str, more: &[(&str, &str)], body: &[u8], signature: &str) -> Parts {
        let (method, path) = request.split_once(' ').unwrap();
        let hash = hex(&Sha256::digest(body));
        let mut headers = vec![
            ("host", "examplebucket.s3.amazonaws.com"),
            ("x-amz-content-sha256", hash.as_str()),
            ("x-amz-date", "20130524T000000Z"),
        ];
        headers.extend(more);
        headers.sort_unstable();
        let signed: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
             SignedHeaders={},Signature={signature}",
            signed.join(";")
        );
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request.header("authorization", authorization).body(()).unwrap().into_parts().0
    }

    fn get() -> Parts {
        let signature = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
        example("GET /test.txt", &[("range", "bytes=0-9")], b"", signature)
    }

    fn put() -> Parts {
        let date = ("date", "Fri, 24 May 2013 00:00:00 GMT");
        let signature = "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd";
        let more = [date, ("x-amz-storage-class", "REDUCED_REDUNDANCY")];
        example("PUT /test$file.text", &more, BODY, signature)
    }

    #[test]
    fn the_examples_of_the_documentation_are_signed_well() {
        let lifecycle = "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543";
        let list = "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7";
        for (head, body) in [
            (get(), &b""[..]),
            (put(), BODY),
            (example("GET /?lifecycle", &[], b"", lifecycle), b""),
            (example("GET /?max-keys=2&prefix=J", &[], b"", list), b""),
        ] {
            assert_eq!(check(&head, body, NOW), Ok(()), "{}", head.uri);
        }
    }

    #[test]
    fn whatever_is_changed_on_the_way_shows() {
        let with = |mut head: Parts, name: &'static str, value: &str| {
            head.headers.insert(name, value.parse().unwrap());
            head
        };
        let without = |mut head: Parts, name: &str| {
            head.headers.remove(name);
            head
        };
        let to = |method: Method, uri: &str| {
            let mut head = get();
            (head.method, head.uri) = (method, uri.parse().unwrap());
            head
        };
        let said = get().headers["authorization"].to_str().unwrap().to_owned();
        let says = |old: &str, new: &str| with(get(), "authorization", &said.replace(old, new));
        let wrong = Refusal::WRONG_SIGNATURE;
        for (head, body, refusal) in [
            (to(Method::GET, "/test.txt2"), &b""[..], wrong),
            (to(Method::GET, "/test.txt?acl"), b"", wrong),
            (to(Method::HEAD, "/test.txt"), b"", wrong),
            (with(get(), "range", "bytes=0-8"), b"", wrong),
            (with(get(), "x-amz-date", "20130524T000001Z"), b"", wrong),
            (with(get(), "x-amz-acl", "public-read"), b"", wrong),
            (with(put(), "x-amz-content-sha256", "UNSIGNED-PAYLOAD"), BODY, wrong),
            (put(), b"Welcome to Amazon S3!", Refusal::WRONG_BODY),
            (says("host;", ""), b"", wrong),
            (says("us-east-1", "ams3"), b"", wrong),
            (says("/s3/", "/ec2/"), b"", wrong),
            (says("20130524/", "20130525/"), b"", wrong),
            (says("Signature=f0", "Signature=f1"), b"", wrong),
            (says("Signature=f0", "Signature="), b"", wrong),
            (says("Signature=f0", "Signature=xy"), b"", wrong),
            (says("AWS4-HMAC-SHA256", "AWS"), b"", Refusal::UNSIGNED),
            (without(get(), "authorization"), b"", Refusal::UNSIGNED),
            (without(get(), "x-amz-content-sha256"), b"", Refusal::UNSIGNED),
        ] {
            assert_eq!(check(&head, body, NOW), Err(refusal), "{head:?}");
        }
    }

    #[test]
    fn clocks_may_be_a_quarter_of_an_hour_apart() {
        for (now, expected) in [
            ("2013-05-24T00:15:00Z", Ok(())),
            ("2013-05-23T23:45:00Z", Ok(())),
            ("2013-05-24T00:15:01Z", Err(Refusal::SKEWED)),
            ("2013-05-23T23:44:59Z", Err(Refusal::SKEWED)),
        ] {
            assert_eq!(check(&get(), b"", now), expected, "{now}");
        }
    }
}
