//! Durations as whole milliseconds, which people can type.

use std::time::Duration;

use serde::{Deserialize as _, Deserializer, Serializer};

/// For `#[serde(with = "millis")]`.
pub(crate) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// The same backwards.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    u64::deserialize(from).map(Duration::from_millis)
}
