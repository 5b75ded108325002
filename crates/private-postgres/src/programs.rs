//! PostgreSQL's own programs: where they are on this machine, whom they run as, and how one is run.

use std::{
    fs,
    io::Write as _,
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use crate::{Error, Namespace, USER};

/// Where the programs are, and whom they run as.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(crate) bin: PathBuf,
    /// User and group, if they are others than ours.
    pub(crate) user: Option<(u32, u32)>,
}

impl Programs {
    pub(crate) fn find() -> Result<Self, Error> {
        let ours = run(Command::new("id").arg("-u")).map(|out| text(&out.stdout))?;
        let user = if ours == "0" { Some(ids_of(USER)?) } else { None };
        let bin = bin_dirs().into_iter().find(|dir| dir.join("initdb").exists() && dir.join("postgres").exists());
        Ok(Self { bin: bin.ok_or(Error::NotInstalled)?, user })
    }

    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        if let Some((user, group)) = self.user {
            // Wherever we are may be closed to that user.
            command.uid(user).gid(group).current_dir("/");
        }
        command.env_remove("PGOPTIONS").env("LC_ALL", "C");
        command
    }

    /// The same in another network. `nsenter` becomes the program, so that its process is the one that is started.
    pub(crate) fn command_in(&self, program: &str, namespace: Option<&Namespace>) -> Command {
        let Some(namespace) = namespace else { return self.command(program) };
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", namespace.name));
        if let Some((user, group)) = self.user {
            command.arg(format!("--setuid={user}")).arg(format!("--setgid={group}"));
        }
        command.arg("--").arg(self.bin.join(program)).current_dir("/");
        command.env_remove("PGOPTIONS").env("LC_ALL", "C");
        command
    }

    /// A directory that only the server's user can read, and the one in it for the data.
    pub(crate) fn home(&self) -> Result<(tempfile::TempDir, PathBuf), Error> {
        let home = tempfile::Builder::new().prefix("stride-postgres-").tempdir()?;
        if let Some((user, group)) = self.user {
            chown(home.path(), Some(user), Some(group))?;
        }
        let dir = home.path().join("data");
        Ok((home, dir))
    }
}

/// Where the programs may be: where `pg_config` says, where Debian puts them (newest first), and on the path.
fn bin_dirs() -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    if let Ok(said) = run(Command::new("pg_config").arg("--bindir")) {
        dirs.push(PathBuf::from(text(&said.stdout)));
    }
    let mut versions: Vec<_> = fs::read_dir("/usr/lib/postgresql")
        .map(|versions| versions.flatten().map(|version| version.path().join("bin")).collect())
        .unwrap_or_default();
    versions.sort();
    dirs.extend(versions.into_iter().rev());
    dirs.extend(std::env::var_os("PATH").iter().flat_map(|path| std::env::split_paths(path).collect::<Vec<_>>()));
    dirs
}

fn ids_of(user: &str) -> Result<(u32, u32), Error> {
    let id = |what| {
        let said = run(Command::new("id").args([what, user])).map_err(|_| Error::NoUser)?;
        text(&said.stdout).parse().map_err(|_| Error::NoUser)
    };
    Ok((id("-u")?, id("-g")?))
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

/// Runs a program to its end.
pub(crate) fn run(command: &mut Command) -> Result<Output, Error> {
    run_with(command, "")
}

/// Runs a program that reads `input`.
pub(crate) fn run_with(command: &mut Command, input: &str) -> Result<Output, Error> {
    let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = process.stdin.take() {
        // One that ends without reading says why by itself.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = process.wait_with_output()?;
    if output.status.success() {
        return Ok(output);
    }
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    Err(Error::Failed { program, said: text(&output.stderr) })
}
