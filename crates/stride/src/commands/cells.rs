//! `stride cells`

use clap::Args;
use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::{client::Client, output};

#[derive(Debug, Args)]
pub(crate) struct Cells {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize)]
struct List {
    cells: Vec<Cell>,
}

#[derive(Serialize, Deserialize)]
struct Cell {
    cell: u16,
    epoch: u64,
    last: u64,
    durable: u64,
    stored: u64,
    tail: u64,
    recovered_in_ms: f64,
}

impl Cells {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let List { cells } = client.json(client.request(Method::GET, &["cells"])).await?;
        if self.json {
            return output::json(&cells);
        }
        let mut table = output::table(&["CELL", "EPOCH", "LAST", "DURABLE", "STORED", "TAIL", "RECOVERED IN"]);
        for Cell { cell, epoch, last, durable, stored, tail, recovered_in_ms } in cells {
            let numbers = [u64::from(cell), epoch, last, durable, stored, tail].map(|number| number.to_string());
            table.add_row(numbers.into_iter().chain([format!("{recovered_in_ms:.1} ms")]));
        }
        Ok(output::print(&table)?)
    }
}
