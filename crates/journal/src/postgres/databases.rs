//! The databases of a cluster, and in which of them each cell is.
//!
//! Always true: who owns a cell is said by the first database, which makes all epochs; a further one has an epoch only after the
//! first has made it. So a takeover is claimed there and then fenced where the tail is, and giving up goes the other way.
//! A further database that is away, or is not what it was, takes nothing with it but its own cells.
//! Not here: how a tail goes from one to another (see `moves`).

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use stride_ids::{CellId, DatabaseId, Epoch, Seq};

use super::{
    connect::Connector,
    database::{Database, DatabaseHandle, Opening, Shared},
    schema::Identity,
    session::{Claim, Place, no_row},
};
use crate::{Error, Fenced, Opened, Pending, Record};

/// How long a further database may be away before its cells are put down, and how long taking cells over waits for it.
const AWAY_MAX: Duration = Duration::from_secs(5);
/// How often it is looked whether one is away.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often cells are looked at again that somebody else takes over at the same time.
const OPENS_MAX: usize = 32;

pub(super) struct Databases {
    pub(super) first: DatabaseHandle,
    further: Mutex<BTreeMap<DatabaseId, Database>>,
    /// Where the tails of cells are that were taken over here.
    tails: RwLock<Vec<Option<DatabaseHandle>>>,
}

impl Databases {
    pub(super) fn new(first: DatabaseHandle, cells: u16) -> Self {
        let tails = vec![None; usize::from(cells)];
        Self { first, further: Mutex::default(), tails: RwLock::new(tails) }
    }

    /// Does something with the database of a cell, as it was when the cell was taken over here.
    pub(super) fn with<T>(&self, cell: CellId, work: impl FnOnce(&DatabaseHandle) -> T) -> T {
        let tails = self.tails.read();
        // The first one says of a cell that was not, or that does not exist, that it is so.
        work(tails.get(usize::from(cell.0)).and_then(Option::as_ref).unwrap_or(&self.first))
    }

    /// Orders a record. A cell that was taken over just when its database was put down is lost now.
    pub(super) fn append(&self, cell: CellId, epoch: Epoch, record: Bytes) -> Result<Pending, Error> {
        let database = |database: &DatabaseHandle| {
            let ordered = database.append(cell, epoch, record);
            (ordered, self.is_first(database) || database.is_running())
        };
        let (ordered, goes_on) = self.with(cell, database);
        if ordered.is_err() && !goes_on {
            self.first.shared.state.lock().tail.lose(Fenced { cell, epoch, current: epoch });
        }
        ordered
    }

    /// The records of a cell, also of one that was not taken over here.
    pub(super) async fn replay(self: &Arc<Self>, cell: CellId, after: Seq) -> Result<Vec<Record>, Error> {
        let known = self.tails.read().get(usize::from(cell.0)).cloned().flatten();
        let database = match known {
            Some(database) => database,
            None => self.database(self.places(&[cell]).await?[0].database).await?,
        };
        database.on(|shared| async move { shared.replay(cell, after).await }).await
    }

    /// Takes cells over, whoever has them.
    pub(super) async fn open(self: &Arc<Self>, cells: &[CellId]) -> Result<Vec<Opened>, Error> {
        let mut opened: HashMap<CellId, Opened> = HashMap::new();
        for _ in 0..OPENS_MAX {
            let left: Vec<CellId> = cells.iter().copied().filter(|cell| !opened.contains_key(cell)).collect();
            if left.is_empty() {
                break;
            }
            let seen = self.places(&left).await?.into_iter().map(|place| (place.cell, place.epoch));
            let seen: Vec<_> = seen.collect();
            let found = self.open_at(&seen).await?;
            opened.extend(seen.iter().zip(found).filter_map(|((cell, _), opened)| Some((*cell, opened?))));
        }
        let others = || Error::Busy("others take the same cells over again and again".into());
        cells.iter().map(|cell| opened.get(cell).copied().ok_or_else(others)).collect()
    }

    /// Takes cells over that still have these epochs.
    pub(super) async fn open_at(self: &Arc<Self>, cells: &[(CellId, Epoch)]) -> Result<Vec<Option<Opened>>, Error> {
        let ids: Vec<CellId> = cells.iter().map(|(cell, _)| *cell).collect();
        let places: HashMap<CellId, Place> =
            self.places(&ids).await?.into_iter().map(|place| (place.cell, place)).collect();
        let mut by_database: BTreeMap<DatabaseId, Vec<(CellId, Epoch)>> = BTreeMap::new();
        for (cell, epoch) in cells {
            if let Some(place) = places.get(cell).filter(|place| place.epoch == *epoch) {
                by_database.entry(place.database).or_default().push((*cell, *epoch));
            }
        }
        let mut opened = HashMap::new();
        for (number, cells) in by_database {
            let database = self.database(number).await?;
            let taken = if number == DatabaseId::FIRST {
                self.first.shared.take_over(cells).await?
            } else {
                self.take_over_in(number, &database, cells).await?
            };
            let mut tails = self.tails.write();
            for cell in taken.keys() {
                if let Some(tail) = tails.get_mut(usize::from(cell.0)) {
                    *tail = Some(database.clone());
                }
            }
            opened.extend(taken);
        }
        Ok(ids.iter().map(|cell| opened.get(cell).copied()).collect())
    }

