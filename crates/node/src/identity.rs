//! What a data directory says about itself: written once, and once more when it is known where its objects are.

use std::{io, path::Path};

use serde::{Deserialize, Serialize};
use stride_data::Location;
use stride_sim::Chance;

use crate::files::write_durably;

const FILE: &str = "node.json";

/// The contents of `node.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    /// The format of the data directory.
    pub(crate) format: u32,
    /// The node's name, `nod-` and eight hex digits.
    pub(crate) node: String,
    /// How many cells the directory was created with.
    pub(crate) cells: u16,
    /// The database that has the journal, by its own name; none if the journal is in the directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cluster: Option<String>,
    /// Where its objects are, if not in the directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) objects: Option<Location>,
    /// The cluster that has taken its agents, by the name of its database. No node starts here any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) adopted: Option<String>,
}

/// What a data directory needs that is not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Elsewhere {
    /// The database that has its journal, by its own name.
    pub journal: Option<String>,
    /// Where its objects are.
    pub objects: Option<Location>,
}

impl Elsewhere {
    /// Reads what a data directory says.
    ///
    /// # Errors
    /// If what it says cannot be read, or is of another version.
    pub fn of(dir: &Path) -> io::Result<Self> {
        let identity = Identity::read(dir)?;
        Ok(identity.map(|found| Self { journal: found.cluster, objects: found.objects }).unwrap_or_default())
    }
}

/// The objects are somewhere else than where they were asked for.
#[derive(Debug, thiserror::Error)]
#[error(
    "its objects are in {begun}, not in {asked}, where they would be missing; start it without --objects, and it finds \
     them. To move them, copy all that is there, then change `objects` in {FILE}"
)]
pub(crate) struct OtherPlace {
    begun: String,
    asked: Location,
}

const FORMAT: u32 = 1;

impl Identity {
    /// Reads the identity of a data directory, or gives a new directory one; whether its cells are shared with other nodes.
    pub(crate) fn of(dir: &Path, chance: &Chance, shared: bool) -> io::Result<Self> {
        if let Some(identity) = Self::read(dir)? {
            return Ok(identity);
        }
        let alone = Self::alone(chance);
        let cells = if shared { stride_ids::CELLS_CLUSTER } else { alone.cells };
        let identity = Self { cells, ..alone };
        identity.write(dir)?;
        Ok(identity)
    }

    /// A new identity, of a node that is alone.
    pub(crate) fn alone(chance: &Chance) -> Self {
        let node = format!("nod-{:08x}", chance.next_u64() as u32);
        let cells = stride_ids::CELLS_EMBEDDED;
        Self { format: FORMAT, node, cells, cluster: None, objects: None, adopted: None }
    }

    /// The identity of a data directory; none if it has none yet.
    pub(crate) fn read(dir: &Path) -> io::Result<Option<Self>> {
        let path = dir.join(FILE);
        let wrong = |why: String| io::Error::other(format!("{} {why}", path.display()));
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let identity: Self = serde_json::from_slice(&bytes).map_err(|e| wrong(format!("cannot be read: {e}")))?;
        if identity.format != FORMAT {
            return Err(wrong(format!("has format {}; this version reads {FORMAT}", identity.format)));
        }
        Ok(Some(identity))
    }

    pub(crate) fn write(&self, dir: &Path) -> io::Result<()> {
        let bytes = serde_json::to_vec_pretty(self).expect("an identity always encodes");
        write_durably(&dir.join(FILE), &bytes)
    }

    /// Where the objects are if they are asked for there: in the directory if it says none. As long as a directory has no
    /// chunks of its own they may still be anywhere.
    pub(crate) fn place(&self, dir: &Path, asked: Option<&Location>) -> Result<Option<Location>, OtherPlace> {
        match (&self.objects, asked) {
            (None, None) => Ok(None),
            (None, Some(asked)) if dir.join("objects/chunks").exists() => {
                Err(OtherPlace { begun: "the data directory itself".into(), asked: asked.clone() })
            }
            (None, Some(asked)) => Ok(Some(asked.clone())),
            (Some(begun), Some(asked)) if begun != asked => {
                Err(OtherPlace { begun: begun.to_string(), asked: asked.clone() })
            }
            (Some(_), Some(asked)) => Ok(Some(asked.clone())),
            (Some(begun), None) => Ok(Some(begun.clone())),
        }
    }

    /// Remembers where the objects are, before there is one.
    pub(crate) fn settle(&mut self, dir: &Path, objects: &Location) -> io::Result<()> {
        if self.objects.as_ref() == Some(objects) {
            return Ok(());
        }
        self.objects = Some(objects.clone());
        self.write(dir)
    }

    /// Refuses a directory whose journal is elsewhere: without its journal, what was acknowledged would be missing.
    pub(crate) fn must_be_embedded(&self) -> Result<(), WrongJournal> {
        self.must_not_be_adopted()?;
        self.cluster.clone().map_or(Ok(()), |cluster| Err(WrongJournal::InDatabase { cluster }))
    }

    /// Refuses a directory whose agents a cluster has: they would be in two places.
    fn must_not_be_adopted(&self) -> Result<(), WrongJournal> {
        self.adopted.clone().map_or(Ok(()), |cluster| Err(WrongJournal::Adopted { cluster }))
    }

