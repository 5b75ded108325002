//! Opens a log: reads it, cuts a torn tail off, and makes sure that what was read is what the disk holds.
//!
//! Always true: nothing is changed before the whole log was read and found undamaged. A torn tail is not wiped in place,
//! which a second crash could leave half done; the segment is copied without it and replaced in one step. The last
//! group is written again and synced before anything follows it: it may only be in the page cache (its sync never came,
//! or failed and forgot it), and what follows would be taken as proof that it was durable.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    path::Path,
    sync::Arc,
};

use stride_sim::{
    Chance,
    disk::{Disk, DiskFile},
};

use super::{
    Settings,
    commit::End,
    format::{FIRST_FRAME, SegmentHeader, frame_len, segment_name},
    scan::{Found, Scan, Spare, TEMPORARY, scan},
    segment::Segment,
    state::Cells,
    tail::{Held, Tail},
    walk,
    writer::{Writer, prelude},
};
use crate::Error;

/// Opens the log in `dir`, or begins one.
pub(crate) fn recover(disk: &dyn Disk, dir: &Path, settings: &Settings, chance: &Chance) -> Result<End, Error> {
    let mut found = scan(disk, dir)?;
    if let Some(damage) = &found.damage {
        return Err(damage.to_error());
    }
    if found.segments.is_empty() {
        return begin(disk, dir, settings, chance);
    }
    let stored = found.cells.0.len();
    if stored != usize::from(settings.cells) {
        return Err(Error::CellsFixed { stored, asked: settings.cells });
    }
    let failed = |e| storage_error(format!("open the log in {}", dir.display()), &e);
    cut_torn_tail(disk, dir, &mut found).map_err(failed)?;
    settle_last_groups(&found).map_err(failed)?;
    let spares = tidy_spares(disk, dir, found.spares, settings, chance).map_err(failed)?;
    resume(found.segments, found.cells, spares)
}

fn begin(disk: &dyn Disk, dir: &Path, settings: &Settings, chance: &Chance) -> Result<End, Error> {
    let cells = Cells::new(settings.cells);
    let header =
        SegmentHeader { number: 1, len: settings.segment_bytes, prev_chain: 0, prev_end: 0, seed: chance.next_u64() };
    let (start, chain) = prelude(&header, cells.checkpoint().into());
    let segment = Segment::prepare(disk, dir, 1, header.len, header.seed, &start).map_err(|e| {
        let doing = format!("prepare {} of {} bytes", dir.join(segment_name(1)).display(), header.len);
        storage_error(doing, &e)
    })?;
    let segment = Arc::new(segment);
    let held = BTreeMap::from([(1, Held { segment: Arc::clone(&segment), wanted: 0 })]);
    let tail = Tail::new(cells, held, &segment, start.len());
    Ok(End { tail, writer: Writer::new(segment, start.len(), chain) })
}

/// A full disk is told from a broken one.
fn storage_error(doing: String, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::Full(format!("{doing}: {error}")),
        _ => Error::io(doing, error),
    }
}

/// Replaces the last segment by a copy that ends before the torn group.
fn cut_torn_tail(disk: &dyn Disk, dir: &Path, found: &mut Scan) -> io::Result<()> {
    let Some(last) = found.segments.last_mut() else { return Ok(()) };
    if !matches!(last.walked.tail, walk::Tail::Torn) {
        return Ok(());
    }
    tracing::info!(
        target: "stride::journal",
        segment = last.header.number,
        offset = last.walked.end,
        "cutting off a group that was being written when the node ended; it had not been acknowledged"
    );
    // A prepared segment has its zeros already, and a full disk may have no room for another file.
    last.file = match found.spares.pop() {
        Some(spare) if spare.dirty_to == 0 && spare.len == last.header.len => replace_from(disk, dir, last, &spare)?,
        other => {
            found.spares.extend(other);
            replace(disk, dir, last)?
        }
    };
    last.walked.tail = walk::Tail::Clean;
    Ok(())
}

