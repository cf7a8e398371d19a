//! What somebody probably meant: the nearest known key, or the block that a known key belongs in.

use super::shape::{self, Field};

/// What to tell who wrote an unknown key among these fields.
pub(super) fn for_key(key: &str, fields: &[Field]) -> String {
    let known: Vec<&str> = fields.iter().map(|field| field.name).collect();
    if key == "<<" {
        return "YAML 1.2 has no merge keys: give the whole block a name with &NAME, and repeat it with *NAME".to_owned();
    }
    if let Some(home) = home(key) {
        return format!("`{key}` belongs in `{home}`");
    }
    match nearest(key, &known) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "nothing can be said here: write `{}`".to_owned(),
        None => format!("known keys: {}", known.join(", ")),
    }
}

/// The only block that knows this key, if exactly one does.
fn home(key: &str) -> Option<String> {
    let fields = shape::every_field().into_iter();
    let mut homes = fields.filter(|(_, field)| field.name == key).map(|(home, _)| home);
    let only = homes.next().filter(|home| !home.is_empty())?;
    homes.next().is_none().then_some(only)
}

/// The known word that a typo probably meant: at most a third of its letters away.
fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let word: String = word.chars().take(64).collect::<String>().to_lowercase().replace('-', "_");
    known
        .iter()
        .map(|&candidate| (distance(&word, candidate), candidate))
        .filter(|&(far, candidate)| far * 3 <= candidate.len().max(3))
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many letters must be put in, taken out or changed.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.chars().enumerate() {
        let mut diagonal = at;
        row[0] = at + 1;
        for (column, &candidate) in other.iter().enumerate() {
            let changed = diagonal + usize::from(letter != candidate);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::{for_key, home, nearest};

    #[test]
    fn a_typo_has_a_nearest_word_and_a_stranger_has_none() {
        let known = ["workers", "load_balancer", "app"];
        assert_eq!(nearest("worker", &known), Some("workers"));
        assert_eq!(nearest("Load-Balancer", &known), Some("load_balancer"));
        assert_eq!(nearest("volumes", &known), None);
        assert_eq!(nearest(&"x".repeat(1 << 20), &known), None);
    }

    #[test]
    fn a_key_in_the_wrong_place_is_sent_home_if_it_has_one_home() {
        assert_eq!(home("stop_timeout").as_deref(), Some("app"));
        assert_eq!(home("zone").as_deref(), Some("domain"));
        assert_eq!(home("size"), None, "workers and the load balancer have one each");
        assert_eq!(home("region"), None);
        assert!(for_key("<<", &[]).contains("merge"));
    }
}
