//! What a map runs over: files that match globs, or the lines of a file. Inputs are found as they are needed; nothing
//! here reads a whole tree or a whole file into memory.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read as _},
    ops::ControlFlow,
    path::{Component, Path, PathBuf},
};

use glob::{MatchOptions, Pattern};
use stride_ids::Payload;

use crate::report::Trouble;

/// One input.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Input {
    /// How the result names it.
    pub(crate) name: String,
    pub(crate) content: Content,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Read when its turn comes.
    File {
        path: PathBuf,
        told: PathBuf,
    },
    Line(Vec<u8>),
    /// It is there but cannot be read; it counts as a failure.
    Unreadable(String),
    /// Over the limit of payloads.
    TooLarge,
}

/// Where inputs come from.
#[derive(Debug)]
pub(crate) struct Source {
    kind: Kind,
    limit: usize,
}

#[derive(Debug)]
enum Kind {
    Files(Vec<Tree>),
    Lines(PathBuf),
}

/// A glob and the directory that paths are told relative to.
#[derive(Debug, PartialEq, Eq)]
struct Tree {
    glob: String,
    base: PathBuf,
    exclude: Vec<Pattern>,
}

type Each<'a> = &'a mut dyn FnMut(Input) -> ControlFlow<()>;

impl Source {
    /// The files that match `globs`.
    pub(crate) fn files(globs: &[String], exclude: &[String], relative_to: Option<PathBuf>) -> Result<Self, Trouble> {
        let pattern = |text: &String| {
            let wrong = |e: glob::PatternError| Trouble::usage(format!("`{text}` is not a glob")).why(e.to_string());
            Pattern::new(text).map_err(wrong)
        };
        let exclude: Vec<_> = exclude.iter().map(pattern).collect::<Result<_, _>>()?;
        let mut trees = Vec::new();
        for text in globs {
            let mut tree = Tree { exclude: exclude.clone(), ..Tree::of(text) };
            pattern(&tree.glob)?;
            if let Some(base) = &relative_to {
                tree.base.clone_from(base);
            }
            trees.push(tree);
        }
        Ok(Self { kind: Kind::Files(trees), limit: usize::MAX })
    }

    /// The lines of a file, or of stdin for `-`.
    pub(crate) fn lines(path: PathBuf) -> Result<Self, Trouble> {
        if path != Path::new("-") {
            let cannot = |e: io::Error| Trouble::failed(format!("cannot read {}", path.display())).why(e.to_string());
            File::open(&path).map_err(cannot)?;
        }
        Ok(Self { kind: Kind::Lines(path), limit: usize::MAX })
    }

    pub(crate) fn limited(self, limit: usize) -> Self {
        Self { limit, ..self }
    }

    /// Whether counting leaves anything for the work.
    pub(crate) fn can_be_read_twice(&self) -> bool {
        match &self.kind {
            Kind::Files(_) => true,
            Kind::Lines(path) => path.is_file(),
        }
    }

    /// How many inputs there are.
    pub(crate) fn count(&self) -> u64 {
        let mut count = 0;
        self.walk(&mut |_| {
            count += 1;
            ControlFlow::Continue(())
        });
        count
    }

    /// Gives every input to `each` until it breaks off.
    pub(crate) fn walk(&self, each: Each<'_>) {
        let mut left = self.limit;
        let limited: Each<'_> = &mut |input| {
            left = match left.checked_sub(1) {
                Some(left) => left,
                None => return ControlFlow::Break(()),
            };
            each(input)
        };
        // Breaking off is not an error: whoever asked has enough.
        let _ = match &self.kind {
            Kind::Files(trees) => trees.iter().try_for_each(|tree| tree.walk(limited)),
            Kind::Lines(path) if path == Path::new("-") => walk_lines("stdin", io::stdin().lock(), limited),
            Kind::Lines(path) => match File::open(path) {
                Ok(file) => walk_lines(&path.display().to_string(), BufReader::new(file), limited),
                Err(e) => limited(Input::unreadable(path.display().to_string(), &e)),
            },
        };
    }
}

impl Input {
    fn unreadable(name: String, error: &io::Error) -> Self {
        Self { name, content: Content::Unreadable(error.to_string()) }
    }
}

impl Tree {
    fn of(text: &str) -> Self {
        let path = Path::new(text);
        if path.is_dir() {
            let glob = format!("{}/**/*", Pattern::escape(text.trim_end_matches('/')));
            return Self { glob, base: path.to_owned(), exclude: Vec::new() };
        }
        if path.is_file() {
            let base = path.parent().unwrap_or(Path::new("")).to_owned();
            return Self { glob: Pattern::escape(text), base, exclude: Vec::new() };
        }
        Self { glob: text.to_owned(), base: fixed_part(text), exclude: Vec::new() }
    }

    fn walk(&self, each: Each<'_>) -> ControlFlow<()> {
        let paths = glob::glob_with(&self.glob, MatchOptions::new()).expect("the glob was checked before");
        for path in paths {
            let path = match path {
                Ok(path) => path,
                Err(e) => {
                    each(Input::unreadable(e.path().display().to_string(), e.error()))?;
                    continue;
                }
            };
            if path.is_dir() {
                continue;
            }
            let told = path.strip_prefix(&self.base).unwrap_or(&path).to_owned();
            if self.exclude.iter().any(|exclude| exclude.matches_path(&told)) {
                continue;
            }
            each(Input { name: told.display().to_string(), content: Content::File { path, told } })?;
        }
        ControlFlow::Continue(())
    }
}

