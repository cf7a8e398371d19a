//! Which of a bucket's keys a listing has.

use super::Ask;
use super::answer::Refusal;

/// The most keys a listing has.
const PAGE: usize = 1000;

/// What is asked for.
pub(super) struct Listing<'a> {
    pub(super) prefix: &'a str,
    /// Only what comes after it, in the order of bytes.
    after: &'a str,
    pub(super) delimiter: &'a str,
    pub(super) most: usize,
    /// Keys are percent-encoded, for clients that mistrust XML.
    pub(super) encoded: bool,
}

/// One of a page.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry<'a> {
    Key(&'a str),
    /// All keys that begin so.
    Prefix(&'a str),
}

impl<'a> Entry<'a> {
    pub(super) fn text(&self) -> &'a str {
        match self {
            Self::Key(text) | Self::Prefix(text) => text,
        }
    }
}

impl<'a> Listing<'a> {
    pub(super) fn of(ask: &'a Ask<'_>) -> Result<Self, Refusal> {
        let text = |name| ask.query(name).unwrap_or_default();
        let most = ask.query("max-keys").map_or(Ok(PAGE), str::parse);
        Ok(Self {
            prefix: text("prefix"),
            after: text("start-after").max(text("continuation-token")),
            delimiter: text("delimiter"),
            most: most.map_err(|_| Refusal::INVALID)?.min(PAGE),
            encoded: text("encoding-type") == "url",
        })
    }

    /// A page of the keys, which are in order; and whether there is more.
    pub(super) fn page<'k>(&self, keys: &'k [String]) -> (Vec<Entry<'k>>, bool) {
        let mut page: Vec<Entry<'k>> = Vec::new();
        for key in keys {
            let Some(rest) = key.strip_prefix(self.prefix) else { continue };
            let entry = match rest.find(self.delimiter).filter(|_| !self.delimiter.is_empty()) {
                Some(at) => Entry::Prefix(&key[..self.prefix.len() + at + self.delimiter.len()]),
                None => Entry::Key(key),
            };
            if entry.text() <= self.after || page.last() == Some(&entry) {
                continue;
            }
            if page.len() == self.most {
                return (page, true);
            }
            page.push(entry);
        }
        (page, false)
    }
}

#[cfg(test)]
mod tests {
    use super::{Entry, Listing};

    const ALL: Listing<'_> =
        Listing { prefix: "", after: "", delimiter: "", most: 9, encoded: false };

    #[test]
    fn pages_lead_through_all_keys_and_common_prefixes_once() {
        let keys = ["a/1", "a/2", "b", "c/1", "c/2", "d"].map(str::to_owned);
        for (delimiter, expected) in
            [("", &["a/1", "a/2", "b", "c/1", "c/2", "d"][..]), ("/", &["a/", "b", "c/", "d"])]
        {
            let mut seen: Vec<&str> = Vec::new();
            loop {
                let after = seen.last().copied().unwrap_or_default();
                let (page, more) = Listing { after, delimiter, most: 1, ..ALL }.page(&keys);
                seen.extend(page.iter().map(Entry::text));
                if !more {
                    break;
                }
            }
            assert_eq!(seen, expected);
        }
        let below = Listing { prefix: "c/", after: "c/1", delimiter: "/", ..ALL };
        assert_eq!(below.page(&keys), (vec![Entry::Key("c/2")], false));
        assert_eq!(Listing { most: 0, ..ALL }.page(&keys), (vec![], true));
        assert_eq!(Listing { prefix: "x", ..ALL }.page(&keys), (vec![], false));
    }
}
