//! Tells at once that something was written in files or directories, where the system can (inotify, on Linux). It is a hint only, to look now and
//! not at the next turn: whatever it misses, and where it is not to be had, the next turn finds.

use std::path::Path;

/// What stirs in some files and directories; not what is below these.
pub(super) struct Stir(#[cfg(target_os = "linux")] Option<tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>>);

#[cfg(target_os = "linux")]
impl Stir {
    /// One that watches nothing yet.
    #[expect(deprecated, reason = "its successor is unsafe, for types that may change their descriptor; this one does not")]
    pub(super) fn new() -> Self {
        use rustix::fs::inotify::{CreateFlags, init};
        let made = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).map_err(std::io::Error::from);
        let made = made.and_then(|fd| tokio::io::unix::AsyncFd::with_interest(fd, tokio::io::Interest::READABLE));
        Self(made.inspect_err(|error| tracing::debug!("no inotify: {error}")).ok())
    }

    /// Watches a file or directory. To be called again and again: another one may have taken its place.
    pub(super) fn watch(&self, path: &Path) {
        use rustix::fs::inotify::{WatchFlags, add_watch};
        let Some(fd) = &self.0 else { return };
        let written = WatchFlags::CLOSE_WRITE | WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVE;
        let gone = WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF | WatchFlags::ATTRIB;
        // What is not there, or is one too many, is found at the next turn.
        let _ = add_watch(fd, path, written | gone);
    }

    /// Waits until something has stirred.
    pub(super) async fn stirred(&self) {
        let Some(fd) = &self.0 else { return std::future::pending().await };
        let (mut some, mut buffer) = (false, [0_u8; 4096]);
        while !some {
            let Ok(mut ready) = fd.readable().await else { return std::future::pending().await };
            while let Ok(Ok(1..)) = ready.try_io(|fd| Ok(rustix::io::read(fd, &mut buffer)?)) {
                some = true;
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl Stir {
    /// One that tells nothing.
    pub(super) fn new() -> Self {
        Self()
    }

    /// Does nothing.
    pub(super) fn watch(&self, _path: &Path) {}

    /// Never comes back.
    pub(super) async fn stirred(&self) {
        std::future::pending().await
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::Stir;
    use std::fs;

    #[tokio::test]
    async fn what_is_written_in_a_directory_and_what_takes_the_place_of_a_file_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let (file, next) = (dir.path().join("a"), dir.path().join("elsewhere/b"));
        fs::create_dir(dir.path().join("elsewhere")).unwrap();
        fs::write(&file, "1").unwrap();
        let (of_file, of_dir) = (Stir::new(), Stir::new());
        of_file.watch(&file);
        of_dir.watch(dir.path());
        of_dir.watch(&dir.path().join("not there"));
        fs::write(&file, "2").unwrap();
        of_file.stirred().await;
        of_dir.stirred().await;
        fs::write(&next, "3").unwrap();
        fs::rename(&next, &file).unwrap();
        of_file.stirred().await;
        of_dir.stirred().await;
        of_file.watch(&file);
        fs::write(&file, "4").unwrap();
        of_file.stirred().await;
    }
}
