//! A machine's files: whole contents by absolute path, with modes and the folders they may lie in.
//!
//! Errors carry the system's own words, so that a shell command and an SFTP request fail as they would on a droplet.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Content.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub bytes: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
}

/// Why a file operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// Neither file nor folder.
    #[error("No such file or directory")]
    Missing,
    /// A folder where a file is wanted.
    #[error("Is a directory")]
    IsFolder,
    /// Something is there already.
    #[error("File exists")]
    Exists,
}

/// All files of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    files: BTreeMap<String, File>,
    folders: BTreeSet<String>,
}

/// The mode of a file that says nothing else.
pub const USUAL_MODE: u32 = 0o644;
const FOLDERS: [&str; 8] = ["/", "/etc", "/etc/ssh", "/home", HOME, "/tmp", "/var", "/var/lib"];
/// Where a login begins.
const HOME: &str = "/root";

impl Default for Files {
    fn default() -> Self {
        Self { files: BTreeMap::new(), folders: FOLDERS.map(str::to_owned).into() }
    }
}

impl Files {
    /// The file.
    pub fn get(&self, path: &str) -> Result<&File, FileError> {
        let path = normal(path);
        match self.files.get(&path) {
            Some(file) => Ok(file),
            None if self.folders.contains(&path) => Err(FileError::IsFolder),
            None => Err(FileError::Missing),
        }
    }

    /// Whether the path is a folder.
    pub fn is_folder(&self, path: &str) -> bool {
        self.folders.contains(&normal(path))
    }

    /// Makes a folder, with those above it.
    pub fn make_folder(&mut self, path: &str) {
        let path = normal(path);
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        self.folders.extend(ends.filter(|end| *end > 0).map(|end| path[..end].to_owned()));
    }

    /// The file for changing it; made with this mode if it is missing.
    pub fn open(&mut self, path: &str, mode: u32) -> Result<&mut File, FileError> {
        let path = self.place(path)?;
        Ok(self.files.entry(path).or_insert_with(|| File { bytes: Vec::new(), mode }))
    }

    /// The file for changing it.
    pub fn get_mut(&mut self, path: &str) -> Result<&mut File, FileError> {
        let path = normal(path);
        if self.folders.contains(&path) {
            return Err(FileError::IsFolder);
        }
        self.files.get_mut(&path).ok_or(FileError::Missing)
    }

    /// Puts a whole file in place; one that is there keeps its mode.
    pub fn write(&mut self, path: &str, bytes: Vec<u8>) -> Result<(), FileError> {
        self.open(path, USUAL_MODE)?.bytes = bytes;
        Ok(())
    }

    /// Renames, over a file that is there.
    pub fn rename(&mut self, from: &str, to: &str) -> Result<(), FileError> {
        self.get(from)?;
        let to = self.place(to)?;
        if let Some(file) = self.files.remove(&normal(from)) {
            self.files.insert(to, file);
        }
        Ok(())
    }

    /// Copies content and mode, over a file that is there.
    pub fn copy(&mut self, from: &str, to: &str) -> Result<(), FileError> {
        let file = self.get(from)?.clone();
        let to = self.place(to)?;
        self.files.insert(to, file);
        Ok(())
    }

    /// Removes a file.
    pub fn remove(&mut self, path: &str) -> Result<(), FileError> {
        self.get(path)?;
        self.files.remove(&normal(path));
        Ok(())
    }

    /// The normal form of a path at which a file may be.
    fn place(&self, path: &str) -> Result<String, FileError> {
        let path = normal(path);
        let folder = match path.rsplit_once('/') {
            Some(("", _)) | None => "/",
            Some((folder, _)) => folder,
        };
        match (self.folders.contains(folder), self.folders.contains(&path)) {
            (_, true) => Err(FileError::IsFolder),
            (false, false) => Err(FileError::Missing),
            (true, false) => Ok(path),
        }
    }
}

/// Absolute and without `.`, `..` and doubled slashes. Relative paths start at root's home, as for a login.
pub fn normal(path: &str) -> String {
    let absolute = if path.starts_with('/') { path.to_owned() } else { format!("{HOME}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in absolute.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn to_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD.decode(text).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_lie_in_folders_that_exist() {
        let mut files = Files::default();
        assert_eq!(files.write("/etc/haproxy/a", b"1".to_vec()), Err(FileError::Missing));
        files.make_folder("/etc/haproxy/conf.d");
        assert_eq!(files.write("/etc/haproxy/a", b"1".to_vec()), Ok(()));
        assert!(files.is_folder("/etc/haproxy/conf.d"));
        assert_eq!(files.write("/etc/haproxy", b"1".to_vec()), Err(FileError::IsFolder));
        assert_eq!(files.get("/etc/haproxy"), Err(FileError::IsFolder));
    }

    #[test]
    fn a_rename_replaces_and_a_copy_keeps() {
        let mut files = Files::default();
        files.write("/tmp/new", b"new".to_vec()).unwrap();
        files.write("/tmp/old", b"old".to_vec()).unwrap();
        files.copy("/tmp/new", "/tmp/copy").unwrap();
        files.rename("/tmp/new", "/tmp/old").unwrap();
        assert_eq!(files.get("/tmp/old").unwrap().bytes, b"new");
        assert_eq!(files.get("/tmp/copy").unwrap().bytes, b"new");
        assert_eq!(files.get("/tmp/new"), Err(FileError::Missing));
        assert_eq!(files.rename("/tmp/new", "/tmp/x"), Err(FileError::Missing));
        // Onto itself it must not vanish.
        files.rename("/tmp/old", "/tmp/../tmp//old").unwrap();
        assert_eq!(files.get("/tmp/old").unwrap().bytes, b"new");
    }

    #[test]
    fn paths_are_brought_into_one_form() {
        for (path, wanted) in [
            ("a", format!("{HOME}/a")),
            ("/a//b/./../c/", "/a/c".into()),
            ("/../..", "/".into()),
            ("~", format!("{HOME}/~")),
        ] {
            assert_eq!(normal(path), wanted);
        }
    }

    #[test]
    fn bytes_that_are_no_text_survive_the_world_file() {
        let mut files = Files::default();
        files.write("/tmp/x", vec![0, 255, 10, 200]).unwrap();
        let text = serde_json::to_string(&files).unwrap();
        assert_eq!(serde_json::from_str::<Files>(&text).unwrap(), files);
    }
}