/// The directory before the first wildcard.
fn fixed_part(glob: &str) -> PathBuf {
    let fixed = |component: &Component<'_>| !component.as_os_str().to_string_lossy().contains(['*', '?', '[']);
    let components: Vec<_> = Path::new(glob).components().collect();
    let count = components.iter().take_while(|c| fixed(c)).count().min(components.len().saturating_sub(1));
    components[..count].iter().filter(|c| !matches!(c, Component::CurDir)).collect()
}

/// Blank lines are no inputs but keep their number, so that a result names the line an editor shows.
fn walk_lines(name: &str, mut reader: impl BufRead, each: Each<'_>) -> ControlFlow<()> {
    for number in 1u64.. {
        let content = match read_line(&mut reader) {
            Ok(None) => return ControlFlow::Continue(()),
            Ok(Some(Content::Line(line))) if line.trim_ascii().is_empty() => continue,
            Ok(Some(content)) => content,
            // What follows the damage is out of reach.
            Err(e) => return each(Input::unreadable(name.to_owned(), &e)),
        };
        each(Input { name: number.to_string(), content })?;
    }
    ControlFlow::Continue(())
}

fn read_line(reader: &mut impl BufRead) -> io::Result<Option<Content>> {
    let mut line = Vec::new();
    if reader.by_ref().take(Payload::LEN_MAX as u64 + 1).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        return Ok(Some(Content::Line(line)));
    }
    if line.len() <= Payload::LEN_MAX {
        return Ok(Some(Content::Line(line)));
    }
    reader.skip_until(b'\n')?;
    Ok(Some(Content::TooLarge))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(source: &Source) -> Vec<String> {
        let mut names = Vec::new();
        source.walk(&mut |input| {
            names.push(input.name);
            ControlFlow::Continue(())
        });
        names
    }

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a-1.0/src/.hidden")).unwrap();
        for file in ["a-1.0/src/lib.rs", "a-1.0/src/.hidden/x.rs", "a-1.0/README", "top.rs", "we[i]rd*.rs"] {
            std::fs::write(dir.path().join(file), file).unwrap();
        }
        dir
    }

    fn files(dir: &Path, glob: &str) -> Source {
        Source::files(&[dir.join(glob).display().to_string()], &[], None).unwrap()
    }

    #[test]
    fn paths_are_told_relative_to_the_part_without_wildcards() {
        let dir = tree();
        assert_eq!(names(&files(dir.path(), "*/src/*.rs")), ["a-1.0/src/lib.rs"]);
        assert_eq!(names(&files(dir.path(), "a-1.0/**/*.rs")), ["src/.hidden/x.rs", "src/lib.rs"]);
        assert_eq!(names(&files(dir.path(), "a-1.0/src/lib.rs")), ["lib.rs"]);
        let glob = dir.path().join("a-1.0/*").display().to_string();
        let source = Source::files(&[glob], &[], Some(dir.path().to_owned())).unwrap();
        assert_eq!(names(&source), ["a-1.0/README"]);
    }

    #[test]
    fn what_is_excluded_is_matched_as_it_is_told() {
        let dir = tree();
        let glob = dir.path().join("**/*.rs").display().to_string();
        let source = Source::files(&[glob], &["*/src/.*/*".into(), "top.rs".into()], None).unwrap();
        assert_eq!(names(&source), ["a-1.0/src/lib.rs", "we[i]rd*.rs"]);
    }

    #[test]
    fn a_directory_means_all_files_beneath_it_and_a_name_that_exists_is_no_glob() {
        let dir = tree();
        assert_eq!(names(&files(dir.path(), "a-1.0")), ["README", "src/.hidden/x.rs", "src/lib.rs"]);
        assert_eq!(names(&files(dir.path(), "we[i]rd*.rs")), ["we[i]rd*.rs"]);
        assert_eq!(names(&files(dir.path(), "none/*.rs")), [""; 0]);
    }

    #[test]
    fn the_fixed_part_of_a_glob() {
        for (glob, fixed) in
            [("src/*.rs", "src"), ("./src/**/x/*.rs", "src"), ("*.rs", ""), ("/a/b[0-9]/c", "/a"), ("a/b/c", "a/b")]
        {
            assert_eq!(fixed_part(glob), Path::new(fixed), "{glob}");
        }
    }

    #[test]
    fn a_limit_ends_the_walk_and_the_count() {
        let dir = tree();
        let source = files(dir.path(), "a-1.0").limited(2);
        assert_eq!((names(&source).len(), source.count()), (2, 2));
    }

    #[test]
    fn a_glob_that_is_none_is_refused() {
        assert!(Source::files(&["a/***".into()], &[], None).is_err());
    }

    #[test]
    fn lines_keep_their_numbers_and_one_that_is_too_long_stops_no_other() {
        let mut text = b"1\n\n{\"a\":2}\r\n".to_vec();
        text.extend(vec![b'x'; Payload::LEN_MAX + 7]);
        text.extend(b"\nlast");
        let mut seen = Vec::new();
        let _ = walk_lines("file", &text[..], &mut |input| {
            seen.push((input.name, input.content));
            ControlFlow::Continue(())
        });
        let line = |text: &str| Content::Line(text.as_bytes().to_vec());
        let expected = [("1", line("1")), ("3", line("{\"a\":2}\r")), ("4", Content::TooLarge), ("5", line("last"))];
        assert_eq!(seen, expected.map(|(name, content)| (name.to_owned(), content)));
    }
}
