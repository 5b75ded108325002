//! Manifests: which files the snapshot of a cell at a position consists of.
//!
//! Stored as the BLAKE3 of the rest, a line break, and JSON. The name has position and epoch, so that a listing alone tells
//! which is the newest: the one with the highest position, and of those the one of the highest epoch.

use std::fmt;

use serde::{Deserialize, Serialize};
use stride_ids::{CellId, Epoch, Seq};
use stride_sim::Chance;

use crate::error::Error;

const FORMAT: u32 = 1;
const MANIFEST: &str = "manifest-";
/// After so many deltas the next save writes a base.
const DELTAS_MAX: usize = 16;

/// The name of a manifest, in the order in which they win.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ManifestName {
    pub(crate) position: Seq,
    pub(crate) epoch: Epoch,
}

impl ManifestName {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (position, epoch) = name.strip_prefix(MANIFEST)?.split_once('-')?;
        let number = |hex: &str| u64::from_str_radix(hex, 16).ok();
        let parsed = Self { position: Seq(number(position)?), epoch: Epoch(number(epoch)?) };
        // There is one way to write each.
        (parsed.to_string() == name).then_some(parsed)
    }
}

impl fmt::Display for ManifestName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{MANIFEST}{:016x}-{:016x}", self.position.0, self.epoch.0)
    }
}

/// What a snapshot consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    format: u32,
    cell: u16,
    position: u64,
    epoch: u64,
    /// A base, and deltas of which each begins where the file before it ends.
    files: Vec<File>,
}

/// A file of rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    pub(crate) name: String,
    /// The position of the file before this one, a delta; none for a base.
    pub(crate) since: Option<u64>,
    /// The last record that is in its rows.
    pub(crate) position: u64,
    pub(crate) len: u64,
    pub(crate) rows: u64,
    /// Its BLAKE3.
    pub(crate) hash: String,
}

impl File {
    /// A name that nobody else chooses.
    pub(crate) fn new_name(since: Option<Seq>, position: Seq, chance: &Chance) -> String {
        let random = chance.next_u64();
        match since {
            None => format!("base-{:016x}-{random:016x}", position.0),
            Some(since) => format!("delta-{:016x}-{:016x}-{random:016x}", since.0, position.0),
        }
    }
}

impl Manifest {
    /// The manifest after `before`, of which `file` is a delta, or the first one.
    pub(crate) fn after(before: Option<Self>, cell: CellId, epoch: Epoch, file: File) -> Self {
        let position = file.position;
        let mut files = before.filter(|_| file.since.is_some()).map(|before| before.files).unwrap_or_default();
        files.push(file);
        Self { format: FORMAT, cell: cell.0, position, epoch: epoch.0, files }
    }

    pub(crate) fn name(&self) -> ManifestName {
        ManifestName { position: Seq(self.position), epoch: Epoch(self.epoch) }
    }

    pub(crate) fn files(&self) -> &[File] {
        &self.files
    }

    /// Whether the next save should write everything: deltas are many, or more than what they change.
    pub(crate) fn wants_base(&self) -> bool {
        let (base, deltas) = self.files.split_at(1);
        let len = |files: &[File]| files.iter().map(|file| file.len).sum::<u64>();
        deltas.len() >= DELTAS_MAX || len(deltas) > len(base)
    }

    /// The files that bring a store which is at `position` here: deltas, or a base and all of them.
    pub(crate) fn files_from(&self, position: Seq) -> &[File] {
        let first = self.files.partition_point(|file| file.position <= position.0);
        // What a row was between two files makes no difference, so anywhere after the base is good enough.
        if position == Seq::ZERO || first == 0 { &self.files } else { &self.files[first..] }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let body = serde_json::to_vec_pretty(self).expect("a manifest always encodes");
        [blake3::hash(&body).to_hex().as_bytes(), b"\n", &body].concat()
    }

    /// The manifest that is stored at `path`, under that name.
    pub(crate) fn decode(path: &str, cell: CellId, name: ManifestName, bytes: &[u8]) -> Result<Self, Error> {
        let wrong = |what: &str| Error::damaged(path, what);
        let (hash, body) = bytes.split_at_checked(64).ok_or_else(|| wrong("it ends early"))?;
        let body = body.strip_prefix(b"\n").ok_or_else(|| wrong("it is not a manifest"))?;
        if blake3::hash(body).to_hex().as_bytes() != hash {
            return Err(wrong("it does not match its checksum"));
        }
        let manifest: Self = serde_json::from_slice(body)
            .map_err(|e| wrong(&format!("it was written by another version of Stride ({e})")))?;
        if manifest.format != FORMAT {
            return Err(wrong(&format!("it has format {}, and this version reads {FORMAT}", manifest.format)));
        }
        if manifest.cell != cell.0 || manifest.name() != name || !manifest.is_a_chain() {
            return Err(wrong("it does not say what its name says"));
        }
        Ok(manifest)
    }