fn replace_from(disk: &dyn Disk, dir: &Path, last: &Found, spare: &Spare) -> io::Result<Arc<dyn DiskFile>> {
    let temporary = dir.join(TEMPORARY);
    disk.rename(&dir.join(segment_name(spare.number)), &temporary)?;
    disk.sync_dir(dir)?;
    spare.file.write_at(&read(&*last.file, 0, last.walked.end)?, 0)?;
    spare.file.sync()?;
    disk.rename(&temporary, &dir.join(segment_name(last.header.number)))?;
    disk.sync_dir(dir)?;
    Ok(Arc::clone(&spare.file))
}

fn replace(disk: &dyn Disk, dir: &Path, last: &Found) -> io::Result<Arc<dyn DiskFile>> {
    let kept = read(&*last.file, 0, last.walked.end)?;
    let header = &last.header;
    Ok(Segment::prepare(disk, dir, header.number, header.len, header.seed, &kept)?.file)
}

fn read(file: &dyn DiskFile, from: usize, to: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; to - from];
    file.read_at(&mut bytes, from as u64)?;
    Ok(bytes)
}

/// Writes the groups again whose sync may never have succeeded: the last one, and, when that is the beginning of a
/// segment, the roll frame that leads to it.
fn settle_last_groups(found: &Scan) -> io::Result<()> {
    let prelude_len = FIRST_FRAME + frame_len(Cells::checkpoint_len(found.cells.0.len()));
    let mut segments = found.segments.iter().rev();
    let Some(last) = segments.next() else { return Ok(()) };
    let only_begun = last.walked.end == prelude_len;
    rewrite(last, if only_begun { 0 } else { last.walked.last_group })?;
    match segments.next() {
        Some(before) if only_begun => rewrite(before, before.walked.last_group),
        _ => Ok(()),
    }
}

fn rewrite(found: &Found, from: usize) -> io::Result<()> {
    found.file.write_at(&read(&*found.file, from, found.walked.end)?, from as u64)?;
    found.file.sync()
}

/// Wipes the remains of a roll that was cut off, and removes spares of another length than is asked for now, and all
/// behind them.
fn tidy_spares(
    disk: &dyn Disk,
    dir: &Path,
    mut spares: Vec<Spare>,
    settings: &Settings,
    chance: &Chance,
) -> io::Result<VecDeque<Arc<Segment>>> {
    let fitting = spares.iter().take_while(|spare| spare.len == settings.segment_bytes).count();
    for spare in spares.drain(fitting..).rev() {
        disk.remove(&dir.join(segment_name(spare.number)))?;
        disk.sync_dir(dir)?;
    }
    let mut tidy = VecDeque::new();
    for spare in spares {
        if spare.dirty_to > 0 {
            spare.file.write_at(&vec![0; spare.dirty_to], 0)?;
            spare.file.sync()?;
        }
        tidy.push_back(Arc::new(Segment::new(spare.number, spare.len, chance.next_u64(), spare.file)));
    }
    Ok(tidy)
}

fn resume(segments: Vec<Found>, cells: Cells, spares: VecDeque<Arc<Segment>>) -> Result<End, Error> {
    let mut held = BTreeMap::new();
    let mut end = None;
    for found in segments {
        let header = found.header;
        let segment = Arc::new(Segment::new(header.number, header.len, header.seed, found.file));
        held.insert(header.number, Held { segment: Arc::clone(&segment), wanted: found.records });
        end = Some((segment, found.walked.end, found.walked.chain));
    }
    let (segment, at, chain) = end.ok_or_else(|| Error::Invalid("the log has no segment".into()))?;
    let mut tail = Tail::new(cells, held, &segment, at);
    tail.spares = spares;
    Ok(End { tail, writer: Writer::new(segment, at, chain) })
}
