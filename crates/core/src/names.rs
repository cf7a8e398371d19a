//! How a stack names and marks what it owns, so that it finds it again after a lost answer or a lost state.
//!
//! Names carry the address (a request that creates ten droplets gives all of them the same tags, so only the name can
//! tell them apart); tags carry the owner and the attempt. All tags go into the create request itself.

use crate::address::Address;

/// The live worker's tag.
pub const PROD: &str = "PROD";
/// Every other worker's tag.
pub const FALLBACK: &str = "FALLBACK";

/// The tag on everything the stack owns: `seachange:STACK`.
pub fn owner_tag(stack: &str) -> String {
    format!("seachange:{stack}")
}

/// The one-time tag of a create attempt: `seachange:STACK:op-ID`.
pub fn attempt_tag(stack: &str, operation: &str) -> String {
    format!("seachange:{stack}:op-{operation}")
}

/// The operation a tag speaks of, if it is an attempt tag of this stack.
pub fn attempt_of<'t>(stack: &str, tag: &'t str) -> Option<&'t str> {
    let rest =
        tag.get(..10).filter(|head| head.eq_ignore_ascii_case("seachange:")).map(|_| &tag[10..])?;
    let rest = rest
        .get(..stack.len())
        .filter(|head| head.eq_ignore_ascii_case(stack))
        .map(|_| &rest[stack.len()..])?;
    rest.strip_prefix(":op-")
}

/// The name of a droplet: `STACK-worker-02`, `STACK-load-balancer`. `None` for what is no droplet.
pub fn droplet_name(stack: &str, address: &Address) -> Option<String> {
    match address {
        Address::Worker(number) => Some(format!("{stack}-worker-{number:02}")),
        Address::LoadBalancer => Some(format!("{stack}-load-balancer")),
        Address::SshKey(_)
        | Address::FloatingIp
        | Address::Domain(_)
        | Address::Record(_)
        | Address::Tag(_)
        | Address::Release => None,
    }
}

/// The address a droplet's name stands for; the reverse of [`droplet_name`].
pub fn address_of(stack: &str, name: &str) -> Option<Address> {
    let rest = name.strip_prefix(stack)?.strip_prefix('-')?;
    if rest == "load-balancer" {
        return Some(Address::LoadBalancer);
    }
    let number: u32 = rest.strip_prefix("worker-")?.parse().ok()?;
    let address = Address::Worker(number);
    (number > 0 && droplet_name(stack, &address).as_deref() == Some(name)).then_some(address)
}

/// Whether two tags are the same to the cloud, which keeps the first spelling and compares without case.
pub fn same_tag(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

#[cfg(test)]
mod tests {
    use super::{address_of, attempt_of, attempt_tag, droplet_name};
    use crate::address::Address;

    #[test]
    fn names_and_tags_lead_back() {
        for address in [Address::Worker(1), Address::Worker(5000), Address::LoadBalancer] {
            let name = droplet_name("web-gui", &address).expect("a droplet");
            assert_eq!(address_of("web-gui", &name), Some(address));
        }
        for foreign in
            ["web-worker-01", "web-gui-worker-1", "web-gui-worker-00", "web-gui-worker-01-old"]
        {
            assert_eq!(address_of("web-gui", foreign), None, "{foreign}");
        }
        assert_eq!(attempt_of("a", &attempt_tag("a", "01J")), Some("01J"));
        assert_eq!(attempt_of("a", &attempt_tag("ab", "01J")), None);
    }
}
