//! The droplet's files, over SFTP. A handle is the file's path.

use std::sync::{Arc, Mutex};

use russh_sftp::protocol::{Attrs, Data, FileAttributes, Handle, OpenFlags, Status, StatusCode};
use russh_sftp::server::Handler;

use crate::droplet::World;

pub(crate) struct Sftp {
    world: Arc<Mutex<World>>,
}

impl Sftp {
    pub(crate) fn new(world: Arc<Mutex<World>>) -> Self {
        Self { world }
    }

    fn size(&self, path: &str) -> Result<u64, StatusCode> {
        self.world
            .lock()
            .unwrap()
            .files
            .get(path)
            .map(|bytes| bytes.len() as u64)
            .ok_or(StatusCode::NoSuchFile)
    }
}

fn fine(id: u32) -> Status {
    Status {
        id,
        status_code: StatusCode::Ok,
        error_message: String::new(),
        language_tag: String::new(),
    }
}

impl Handler for Sftp {
    type Error = StatusCode;

    fn unimplemented(&self) -> StatusCode {
        StatusCode::OpUnsupported
    }

    async fn open(
        &mut self,
        id: u32,
        filename: String,
        pflags: OpenFlags,
        _attrs: FileAttributes,
    ) -> Result<Handle, StatusCode> {
        if pflags.contains(OpenFlags::CREATE | OpenFlags::TRUNCATE) {
            self.world.lock().unwrap().files.insert(filename.clone(), Vec::new());
        }
        self.size(&filename)?;
        Ok(Handle { id, handle: filename })
    }

    async fn close(&mut self, id: u32, _handle: String) -> Result<Status, StatusCode> {
        Ok(fine(id))
    }

    async fn read(
        &mut self,
        id: u32,
        handle: String,
        offset: u64,
        len: u32,
    ) -> Result<Data, StatusCode> {
        let world = self.world.lock().unwrap();
        let rest = world.files[&handle].get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        if rest.is_empty() {
            return Err(StatusCode::Eof);
        }
        Ok(Data { id, data: rest[..rest.len().min(len as usize)].to_vec() })
    }

    async fn write(
        &mut self,
        id: u32,
        handle: String,
        offset: u64,
        data: Vec<u8>,
    ) -> Result<Status, StatusCode> {
        let mut world = self.world.lock().unwrap();
        let file = world.files.get_mut(&handle).unwrap();
        let offset = usize::try_from(offset).unwrap();
        file.resize(file.len().max(offset + data.len()), 0);
        file[offset..offset + data.len()].copy_from_slice(&data);
        Ok(fine(id))
    }

    async fn stat(&mut self, id: u32, path: String) -> Result<Attrs, StatusCode> {
        let attrs = FileAttributes { size: Some(self.size(&path)?), ..FileAttributes::empty() };
        Ok(Attrs { id, attrs })
    }

    async fn setstat(
        &mut self,
        id: u32,
        path: String,
        attrs: FileAttributes,
    ) -> Result<Status, StatusCode> {
        self.size(&path)?;
        assert_eq!(attrs.permissions.map(|mode| mode & 0o7777), Some(0o644));
        Ok(fine(id))
    }

    async fn remove(&mut self, id: u32, filename: String) -> Result<Status, StatusCode> {
        let removed = self.world.lock().unwrap().files.remove(&filename);
        removed.map(|_| fine(id)).ok_or(StatusCode::NoSuchFile)
    }
}
