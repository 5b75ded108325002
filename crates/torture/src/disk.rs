//! A file system of its own that is small, so that it can be filled.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use crate::Error;

/// One in memory, gone when this is dropped. Needs the right to mount.
pub struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// Mounts one; none if this process has no right to.
    pub fn mount(megabytes: u32) -> Option<Self> {
        let dir = tempfile::tempdir().ok()?;
        let size = format!("size={megabytes}m");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path()).output().ok()?;
        mounted.status.success().then_some(Self(dir))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    /// Takes all the space that is left.
    ///
    /// # Errors
    /// If the file that takes it cannot be made.
    pub fn fill(&self) -> Result<(), Error> {
        let mut ballast = File::create(self.ballast())?;
        // Large pieces first, so that little is left when the last one does not fit.
        for piece in [1 << 20, 1 << 12, 1] {
            while ballast.write_all(&vec![0; piece]).is_ok() {}
        }
        Ok(())
    }

    /// Gives it back.
    ///
    /// # Errors
    /// If the file cannot be removed.
    pub fn empty(&self) -> Result<(), Error> {
        Ok(fs::remove_file(self.ballast())?)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Nothing can be done about a failure here; the mount is in a directory of its own.
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}
