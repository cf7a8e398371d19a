//! Edits on a person's word: an address forgotten, an address renamed. Nothing in the cloud is touched.
//!
//! What is under way is never edited: a journal entry names addresses, and whoever finishes it must find them.

use super::{Resource, State};
use crate::address::Address;

/// Why a state cannot be edited so. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The state has no such address.
    #[error("{address} is not in the state of {stack} (serial {serial})")]
    Absent {
        /// The address.
        address: Address,
        /// The stack.
        stack: String,
        /// The serial looked at.
        serial: u64,
    },
    /// The state has that address already.
    #[error("{address} is already in the state of {stack}")]
    Occupied {
        /// The address.
        address: Address,
        /// The stack.
        stack: String,
    },
    /// The two addresses are of different kinds.
    #[error("{from} cannot become {to}: they are different kinds of resources")]
    Kind {
        /// The address there is.
        from: Address,
        /// The address asked for.
        to: Address,
    },
    /// A run ended in the middle of something.
    #[error("something is under way in the state of {stack}: {what}")]
    UnderWay {
        /// The stack.
        stack: String,
        /// What.
        what: String,
    },
}

impl State {
    /// Forgets an address: what it stood for stays in the cloud, unmanaged.
    pub fn forget(&mut self, address: &Address) -> Result<Resource, EditError> {
        self.must_rest()?;
        let resource = self.resources.remove(address).ok_or_else(|| self.absent(address))?;
        if let Address::Worker(number) = address {
            self.deployed.remove(number);
        }
        Ok(resource)
    }

    /// Gives a resource another address of the same kind.
    pub fn rename(&mut self, from: &Address, to: &Address) -> Result<(), EditError> {
        self.must_rest()?;
        if std::mem::discriminant(from) != std::mem::discriminant(to) {
            return Err(EditError::Kind { from: from.clone(), to: to.clone() });
        }
        if !self.resources.contains_key(from) {
            return Err(self.absent(from));
        }
        if self.resources.contains_key(to) {
            return Err(EditError::Occupied { address: to.clone(), stack: self.stack.clone() });
        }
        if let Some(resource) = self.resources.remove(from) {
            self.resources.insert(to.clone(), resource);
        }
        if let (Address::Worker(from), Address::Worker(to)) = (from, to)
            && let Some(deployed) = self.deployed.remove(from)
        {
            self.deployed.insert(*to, deployed);
        }
        Ok(())
    }

    fn absent(&self, address: &Address) -> EditError {
        EditError::Absent {
            address: address.clone(),
            stack: self.stack.clone(),
            serial: self.serial,
        }
    }

    fn must_rest(&self) -> Result<(), EditError> {
        let what = match (&self.transition, self.pending.len()) {
            (Some(_), _) => "a release".to_owned(),
            (None, 0) => return Ok(()),
            (None, 1) => "one step of which no end is known".to_owned(),
            (None, count) => format!("{count} steps of which no end is known"),
        };
        Err(EditError::UnderWay { stack: self.stack.clone(), what })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::{EditError, State};
    use crate::address::Address;
    use crate::state::Resource;

    fn state() -> State {
        let mut state = State::empty("lineage", "webgui");
        let ip = Ipv4Addr::new(203, 0, 113, 5);
        state.resources.insert(Address::FloatingIp, Resource::FloatingIp { ip });
        let zone = Address::Domain("example.org".to_owned());
        state.resources.insert(zone, Resource::Domain { ours: true });
        state
    }

    #[test]
    fn an_edit_does_what_it_says_or_nothing() {
        let mut state = state();
        let (old, new) =
            (Address::Domain("example.org".to_owned()), Address::Domain("example.net".to_owned()));
        let before = state.clone();
        for (from, to) in [(&new, &old), (&old, &Address::FloatingIp), (&old, &old)] {
            assert!(state.rename(from, to).is_err(), "{from} became {to}");
            assert_eq!(state, before);
        }
        state.rename(&old, &new).unwrap();
        assert!(state.resources.contains_key(&new) && !state.resources.contains_key(&old));
        assert_eq!(state.forget(&new), Ok(Resource::Domain { ours: true }));
        assert!(matches!(state.forget(&new), Err(EditError::Absent { .. })));
    }
}
