//! What the simulated image registry holds: the demo app in a few versions, under every repository name.
//!
//! Manifests, configurations and layers are real OCI documents with real digests, the same on every machine and in every
//! world, so that a digest recorded yesterday still names the same app today. What an image *does* once it runs is its
//! [`Behaviour`], found by digest; nothing here knows machines, containers or sockets.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use seachange_core::bootstrap::hex;
use seachange_core::host::Credentials;
use seachange_core::image::Digest;
use serde_json::json;
use sha2::{Digest as _, Sha256};

/// Media type of a manifest.
pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";

/// How the app in an image behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Listens at once and answers.
    Serves,
    /// Listens at once and answers 503 for ever.
    Unhealthy,
    /// Exits with code 1 soon after its start, without ever listening.
    Crashes,
    /// Listens only after this long.
    ServesAfter(Duration),
}

/// Bytes and their digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// SHA-256 of the bytes.
    pub digest: Digest,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// An image of the demo app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The tag it was built as, which is also what the app calls its version.
    pub version: &'static str,
    /// What it does when it runs.
    pub behaviour: Behaviour,
    /// Its manifest; the manifest's digest is the image's.
    pub manifest: Blob,
    /// Its configuration.
    pub config: Blob,
    /// Its only layer.
    pub layer: Blob,
}

impl Image {
    /// What the image is pinned by.
    pub fn digest(&self) -> &Digest {
        &self.manifest.digest
    }
}

/// Every version there is.
const VERSIONS: [(&str, Behaviour); 7] = [
    ("1.0", Behaviour::Serves),
    ("1.1", Behaviour::Serves),
    ("1.2", Behaviour::Serves),
    ("2.0", Behaviour::Serves),
    ("unhealthy", Behaviour::Unhealthy),
    ("crash", Behaviour::Crashes),
    ("slow", Behaviour::ServesAfter(Duration::from_secs(3))),
];

/// What `latest` stands for, unless [`Images::moved`] says otherwise.
const LATEST: &str = "2.0";

static CATALOGUE: LazyLock<Vec<Image>> = LazyLock::new(|| {
    VERSIONS.iter().filter_map(|(version, behaviour)| build(version, *behaviour)).collect()
});

/// All images, in the order of their making.
pub fn catalogue() -> &'static [Image] {
    &CATALOGUE
}

/// The image with this digest.
pub fn by_digest(digest: &Digest) -> Option<&'static Image> {
    catalogue().iter().find(|image| image.digest() == digest)
}

/// How a registry asks for a login.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Challenge {
    /// A token from a service beside it, as GitLab and Docker Hub do.
    #[default]
    Bearer,
    /// User name and password with every request.
    Basic,
}

/// Which image each tag stands for, and who may have it.
#[derive(Debug, Clone, Default)]
pub struct Images {
    /// The only login that is let in; `None`: everyone is, with any login or none.
    pub login: Option<Credentials>,
    /// How the registry asks for it.
    pub challenge: Challenge,
    /// Tags that stand for another version than the one they were made for: tag to version. A mutable tag that moved.
    pub moved: BTreeMap<String, String>,
}

/// Why an image cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotHad {
    /// No login, or a wrong one.
    #[error("unauthorized: authentication required")]
    Unauthorized,
    /// No such tag or digest.
    #[error("manifest unknown: manifest unknown")]
    Unknown,
}

impl Images {
    /// The image a tag or a digest stands for, for somebody with these credentials.
    pub fn get(
        &self,
        reference: &str,
        credentials: Option<&Credentials>,
    ) -> Result<&'static Image, NotHad> {
        if !self.admits(credentials) {
            return Err(NotHad::Unauthorized);
        }
        self.find(reference).ok_or(NotHad::Unknown)
    }

    /// Whether these credentials are let in.
    pub fn admits(&self, credentials: Option<&Credentials>) -> bool {
        self.login.as_ref().is_none_or(|login| credentials == Some(login))
    }

    /// The image a tag or a digest stands for.
    pub fn find(&self, reference: &str) -> Option<&'static Image> {
        if let Ok(digest) = reference.parse() {
            return by_digest(&digest);
        }
        let usual = if reference == "latest" { LATEST } else { reference };
        let version = self.moved.get(reference).map_or(usual, String::as_str);
        catalogue().iter().find(|image| image.version == version)
    }

    /// The tags, in order.
    pub fn tags(&self) -> Vec<String> {
        let own = VERSIONS.iter().map(|(version, _)| (*version).to_owned());
        let mut tags: Vec<_> = own.chain(["latest".to_owned()]).collect();
        tags.extend(self.moved.keys().cloned());
        tags.sort();
        tags.dedup();
        tags
    }

    /// A blob of any image.
    pub fn blob(&self, digest: &Digest) -> Option<&'static Blob> {
        let blobs = catalogue().iter().flat_map(|image| [&image.config, &image.layer]);
        blobs.into_iter().find(|blob| blob.digest == *digest)
    }
}

