//! `/v1/cells`: how far every cell is, and moving some. The cells are shared by all tenants, so this shows numbers only.

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
};
use serde::{Deserialize, Serialize};
use stride_agents::CellStatus;
use stride_ids::{CellId, Code, DatabaseId, Failure};

use crate::{
    others::{Forwarded, gathered},
    problem::Problem,
    routes::Shared,
};

#[derive(Serialize, Deserialize)]
pub(crate) struct CellList {
    cells: Vec<Listed>,
}

#[derive(Serialize, Deserialize)]
struct Listed {
    cell: u16,
    node: String,
    epoch: u64,
    last: u64,
    durable: u64,
    stored: u64,
    tail: u64,
    recovered_in_ms: f64,
}

/// Which cells are to go where.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Move {
    cells: Vec<u16>,
    /// None lets them go wherever suits, unless it is their tails that are to go.
    to: Option<String>,
    /// The database that their tails are to be brought to.
    database: Option<u16>,
}

/// The cells that have an owner who answers, by number.
pub(crate) async fn list(
    State(gateway): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
    forwarded: Option<Extension<Forwarded>>,
) -> Result<Json<CellList>, Problem> {
    let node = &gateway.info.node;
    let mut cells: Vec<Listed> = gateway.engine.cells().iter().map(|cell| listed(node, cell)).collect();
    for there in gathered::<CellList>(&gateway, &uri, &headers, forwarded).await? {
        cells.extend(there.cells);
    }
    // One that moved meanwhile may be listed twice: the newer epoch counts.
    cells.sort_by_key(|listed| (listed.cell, std::cmp::Reverse(listed.epoch)));
    cells.dedup_by_key(|listed| listed.cell);
    Ok(Json(CellList { cells }))
}

pub(crate) async fn shift(
    State(gateway): State<Shared>,
    Json(Move { cells, to, database }): Json<Move>,
) -> Result<StatusCode, Problem> {
    let Some(others) = &gateway.others else {
        let message =
            "this node has all cells, because it is in no cluster; start nodes with --cluster to have several";
        return Err(Failure::new(Code::InvalidRequest, message).into());
    };
    let count = gateway.engine.cell_count();
    if let Some(unknown) = cells.iter().find(|cell| **cell >= count) {
        let message = format!("there is no cell {unknown}; they have the numbers 0 to {}", count - 1);
        return Err(Failure::new(Code::InvalidRequest, message).into());
    }
    let moved = cells.iter().map(|cell| CellId(*cell)).collect();
    match (database, to) {
        (Some(_), Some(_)) => {
            let message = "cells go to a node or to a database, one after the other: give `to` or `database`";
            return Err(Failure::new(Code::InvalidRequest, message).into());
        }
        (Some(database), None) => {
            others.move_tails(moved, DatabaseId(database)).await?;
            tracing::info!(target: "stride::audit", ?cells, database, "tails of cells moved");
        }
        (None, to) => {
            others.move_cells(moved, to.clone()).await?;
            tracing::info!(target: "stride::audit", ?cells, to = to.as_deref().unwrap_or("(anywhere)"), "cells moved");
        }
    }
    Ok(StatusCode::ACCEPTED)
}

fn listed(node: &str, status: &CellStatus) -> Listed {
    Listed {
        cell: status.cell.0,
        node: node.to_owned(),
        epoch: status.epoch.0,
        last: status.last.0,
        durable: status.durable.0,
        stored: status.stored.0,
        tail: status.tail(),
        recovered_in_ms: status.recovered_in.as_micros() as f64 / 1e3,
    }
}
