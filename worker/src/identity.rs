//! Who this worker is: the state directory, its lock, and the id that survives restarts.

use muster_protocol::ids::WorkerId;
use rustix::fs::FlockOperation;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// The state directory, held by this process.
#[derive(Debug)]
pub struct StateDir {
    /// Where it is.
    pub path: PathBuf,
    /// The worker's id.
    pub worker_id: WorkerId,
    /// The lock is held as long as this file is open.
    _lock: File,
}

/// Why a state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// It cannot be made or written.
    #[error("cannot use the state directory {path}: {reason}; choose another one with --state-dir")]
    Unusable {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Another worker has it.
    #[error(
        "the state directory {path} is in use by the worker with process id {holder}; stop that one, or give this one another --name or --state-dir"
    )]
    Locked {
        /// Which.
        path: PathBuf,
        /// By whom.
        holder: String,
    },
}

impl StateDir {
    /// Opens the directory, making it if it is not there, and takes its lock.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn open(path: &Path) -> Result<Self, IdentityError> {
        let unusable = |error: &dyn std::fmt::Display| IdentityError::Unusable { path: path.to_owned(), reason: error.to_string() };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|e| unusable(&e))?;
        let lock = lock(path).map_err(|e| unusable(&e))?;
        let lock = lock.map_err(|holder| IdentityError::Locked { path: path.to_owned(), holder })?;
        let worker_id = worker_id(&path.join("worker_id")).map_err(|e| unusable(&e))?;
        Ok(Self { path: path.to_owned(), worker_id, _lock: lock })
    }
}

/// The locked file, or the id of the process that holds it.
fn lock(dir: &Path) -> std::io::Result<Result<File, String>> {
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(dir.join("lock"))?;
    if !taken(&file) {
        let mut holder = String::new();
        file.read_to_string(&mut holder)?;
        let holder = holder.trim();
        return Ok(Err(if holder.is_empty() { "unknown".to_owned() } else { holder.to_owned() }));
    }
    // For people only: on a full disk the lock is held all the same.
    let noted = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    drop(noted);
    Ok(Ok(file))
}

/// Takes the lock, tried for a second: a daemon that is just ending, or its children on their way to their own program,
/// still have it for a moment.
fn taken(file: &File) -> bool {
    let free = || rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive).is_ok();
    free()
        || (0..20).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(50));
            free()
        })
}

fn worker_id(path: &Path) -> std::io::Result<WorkerId> {
    if let Ok(text) = fs::read_to_string(path)
        && let Ok(id) = text.trim().parse::<uuid::Uuid>()
    {
        return Ok(WorkerId(id.to_string()));
    }
    let id = uuid::Uuid::now_v7().to_string();
    write_durably(path, format!("{id}\n").as_bytes())?;
    Ok(WorkerId(id))
}

/// Writes a small private file so that after a crash it is there whole or not at all.
///
/// # Errors
/// As the file system says.
pub fn write_durably(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let draft = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    sync_parent(path)
}

/// Makes the name of a file durable.
///
/// # Errors
/// As the file system says.
pub fn sync_parent(path: &Path) -> std::io::Result<()> {
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::{IdentityError, StateDir};
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_id_survives_a_restart_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let first = StateDir::open(&path).unwrap().worker_id;
        assert_eq!(StateDir::open(&path).unwrap().worker_id, first);
        let mode = std::fs::metadata(path.join("worker_id")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_second_daemon_is_refused_with_the_holders_process_id() {
        let dir = tempfile::tempdir().unwrap();
        let _held = StateDir::open(dir.path()).unwrap();
        let error = StateDir::open(dir.path()).unwrap_err();
        assert!(matches!(&error, IdentityError::Locked { holder, .. } if *holder == std::process::id().to_string()), "{error}");
    }

    #[test]
    fn a_state_directory_that_is_a_file_is_a_clear_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(StateDir::open(file.path()), Err(IdentityError::Unusable { .. })));
    }
}
