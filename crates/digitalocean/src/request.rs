//! Requests as values: method, path, query, body, and what sending one twice would do.
//!
//! Building one is pure; the transport sends them. The type parameter is the answer's type.

use std::fmt;
use std::fmt::Write as _;
use std::marker::PhantomData;

pub use http::Method;

pub use crate::retry::Class;
use crate::wire::Body;

pub mod account;
pub mod domains;
pub mod droplets;
pub mod reserved_ips;
pub mod tags;

/// Most items that the service puts on a page.
pub const PER_PAGE: u64 = 200;

/// One request, not sent yet, whose answer is an `A`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<A> {
    /// Method.
    pub method: Method,
    /// Path from `/v2` on, percent-encoded.
    pub path: String,
    /// Names and values, not encoded yet.
    pub query: Vec<(&'static str, String)>,
    /// What is sent as JSON.
    pub body: Option<Body>,
    /// What sending it twice would do.
    pub class: Class,
    /// What is asked for, in words, for "was not found".
    pub object: String,
    answer: PhantomData<fn() -> A>,
}

impl<A> Request<A> {
    fn new(method: Method, class: Class, path: String, object: String) -> Self {
        Self { method, path, query: Vec::new(), body: None, class, object, answer: PhantomData }
    }

    /// Reads; can be repeated as one likes.
    fn get(path: String, object: String) -> Self {
        Self::new(Method::GET, Class::Read, path, object)
    }

    /// One page of a list.
    fn page(path: String, number: u64, object: String) -> Self {
        Self::get(path, object)
            .with("per_page", PER_PAGE.to_string())
            .with("page", number.to_string())
    }

    /// Removes; twice is harmless.
    fn delete(path: String, object: String) -> Self {
        Self::new(Method::DELETE, Class::Repeatable, path, object)
    }

    fn with(mut self, name: &'static str, value: String) -> Self {
        self.query.push((name, value));
        self
    }

    fn sending(mut self, body: Body) -> Self {
        self.body = Some(body);
        self
    }

    /// Path and query as they are sent.
    pub fn target(&self) -> String {
        let mut target = self.path.clone();
        for (number, (name, value)) in self.query.iter().enumerate() {
            target.push(if number == 0 { '?' } else { '&' });
            target.push_str(name);
            target.push('=');
            target.push_str(&segment(value));
        }
        target
    }
}

/// Method and path, as errors name a request.
impl<A> fmt::Display for Request<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

/// A text as one segment of a path or one value of a query. A colon may stay: tags and fingerprints have them.
fn segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => {
                encoded.push(char::from(byte));
            }
            _ => {
                // Writing to a string cannot fail.
                let written = write!(encoded, "%{byte:02X}");
                debug_assert!(written.is_ok());
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::{Request, segment};

    #[test]
    fn what_is_not_plain_is_encoded() {
        assert_eq!(segment("seachange:web-gui_1.0~"), "seachange:web-gui_1.0~");
        assert_eq!(segment("../a b?c=ü&"), "..%2Fa%20b%3Fc%3D%C3%BC%26");
    }

    #[test]
    fn a_page_is_asked_for_by_number() {
        let page = Request::<()>::page("/v2/x".to_owned(), 3, String::new())
            .with("tag_name", "a b".to_owned());
        assert_eq!(page.target(), "/v2/x?per_page=200&page=3&tag_name=a%20b");
        assert_eq!(page.to_string(), "GET /v2/x");
    }
}
