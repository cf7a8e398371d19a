//! One file per command: arguments in, exit code out.

pub(crate) mod apply;
pub(crate) mod completions;
pub(crate) mod demo;
pub(crate) mod drift;
pub(crate) mod init;
pub(crate) mod local;
pub(crate) mod lock;
pub(crate) mod logs;
pub(crate) mod plan;
pub(crate) mod releases;
pub(crate) mod schema;
pub(crate) mod show;
pub(crate) mod state;
pub(crate) mod status;
pub(crate) mod validate;
