//! A cluster whose database was restored to an earlier moment than its object store: what came later goes, before a node takes it
//! for the newest.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use stride_data::Location;
use stride_ids::CellId;
use stride_sim::Tasks;

use super::{
    Rewound, Stage, Tell, TransferError,
    places::{AT_ONCE, Shared},
};
use crate::DatabaseUrl;

pub(super) async fn rewind(
    cluster: &DatabaseUrl,
    objects: &Location,
    tell: Tell<'_>,
) -> Result<Rewound, TransferError> {
    let shared = Shared::open(cluster, objects, "rewind").await?;
    shared.without_nodes().await?;
    let journal = shared.journal.clone();
    let lasts = Tasks::real().blocking(move || journal.lasts()).await?;
    let cells = (0..).map(CellId).zip(lasts);
    let removing = stream::iter(cells).map(|(cell, last)| shared.snapshots.rewind(cell, last));
    let mut removing = std::pin::pin!(removing.buffer_unordered(AT_ONCE));
    let (mut rewound, mut looked) = (Rewound::default(), 0);
    while let Some(removed) = removing.try_next().await? {
        rewound.cells += usize::from(removed > 0);
        rewound.snapshots += removed;
        looked += 1;
        tell(Stage::Rewinding, looked);
    }
    Ok(rewound)
}
