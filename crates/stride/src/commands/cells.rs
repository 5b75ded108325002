//! `stride cells`, and `stride cells move`.

use anyhow::ensure;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::{client::Client, output};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Cells {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Have cells owned by a node for as long as it is there, or kept in another database; nothing is lost, and requests wait a moment
    Move(Move),
}

#[derive(Debug, Args)]
struct Move {
    /// The numbers of the cells
    #[arg(required = true, value_name = "CELL")]
    cells: Vec<u16>,
    /// The node, as `stride nodes` names it
    #[arg(long, value_name = "NODE", required_unless_present_any = ["anywhere", "database"])]
    to: Option<String>,
    /// Let them go wherever suits, as before they were moved
    #[arg(long, conflicts_with = "to")]
    anywhere: bool,
    /// Have them kept in this database, as `stride cluster databases` numbers it; they stay with their nodes
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["to", "anywhere"])]
    database: Option<u16>,
}

#[derive(Serialize)]
struct Asked<'a> {
    cells: &'a [u16],
    to: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<u16>,
}

#[derive(Deserialize)]
struct List {
    cells: Vec<Cell>,
}

#[derive(Serialize, Deserialize)]
struct Cell {
    cell: u16,
    node: String,
    epoch: u64,
    last: u64,
    durable: u64,
    stored: u64,
    tail: u64,
    recovered_in_ms: f64,
}

impl Cells {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        if let Some(What::Move(shift)) = self.what {
            return shift.run(client).await;
        }
        let List { cells } = client.json(client.request(Method::GET, &["cells"])).await?;
        if self.json {
            return output::json(&cells);
        }
        let mut table = output::table(&["CELL", "NODE", "EPOCH", "LAST", "DURABLE", "STORED", "TAIL", "RECOVERED IN"]);
        for Cell { cell, node, epoch, last, durable, stored, tail, recovered_in_ms } in cells {
            let numbers = [epoch, last, durable, stored, tail].map(|number| number.to_string());
            let row = [cell.to_string(), node].into_iter().chain(numbers).chain([format!("{recovered_in_ms:.1} ms")]);
            table.add_row(row);
        }
        Ok(output::print(&table)?)
    }
}

impl Move {
    async fn run(self, client: &Client) -> anyhow::Result<()> {
        ensure!(!self.cells.is_empty(), "name the cells to move");
        let asked = Asked { cells: &self.cells, to: self.to.as_deref(), database: self.database };
        client.send(client.request(Method::POST, &["cells", "move"]).json(&asked)).await?;
        let count = self.cells.len();
        if let Some(database) = self.database {
            let shows = "`stride cluster databases` shows when they are there";
            return Ok(output::line(format_args!("{count} cells go to database {database}; {shows}"))?);
        }
        let to = self.to.as_deref().unwrap_or("wherever suits");
        Ok(output::line(format_args!("{count} cells go to {to}; `stride cells` shows when they are there"))?)
    }
}
