//! `GET /v1/cells`: how far every cell of the node is. The cells are the node's and shared by all tenants, so this shows
//! numbers only.

use axum::{Json, extract::State};
use serde::Serialize;
use stride_agents::CellStatus;

use crate::routes::Shared;

#[derive(Serialize)]
pub(crate) struct CellList {
    cells: Vec<Listed>,
}

#[derive(Serialize)]
struct Listed {
    cell: u16,
    epoch: u64,
    last: u64,
    durable: u64,
    stored: u64,
    tail: u64,
    recovered_in_ms: f64,
}

pub(crate) async fn list(State(gateway): State<Shared>) -> Json<CellList> {
    Json(CellList { cells: gateway.engine.cells().iter().map(listed).collect() })
}

fn listed(status: &CellStatus) -> Listed {
    Listed {
        cell: status.cell.0,
        epoch: status.epoch.0,
        last: status.last.0,
        durable: status.durable.0,
        stored: status.stored.0,
        tail: status.tail(),
        recovered_in_ms: status.recovered_in.as_micros() as f64 / 1e3,
    }
}
