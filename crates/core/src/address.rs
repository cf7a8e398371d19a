//! Names of the things a stack is made of: `droplet.worker[1]`, `floating_ip`, `record.www`.
//!
//! An address is what a person says; an id is what the cloud says. The state maps one to the other. The order of
//! addresses is the order in which a plan lists them.

use std::fmt;
use std::str::FromStr;

/// The address of a resource in its stack. Its text form is stable: it stands in states, plans and commands.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub enum Address {
    /// `ssh_key.NAME`: a key of the account that the spec asks to create.
    SshKey(String),
    /// `droplet.worker[N]`, counted from 1.
    Worker(u32),
    /// `droplet.load_balancer`.
    LoadBalancer,
    /// `floating_ip`.
    FloatingIp,
    /// `domain.ZONE`.
    Domain(String),
    /// `record.NAME` in the stack's zone; `record.@` is the zone itself.
    Record(String),
    /// `tag.NAME`: a role tag (`PROD`, `FALLBACK`).
    Tag(String),
    /// `release`: which image is live, and where.
    Release,
}

/// A text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no address: expected ssh_key.NAME, droplet.worker[N], droplet.load_balancer, floating_ip, domain.ZONE, \
     record.NAME, tag.NAME or release"
)]
pub struct AddressError(String);

impl Address {
    /// The worker's number, if this is a worker.
    pub fn worker(&self) -> Option<u32> {
        match self {
            Self::Worker(number) => Some(*number),
            Self::SshKey(_)
            | Self::LoadBalancer
            | Self::FloatingIp
            | Self::Domain(_)
            | Self::Record(_)
            | Self::Tag(_)
            | Self::Release => None,
        }
    }

    /// Whether this is a droplet.
    pub fn is_droplet(&self) -> bool {
        matches!(self, Self::Worker(_) | Self::LoadBalancer)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SshKey(name) => write!(f, "ssh_key.{name}"),
            Self::Worker(number) => write!(f, "droplet.worker[{number}]"),
            Self::LoadBalancer => f.write_str("droplet.load_balancer"),
            Self::FloatingIp => f.write_str("floating_ip"),
            Self::Domain(zone) => write!(f, "domain.{zone}"),
            Self::Record(name) => write!(f, "record.{name}"),
            Self::Tag(name) => write!(f, "tag.{name}"),
            Self::Release => f.write_str("release"),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let named = |prefix: &str| {
            text.strip_prefix(prefix).filter(|name| !name.is_empty()).map(str::to_owned)
        };
        let worker = text
            .strip_prefix("droplet.worker[")
            .and_then(|rest| rest.strip_suffix(']'))
            .and_then(|number| number.parse().ok())
            .filter(|&number: &u32| number > 0);
        match text {
            "droplet.load_balancer" => return Ok(Self::LoadBalancer),
            "floating_ip" => return Ok(Self::FloatingIp),
            "release" => return Ok(Self::Release),
            _ => {}
        }
        worker
            .map(Self::Worker)
            .or_else(|| named("ssh_key.").map(Self::SshKey))
            .or_else(|| named("domain.").map(Self::Domain))
            .or_else(|| named("record.").map(Self::Record))
            .or_else(|| named("tag.").map(Self::Tag))
            .ok_or_else(|| AddressError(text.to_owned()))
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn every_address_reads_back_as_itself() {
        for address in [
            Address::SshKey("deploy".into()),
            Address::Worker(12),
            Address::LoadBalancer,
            Address::FloatingIp,
            Address::Domain("example.org".into()),
            Address::Record("@".into()),
            Address::Tag("PROD".into()),
            Address::Release,
        ] {
            assert_eq!(address.to_string().parse(), Ok(address));
        }
        for bad in ["", "droplet.worker[0]", "droplet.worker[]", "record.", "droplet", "Release"] {
            assert!(bad.parse::<Address>().is_err(), "{bad:?} was accepted");
        }
    }
}
