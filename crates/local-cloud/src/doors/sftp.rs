//! SFTP on a machine's files: version 3 with OpenSSH's `posix-rename` and `fsync`.
//!
//! A plain rename refuses to replace a file, as OpenSSH's server does; `posix-rename` replaces.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;

use russh_sftp::protocol::{
    Attrs, Data, File, FileAttributes, Handle, Name, OpenFlags, Packet, Status, StatusCode, Version,
};
use russh_sftp::server::{Handler, StatusReply};

use super::Site;
use crate::machine::files::{self, FileError, USUAL_MODE, normal};

const POSIX_RENAME: &str = "posix-rename@openssh.com";
const FSYNC: &str = "fsync@openssh.com";
const PERMISSION_BITS: u32 = 0o7777;

/// One SFTP session.
pub(super) struct Files {
    site: Arc<Site>,
    address: Ipv4Addr,
    /// Handle to path and flags.
    open: BTreeMap<String, (String, OpenFlags)>,
    opened: u64,
}

impl Files {
    pub(super) fn new(site: Arc<Site>, address: Ipv4Addr) -> Self {
        Self { site, address, open: BTreeMap::new(), opened: 0 }
    }

    fn look<T>(
        &self,
        act: impl FnOnce(&files::Files) -> Result<T, FileError>,
    ) -> Result<T, StatusReply> {
        self.site
            .machine(self.address, |machine, _| act(machine.files()))
            .ok_or(StatusCode::ConnectionLost)?
            .map_err(refusal)
    }

    fn change<T>(
        &self,
        act: impl FnOnce(&mut files::Files) -> Result<T, FileError>,
    ) -> Result<T, StatusReply> {
        self.site
            .machine(self.address, |machine, _| act(machine.files_mut()))
            .ok_or(StatusCode::ConnectionLost)?
            .map_err(refusal)
    }

    fn opened(&self, handle: &str) -> Result<&(String, OpenFlags), StatusReply> {
        self.open.get(handle).ok_or_else(|| StatusCode::Failure.with_message("no such handle"))
    }

    fn attributes(&self, path: &str) -> Result<FileAttributes, StatusReply> {
        self.look(|files| {
            let mut attributes =
                FileAttributes { uid: Some(0), gid: Some(0), ..FileAttributes::empty() };
            match files.get(path) {
                Ok(file) => {
                    attributes.size = Some(file.bytes.len() as u64);
                    attributes.permissions = Some(file.mode);
                    attributes.set_regular(true);
                }
                Err(FileError::IsFolder) => {
                    attributes.permissions = Some(0o755);
                    attributes.set_dir(true);
                }
                Err(error) => return Err(error),
            }
            Ok(attributes)
        })
    }

    fn set_attributes(&self, path: &str, wanted: &FileAttributes) -> Result<(), StatusReply> {
        self.change(|files| {
            let file = files.get_mut(path)?;
            if let Some(mode) = wanted.permissions {
                file.mode = mode & PERMISSION_BITS;
            }
            if let Some(size) = wanted.size.and_then(|size| usize::try_from(size).ok()) {
                file.bytes.resize(size, 0);
            }
            Ok(())
        })
    }
}

impl Handler for Files {
    type Error = StatusReply;

    fn unimplemented(&self) -> Self::Error {
        StatusCode::OpUnsupported.into()
    }

    async fn init(&mut self, _: u32, _: HashMap<String, String>) -> Result<Version, Self::Error> {
        let mut version = Version::new();
        for extension in [POSIX_RENAME, FSYNC] {
            version.extensions.insert(extension.to_owned(), "1".to_owned());
        }
        Ok(version)
    }

    async fn open(
        &mut self,
        id: u32,
        path: String,
        flags: OpenFlags,
        attributes: FileAttributes,
    ) -> Result<Handle, Self::Error> {
        let mode = attributes.permissions.map_or(USUAL_MODE, |mode| mode & PERMISSION_BITS);
        if flags.contains(OpenFlags::CREATE) {
            self.change(|files| {
                if flags.contains(OpenFlags::EXCLUDE) && files.get(&path).is_ok() {
                    return Err(FileError::Exists);
                }
                let file = files.open(&path, mode)?;
                if flags.contains(OpenFlags::TRUNCATE) {
                    file.bytes.clear();
                }
                Ok(())
            })?;
        } else if flags.contains(OpenFlags::TRUNCATE) {
            self.change(|files| files.get_mut(&path).map(|file| file.bytes.clear()))?;
        } else {
            self.look(|files| files.get(&path).map(drop))?;
        }
        self.opened += 1;
        let handle = self.opened.to_string();
        self.open.insert(handle.clone(), (path, flags));
        Ok(Handle { id, handle })
    }

    async fn close(&mut self, id: u32, handle: String) -> Result<Status, Self::Error> {
        self.opened(&handle)?;
        self.open.remove(&handle);
        Ok(done(id))
    }