fn build(version: &'static str, behaviour: Behaviour) -> Option<Image> {
    let layer = blob(tar("app/VERSION", format!("{version}\n").as_bytes()))?;
    // Keys in alphabetical order: serde_json keeps or sorts them by a feature that any crate of a build may switch on,
    // and the digest must not depend on it.
    let config = json!({
        "architecture": "amd64",
        "config": {
            "Entrypoint": ["/app/demo"],
            "ExposedPorts": { "8080/tcp": {} },
            "Labels": { "org.opencontainers.image.version": version },
            "StopSignal": "SIGTERM",
        },
        "history": [{ "created_by": "COPY app /app" }],
        "os": "linux",
        "rootfs": { "diff_ids": [layer.digest.as_str()], "type": "layers" },
    });
    let config = blob(config.to_string().into_bytes())?;
    let descriptor = |kind: &str, blob: &Blob| json!({ "digest": blob.digest.as_str(), "mediaType": kind, "size": blob.bytes.len() });
    let manifest = json!({
        "config": descriptor(CONFIG_TYPE, &config),
        "layers": [descriptor(LAYER_TYPE, &layer)],
        "mediaType": MANIFEST_TYPE,
        "schemaVersion": 2,
    });
    let manifest = blob(manifest.to_string().into_bytes())?;
    Some(Image { version, behaviour, manifest, config, layer })
}

fn blob(bytes: Vec<u8>) -> Option<Blob> {
    let digest = format!("sha256:{}", hex(&Sha256::digest(&bytes))).parse().ok()?;
    Some(Blob { digest, bytes })
}

/// A tar archive (ustar) of one small file, with no time and no owner, so that it is the same everywhere.
fn tar(path: &str, content: &[u8]) -> Vec<u8> {
    const BLOCK: usize = 512;
    let mut header = [0u8; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(place) = header.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    };
    put(0, path.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{:011o}\0", content.len()).as_bytes());
    put(136, b"00000000000\0");
    // The sum is taken with its own field full of spaces.
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    if let Some(place) = header.get_mut(148..156) {
        place.copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    let mut archive = header.to_vec();
    archive.extend_from_slice(content);
    let padded = archive.len().next_multiple_of(BLOCK) + 2 * BLOCK;
    archive.resize(padded, 0);
    archive
}

#[cfg(test)]
mod tests {
    use super::*;
    use seachange_core::secret::Secret;

    #[test]
    fn every_version_is_an_image_of_its_own() {
        assert_eq!(catalogue().len(), VERSIONS.len());
        let digests: std::collections::BTreeSet<_> =
            catalogue().iter().map(|image| image.digest().clone()).collect();
        assert_eq!(digests.len(), VERSIONS.len());
        for image in catalogue() {
            assert_eq!(by_digest(image.digest()), Some(image));
            assert_eq!(Images::default().find(image.version), Some(image));
        }
    }

    #[test]
    fn digests_are_the_same_everywhere() {
        let digest = Images::default().find("1.0").map(|image| image.digest().to_string());
        assert_eq!(
            digest.as_deref(),
            Some("sha256:b39f8446fb71654ec514ccb1680194439e371b0f5c1a9980ded1a2a8ac4e2d5b")
        );
    }

    #[test]
    fn the_layer_is_a_tar_that_tar_reads() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("layer.tar");
        std::fs::write(&path, &catalogue()[0].layer.bytes).unwrap();
        let output =
            std::process::Command::new("tar").arg("-xOf").arg(&path).arg("app/VERSION").output();
        assert_eq!(output.unwrap().stdout, b"1.0\n");
    }

    #[test]
    fn a_tag_can_have_moved_and_a_digest_cannot() {
        let pinned = Images::default().find("1.1").unwrap().digest().clone();
        let moved = BTreeMap::from([("1.1".to_owned(), "1.2".to_owned())]);
        let images = Images { moved, ..Images::default() };
        assert_eq!(images.find("1.1").unwrap().version, "1.2");
        assert_eq!(images.find(pinned.as_str()).unwrap().version, "1.1");
        assert_eq!(images.find("latest").unwrap().version, LATEST);
        assert_eq!(images.find("9.9"), None);
    }

    #[test]
    fn a_login_is_asked_for_before_anything_is_told() {
        let login = |password: &str| Credentials {
            username: Secret::new("demo"),
            password: Secret::new(password),
        };
        let images = Images { login: Some(login("right")), ..Images::default() };
        assert_eq!(images.get("9.9", None), Err(NotHad::Unauthorized));
        assert_eq!(images.get("1.0", Some(&login("wrong"))), Err(NotHad::Unauthorized));
        assert_eq!(images.get("9.9", Some(&login("right"))), Err(NotHad::Unknown));
        assert!(images.get("1.0", Some(&login("right"))).is_ok());
        assert!(Images::default().get("1.0", Some(&login("any"))).is_ok());
    }
}
