//! The state's file format: a JSON envelope with a format number around the model.
//!
//! A file of a newer format is refused and left alone. Unknown keys are refused too: an old reader that dropped what
//! it does not know would lose it at its next write.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::State;

/// The newest format this version writes, and the only one so far.
pub const FORMAT: u32 = 1;

/// Why bytes are not a state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Not JSON, cut off, or not of the form the format has.
    #[error("not a readable state: {detail}")]
    Malformed {
        /// Where and why.
        detail: String,
    },
    /// Written by a newer version.
    #[error(
        "state format {found} is newer than the newest this version knows ({FORMAT}): use a newer seachange"
    )]
    Newer {
        /// The format found.
        found: u32,
    },
}

#[derive(Deserialize)]
struct Head {
    format: u32,
}

#[derive(Serialize, Deserialize)]
struct File<S> {
    format: u32,
    state: S,
}

/// The bytes of a state, ending in a newline.
pub fn write(state: &State) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(&File { format: FORMAT, state }).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

/// A state from its bytes.
pub fn read(bytes: &[u8]) -> Result<State, ReadError> {
    let malformed = |error: serde_json::Error| ReadError::Malformed { detail: error.to_string() };
    let head: Head = serde_json::from_slice(bytes).map_err(malformed)?;
    if head.format > FORMAT {
        return Err(ReadError::Newer { found: head.format });
    }
    let file: File<Value> = serde_json::from_slice(bytes).map_err(malformed)?;
    let state = State::deserialize(&file.state).map_err(malformed)?;
    match serde_json::to_value(&state).map(|known| unknown(&file.state, &known)) {
        Ok(None) => Ok(state),
        Ok(Some(path)) => {
            Err(ReadError::Malformed { detail: format!("`{path}` is not known to this version") })
        }
        Err(error) => Err(malformed(error)),
    }
}

/// The path of something in a text that is not in what was made of it. What an older version did not write is no matter.
pub(crate) fn unknown(text: &Value, made: &Value) -> Option<String> {
    let below = |key: String, text: &Value, made: Option<&Value>| match made {
        None => Some(key),
        Some(made) => unknown(text, made).map(|path| match path.is_empty() {
            true => key,
            false => format!("{key}.{path}"),
        }),
    };
    match (text, made) {
        (Value::Object(text), Value::Object(made)) => {
            text.iter().find_map(|(key, value)| below(key.clone(), value, made.get(key)))
        }
        (Value::Array(text), Value::Array(made)) if text.len() == made.len() => {
            let mut items = text.iter().zip(made).enumerate();
            items.find_map(|(at, (text, made))| below(at.to_string(), text, Some(made)))
        }
        _ => (text != made).then(String::new),
    }
}
