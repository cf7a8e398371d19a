//! A store's refusal in words that say what to look at. The answer's own words go along; no key ever does.

use super::SpaceConfig;

/// The text of the first such element. The answers that are read so have no attributes and no nesting of equal names.
pub(super) fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
}

/// What a refusal means.
pub(super) fn text(status: u16, body: &str, config: &SpaceConfig) -> String {
    let code = element(body, "Code").unwrap_or_default();
    let bucket = &config.bucket;
    let meaning = match (status, code) {
        (_, "InvalidAccessKeyId") => "the access key is not known there".to_owned(),
        (_, "SignatureDoesNotMatch") => format!(
            "the secret key does not fit the access key (or the region is not {})",
            config.region
        ),
        (_, "RequestTimeTooSkewed") => "the clock of this machine is wrong".to_owned(),
        (_, "NoSuchBucket") => format!("there is no bucket {bucket}"),
        (301 | 307 | 308, _) => format!("the bucket {bucket} is not in {}", config.region),
        (401 | 403, _) => "the access key may not do that".to_owned(),
        (400..500, "") => "this is no answer of an S3 store".to_owned(),
        _ => "the store does not do that".to_owned(),
    };
    let words = match (code, element(body, "Message").unwrap_or_default()) {
        ("", "") => String::new(),
        (code, "") => format!(", {code}"),
        (code, message) => format!(", {code}: {}", message.trim_end_matches('.')),
    };
    format!("{meaning} (HTTP {status}{words})")
}

#[cfg(test)]
mod tests {
    use super::{SpaceConfig, text};

    #[test]
    fn each_refusal_says_what_to_look_at() {
        let config = SpaceConfig {
            bucket: "gotcha-state".to_owned(),
            region: "ams3".to_owned(),
            endpoint: None,
            prefix: String::new(),
            path_style: false,
        };
        let answer = |status, code: &str| {
            text(status, &format!("<Error><Code>{code}</Code><Message/></Error>"), &config)
        };
        assert_eq!(
            answer(403, "InvalidAccessKeyId"),
            "the access key is not known there (HTTP 403, InvalidAccessKeyId)"
        );
        assert_eq!(
            answer(403, "SignatureDoesNotMatch"),
            "the secret key does not fit the access key (or the region is not ams3) (HTTP 403, SignatureDoesNotMatch)"
        );
        assert_eq!(
            answer(404, "NoSuchBucket"),
            "there is no bucket gotcha-state (HTTP 404, NoSuchBucket)"
        );
        assert_eq!(
            answer(403, "AccessDenied"),
            "the access key may not do that (HTTP 403, AccessDenied)"
        );
        assert_eq!(
            text(404, "<html>nginx</html>", &config),
            "this is no answer of an S3 store (HTTP 404)"
        );
    }
}