    /// Refuses a directory that has a journal of its own.
    pub(crate) fn may_join(&self, dir: &Path) -> Result<(), WrongJournal> {
        self.must_not_be_adopted()?;
        let begun = dir.join("journal").exists() || dir.join("store").exists();
        if self.cluster.is_none() && begun { Err(WrongJournal::InDirectory) } else { Ok(()) }
    }

    /// Ties the directory to the database that has its journal.
    pub(crate) fn join(&mut self, dir: &Path, cluster: &str) -> Result<(), WrongJournal> {
        match &self.cluster {
            Some(known) if known == cluster => Ok(()),
            Some(known) => Err(WrongJournal::Another { known: known.clone(), found: cluster.to_owned() }),
            None => {
                self.cluster = Some(cluster.to_owned());
                self.write(dir).map_err(WrongJournal::Unwritten)
            }
        }
    }
}

/// Why a directory and a journal do not belong together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WrongJournal {
    /// The journal is in a database, and none was named.
    #[error("its journal is in the database {cluster}: start with --cluster and that database's address")]
    InDatabase {
        /// The database's own name.
        cluster: String,
    },
    /// The journal is in the directory, and a database was named.
    #[error(
        "its journal is in the directory itself: start without --cluster, or with a new directory; `stride cluster adopt` takes \
         what is in it into the cluster"
    )]
    InDirectory,
    /// A cluster has taken what is in the directory, or is about to.
    #[error(
        "what is in it was taken into the cluster {cluster}: start with --cluster and a new directory. If `stride cluster adopt` \
         was broken off, run it again"
    )]
    Adopted {
        /// The database's own name.
        cluster: String,
    },
    /// The journal is in another database.
    #[error("its journal is in the database {known}, and this one is {found}: start with that database's address")]
    Another {
        /// Where the journal is.
        known: String,
        /// What was named.
        found: String,
    },
    /// That they belong together could not be noted.
    #[error("node.json cannot be written")]
    Unwritten(#[source] io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_keeps_its_identity() {
        let dir = tempfile::tempdir().unwrap();
        let first = Identity::of(dir.path(), &Chance::seeded(1), false).unwrap();
        assert_eq!(Identity::of(dir.path(), &Chance::seeded(2), false).unwrap(), first);
    }

    #[test]
    fn a_directory_belongs_to_one_journal_for_good() {
        let dir = tempfile::tempdir().unwrap();
        let again = || Identity::of(dir.path(), &Chance::seeded(1), false).unwrap();
        again().must_be_embedded().unwrap();
        again().may_join(dir.path()).unwrap();
        again().join(dir.path(), "clu-1").unwrap();
        std::fs::create_dir(dir.path().join("store")).unwrap();
        again().may_join(dir.path()).unwrap();
        again().join(dir.path(), "clu-1").unwrap();
        let another = again().join(dir.path(), "clu-2").unwrap_err().to_string();
        assert!(another.contains("clu-1") && another.contains("clu-2"), "{another}");
        assert!(again().must_be_embedded().unwrap_err().to_string().contains("--cluster"));

        let dir = tempfile::tempdir().unwrap();
        let embedded = Identity::of(dir.path(), &Chance::seeded(1), false).unwrap();
        std::fs::create_dir(dir.path().join("journal")).unwrap();
        assert!(embedded.may_join(dir.path()).unwrap_err().to_string().contains("without --cluster"));
    }

    #[test]
    fn a_directory_of_another_format_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), r#"{"format":9,"node":"nod-1","cells":64}"#).unwrap();
        let error = Identity::of(dir.path(), &Chance::seeded(1), false).unwrap_err().to_string();
        assert!(error.contains("format 9"), "{error}");
    }

    #[test]
    fn where_objects_are_is_remembered_and_another_place_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (here, there): (Location, Location) = ("s3://a/b".parse().unwrap(), "s3://a/c".parse().unwrap());
        let mut identity = Identity::of(dir.path(), &Chance::seeded(1), false).unwrap();
        assert_eq!(identity.place(dir.path(), None).unwrap(), None);
        assert_eq!(identity.place(dir.path(), Some(&here)).unwrap().as_ref(), Some(&here));
        identity.settle(dir.path(), &here).unwrap();
        let identity = Identity::of(dir.path(), &Chance::seeded(2), false).unwrap();
        for asked in [None, Some(&here)] {
            assert_eq!(identity.place(dir.path(), asked).unwrap().as_ref(), Some(&here));
        }
        let error = identity.place(dir.path(), Some(&there)).unwrap_err().to_string();
        assert!(error.contains("s3://a/b") && error.contains("s3://a/c") && error.contains("node.json"), "{error}");
    }

    #[test]
    fn a_directory_that_has_chunks_of_its_own_keeps_them() {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity::of(dir.path(), &Chance::seeded(1), false).unwrap();
        std::fs::create_dir_all(dir.path().join("objects/chunks")).unwrap();
        assert_eq!(identity.place(dir.path(), None).unwrap(), None);
        let error = identity.place(dir.path(), Some(&"s3://a/b".parse().unwrap())).unwrap_err().to_string();
        assert!(error.contains("itself, not in s3://a/b"), "{error}");
    }

    #[test]
    fn an_identity_of_the_release_before_is_read() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), r#"{"format":1,"node":"nod-1","cells":64}"#).unwrap();
        assert_eq!(Identity::of(dir.path(), &Chance::seeded(1), false).unwrap().objects, None);
    }
}
