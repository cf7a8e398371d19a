//! Whether a text has its format, and what to tell who wrote one that has not.
//!
//! These are the patterns of [`Format::pattern`] by hand; a test holds the two against each other.

use std::time::Duration;

use super::shape::Format;
use crate::image::ImageRef;

/// Whether the text has the format.
pub(super) fn fits(format: Format, text: &str) -> bool {
    let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    match format {
        Format::Any | Format::Secret => !text.is_empty(),
        Format::Stack => {
            text.len() <= 40
                && text.starts_with(|c: char| c.is_ascii_lowercase())
                && text.chars().all(|c| lower(c) || c == '-')
        }
        Format::Slug => {
            text.starts_with(lower) && text.chars().all(|c| lower(c) || ".-_".contains(c))
        }
        Format::Bucket => {
            (3..=63).contains(&text.len())
                && text.starts_with(lower)
                && text.chars().all(|c| lower(c) || c == '-')
        }
        Format::Zone => zone(text),
        Format::RecordName => {
            let ends = |c: char| lower(c) || "_*".contains(c);
            text == "@"
                || (text.starts_with(ends)
                    && text.chars().skip(1).all(|c| lower(c) || "_-".contains(c))
                    && (text.len() == 1 || text.ends_with(lower)))
        }
        Format::Fingerprint => {
            text.len() == 47
                && text.split(':').all(|pair| {
                    pair.len() == 2
                        && pair.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c))
                })
        }
        Format::PublicKey => super::keys::fingerprint(text).is_some(),
        Format::Image => text.parse::<ImageRef>().is_ok(),
        Format::UrlPath => text.starts_with('/') && !text.contains(char::is_whitespace),
        Format::Duration => duration(text).is_some(),
    }
}

/// What to tell who wrote it, if there is more to say than the expectation.
pub(super) fn advice(format: Format, text: &str) -> Option<String> {
    match format {
        Format::RecordName if text.contains('.') => {
            let (name, zone) = text.split_once('.').unwrap_or((text, ""));
            Some(format!(
                "write the zone and the name apart: domain: {{ zone: {zone}, records: [{{ name: {name} }}] }}"
            ))
        }
        Format::Zone if text.ends_with('.') => Some("leave out the dot at the end".to_owned()),
        Format::Stack | Format::Bucket if text.contains('_') => {
            Some(format!("a dash will do: {}", text.replace('_', "-").to_lowercase()))
        }
        Format::Fingerprint if text.starts_with("SHA256:") => {
            Some("the account shows keys by MD5: ssh-keygen -E md5 -lf KEY.pub".to_owned())
        }
        Format::Duration if text.chars().all(|c| c.is_ascii_digit()) && !text.is_empty() => {
            Some(format!("with a unit: {text}s"))
        }
        Format::Image => text.parse::<ImageRef>().err().map(|error| error.to_string()),
        _ => None,
    }
}

/// The duration a text stands for.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    let millis = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

fn zone(text: &str) -> bool {
    let labels: Vec<&str> = text.split('.').collect();
    let label = |label: &&str| {
        !label.is_empty()
            && label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = |label: &str| label.len() >= 2 && label.chars().all(|c| c.is_ascii_lowercase());
    labels.len() >= 2 && labels.iter().all(label) && labels.last().is_some_and(|label| last(label))
}
