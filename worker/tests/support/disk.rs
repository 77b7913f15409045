//! A small file system, to be full.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A mounted file system in memory; unmounted when it is dropped.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Whether mounting is permitted here.
    pub(crate) fn is_possible() -> bool {
        let dir = tempfile::tempdir().unwrap();
        let possible = mount(dir.path(), "64k");
        if possible {
            unmount(dir.path());
        }
        possible
    }

    pub(crate) fn mount(at: &Path, size: &str) -> Self {
        assert!(mount(at, size), "it cannot be mounted");
        Self(at.to_owned())
    }

    /// Fills it to the last byte.
    pub(crate) fn fill(&self) {
        // Writing fails at the end, which is what is wanted.
        let _ = std::fs::write(self.0.join("filler"), vec![b'x'; 64 << 20]);
    }

    /// Takes away what [`Self::fill`] has put there.
    pub(crate) fn empty(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

fn mount(at: &Path, size: &str) -> bool {
    let mut command = Command::new("mount");
    command.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(at).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn unmount(at: &Path) {
    let _ = Command::new("umount").arg("-l").arg(at).status();
}