    /// Looks in a further database, claims in the first one, and fences in the further one.
    async fn take_over_in(
        &self,
        number: DatabaseId,
        database: &DatabaseHandle,
        cells: Vec<(CellId, Epoch)>,
    ) -> Result<HashMap<CellId, Opened>, Error> {
        let asked = database.shared.not_ours_since(cells);
        let ids: Vec<CellId> = asked.iter().map(|(cell, _)| *cell).collect();
        // First of all, so that one that is away costs no epochs.
        let there = database.epochs(&ids).await?;
        let begun = ids.clone();
        database.on(|shared| async move { shared.begin_open(&begun).await }).await?;
        let least = |cell: CellId| there.get(&cell).copied().unwrap_or_default();
        let claims: Vec<Claim> =
            asked.into_iter().map(|(cell, seen)| Claim { cell, seen, least: least(cell) }).collect();
        let fenced = async {
            let claimed = self.first.shared.claim(claims, number).await?;
            let epochs: Vec<(CellId, Epoch)> = claimed.values().map(|taken| (taken.cell, taken.epoch)).collect();
            database.fence(epochs, true).await
        };
        let taken = fenced.await.inspect_err(|_| database.shared.not_changed(&ids))?;
        Ok(database.shared.finish_open(&ids, taken))
    }

    /// Gives a cell up: first where its tail is, so that it is nobody's only when nobody can store.
    pub(super) async fn release(&self, cell: CellId, epoch: Epoch) -> Result<(), Error> {
        let database = self.with(cell, Clone::clone);
        database.on(|shared| async move { shared.release(cell, epoch).await }).await?;
        if self.is_first(&database) {
            return Ok(());
        }
        let first = &self.first.shared;
        let released = first.with_control(|session| Box::pin(session.release(cell, epoch, Seq::ZERO))).await?;
        Ok(released.map(drop)?)
    }

    pub(super) fn is_first(&self, database: &DatabaseHandle) -> bool {
        Arc::ptr_eq(&database.shared, &self.first.shared)
    }

    /// What the first database says of cells.
    pub(super) async fn places(&self, cells: &[CellId]) -> Result<Vec<Place>, Error> {
        {
            let state = self.first.shared.state.lock();
            state.tail.check_running()?;
            cells.iter().try_for_each(|cell| state.tail.check_known(*cell))?;
        }
        let places = self.first.shared.with_control(|session| {
            let cells = cells.to_vec();
            Box::pin(async move { session.places(&cells).await })
        });
        let places = places.await?;
        match cells.iter().find(|cell| !places.iter().any(|place| place.cell == **cell)) {
            Some(cell) => Err(no_row(*cell)),
            None => Ok(places),
        }
    }

    /// Whether a database answers.
    pub(super) async fn reach(self: &Arc<Self>, number: DatabaseId) -> Result<(), Error> {
        self.database(number).await?.epochs(&[]).await.map(drop)
    }

    /// The last record of each cell, where its tail is.
    pub(super) async fn lasts(self: &Arc<Self>) -> Result<Vec<Seq>, Error> {
        let cells = self.first.shared.cells();
        let places = self.places(&cells).await?;
        let mut lasts = vec![Seq::ZERO; cells.len()];
        let mut epochs: HashMap<CellId, Epoch> = HashMap::new();
        let mut elsewhere = Vec::new();
        let mut numbers = vec![DatabaseId::FIRST];
        numbers.extend(self.numbers().await?);
        for number in numbers {
            for found in self.database(number).await?.places(&cells).await? {
                let at = usize::from(found.cell.0);
                if places.iter().any(|place| place.cell == found.cell && place.database == number) {
                    lasts[at] = found.last;
                    epochs.insert(found.cell, found.epoch);
                } else if number != DatabaseId::FIRST {
                    elsewhere.push((number, found));
                }
            }
        }
        let newer = |found: &Place| epochs.get(&found.cell).is_none_or(|epoch| found.epoch > *epoch);
        match elsewhere.into_iter().find(|(_, found)| newer(found)) {
            Some((number, found)) => Err(Error::Lost(format!(
                "{number} has {} at a newer epoch than the database where it is by the first one; restore all of them to the same \
                 moment",
                found.cell
            ))),
            None => Ok(lasts),
        }
    }