    fn is_a_chain(&self) -> bool {
        let mut before = None;
        for file in &self.files {
            let is_plain = file.name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
            if file.since != before || !is_plain || before.is_some_and(|before| before >= file.position) {
                return false;
            }
            before = Some(file.position);
        }
        before == Some(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(since: Option<u64>, position: u64, len: u64) -> File {
        File { name: format!("f-{position}"), since, position, len, rows: 1, hash: "h".into() }
    }

    fn manifest(files: &[(u64, u64)]) -> Manifest {
        let mut manifest = None;
        for (position, len) in files {
            let since = manifest.as_ref().map(|manifest: &Manifest| manifest.position);
            manifest = Some(Manifest::after(manifest, CellId(3), Epoch(2), file(since, *position, *len)));
        }
        manifest.unwrap()
    }

    #[test]
    fn the_highest_position_wins_and_then_the_highest_epoch_and_names_are_in_that_order() {
        let name = |position, epoch| ManifestName { position: Seq(position), epoch: Epoch(epoch) };
        let names = [name(1, 9), name(2, 1), name(2, 2), name(16, 0), name(u64::MAX, 0)];
        assert!(names.is_sorted() && names.map(|name| name.to_string()).is_sorted());
        for name in names {
            assert_eq!(ManifestName::parse(&name.to_string()), Some(name));
        }
        for other in
            ["manifest-1-1", "base-0000000000000001-0000000000000001", "manifest-", "manifest-+000000000000001-0"]
        {
            assert_eq!(ManifestName::parse(other), None);
        }
    }

    #[test]
    fn a_manifest_comes_back_as_it_was_and_every_other_byte_is_damage() {
        let manifest = manifest(&[(5, 100), (7, 10)]);
        let bytes = manifest.encode();
        let decode = |bytes: &[u8]| Manifest::decode("m", CellId(3), manifest.name(), bytes);
        assert_eq!(decode(&bytes).unwrap(), manifest);
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert!(matches!(decode(&other), Err(Error::Damaged { .. })), "{at}");
            assert!(decode(&bytes[..at]).is_err());
        }
        assert!(Manifest::decode("m", CellId(4), manifest.name(), &bytes).is_err());
        assert!(Manifest::decode("m", CellId(3), ManifestName { epoch: Epoch(9), ..manifest.name() }, &bytes).is_err());
    }

    #[test]
    fn what_is_no_chain_is_refused() {
        let sound = manifest(&[(5, 100), (7, 10)]);
        for harm in [
            |m: &mut Manifest| m.files.clear(),
            |m: &mut Manifest| drop(m.files.remove(0)),
            |m: &mut Manifest| m.files[1].since = Some(6),
            |m: &mut Manifest| m.files[1].position = 5,
            |m: &mut Manifest| m.files[0].name = "../other".into(),
            |m: &mut Manifest| m.format = 2,
        ] {
            let mut other = sound.clone();
            harm(&mut other);
            assert!(Manifest::decode("m", CellId(3), other.name(), &other.encode()).is_err());
        }
    }

    #[test]
    fn a_base_is_written_when_deltas_are_many_or_heavy() {
        let deltas = |count: u64, len| {
            manifest(&(0..=count).map(|n| (n + 1, if n == 0 { 100 } else { len })).collect::<Vec<_>>())
        };
        assert!(!deltas(0, 0).wants_base() && !deltas(15, 1).wants_base() && deltas(16, 1).wants_base());
        assert!(!deltas(2, 50).wants_base() && deltas(2, 51).wants_base());
    }

    #[test]
    fn only_what_is_new_is_wanted_if_there_is_something_to_begin_with() {
        let manifest = manifest(&[(5, 1), (7, 1), (9, 1)]);
        for (at, wanted) in [(0, 3), (4, 3), (5, 2), (6, 2), (7, 1), (8, 1), (9, 0), (10, 0)] {
            assert_eq!(manifest.files_from(Seq(at)).len(), wanted, "{at}");
        }
    }
}
