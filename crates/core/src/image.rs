//! References to app images and their digests.

use std::fmt;
use std::str::FromStr;

/// `sha256:` and 64 hex digits.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `sha256:aa41…`, for people.
    pub fn short(&self) -> String {
        format!("{}…", &self.0[..11])
    }
}

/// A reference: registry host, repository, and a tag or a digest. `nginx` means `docker.io/library/nginx:latest`.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct ImageRef {
    /// Host and port, such as `registry.gitlab.com`.
    pub registry: String,
    /// Path, such as `mebbinghaus/webgui`.
    pub repository: String,
    /// Tag; `latest` if the text had neither tag nor digest.
    pub tag: Option<String>,
    /// Digest, if the text pinned one.
    pub digest: Option<Digest>,
}

impl ImageRef {
    /// The last part of the repository, for people: `webgui`.
    pub fn short_name(&self) -> &str {
        self.repository.rsplit('/').next().unwrap_or(&self.repository)
    }

    /// What people call this version: the tag, else the short digest.
    pub fn version(&self) -> String {
        match (&self.tag, &self.digest) {
            (Some(tag), _) => tag.clone(),
            (None, Some(digest)) => digest.short(),
            (None, None) => "latest".to_owned(),
        }
    }

    /// `registry/repository@sha256:…`: what exactly is pulled.
    pub fn pinned(&self, digest: &Digest) -> String {
        format!("{}/{}@{digest}", self.registry, self.repository)
    }
}

/// Why a text is not an image reference or a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// Not a digest.
    #[error("`{0}` is not a digest: expected `sha256:` and 64 lower-case hex digits")]
    Digest(String),
    /// Not a reference.
    #[error("`{text}` is not an image reference: {why}")]
    Reference {
        /// The text.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl FromStr for Digest {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        let hex = text.strip_prefix("sha256:").filter(|hex| hex.len() == 64);
        match hex {
            Some(hex) if hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(ImageError::Digest(text.to_owned())),
        }
    }
}

impl FromStr for ImageRef {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        let bad = |why| ImageError::Reference { text: text.to_owned(), why };
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.parse()?)),
            None => (text, None),
        };
        let (name, tag) = match name.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag.to_owned())),
            _ => (name, None),
        };
        if tag.as_deref().is_some_and(|tag| !is_tag(tag)) {
            return Err(bad(
                "a tag has letters, digits, `_`, `.` and `-`, and at most 128 of them",
            ));
        }
        let (registry, path) = match name.split_once('/') {
            Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => {
                (host, path.to_owned())
            }
            Some(_) => ("docker.io", name.to_owned()),
            None => ("docker.io", format!("library/{name}")),
        };
        let part = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
        };
        if name.is_empty() || !path.split('/').all(part) {
            return Err(bad("a repository has lower-case letters, digits, `.`, `_`, `-` and `/`"));
        }
        if !is_host(registry) {
            return Err(bad("a registry is a host name, with a port if it has its own"));
        }
        let tag = tag.or_else(|| digest.is_none().then(|| "latest".to_owned()));
        Ok(Self { registry: registry.to_owned(), repository: path, tag, digest })
    }
}

fn is_host(registry: &str) -> bool {
    let (host, port) = registry.split_once(':').unwrap_or((registry, "443"));
    host.starts_with(|c: char| c.is_ascii_alphanumeric())
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'))
        && port.bytes().all(|b| b.is_ascii_digit())
        && port.parse::<u16>().is_ok()
}

fn is_tag(tag: &str) -> bool {
    (1..=128).contains(&tag.len())
        && !tag.starts_with(['.', '-'])
        && tag.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl TryFrom<String> for Digest {
    type Error = ImageError;

    fn try_from(text: String) -> Result<Self, ImageError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl TryFrom<String> for ImageRef {
    type Error = ImageError;

    fn try_from(text: String) -> Result<Self, ImageError> {
        text.parse()
    }
}

impl From<ImageRef> for String {
    fn from(image: ImageRef) -> Self {
        image.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::ImageRef;

    #[test]
    fn references_are_read_as_docker_reads_them() {
        let read = |text: &str| text.parse::<ImageRef>().map(|image| image.to_string());
        assert_eq!(read("nginx").as_deref(), Ok("docker.io/library/nginx:latest"));
        assert_eq!(read("user/app:1.0").as_deref(), Ok("docker.io/user/app:1.0"));
        assert_eq!(
            read("registry.gitlab.com/mebbinghaus/webgui:1.0").as_deref(),
            Ok("registry.gitlab.com/mebbinghaus/webgui:1.0")
        );
        assert_eq!(read("localhost:5000/a/b").as_deref(), Ok("localhost:5000/a/b:latest"));
        let digest = format!("r.example/a@sha256:{}", "0".repeat(64));
        assert_eq!(read(&digest).as_deref(), Ok(digest.as_str()));
        for bad in [
            "",
            "a b",
            "A/b",
            "r.example/a:",
            "r.example/a:-x",
            "r.example/a@sha256:12",
            "r.example//a",
        ] {
            assert!(read(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
