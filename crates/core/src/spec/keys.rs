//! Fingerprints of public keys, as the account shows them: MD5 over the key's bytes.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use md5::{Digest as _, Md5};

/// The MD5 fingerprint of an OpenSSH public key text; `None` if it is none.
pub(super) fn fingerprint(text: &str) -> Option<String> {
    let mut words = text.split_whitespace();
    let kind = words.next()?;
    let known = [
        "ssh-ed25519",
        "ssh-rsa",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
    ];
    let blob = BASE64_STANDARD.decode(words.next()?).ok()?;
    // The first field of the blob repeats the kind; a text whose two halves disagree was put together by hand.
    let length = u32::from_be_bytes(blob.get(..4)?.try_into().ok()?) as usize;
    let inner = blob.get(4..4 + length)?;
    if !known.contains(&kind) || inner != kind.as_bytes() {
        return None;
    }
    let pairs: Vec<String> = Md5::digest(&blob).iter().map(|byte| format!("{byte:02x}")).collect();
    Some(pairs.join(":"))
}

#[cfg(test)]
mod tests {
    use super::fingerprint;

    #[test]
    fn a_fingerprint_is_what_ssh_keygen_says() {
        // ssh-keygen -E md5 -lf on this key.
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl someone@example";
        assert_eq!(
            fingerprint(key).as_deref(),
            Some("65:96:2d:fc:e8:d5:a9:11:64:0c:0f:ea:00:6e:5b:bd")
        );
        assert_eq!(
            fingerprint(
                "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
            ),
            None
        );
        assert_eq!(fingerprint("ssh-ed25519"), None);
    }
}
