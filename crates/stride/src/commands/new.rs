//! `stride new NAME`: a project that builds and deploys as it stands.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use stride_ids::Name;

use crate::{output, report::Trouble};

#[derive(Debug, Args)]
pub(crate) struct New {
    /// The project's name, which is also its directory and its component
    name: Name,
    /// The language
    #[arg(long, value_enum, default_value_t = Lang::Rust)]
    lang: Lang,
    /// What to start from
    #[arg(long, value_enum, default_value_t = Template::Function)]
    template: Template,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Lang {
    Rust,
    Python,
    Js,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Template {
    Function,
    Agent,
}

/// The files of a template with where they go. They hold `{{name}}`, `{{name_snake}}` and `{{sdk}}` to fill in; what
/// would mean something to Cargo or git in our own tree has another name there.
macro_rules! files {
    ($template:literal) => {
        &[
            ("stride.toml", include_str!(concat!("../../templates/", $template, "/stride.toml"))),
            ("Cargo.toml", include_str!(concat!("../../templates/", $template, "/Cargo.toml.template"))),
            ("src/lib.rs", include_str!(concat!("../../templates/", $template, "/lib.rs"))),
            ("README.md", include_str!(concat!("../../templates/", $template, "/README.md"))),
            (".gitignore", include_str!(concat!("../../templates/", $template, "/gitignore.template"))),
        ]
    };
}

type TemplateFile = (&'static str, &'static str);

impl Template {
    fn files(self) -> &'static [TemplateFile] {
        match self {
            Self::Function => files!("function"),
            Self::Agent => files!("agent"),
        }
    }
}

impl New {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        if self.lang != Lang::Rust {
            let lang = self.lang.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
            let what = format!("this version has no SDK for {lang} yet");
            return Err(Trouble::usage(what).next("leave out --lang, or use --lang rust").into());
        }
        let name = self.name.as_str();
        let dir = Path::new(name);
        write(dir, name, &sdk()?, self.template.files())?;
        output::line(format_args!("created {name}; next:"))?;
        output::line(format_args!("  stride up                 (in another terminal, if no node is running)"))?;
        Ok(output::line(format_args!("  stride deploy {name}"))?)
    }
}

/// How a project depends on the SDK. A `stride` that was built from a checkout that is still there points at that
/// checkout, so that the two always fit.
fn sdk() -> Result<String, Trouble> {
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk/rust");
    match sdk.canonicalize() {
        Ok(sdk) => Ok(format!("{{ path = {:?} }}", sdk.display().to_string())),
        Err(e) => Err(Trouble::failed("the Rust SDK cannot be found")
            .why(format!("{}: {e}", sdk.display()))
            .next("build stride again from a checkout of its source, and leave the checkout where it is")),
    }
}

fn write(dir: &Path, name: &str, sdk: &str, files: &[TemplateFile]) -> anyhow::Result<()> {
    if dir.exists() {
        let next = "choose another name, or remove it first";
        return Err(Trouble::failed(format!("{} exists already", dir.display())).next(next).into());
    }
    for (path, text) in files {
        let path: PathBuf = dir.join(path);
        let text =
            text.replace("{{name}}", name).replace("{{name_snake}}", &name.replace('-', "_")).replace("{{sdk}}", sdk);
        let parent = path.parent().unwrap_or(dir);
        std::fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_placeholder_is_filled_in_and_the_manifest_is_one() {
        for template in [Template::Function, Template::Agent] {
            let dir = tempfile::tempdir().unwrap();
            let project = dir.path().join("my-project");
            write(&project, "my-project", &sdk().unwrap(), template.files()).unwrap();
            for (path, _) in template.files() {
                let text = std::fs::read_to_string(project.join(path)).unwrap();
                assert!(!text.contains("{{"), "{path}: {text}");
            }
            let opened = crate::project::Project::open(&project).unwrap();
            assert!(opened.artifact.ends_with("my_project.wasm"));
            assert!(write(&project, "my-project", "", template.files()).is_err(), "it must not overwrite");
        }
    }
}
