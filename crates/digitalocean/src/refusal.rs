//! From a refusing answer to the error that tells the caller what to do.
//!
//! Status first, then words: case-blind and by substring, since the service rewords. Bodies may be empty or a page of
//! HTML from the proxy in front of the API.

use seachange_core::cloud::CloudError;
use serde::Deserialize;

/// An answer that is no success, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    /// The service's own words and the request id, for people.
    detail: String,
    /// The same words in lower case, for the rules below.
    words: String,
    request_id: Option<String>,
}

/// The usual error body, and tag create's own.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Body {
    id: Option<String>,
    message: Option<String>,
    error: Option<String>,
    request_id: Option<String>,
}

/// The longest stretch of a body that is no error object and yet is shown.
const SHOWN: usize = 160;

impl Refusal {
    /// Reads status, body and the `x-request-id` header.
    pub(crate) fn read(status: u16, header: Option<&str>, bytes: &[u8]) -> Self {
        let body: Body = serde_json::from_slice(bytes).unwrap_or_default();
        let request_id = header.map(str::to_owned).or(body.request_id);
        let message = body.message.or(body.error).unwrap_or_else(|| excerpt(bytes));
        let words = match body.id {
            Some(id) if message.is_empty() => id,
            Some(id) => format!("{message} ({id})"),
            None => message,
        };
        let detail = with_request_id(words.clone(), request_id.as_deref());
        Self { status, detail, words: words.to_lowercase(), request_id }
    }

    /// The service itself advises to send it again, and not for a reason that the caller has to know of.
    pub(crate) fn advises_retry(&self) -> bool {
        self.words.contains("try again") && !self.is_pending() && !self.is_limit()
    }

    /// The service has decided, as far as words go: not a failure of its own.
    pub(crate) fn stands(&self) -> bool {
        self.status < 500 && self.status != 408
    }

    fn is_pending(&self) -> bool {
        self.words.contains("pending event")
    }

    fn is_limit(&self) -> bool {
        LIMIT_WORDS.iter().any(|words| self.words.contains(words))
    }

    /// Status and words, for an error about an answer that does not settle the matter.
    pub(crate) fn summary(&self) -> String {
        format!("{}: {}", self.status, self.detail)
    }

    /// The error for an answer that stands. `request` is method and path, `object` what was asked for.
    pub(crate) fn into_error(self, request: String, object: &str) -> CloudError {
        let (is_pending, is_limit) = (self.is_pending(), self.is_limit());
        let detail = self.detail;
        match self.status {
            401 => CloudError::Unauthorized { detail },
            403 => CloudError::Forbidden { request, detail },
            404 => CloudError::NotFound {
                object: with_request_id(object.to_owned(), self.request_id.as_deref()),
            },
            409 | 412 => CloudError::Conflict { request, detail },
            422 if is_pending => CloudError::Pending { request, detail },
            422 if is_limit => CloudError::LimitReached { request, detail },
            400 | 422 => CloudError::Invalid { request, detail },
            429 => CloudError::RateLimited { detail },
            status => CloudError::Malformed {
                request,
                detail: format!("the API does not promise status {status}: {detail}"),
            },
        }
    }
}

/// What the service says when the account may have no more of something.
const LIMIT_WORDS: [&str; 7] = [
    "limit exceeded",
    "limit reached",
    "exceed your",
    "droplet limit",
    "floating ip limit",
    "reserved ip limit",
    "reached the limit",
];

/// Appends the id that the service's support asks for.
pub(crate) fn with_request_id(text: String, request_id: Option<&str>) -> String {
    match request_id {
        Some(id) => format!("{text} [request {id}]"),
        None => text,
    }
}

/// What to show of a body that is not an error object.
fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim();
    if text.is_empty() {
        return "no words".to_owned();
    }
    // ASCII only, so that places in the lower-case copy are places in the text.
    let lower = text.to_ascii_lowercase();
    if lower.starts_with('<') {
        let title = lower.find("<title>").map(|at| at + "<title>".len());
        let title = title.and_then(|from| {
            let to = lower[from..].find("</title>")?;
            Some(text[from..from + to].trim())
        });
        return match title {
            Some(title) => format!("an HTML page, “{title}”"),
            None => "an HTML page".to_owned(),
        };
    }
    let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match one_line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &one_line[..end]),
        None => one_line,
    }
}

#[cfg(test)]
mod tests {
    use seachange_core::cloud::CloudError;

    use super::Refusal;

    fn error(status: u16, body: &str) -> CloudError {
        Refusal::read(status, None, body.as_bytes())
            .into_error("POST /v2/x".to_owned(), "droplet 1")
    }

    fn message(text: &str) -> String {
        format!(r#"{{"id":"unprocessable_entity","message":"{text}"}}"#)
    }

    #[test]
    fn a_422_is_split_by_its_words() {
        let kind = |text: &str| match error(422, &message(text)) {
            CloudError::Pending { .. } => "pending",
            CloudError::LimitReached { .. } => "limit",
            CloudError::Invalid { .. } => "invalid",
            other => panic!("{other:?}"),
        };
        assert_eq!(kind("Droplet already has a pending event."), "pending");
        assert_eq!(kind("The floating IP already has a PENDING EVENT"), "pending");
        assert_eq!(kind("creating this/these droplet(s) will exceed your droplet limit"), "limit");
        assert_eq!(kind("Droplet limit exceeded"), "limit");
        assert_eq!(kind("You specified an invalid image for Droplet creation."), "invalid");
        assert_eq!(kind("SSH Key is already in use on your account"), "invalid");
        assert_eq!(kind("User data exceeds its size"), "invalid");
    }

    #[test]
    fn advice_to_try_again_is_for_the_transport_unless_the_caller_must_wait() {
        let advises =
            |text: &str| Refusal::read(422, None, message(text).as_bytes()).advises_retry();
        assert!(advises("Something went wrong, please Try Again"));
        assert!(!advises("Droplet has a pending event, try again later"));
        assert!(!advises("This would exceed your droplet limit; delete one and try again"));
        assert!(!advises("invalid size"));
    }

    #[test]
    fn words_and_request_id_are_shown() {
        let body = r#"{"id":"forbidden","message":"no scope","request_id":"body-id"}"#;
        let refusal = |header| Refusal::read(403, header, body.as_bytes()).summary();
        assert_eq!(refusal(None), "403: no scope (forbidden) [request body-id]");
        assert_eq!(refusal(Some("head-id")), "403: no scope (forbidden) [request head-id]");
        let missing = Refusal::read(404, Some("head-id"), b"");
        assert_eq!(
            missing.into_error(String::new(), "droplet 1").to_string(),
            "droplet 1 [request head-id] was not found"
        );
    }

    #[test]
    fn html_and_nothing_and_nonsense_are_told_in_few_words() {
        let summary = |body: &str| Refusal::read(504, None, body.as_bytes()).summary();
        assert_eq!(
            summary("<!DOCTYPE html>\n<HTML><head><Title> 504 Gateway Time-out </title>"),
            "504: an HTML page, “504 Gateway Time-out”"
        );
        assert_eq!(summary("<html>"), "504: an HTML page");
        assert_eq!(summary(""), "504: no words");
        assert_eq!(summary("a\n b"), "504: a b");
        assert_eq!(summary(&"é".repeat(1000)).chars().count(), 5 + 160 + 1);
        assert_eq!(summary(r#"{"error":"bad tag","messages":null}"#), "504: bad tag");
    }
}