    /// A database, connected to if it is not yet.
    pub(super) async fn database(self: &Arc<Self>, number: DatabaseId) -> Result<DatabaseHandle, Error> {
        if number == DatabaseId::FIRST {
            return Ok(self.first.clone());
        }
        if let Some(open) = self.open_one(number) {
            return Ok(open);
        }
        let opening = self.opening(number).await?;
        let failed = |_| Error::Stopped("the database could not be opened".into());
        let opened = tokio::task::spawn_blocking(|| Database::open(opening)).await.map_err(failed)??;
        let handle = opened.handle().clone();
        if let Err(why) = self.tidy(number, &handle).await {
            drop_aside(opened);
            return Err(why);
        }
        let superfluous = {
            let mut further = self.further.lock();
            match further.get(&number).map(Database::handle).filter(|open| open.is_running()) {
                // Somebody was faster.
                Some(_) => Some(opened),
                None => {
                    tokio::spawn(watch(Arc::downgrade(self), number, handle.clone()));
                    further.insert(number, opened)
                }
            }
        };
        if let Some(superfluous) = superfluous {
            drop_aside(superfluous);
        }
        Ok(self.open_one(number).unwrap_or(handle))
    }

    fn open_one(&self, number: DatabaseId) -> Option<DatabaseHandle> {
        let further = self.further.lock();
        further.get(&number).map(Database::handle).filter(|handle| handle.is_running()).cloned()
    }

    /// The numbers of the further databases.
    async fn numbers(&self) -> Result<Vec<DatabaseId>, Error> {
        self.first.shared.with_control(|session| Box::pin(session.databases())).await
    }

    /// What a further database is opened with.
    async fn opening(&self, number: DatabaseId) -> Result<Opening, Error> {
        let first = &self.first.shared;
        let named = first.with_control(|session| Box::pin(session.database(number))).await?;
        let (name, url) = named.ok_or_else(|| {
            Error::Unfit(format!("the first database names no {number}; restore it from a newer backup"))
        })?;
        let cells = u16::try_from(first.cells().len()).unwrap_or(u16::MAX);
        Ok(Opening {
            connector: Connector::new(&url)?,
            identity: Identity { cluster: self.first.cluster().to_owned(), cells, further: Some(name) },
            holder: first.holder,
            call_max: AWAY_MAX,
            clock: first.clock.clone(),
            chance: first.chance.clone(),
        })
    }

    /// Says in a database that nothing is wanted there of the cells that are elsewhere: whoever moved them may have been killed
    /// before it could. What has the epoch that the first database has may be a tail that is on its way here, and is left alone.
    async fn tidy(&self, number: DatabaseId, database: &DatabaseHandle) -> Result<(), Error> {
        let places = self.places(&self.first.shared.cells()).await?;
        let elsewhere = places.into_iter().filter(|place| place.database != number);
        let elsewhere = elsewhere.map(|place| (place.cell, Epoch(place.epoch.0.saturating_sub(1))));
        database.give_up_records(elsewhere.collect()).await
    }

    /// A further database has stopped: its cells are lost, and it is opened anew by whoever wants one.
    fn put_down(&self, number: DatabaseId, shared: &Shared, why: &Error) {
        let ours = shared.state.lock().tail.ours();
        let cells = ours.len();
        match why {
            Error::Unavailable(_) => {
                tracing::warn!(%number, cells, %why, "a database is away; its cells are unavailable until it is back");
            }
            _ => {
                tracing::error!(%number, cells, %why, "a database cannot be used; its cells are unavailable until that is changed");
            }
        }
        let first = &mut self.first.shared.state.lock().tail;
        for (cell, epoch) in ours {
            first.lose(Fenced { cell, epoch, current: epoch });
        }
    }
}

/// Lets a database go that has nothing to write. That waits for its thread, and nobody else has to.
fn drop_aside(database: Database) {
    // It ends by itself.
    drop(tokio::task::spawn_blocking(move || drop(database)));
}

/// Looks after a further database until it ends: what it loses is lost, and if it is away for long it is put down.
async fn watch(databases: Weak<Databases>, number: DatabaseId, database: DatabaseHandle) {
    let shared = database.shared;
    loop {
        tokio::select! {
            fenced = shared.lost() => {
                let Some(databases) = databases.upgrade() else { return };
                databases.first.shared.state.lock().tail.lose(fenced);
            }
            why = shared.stopped() => {
                if let Some(databases) = databases.upgrade() {
                    databases.put_down(number, &shared, &why);
                }
                return;
            }
            () = shared.clock.sleep(LOOK_EVERY) => shared.give_up_if_away(AWAY_MAX),
        }
    }
}

/// What is asked of a database by whoever keeps several.
impl DatabaseHandle {
    fn is_running(&self) -> bool {
        self.shared.state.lock().tail.check_running().is_ok()
    }

    pub(super) async fn places(&self, cells: &[CellId]) -> Result<Vec<Place>, Error> {
        let cells = cells.to_vec();
        let asked = |shared: Arc<Shared>| async move {
            let places = shared.with_control(|session| {
                let cells = cells.clone();
                Box::pin(async move { session.places(&cells).await })
            });
            places.await
        };
        self.on(asked).await
    }

    /// Which epochs cells have here.
    pub(super) async fn epochs(&self, cells: &[CellId]) -> Result<HashMap<CellId, Epoch>, Error> {
        Ok(self.places(cells).await?.into_iter().map(|place| (place.cell, place.epoch)).collect())
    }
}
