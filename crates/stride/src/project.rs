//! A project on disk: its `stride.toml` and what building it leaves.

use std::path::{Path, PathBuf};

use stride_node::Manifest;

use crate::report::Trouble;

/// A project that can be built.
#[derive(Debug)]
pub(crate) struct Project {
    pub(crate) dir: PathBuf,
    pub(crate) name: String,
    /// The text of `stride.toml`, as it is uploaded.
    pub(crate) manifest: String,
    pub(crate) command: String,
    pub(crate) artifact: PathBuf,
}

impl Project {
    /// Reads the project in `dir`.
    pub(crate) fn open(dir: &Path) -> Result<Self, Trouble> {
        let path = dir.join("stride.toml");
        let manifest = std::fs::read_to_string(&path).map_err(|e| {
            let next = "run this in a project's directory, or start one with `stride new NAME`";
            Trouble::failed(format!("{} is not a Stride project", dir.display()))
                .why(format!("{}: {e}", path.display()))
                .next(next)
        })?;
        let Manifest { name, build, .. } = Manifest::parse(&manifest)
            .map_err(|e| Trouble::failed(format!("{} is wrong", path.display())).why(e.to_string()))?;
        let build = build.ok_or_else(|| {
            Trouble::failed(format!("{} does not say how to build {name}", path.display()))
                .next("add a [build] section with `command` and `artifact`")
        })?;
        let artifact = dir.join(build.artifact);
        Ok(Self { dir: dir.to_owned(), name: name.into(), manifest, command: build.command, artifact })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(text: &str) -> Result<Project, Trouble> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("stride.toml"), text).unwrap();
        Project::open(dir.path())
    }

    #[test]
    fn building_needs_a_name_a_command_and_an_artifact() {
        let project =
            open("name = \"a\"\n[build]\ncommand = \"true\"\nartifact = \"x/a.wasm\"\n[functions.f]").unwrap();
        assert_eq!((project.name.as_str(), project.command.as_str()), ("a", "true"));
        assert!(project.artifact.ends_with("x/a.wasm"));
    }

    #[test]
    fn what_is_missing_is_named() {
        assert!(open("name = \"a\"").unwrap_err().to_string().contains("[build]"));
        assert!(open("name = ").unwrap_err().to_string().contains("stride.toml"));
        assert!(Project::open(Path::new("/nowhere")).unwrap_err().to_string().contains("stride new"));
    }
}
