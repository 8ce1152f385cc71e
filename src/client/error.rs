//! Why no client was generated.

use std::io;
use std::path::PathBuf;

/// Why no client was generated, or why a check failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The arguments of the program are not understood.
    #[error("usage: client DIR [--name NAME] [--check]")]
    Usage,
    /// Two names of the domains are the same in TypeScript.
    #[error("`{0}` and `{1}` are both called {2} in TypeScript: rename one of them")]
    SameName(String, String, String),
    /// The folder does not have the files that would be generated.
    #[error("{0} is stale ({1}): generate it again, without --check")]
    Stale(PathBuf, String),
    /// The folder's `package.json` has no name to keep.
    #[error("{0} has no name: pass --name")]
    Manifest(PathBuf),
    /// A file cannot be read.
    #[error("cannot read {0}")]
    Read(PathBuf, #[source] io::Error),
    /// A file or folder cannot be written.
    #[error("cannot write {0}")]
    Write(PathBuf, #[source] io::Error),
}
