//! What becomes of a store whose files are not as they were written: every row is right, or an error says so, or the
//! position of its cell is older, so that the journal replays or refuses. Never is a row silently wrong or missing.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use stride_ids::{Address, AgentKey, CellId, Name, Seq};
use stride_store::{RowKey, Settings, Store, Write, check};

const CELLS: u16 = 4;
const AGENTS: u64 = 60;
/// How many records there are at least.
const RECORDS: u64 = 9;
/// Every how many bytes of a table a bit is flipped. The exhaustive run takes all of them.
const STRIDE: usize = 23;

/// What a store has to hold.
struct Truth {
    rows: BTreeMap<RowKey, Bytes>,
    positions: Vec<(CellId, Seq)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Right,
    Older,
    Refused,
}

fn agent(n: u64) -> Address {
    Address {
        tenant: Name::default_tenant(),
        kind: Name::new("counter").unwrap(),
        key: AgentKey::new(&format!("agent-{n:02}")).unwrap(),
    }
}

fn open(dir: &Path) -> Result<Store, stride_store::Error> {
    Store::open(dir, CELLS, Settings::default())
}

/// A merged table and two newer ones over it, with rows that were overwritten and deleted. The newer ones change some
/// agents of every cell only, so that a table which goes missing cannot take all rows of a cell with it.
fn build(dir: &Path) -> Truth {
    let store = open(dir).unwrap();
    let mut rows = BTreeMap::new();
    let tables = || files_under(&dir.join("rows/tables")).len();
    let mut seq = 0;
    while seq < RECORDS || tables() != 3 {
        seq += 1;
        for cell in (0..CELLS).map(CellId) {
            let mut writes = Vec::new();
            let touched = |n: &u64| seq == 1 || (n + seq).is_multiple_of(3);
            for n in (0..AGENTS).filter(|n| agent(*n).cell(CELLS) == cell).filter(touched) {
                let value = Bytes::from(format!("state {seq} of {n}, and a little more"));
                writes.push(Write { row: RowKey::Header(agent(n)), value: Some(value.clone()) });
                let entry = RowKey::Map(agent(n), format!("entry-{}", seq % 5));
                writes.push(Write { row: entry, value: Some(value).filter(|_| (seq + n) % 4 != 0) });
            }
            for write in &writes {
                match &write.value {
                    Some(value) => rows.insert(write.row.clone(), value.clone()),
                    None => rows.remove(&write.row),
                };
            }
            store.stage(cell, Seq(seq), writes);
        }
        store.freeze();
        store.materialise().unwrap();
        store.persist().unwrap();
        // Four that lie over the merged one are merged into it.
        while tables() > 4 {
            std::thread::yield_now();
        }
    }
    let positions = (0..CELLS).map(|cell| (CellId(cell), store.position(CellId(cell)))).collect();
    Truth { rows, positions }
}

/// Opens and reads everything.
fn outcome(dir: &Path, truth: &Truth) -> Outcome {
    match open(dir) {
        Ok(store) => read(&store, truth),
        Err(_) => Outcome::Refused,
    }
}

fn read(store: &Store, truth: &Truth) -> Outcome {
    let mut worst = Outcome::Right;
    let mut current = Vec::new();
    for (cell, seq) in &truth.positions {
        assert!(store.position(*cell) <= *seq, "a position that was never reached");
        current.push(store.position(*cell) == *seq);
    }
    if current.contains(&false) {
        worst = Outcome::Older;
    }
    for agent in (0..AGENTS).map(agent).filter(|agent| current[usize::from(agent.cell(CELLS).0)]) {
        let expected: Vec<_> = truth.rows.keys().filter(|row| row.agent() == Some(&agent)).cloned().collect();
        match store.agent_rows(&agent) {
            Ok(found) => assert_eq!(found, expected, "rows are silently missing"),
            Err(_) => worst = Outcome::Refused,
        }
        for row in expected {
            match store.get(&row) {
                Ok(found) => assert_eq!(found.as_ref(), truth.rows.get(&row), "{row:?} is silently wrong"),
                Err(_) => worst = Outcome::Refused,
            }
        }
    }
    let listed = store.list_agents(&Name::default_tenant(), &Name::new("counter").unwrap(), None, usize::MAX, |_| true);
    match listed {
        Ok(agents) if worst == Outcome::Right => assert_eq!(agents.len() as u64, AGENTS),
        Ok(_) => {}
        Err(_) => worst = Outcome::Refused,
    }
    worst
}

