//! What the demo audits: the sources of all dependencies, or a directory of the user. The first part of a file's path,
//! as it is told to the function, names the crate.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};

/// Directories with Rust files.
pub(crate) struct Sources {
    dirs: Vec<PathBuf>,
    /// Paths are told relative to this; by default to the directory itself.
    relative_to: Option<PathBuf>,
}

impl Sources {
    /// The sources that Cargo has unpacked.
    pub(crate) fn registry() -> anyhow::Result<Self> {
        let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| Some(std::env::home_dir()?.join(".cargo")));
        let unpacked = home.context("neither CARGO_HOME nor HOME is set")?.join("registry/src");
        let empty = || format!("{} has no sources; build something with Cargo, or use --path DIR", unpacked.display());
        let dirs = std::fs::read_dir(&unpacked).with_context(empty)?;
        let dirs: Vec<_> = dirs.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>().with_context(empty)?;
        let dirs: Vec<_> = dirs.into_iter().filter(|dir| dir.is_dir()).collect();
        ensure!(!dirs.is_empty(), empty());
        Ok(Self { dirs, relative_to: None })
    }

    /// Everything beneath `dir`, as one crate of that name.
    pub(crate) fn of(dir: &Path) -> anyhow::Result<Self> {
        let dir = dir.canonicalize().with_context(|| format!("{} is not there", dir.display()))?;
        ensure!(dir.is_dir(), "{} is not a directory", dir.display());
        let parent = dir.parent().context("the root of a file system has no name; choose a directory in it")?;
        Ok(Self { relative_to: Some(parent.to_owned()), dirs: vec![dir] })
    }

    /// How `stride map` is told.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["--files".to_owned()];
        arguments.extend(self.dirs.iter().map(|dir| format!("{}/**/*.rs", escaped(dir))));
        if let Some(relative_to) = &self.relative_to {
            // What a build leaves is not the user's code.
            let left_out = ["--exclude".to_owned(), "*/target/**/*".to_owned()];
            arguments
                .extend(["--relative-to".to_owned(), relative_to.display().to_string()].into_iter().chain(left_out));
        }
        arguments
    }

    /// Counts the files, by a way of its own: the demo compares its results with this.
    pub(crate) fn count(&self) -> u64 {
        self.dirs.iter().map(|dir| count(dir, self.relative_to.is_some())).sum()
    }
}

impl fmt::Display for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dirs: Vec<_> = self.dirs.iter().map(|dir| dir.display().to_string()).collect();
        f.write_str(&dirs.join(" and "))
    }
}

/// A directory that is what its name says, even if that has wildcards.
fn escaped(dir: &Path) -> String {
    let mut text = String::new();
    for c in dir.display().to_string().chars() {
        if matches!(c, '*' | '?' | '[' | ']') { text.extend(['[', c, ']']) } else { text.push(c) }
    }
    text
}

fn count(dir: &Path, leave_out_builds: bool) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let mut files = 0;
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            if !(leave_out_builds && entry.file_name() == "target") {
                files += count(&path, leave_out_builds);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") && path.is_file() {
            files += 1;
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_in_a_directory_name_stand_for_themselves() {
        assert_eq!(escaped(Path::new("/a/b[1]*")), "/a/b[[]1[]][*]");
    }

    #[test]
    fn a_directory_of_the_user_names_the_crate() {
        let sources = Sources::of(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        let arguments = sources.arguments();
        assert!(arguments[1].ends_with("/xtask/**/*.rs"), "{arguments:?}");
        assert!(!arguments[3].ends_with("xtask"), "{arguments:?}");
        assert!(sources.count() > 5);
    }
}
