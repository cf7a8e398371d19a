//! Files on the droplet, over SFTP: nothing to quote, nothing to parse, any content.

use russh::ChannelMsg;
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::client::{Config as SftpConfig, SftpSession};
use russh_sftp::protocol::{FileAttributes, OpenFlags, StatusCode};
use seachange_core::host::{HostError, Target};
use std::net::Ipv4Addr;
use tokio::io::AsyncWriteExt;

use super::{Door, Ssh, failed};

/// An SFTP session.
pub(crate) struct Files {
    address: Ipv4Addr,
    session: SftpSession,
}

impl Files {
    /// Opens a session; it ends when this value is dropped.
    pub(crate) async fn open(ssh: &Ssh, target: &Target) -> Result<Self, HostError> {
        let address = target.address;
        let operation = "opening an SFTP session";
        let limit = ssh.config.operation_timeout;
        let begin = async {
            let mut channel = ssh
                .open(target, Door::Session)
                .await
                .map_err(|error| error.during(address, operation))?;
            let broken =
                |error: russh::Error| failed(address, operation, super::session::words(&error));
            channel.request_subsystem(true, "sftp").await.map_err(broken)?;
            loop {
                match channel.wait().await {
                    Some(ChannelMsg::Success) => break,
                    Some(ChannelMsg::Failure) | None => {
                        return Err(failed(address, operation, "the SSH server offers no SFTP"));
                    }
                    Some(_) => {}
                }
            }
            let config = SftpConfig {
                request_timeout_secs: limit.as_secs().max(1),
                ..SftpConfig::default()
            };
            let session = SftpSession::new_with_config(channel.into_stream(), config).await;
            session.map_err(|error| failed(address, operation, error))
        };
        match tokio::time::timeout(limit, begin).await {
            Ok(session) => Ok(Self { address, session: session? }),
            Err(_) => Err(failed(address, operation, format!("no answer within {limit:?}"))),
        }
    }

    /// The whole file; `None` if there is none.
    pub(crate) async fn read(&self, path: &str) -> Result<Option<Vec<u8>>, HostError> {
        match self.session.read(path).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(self.failed("reading", path, error)),
        }
    }

    /// Is there such a file?
    pub(crate) async fn exists(&self, path: &str) -> Result<bool, HostError> {
        self.session.try_exists(path).await.map_err(|error| self.failed("looking for", path, error))
    }

    /// Writes the whole file, readable for all, and on disk when this returns (if the server can promise that).
    pub(crate) async fn write(&self, path: &str, bytes: &[u8]) -> Result<(), HostError> {
        let mode = FileAttributes { permissions: Some(0o644), ..FileAttributes::empty() };
        let flags = OpenFlags::CREATE | OpenFlags::TRUNCATE | OpenFlags::WRITE;
        let write = async {
            let mut file =
                self.session.open_with_flags_and_attributes(path, flags, mode.clone()).await?;
            file.write_all(bytes).await?;
            file.flush().await?;
            file.sync_all().await?;
            file.close().await?;
            // The mode above is cut by the server's umask and means nothing for a file that was there.
            self.session.set_metadata(path, mode).await
        };
        write.await.map_err(|error: SftpError| self.failed("writing", path, error))
    }

    /// Removes the file. An absent one is success.
    pub(crate) async fn remove(&self, path: &str) -> Result<(), HostError> {
        match self.session.remove_file(path).await {
            Err(error) if !is_absent(&error) => Err(self.failed("removing", path, error)),
            _ => Ok(()),
        }
    }

    fn failed(&self, verb: &str, path: &str, error: SftpError) -> HostError {
        failed(self.address, &format!("{verb} {path}"), error)
    }
}

fn is_absent(error: &SftpError) -> bool {
    matches!(error, SftpError::Status(status) if status.status_code == StatusCode::NoSuchFile)
}