fn files_under(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_under(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The files of a closed store, to start over from.
struct Image(Vec<(PathBuf, Vec<u8>)>);

impl Image {
    fn of(dir: &Path) -> Self {
        let named = |path: PathBuf| (path.strip_prefix(dir).unwrap().to_owned(), fs::read(&path).unwrap());
        Self(files_under(dir).into_iter().map(named).filter(|(path, _)| path != Path::new("lock")).collect())
    }

    /// Brings `dir` back to this, with one file changed or gone.
    fn restore(&self, dir: &Path, changed: &Path, bytes: Option<&[u8]>) {
        let _ = fs::remove_dir_all(dir);
        fs::create_dir_all(dir.join("rows/tables")).unwrap();
        for (path, original) in &self.0 {
            match (path == changed, bytes) {
                (true, None) => {}
                (true, Some(bytes)) => fs::write(dir.join(path), bytes).unwrap(),
                (false, _) => fs::write(dir.join(path), original).unwrap(),
            }
        }
    }

    fn tables(&self) -> impl Iterator<Item = &(PathBuf, Vec<u8>)> {
        self.0.iter().filter(|(path, _)| path.starts_with("rows/tables"))
    }
}

/// A store with this file changed: `check` notices, and no row is silently wrong.
fn judge(image: &Image, truth: &Truth, dir: &Path, path: &Path, bytes: Option<&[u8]>, what: &str) -> Outcome {
    image.restore(dir, path, bytes);
    let noticed = check(dir).map_or(true, |report| !report.damage.is_empty());
    assert!(noticed, "{what}: check says nothing");
    image.restore(dir, path, bytes);
    eprintln!("{what}");
    outcome(dir, truth)
}

fn with_image(judge_all: impl FnOnce(&Image, &Truth, &Path)) {
    let scratch = tempfile::tempdir().unwrap();
    let built = scratch.path().join("built");
    let truth = build(&built);
    let image = Image::of(&built);
    let dir = scratch.path().join("judged");
    image.restore(&dir, Path::new(""), None);
    assert_eq!(outcome(&dir, &truth), Outcome::Right);
    judge_all(&image, &truth, &dir);
}

/// Flips bits in every `stride`th byte of tables and in every byte of other files; all eight where `all_bits` says so.
fn flip_every(stride: usize, all_bits: impl Fn(&Path, usize, usize) -> bool) {
    with_image(|image, truth, dir| {
        for (path, original) in &image.0 {
            let stride = if path.starts_with("rows/tables") { stride } else { 1 };
            for at in (0..original.len()).step_by(stride) {
                let bits = if all_bits(path, at, original.len()) { 0..8 } else { at % 8..at % 8 + 1 };
                for bit in bits {
                    let mut bytes = original.clone();
                    bytes[at] ^= 1 << bit;
                    let what = format!("bit {bit} of byte {at} of {} is flipped", path.display());
                    judge(image, truth, dir, path, Some(&bytes), &what);
                }
            }
        }
    });
}

#[test]
fn a_flipped_bit_is_noticed_and_never_believed() {
    flip_every(STRIDE, |path, _, _| path.ends_with("current"));
}

#[test]
#[ignore = "every byte of every table takes minutes"]
fn a_flipped_bit_at_every_byte_is_noticed_and_never_believed() {
    // What leads to the rows stands in the manifest and at the ends of tables.
    flip_every(1, |path, at, len| !path.starts_with("rows/tables") || at + 1024 > len);
}

#[test]
fn a_file_that_is_gone_or_cut_or_longer_is_refused() {
    with_image(|image, truth, dir| {
        for (path, original) in &image.0 {
            let name = path.display();
            assert_eq!(judge(image, truth, dir, path, None, &format!("{name} is gone")), Outcome::Refused);
            for len in (0..original.len()).step_by(1 + original.len() / 40) {
                let what = format!("{name} is cut to {len} bytes");
                assert_eq!(judge(image, truth, dir, path, Some(&original[..len]), &what), Outcome::Refused);
            }
            let longer = [original.as_slice(), &[0; 512]].concat();
            judge(image, truth, dir, path, Some(&longer), &format!("{name} is longer"));
        }
    });
}

#[test]
fn a_block_of_zeros_or_of_another_place_is_noticed_and_never_believed() {
    with_image(|image, truth, dir| {
        for (path, original) in image.tables() {
            for at in (0..original.len()).step_by(512) {
                let end = original.len().min(at + 512);
                let mut zeroed = original.clone();
                zeroed[at..end].fill(0);
                judge(image, truth, dir, path, Some(&zeroed), &format!("zeros at {at} of {}", path.display()));
                let mut misdirected = original.clone();
                misdirected.copy_within(0..end - at, at);
                if misdirected != *original {
                    judge(
                        image,
                        truth,
                        dir,
                        path,
                        Some(&misdirected),
                        &format!("a block at {at} of {}", path.display()),
                    );
                }
            }
        }
    });
}

#[test]
fn a_table_in_the_place_of_another_is_noticed_and_never_believed() {
    with_image(|image, truth, dir| {
        for (path, original) in image.tables() {
            for (other, bytes) in image.tables().filter(|(other, _)| other != path) {
                let what = format!("{} holds what {} does", path.display(), other.display());
                judge(image, truth, dir, path, Some(bytes), &what);
            }
            assert!(!original.is_empty());
        }
    });
}

#[test]
fn a_store_that_is_gone_or_from_an_earlier_time_has_older_positions() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("store");
    let truth = build(&dir);
    let earlier = Image::of(&dir);
    let store = open(&dir).unwrap();
    let value = Some(Bytes::from_static(b"later"));
    let cell = agent(0).cell(CELLS);
    let seq = store.position(cell).next();
    store.stage(cell, seq, vec![Write { row: RowKey::Header(agent(0)), value }]);
    store.freeze();
    store.materialise().unwrap();
    store.persist().unwrap();
    drop(store);
    let mut later = Truth { rows: truth.rows.clone(), positions: truth.positions.clone() };
    later.rows.insert(RowKey::Header(agent(0)), Bytes::from_static(b"later"));
    later.positions[usize::from(cell.0)].1 = seq;
    assert_eq!(outcome(&dir, &later), Outcome::Right);
    earlier.restore(&dir, Path::new(""), None);
    assert_eq!(outcome(&dir, &later), Outcome::Older);
    assert_eq!(outcome(&dir, &truth), Outcome::Right);
    fs::remove_dir_all(dir.join("rows")).unwrap();
    assert_eq!(outcome(&dir, &truth), Outcome::Older);
}
