//! Words for a data directory that no other directory has.

use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path};

/// Describes the directory of a file on which the caller holds a lock: this boot of the machine, and the file's number on its
/// file system. A copy of the directory is another file, and another machine or boot has another number of its own; so
/// who finds its own words in the tables knows that whoever wrote them has ended, because it held the same lock.
///
/// None where the system does not number its boots.
///
/// # Errors
/// If the file is not there.
pub fn home_of(locked: &Path) -> io::Result<Option<String>> {
    let file = fs::metadata(locked)?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    Ok(boot.ok().map(|boot| format!("{}/{}/{}", boot.trim(), file.dev(), file.ino())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_the_same_words_again_and_a_copy_of_it_has_others() {
        let dir = tempfile::tempdir().unwrap();
        let (first, copy) = (dir.path().join("lock"), dir.path().join("copy"));
        fs::write(&first, "").unwrap();
        fs::copy(&first, &copy).unwrap();
        assert_eq!(home_of(&first).unwrap(), home_of(&first).unwrap());
        if let Some(home) = home_of(&first).unwrap() {
            assert_ne!(home_of(&copy).unwrap(), Some(home));
        }
        assert!(home_of(&dir.path().join("nowhere")).is_err());
    }
}