    async fn read(
        &mut self,
        id: u32,
        handle: String,
        offset: u64,
        length: u32,
    ) -> Result<Data, Self::Error> {
        let (path, _) = self.opened(&handle)?;
        let data = self.look(|files| {
            let bytes = &files.get(path)?.bytes;
            let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
            let to = from.saturating_add(length as usize).min(bytes.len());
            Ok(bytes[from..to].to_vec())
        })?;
        if data.is_empty() { Err(StatusCode::Eof.into()) } else { Ok(Data { id, data }) }
    }

    async fn write(
        &mut self,
        id: u32,
        handle: String,
        offset: u64,
        data: Vec<u8>,
    ) -> Result<Status, Self::Error> {
        let (path, flags) = self.opened(&handle)?;
        if !flags.contains(OpenFlags::WRITE) && !flags.contains(OpenFlags::APPEND) {
            return Err(StatusCode::PermissionDenied.into());
        }
        self.change(|files| {
            let bytes = &mut files.get_mut(path)?.bytes;
            let from = match flags.contains(OpenFlags::APPEND) {
                true => bytes.len(),
                false => usize::try_from(offset).unwrap_or(usize::MAX),
            };
            let to = from.saturating_add(data.len());
            if bytes.len() < to {
                bytes.resize(to, 0);
            }
            bytes[from..to].copy_from_slice(&data);
            Ok(())
        })?;
        Ok(done(id))
    }

    async fn stat(&mut self, id: u32, path: String) -> Result<Attrs, Self::Error> {
        Ok(Attrs { id, attrs: self.attributes(&path)? })
    }

    async fn lstat(&mut self, id: u32, path: String) -> Result<Attrs, Self::Error> {
        self.stat(id, path).await
    }

    async fn fstat(&mut self, id: u32, handle: String) -> Result<Attrs, Self::Error> {
        let (path, _) = self.opened(&handle)?.clone();
        self.stat(id, path).await
    }

    async fn setstat(
        &mut self,
        id: u32,
        path: String,
        wanted: FileAttributes,
    ) -> Result<Status, Self::Error> {
        self.set_attributes(&path, &wanted)?;
        Ok(done(id))
    }

    async fn fsetstat(
        &mut self,
        id: u32,
        handle: String,
        wanted: FileAttributes,
    ) -> Result<Status, Self::Error> {
        let (path, _) = self.opened(&handle)?.clone();
        self.setstat(id, path, wanted).await
    }

    async fn remove(&mut self, id: u32, path: String) -> Result<Status, Self::Error> {
        self.change(|files| files.remove(&path))?;
        Ok(done(id))
    }

    async fn mkdir(
        &mut self,
        id: u32,
        path: String,
        _: FileAttributes,
    ) -> Result<Status, Self::Error> {
        self.change(|files| {
            if files.is_folder(&path) || files.get(&path).is_ok() {
                return Err(FileError::Exists);
            }
            files.make_folder(&path);
            Ok(())
        })?;
        Ok(done(id))
    }

    async fn realpath(&mut self, id: u32, path: String) -> Result<Name, Self::Error> {
        Ok(Name { id, files: vec![File::dummy(normal(&path))] })
    }

    async fn rename(&mut self, id: u32, from: String, to: String) -> Result<Status, Self::Error> {
        self.change(|files| match files.get(&to) {
            Ok(_) => Err(FileError::Exists),
            Err(_) => files.rename(&from, &to),
        })?;
        Ok(done(id))
    }

    async fn extended(
        &mut self,
        id: u32,
        request: String,
        data: Vec<u8>,
    ) -> Result<Packet, Self::Error> {
        match (request.as_str(), &strings(&data)[..]) {
            (POSIX_RENAME, [from, to]) => self.change(|files| files.rename(from, to))?,
            // What is written is in the world at once.
            (FSYNC, [handle]) => drop(self.opened(handle)?),
            _ => return Err(self.unimplemented()),
        }
        Ok(Packet::Status(done(id)))
    }
}

/// The strings of an extended request: each with its length in front.
fn strings(mut data: &[u8]) -> Vec<String> {
    let mut strings = Vec::new();
    while let Some((length, rest)) = data.split_first_chunk() {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let Some((text, rest)) = rest.split_at_checked(length) else { break };
        strings.push(String::from_utf8_lossy(text).into_owned());
        data = rest;
    }
    strings
}

fn done(id: u32) -> Status {
    Status {
        id,
        status_code: StatusCode::Ok,
        error_message: "Success".to_owned(),
        language_tag: "en".to_owned(),
    }
}

fn refusal(error: FileError) -> StatusReply {
    match error {
        FileError::Missing => StatusCode::NoSuchFile.into(),
        FileError::IsFolder | FileError::Exists => {
            StatusCode::Failure.with_message(error.to_string())
        }
    }
}
