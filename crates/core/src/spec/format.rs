//! Whether a text has its format, and what to tell who wrote one that has not.
//!
//! These are the patterns of [`Format::pattern`] by hand; a test holds the two against each other.

use std::time::Duration;

use super::shape::Format;
use crate::image::{ImageError, ImageRef};

/// Whether the text has the format.
pub(super) fn fits(format: Format, text: &str) -> bool {
    let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    match format {
        Format::Any | Format::Secret => !text.is_empty(),
        Format::Line => !text.is_empty() && !text.contains(|c: char| c.is_ascii_control()),
        Format::Url => ["https://", "http://"]
            .iter()
            .filter_map(|scheme| text.strip_prefix(scheme))
            .any(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_ascii_graphic())),
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
        Format::PublicKey => {
            let mut words = text.splitn(3, ' ');
            let (kind, key) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let plain = |c: char| c.is_ascii_alphanumeric() || "-+/=".contains(c);
            !kind.is_empty()
                && [kind, key].iter().all(|word| word.chars().all(plain))
                && !words.next().is_some_and(|comment| comment.contains(['\n', '\r']))
                && super::keys::fingerprint(text).is_some()
        }
        Format::Image => text.parse::<ImageRef>().is_ok(),
        Format::UrlPath => text.starts_with('/') && text.chars().all(|c| c.is_ascii_graphic()),
        Format::Duration => duration(text).is_some(),
    }
}

/// What to tell who wrote it, if there is more to say than the expectation.
pub(super) fn advice(format: Format, text: &str) -> Option<String> {
    match format {
        Format::RecordName if text.contains('.') => {
            let (name, zone) = text.split_once('.').unwrap_or((text, ""));
            Some(format!(
                "write the zone and the name apart: domain: {{ zone: {}, records: [{{ name: {} }}] }}",
                brief(zone.trim_end_matches('.')),
                brief(name)
            ))
        }
        Format::Zone if text.ends_with('.') => Some("leave out the dot at the end".to_owned()),
        Format::Stack | Format::Bucket if text.contains('_') => {
            Some(format!("a dash will do: {}", brief(text).replace('_', "-").to_lowercase()))
        }
        Format::Fingerprint if text.starts_with("SHA256:") => {
            Some("the account shows keys by MD5: ssh-keygen -E md5 -lf KEY.pub".to_owned())
        }
        Format::Duration if text.chars().all(|c| c.is_ascii_digit()) && !text.is_empty() => {
            Some(format!("with a unit: {}s", brief(text)))
        }
        Format::Image => match text.parse::<ImageRef>() {
            Err(ImageError::Reference { why, .. }) => Some(why.to_owned()),
            Err(ImageError::Digest(_)) => {
                Some("a digest is sha256: and 64 lower-case hex digits".to_owned())
            }
            Ok(_) => None,
        },
        _ => None,
    }
}

/// What is said of a text in a message: its first line, if that is not too long.
pub(super) fn brief(text: &str) -> String {
    const MOST: usize = 80;
    let line = text.lines().next().unwrap_or_default();
    match line.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None if line.len() < text.trim_end().len() => format!("{line}…"),
        None => line.to_owned(),
    }
}

/// The duration a text stands for; none is empty or longer than a day.
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
    let all = number.checked_mul(millis)?;
    (1..=86_400_000).contains(&all).then(|| Duration::from_millis(all))
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use serde_json::json;

    use super::{Format, brief, duration, fits};

    /// Each format with a text that has it, from which others are made by chance.
    const FORMATS: [(Format, &str); 13] = [
        (Format::Any, "any text"),
        (Format::Line, "~/.ssh/id_ed25519"),
        (Format::Url, "https://s3.example.com:9000/a"),
        (Format::Stack, "my-stack2"),
        (Format::Slug, "s-1vcpu-1gb"),
        (Format::Bucket, "gotcha-state"),
        (Format::Zone, "gotcha-app.co.uk"),
        (Format::RecordName, "_acme-challenge"),
        (Format::Fingerprint, "3b:16:bf:e4:8b:00:8b:b8:59:8c:a9:d3:f0:19:45:fa"),
        (
            Format::PublicKey,
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl me@here",
        ),
        (Format::Image, "r.example:5000/group/app:1.0"),
        (Format::UrlPath, "/health?full=1"),
        (Format::Duration, "500ms"),
    ];

    fn pattern(format: Format) -> jsonschema::Validator {
        jsonschema::validator_for(&json!({ "pattern": format.pattern().0 })).expect("a pattern")
    }

    #[test]
    fn a_pattern_and_its_format_agree_on_texts_a_few_letters_away() {
        let alphabet =
            prop::sample::select("aZz09 -_.:/@*~$\n\u{0}\u{1b}é+=".chars().collect::<Vec<_>>());
        let edits = prop::collection::vec((any::<prop::sample::Index>(), 0..3_u8, alphabet), 0..4);
        for (format, sample) in FORMATS {
            let pattern = pattern(format);
            assert!(fits(format, sample), "{sample} is no {format:?}");
            let mut runner = proptest::test_runner::TestRunner::deterministic();
            let outcome = runner.run(&(edits.clone(), 0..=sample.len()), |(edits, length)| {
                let mut text: Vec<char> = sample.chars().take(length.max(1)).collect();
                for (at, kind, letter) in edits {
                    let at = at.index(text.len() + 1);
                    match kind {
                        0 => text.insert(at, letter),
                        1 if at < text.len() => text[at] = letter,
                        _ if at < text.len() => {
                            text.remove(at);
                        }
                        _ => {}
                    }
                }
                let text: String = text.into_iter().collect();
                let (fits, matches) = (fits(format, &text), pattern.is_valid(&json!(text)));
                // Reading a key, a reference or a time says more than a pattern can: there the schema may accept more.
                let looser = matches!(format, Format::PublicKey | Format::Image | Format::Duration);
                prop_assert!(
                    if looser { !fits || matches } else { fits == matches },
                    "{:?} {text:?}: {fits}",
                    format
                );
                Ok(())
            });
            assert!(outcome.is_ok(), "{format:?}: {outcome:?}");
            assert!(!fits(format, ""), "{format:?} may be empty");
        }
    }

    #[test]
    fn a_duration_is_more_than_nothing_and_at_most_a_day() {
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(duration("24h"), Some(Duration::from_secs(86_400)));
        for bad in [
            "",
            "s",
            "0s",
            "2",
            "2 s",
            "-1s",
            "25h",
            "86400001ms",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_long_text_is_cut_at_a_letter() {
        assert_eq!(brief("short"), "short");
        assert_eq!(brief("one\ntwo"), "one…");
        assert_eq!(brief(&"é".repeat(100)).chars().count(), 81);
    }
}
