//! The object around every answer: a root key with one thing or many, `links`, and `meta`.
//!
//! Read by hand rather than derived: the root key depends on the type, and serde's `flatten` would buffer every
//! answer a second time.

use std::fmt;
use std::marker::PhantomData;

use seachange_core::cloud::CloudError;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::request::Request;

/// A thing that comes in an envelope.
pub trait Item {
    /// Root key when there is one.
    const ONE: &'static str;
    /// Root key of a list.
    const MANY: &'static str;
    /// What tells two of them apart.
    type Id: Ord;
    /// This one's.
    fn id(&self) -> Self::Id;
}

/// An answer with its root key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope<T> {
    /// Under the singular key.
    pub one: Option<T>,
    /// Under the plural key.
    pub many: Option<Vec<T>>,
    /// `meta.total`: items on all pages.
    pub total: Option<u64>,
    /// Number of the page after this one.
    pub next: Option<u64>,
    /// Number of the last page; the service leaves it out on the last page.
    pub last: Option<u64>,
}

impl<T: Item> Envelope<T> {
    /// The one thing.
    pub(crate) fn into_one<A>(self, request: &Request<A>) -> Result<T, CloudError> {
        self.one.ok_or_else(|| lacks(request, T::ONE))
    }

    /// The list.
    pub(crate) fn into_many<A>(self, request: &Request<A>) -> Result<Vec<T>, CloudError> {
        self.many.ok_or_else(|| lacks(request, T::MANY))
    }
}

pub(crate) fn lacks<A>(request: &Request<A>, key: &str) -> CloudError {
    CloudError::Malformed { request: request.to_string(), detail: format!("it has no `{key}`") }
}

impl<'de, T: Item + Deserialize<'de>> Deserialize<'de> for Envelope<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EnvelopeVisitor(PhantomData))
    }
}

struct EnvelopeVisitor<T>(PhantomData<T>);

impl<'de, T: Item + Deserialize<'de>> Visitor<'de> for EnvelopeVisitor<T> {
    type Value = Envelope<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with `{}` or `{}`", T::ONE, T::MANY)
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Envelope<T>, M::Error> {
        let mut envelope = Envelope { one: None, many: None, total: None, next: None, last: None };
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            if key == T::ONE {
                envelope.one = Some(map.next_value()?);
            } else if key == T::MANY {
                envelope.many = map.next_value()?;
            } else if key == "meta" {
                envelope.total = map.next_value::<Option<Meta>>()?.and_then(|meta| meta.total);
            } else if key == "links" {
                let pages = map.next_value::<Option<Links>>()?.and_then(|links| links.pages);
                let pages = pages.unwrap_or_default();
                envelope.next = pages.next.as_deref().and_then(page_number);
                envelope.last = pages.last.as_deref().and_then(page_number);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(envelope)
    }
}

#[derive(serde::Deserialize)]
struct Meta {
    total: Option<u64>,
}

#[derive(serde::Deserialize)]
struct Links {
    pages: Option<Pages>,
}

#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct Pages {
    next: Option<String>,
    last: Option<String>,
}

/// `page=N` of a link's query; its host is nobody's business.
fn page_number(link: &str) -> Option<u64> {
    let (_, query) = link.split_once('?')?;
    let value = query.split('&').find_map(|pair| pair.strip_prefix("page="))?;
    value.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Envelope, page_number};
    use crate::wire::Tag;

    fn read(text: &str) -> Result<Envelope<Tag>, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn links_may_be_whole_empty_null_or_absent() {
        let whole = read(
            r#"{"tags":[],"meta":{"total":401,"more":1},"links":{"pages":{
                "next":"https://elsewhere/v2/tags?page=2&per_page=200",
                "last":"https://elsewhere/v2/tags?per_page=200&page=3"}}}"#,
        );
        let whole = whole.unwrap();
        assert_eq!((whole.total, whole.next, whole.last), (Some(401), Some(2), Some(3)));
        for links in ["", r#","links":{}"#, r#","links":null"#, r#","links":{"pages":{}}"#] {
            let read = read(&format!(r#"{{"tags":[]{links}}}"#)).unwrap();
            assert_eq!((read.next, read.last), (None, None));
            assert_eq!(read.many, Some(Vec::new()));
        }
    }

    #[test]
    fn another_things_root_key_is_not_ours() {
        let read = read(r#"{"droplet":{"id":1},"droplets":[{}]}"#).unwrap();
        assert_eq!((read.one, read.many), (None, None));
    }

    #[test]
    fn a_page_number_is_found_by_its_name() {
        assert_eq!(page_number("https://x/y?per_page=20&page=7"), Some(7));
        assert_eq!(page_number("https://x/y?per_page=20"), None);
        assert_eq!(page_number("https://x/y?page=x"), None);
        assert_eq!(page_number("https://x/y"), None);
    }
}
