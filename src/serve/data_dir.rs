//! The data directory, and the locks that keep a second server away from it.

use crate::config::Config;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Only the user: tasks, conversations and hashes of tokens are in there.
const PRIVATE_DIR: u32 = 0o700;
const PRIVATE_FILE: u32 = 0o600;

/// Why the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// It cannot be made or written.
    #[error("cannot use the data directory: {path}: {reason}; make it writable for this user, or choose another one with --data-dir")]
    Unusable {
        /// What was tried to make or write.
        path: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
    /// Another server uses it.
    #[error("{what} is in use by {holder}; stop that server first, or give this one another --name or --data-dir")]
    Locked {
        /// The directory, or the database file.
        what: PathBuf,
        /// The other server, as far as known.
        holder: String,
    },
}

/// The locks on what only one server may use. They end with this value, and with the process however it ends.
#[derive(Debug)]
pub(super) struct DataDir {
    _locks: Vec<File>,
}

impl DataDir {
    /// Makes the directory if need be and locks it, and the embedded database if that is elsewhere.
    pub(super) fn take(config: &Config) -> Result<Self, DataDirError> {
        let dir = &config.data_dir;
        let unusable = |reason| DataDirError::Unusable { path: dir.clone(), reason };
        DirBuilder::new().recursive(true).mode(PRIVATE_DIR).create(dir).map_err(unusable)?;
        let mut locks = vec![lock(&dir.join("server.lock"), dir, &config.name)?];
        if let Some(file) = config.database.file().filter(|file| file.parent() != Some(dir)) {
            let mut path = file.as_os_str().to_owned();
            path.push(".lock");
            locks.push(lock(Path::new(&path), file, &config.name)?);
        }
        Ok(Self { _locks: locks })
    }
}

/// Locks `path` on behalf of `what`, and leaves in it who holds it.
fn lock(path: &Path, what: &Path, name: &str) -> Result<File, DataDirError> {
    let unusable = |reason| DataDirError::Unusable { path: path.to_owned(), reason };
    let mut options = OpenOptions::new();
    let mut file = options.read(true).write(true).create(true).truncate(false).mode(PRIVATE_FILE).open(path).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(DataDirError::Locked { what: what.to_owned(), holder: holder(&mut file) }),
        Err(TryLockError::Error(reason)) => return Err(unusable(reason)),
    }
    let note = format!("the server \"{name}\" (process {})\n", std::process::id());
    let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(note.as_bytes()));
    written.map_err(unusable)?;
    Ok(file)
}

/// Who holds the lock, as they left it in the file.
fn holder(file: &mut File) -> String {
    const LONGEST: u64 = 256;
    let mut note = String::new();
    match file.take(LONGEST).read_to_string(&mut note) {
        Ok(_) if !note.trim().is_empty() => note.trim().to_owned(),
        _ => "another server".to_owned(),
    }
}
