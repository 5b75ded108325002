//! Removing what nobody needs any more.
//!
//! A manifest stays if it is one of the last two, or if all that come after it are younger than the grace time: whoever
//! loads it found it as the newest. A file stays if a manifest that stays names it, or if it is younger than that: its
//! manifest may be about to come. Times are the store's own, of which the newest in the listing is called now.

use std::collections::HashSet;

use stride_ids::CellId;

use crate::{
    Snapshots,
    error::Error,
    manifest::{Manifest, ManifestName},
    remote::{Listing, path_of},
};

/// How many manifests stay whatever their age.
const KEPT_MIN: usize = 2;

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// How many manifests were removed.
    pub manifests: usize,
    /// How many files were removed.
    pub files: usize,
    /// How many bytes those had.
    pub bytes: u64,
}

impl Snapshots {
    /// Removes the snapshots of a cell that newer ones have replaced, and files that no manifest names. To be called now and
    /// then by the node that holds the cell.
    ///
    /// # Errors
    /// [`Error::Storage`]; or what is wrong with a manifest that stays, whose files cannot be told then. Nothing that is
    /// needed is removed by then.
    pub async fn sweep(&self, cell: CellId) -> Result<Swept, Error> {
        let listing = self.remote.list(cell).await?;
        let last_old = listing.now().saturating_sub(i64::try_from(self.grace.as_millis()).unwrap_or(i64::MAX));
        let replaced = replaced(&listing, last_old);
        let mut named = HashSet::new();
        for name in listing.manifests.keys().filter(|name| !replaced.contains(name)) {
            let path = path_of(cell, name);
            let manifest = Manifest::decode(path.as_ref(), cell, *name, &self.remote.read_manifest(&path).await?)?;
            named.extend(manifest.files().iter().map(|file| file.name.clone()));
        }
        let mut swept = Swept::default();
        // Manifests first: one that is there has its files.
        for name in replaced {
            self.remote.remove(&path_of(cell, name)).await?;
            swept.manifests += 1;
        }
        for (name, file) in &listing.files {
            if file.written_at <= last_old && !named.contains(name) {
                self.remote.remove(&path_of(cell, name)).await?;
                swept.files += 1;
                swept.bytes += file.len;
            }
        }
        Ok(swept)
    }
}

/// The manifests that nobody needs.
fn replaced(listing: &Listing, last_old: i64) -> Vec<ManifestName> {
    let mut has_old_successor = false;
    let mut replaced = Vec::new();
    for (n, (name, written_at)) in listing.manifests.iter().rev().enumerate() {
        if n >= KEPT_MIN && has_old_successor {
            replaced.push(*name);
        }
        has_old_successor |= *written_at <= last_old;
    }
    replaced
}

#[cfg(test)]
mod tests {
    use stride_ids::{Epoch, Seq};

    use super::*;

    #[test]
    fn a_manifest_stays_if_it_is_one_of_the_last_two_or_was_the_newest_a_short_while_ago() {
        let kept = |written: &[i64], last_old| {
            let name = |n: usize| ManifestName { position: Seq(n as u64), epoch: Epoch(1) };
            let manifests = written.iter().enumerate().map(|(n, at)| (name(n), *at)).collect();
            let listing = Listing { manifests, ..Listing::default() };
            written.len() - replaced(&listing, last_old).len()
        };
        assert_eq!([0, 1, 2].map(|count| kept(&[1, 2, 3][..count], 100)), [0, 1, 2]);
        assert_eq!(kept(&[1, 2, 3, 4, 5], 100), 2);
        assert_eq!(kept(&[1, 2, 3, 4, 5], 0), 5);
        assert_eq!(kept(&[1, 2, 3, 4, 5], 2), 4);
        // One by a stale owner that came late.
        assert_eq!(kept(&[1, 9, 3, 4, 5], 3), 3);
    }
}
