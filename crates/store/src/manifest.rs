//! Trusting the tree's files before the tree acts on them.
//!
//! Opening a tree removes every table that its manifest does not name, so a manifest with one wrong bit would make
//! rows vanish without a word. The tree writes a checksum of the manifest into `current`, but release 3.1 never
//! compares it; so this is done here, first. Blocks of tables carry checksums that the tree does compare; for what leads to
//! them, see `archive`.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Read as _},
    path::Path,
};

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::{
    archive::{Archive, take},
    error::Error,
};

const CURRENT: &str = "current";
const TABLES: &str = "tables";

/// What lies in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// No tree yet.
    Nothing,
    /// A tree whose manifest is what was written.
    Tree,
}

/// Looks at a tree's directory without changing it.
pub(crate) fn verify(dir: &Path) -> Result<Found, Error> {
    let Some(current) = read(&dir.join(CURRENT))? else { return without_current(dir) };
    let wrong = |what: &str| Error::damaged_files(&dir.join(CURRENT), what);
    let (id, checksum) = decode(&current).ok_or_else(|| wrong("it does not name a manifest"))?;
    let path = dir.join(format!("v{id}"));
    let manifest = read(&path)?.ok_or_else(|| wrong("it names a manifest that is not there"))?;
    if xxh3_128(&manifest) != checksum {
        return Err(Error::damaged_files(&path, "the manifest does not match its checksum"));
    }
    let tables = tables_of(&Archive::open(&path)?.section(b"tables")?);
    for id in tables.ok_or_else(|| Error::damaged_files(&path, "the manifest is of another version"))? {
        Archive::open(&dir.join(TABLES).join(id.to_string()))?;
    }
    Ok(Found::Tree)
}

/// The tables that a manifest names: levels of runs of tables.
fn tables_of(mut section: &[u8]) -> Option<Vec<u64>> {
    let rest = &mut section;
    let mut ids = Vec::new();
    let [levels] = take(rest)?;
    for _ in 0..levels {
        let [runs] = take(rest)?;
        for _ in 0..runs {
            for _ in 0..u32::from_le_bytes(take(rest)?) {
                ids.push(u64::from_le_bytes(take(rest)?));
                // The kind of checksum, the checksum, and a number that bulk loading would need.
                take::<25>(rest)?;
            }
        }
    }
    rest.is_empty().then_some(ids)
}

/// The manifest that `current` names.
pub(crate) fn current_id(dir: &Path) -> Option<u64> {
    decode(&fs::read(dir.join(CURRENT)).ok()?).map(|(id, _)| id)
}

/// A tree that was being created and never held a table may begin anew; anything else has lost its manifest.
fn without_current(dir: &Path) -> Result<Found, Error> {
    if table_ids(dir)?.is_empty() {
        return Ok(Found::Nothing);
    }
    Err(Error::damaged_files(&dir.join(CURRENT), "it is missing, but there are tables"))
}

/// The tables that lie in the directory, whether the manifest names them or not.
pub(crate) fn table_ids(dir: &Path) -> Result<BTreeSet<u64>, Error> {
    let tables = dir.join(TABLES);
    let failed = |e: io::Error| Error::from_io("list its tables", &tables, &e);
    let entries = match fs::read_dir(&tables) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        entries => entries.map_err(failed)?,
    };
    let mut ids = BTreeSet::new();
    for entry in entries {
        ids.extend(entry.map_err(failed)?.file_name().to_str().and_then(|name| name.parse::<u64>().ok()));
    }
    Ok(ids)
}

/// Removes a table that a write which failed left behind; the space may be what the next try needs.
pub(crate) fn remove_table(dir: &Path, id: u64) -> io::Result<()> {
    fs::remove_file(dir.join(TABLES).join(id.to_string()))
}

/// The checksum of a whole file, as the tree computes it.
pub(crate) fn checksum_of_file(path: &Path) -> io::Result<u128> {
    let mut file = fs::File::open(path)?;
    let mut hasher = Xxh3::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.digest128()),
            len => hasher.update(&buffer[..len]),
        }
    }
}

/// `current` holds the number of the manifest, its XXH3-128, and a zero for the kind of checksum.
fn decode(bytes: &[u8]) -> Option<(u64, u128)> {
    let (id, rest) = bytes.split_first_chunk()?;
    let (checksum, rest) = rest.split_first_chunk()?;
    (rest == [0]).then(|| (u64::from_le_bytes(*id), u128::from_le_bytes(*checksum)))
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::from_io("read its manifest", path, &e)),
    }
}
