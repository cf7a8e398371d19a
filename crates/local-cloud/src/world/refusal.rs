//! What the service says when it says no: a status, a word, and a sentence, as seen on the real one.

/// A refused request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{status} {id}: {message}")]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// The status in words.
    pub id: &'static str,
    /// A sentence.
    pub message: String,
    /// Which of those that look alike.
    pub(crate) kind: Kind,
}

/// What a refusal is about, where status and word do not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The status tells.
    Usual,
    /// An event holds the object.
    Pending,
    /// A limit of the account.
    Limit,
    /// A tag's name, told in the form that only a tag's create has: an error and its root causes.
    Tag,
}

/// The answer of everything that can be refused.
pub(crate) type Answer<T> = Result<T, Refusal>;

impl Refusal {
    /// 404.
    pub(crate) fn not_found() -> Self {
        Self::new(404, "not_found", "The resource you were accessing could not be found.")
    }

    /// 422.
    pub(crate) fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(422, "unprocessable_entity", message)
    }

    /// 422, because something is under way.
    pub(crate) fn pending(what: &str) -> Self {
        let message = format!("{what} already has a pending event.");
        Self { kind: Kind::Pending, ..Self::unprocessable(message) }
    }

    /// 422, because the account may not have more.
    pub(crate) fn limit(message: &str) -> Self {
        Self { kind: Kind::Limit, ..Self::unprocessable(message) }
    }

    /// 401.
    pub(crate) fn unauthorized() -> Self {
        Self::new(401, "unauthorized", "Unable to authenticate you")
    }

    /// 400.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "bad_request", message)
    }

    /// 400 for a tag's name, in its own form.
    pub(crate) fn bad_tag(name: &str) -> Self {
        let message =
            format!("Error validating resource tag: \"{name}\" contains invalid characters");
        Self { kind: Kind::Tag, ..Self::bad_request(message) }
    }

    /// 429.
    pub(crate) fn too_many() -> Self {
        Self::new(429, "too_many_requests", "API Rate limit exceeded.")
    }

    fn new(status: u16, id: &'static str, message: impl Into<String>) -> Self {
        Self { status, id, message: message.into(), kind: Kind::Usual }
    }
}
