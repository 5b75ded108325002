//! Verifying objects offline: what the index names against what is on disk.
//!
//! Always true: checking changes nothing. Every chunk is read once and hashed, however many objects share it.
//! Not here: chunks that are not in a local directory.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt, fs, io,
    path::{Path, PathBuf},
};

use stride_agents::{Offline, OpenError};
use stride_ids::{Address, Name};

use crate::{
    agent::{self, BUCKETS},
    chunk::{ChunkHash, ChunkId},
    row::{self, NEWEST, OLDER, UPLOADS, Version},
    storage::{CHUNKS, entries, path_in},
};

/// How many rows are read at a time.
const ROWS: usize = 256;
/// How many things that are wrong are named; of the others only is said how many they are.
const NAMED_MAX: usize = 100;

/// What is stored and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many buckets there are.
    pub buckets: u64,
    /// How many versions of objects, and parts of uploads.
    pub versions: u64,
    /// How many bytes those have.
    pub bytes: u64,
    /// How many chunks they need; shared ones count once.
    pub chunks: u64,
    /// How many chunks nobody needs. The next sweep of a node removes them.
    pub orphans: u64,
    /// How many bytes those have.
    pub orphan_bytes: u64,
    /// How many files were left by a process that was killed while it wrote a chunk. They go with the next sweep as well.
    pub torn: u64,
    /// What is damaged or missing: object and chunk.
    pub damage: Vec<String>,
    /// How much more of that there is.
    pub more_damage: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { buckets, versions, bytes, chunks, orphans, orphan_bytes, torn, damage, more_damage } = self;
        write!(f, "objects: {buckets} buckets, {versions} versions, {bytes} bytes, {chunks} chunks")?;
        if orphans + torn > 0 {
            write!(f, "; {orphans} chunks ({orphan_bytes} bytes) and {torn} unfinished files that nobody needs")?;
        }
        for damage in damage {
            write!(f, "\n  {damage}")?;
        }
        if *more_damage > 0 {
            write!(f, "\n  and {more_damage} more")?;
        }
        Ok(())
    }
}

/// Why objects cannot be checked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// What names them cannot be read.
    #[error("the index of objects cannot be read")]
    Index(#[from] OpenError),
    /// A file or a directory cannot be read.
    #[error("cannot read {path}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What is known of a chunk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Sound,
    Missing,
    Damaged,
}

struct Check<'a> {
    root: &'a Path,
    found: HashMap<ChunkId, Found>,
    report: Report,
}

/// Verifies the objects whose chunks are in `dir`: that every chunk of every version is there and has the hash that it is
/// named by. Chunks that nobody needs are counted.
///
/// # Errors
/// If something cannot be read at all. Damage is not an error here.
pub fn check(dir: &Path, index: &Offline) -> Result<Report, CheckError> {
    let mut check = Check { root: dir, found: HashMap::new(), report: Report::default() };
    for (bucket, state) in index.agents(&BUCKETS)? {
        // One that was removed has an empty state and no rows.
        check.report.buckets += u64::from(state.is_some_and(|state| !state.is_empty()));
        check.bucket(index, &bucket)?;
    }
    check.count_orphans()?;
    check.report.chunks = check.found.len() as u64;
    Ok(check.report)
}

impl Check<'_> {
    fn bucket(&mut self, index: &Offline, bucket: &Address) -> Result<(), CheckError> {
        let mut after = None;
        loop {
            let rows = index.scan(bucket, after.as_deref(), ROWS)?;
            for (name, bytes) in &rows {
                if !row::has_chunks(name) {
                    continue;
                }
                match row::SCHEMA.decode::<Version>("version", bytes) {
                    Ok(version) => self.version(bucket, name, &version)?,
                    Err(failure) => self.damage(format!("{}: {}", object(bucket, name), failure.message)),
                }
            }
            match rows.into_iter().last() {
                Some((name, _)) => after = Some(name),
                None => return Ok(()),
            }
        }
    }

    fn version(&mut self, bucket: &Address, name: &str, version: &Version) -> Result<(), CheckError> {
        let Some(content) = &version.content else { return Ok(()) };
        self.report.versions += 1;
        self.report.bytes = self.report.bytes.saturating_add(content.len);
        for hash in content.hashes.iter() {
            let object = || object(bucket, name);
            match self.chunk(&bucket.tenant, hash)? {
                Found::Sound => {}
                Found::Missing => self.damage(format!("{}: chunk {hash} is missing", object())),
                Found::Damaged => {
                    self.damage(format!("{}: chunk {hash} does not hold the bytes that were written", object()));
                }
            }
        }
        Ok(())
    }

    fn chunk(&mut self, tenant: &Name, hash: ChunkHash) -> Result<Found, CheckError> {
        let id = ChunkId { tenant: tenant.clone(), hash };
        let path = path_in(self.root, &id);
        match self.found.entry(id) {
            Entry::Occupied(found) => Ok(*found.get()),
            Entry::Vacant(unknown) => Ok(*unknown.insert(look(&path, hash)?)),
        }
    }

    fn damage(&mut self, what: String) {
        if self.report.damage.len() < NAMED_MAX { self.report.damage.push(what) } else { self.report.more_damage += 1 }
    }

    fn count_orphans(&mut self) -> Result<(), CheckError> {
        for tenant_dir in list(&self.root.join(CHUNKS))? {
            let Some(tenant) = file_name(&tenant_dir).and_then(|name| Name::new(name).ok()) else { continue };
            for file in list(&tenant_dir)?.iter().map(|dir| list(dir)).collect::<Result<Vec<_>, _>>()?.concat() {
                let name = file_name(&file).unwrap_or_default();
                match ChunkHash::from_hex(name) {
                    Some(hash) if !self.found.contains_key(&ChunkId { tenant: tenant.clone(), hash }) => {
                        let len =
                            fs::metadata(&file).map_err(|source| CheckError::Io { path: file.clone(), source })?.len();
                        self.report.orphans += 1;
                        self.report.orphan_bytes = self.report.orphan_bytes.saturating_add(len);
                    }
                    Some(_) => {}
                    None => self.report.torn += u64::from(name.contains('#')),
                }
            }
        }
        Ok(())
    }
}

/// Reads a chunk and hashes it.
fn look(path: &Path, hash: ChunkHash) -> Result<Found, CheckError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Found::Missing),
        Err(source) => return Err(CheckError::Io { path: path.into(), source }),
    };
    Ok(if ChunkHash::of(&bytes) == hash { Found::Sound } else { Found::Damaged })
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, CheckError> {
    entries(dir).map_err(|source| CheckError::Io { path: dir.into(), source })
}

fn file_name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

/// What a row of a bucket is about, for people.
pub(crate) fn object(bucket: &Address, row: &str) -> String {
    let tenant = if bucket.tenant == Name::default_tenant() { String::new() } else { format!("{}: ", bucket.tenant) };
    let bucket = agent::bucket_of(bucket).map_or_else(|_| bucket.key.to_string(), |bucket| bucket.to_string());
    let older = row.strip_prefix(OLDER).and_then(|rest| rest.split_once('\0'));
    let part = row.strip_prefix(UPLOADS).and_then(|rest| rest.split_once('/'));
    match (older, part) {
        (Some((key, version)), _) => {
            let version = u64::from_str_radix(version, 16).unwrap_or_default();
            format!("{tenant}{bucket}/{key} version {version}")
        }
        (_, Some((upload, number))) => format!("{tenant}part {number} of upload {upload} to {bucket}"),
        _ => format!("{tenant}{bucket}/{}", row.strip_prefix(NEWEST).unwrap_or(row)),
    }
}
