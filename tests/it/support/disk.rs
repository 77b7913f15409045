//! A small file system, to be full.

use anyhow::{Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted file system in memory; unmounted when it is dropped.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one of `size` (`2m`) at an empty directory.
    pub(crate) fn mount(at: &Path, size: &str) -> Result<Self> {
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(at).status()?;
        ensure!(status.success(), "mount: {status}");
        Ok(Self(at.to_owned()))
    }

    /// Fills it to the last byte.
    pub(crate) fn fill(&self) {
        // Writing fails at the end, which is what is wanted.
        let _ = std::fs::write(self.0.join("filler"), vec![b'x'; 64 << 20]);
    }

    /// Takes away what [`Self::fill`] has put there.
    pub(crate) fn empty(&self) -> Result<()> {
        Ok(std::fs::remove_file(self.0.join("filler"))?)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
