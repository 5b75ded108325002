//! `stride cluster databases`, `add-database` and `readdress`: where the cells of a cluster are kept. Nodes may run.

use clap::Args;
use serde::Serialize;
use stride_node::{
    DatabaseUrl,
    databases::{self, Added, DatabaseError, DatabaseId, DatabaseStatus},
};

use crate::{output, report::Trouble};

/// The cluster, by its first database.
#[derive(Debug, Args)]
struct First {
    /// The first PostgreSQL database of the cluster, as postgres://USER@HOST/DATABASE
    #[arg(long, env = "STRIDE_CLUSTER", hide_env_values = true, value_name = "URL")]
    cluster: DatabaseUrl,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Databases {
    #[command(flatten)]
    first: First,
}

#[derive(Debug, Args)]
pub(crate) struct AddDatabase {
    /// The database to add, with nothing in it, as postgres://USER@HOST/DATABASE; nodes reach it there
    #[arg(env = "STRIDE_DATABASE", hide_env_values = true, value_name = "URL")]
    database: DatabaseUrl,
    #[command(flatten)]
    first: First,
}

#[derive(Debug, Args)]
pub(crate) struct Readdress {
    /// The number of the database, as `stride cluster databases` shows it
    #[arg(value_name = "NUMBER")]
    number: u16,
    /// Where the same database is reached now
    #[arg(env = "STRIDE_DATABASE", hide_env_values = true, value_name = "URL")]
    database: DatabaseUrl,
    #[command(flatten)]
    first: First,
}

#[derive(Serialize)]
struct Shown {
    database: u16,
    name: Option<String>,
    address: String,
    cells: u64,
    leaving: u64,
    coming: u64,
    trouble: Option<String>,
}

impl From<DatabaseStatus> for Shown {
    fn from(status: DatabaseStatus) -> Self {
        let DatabaseStatus { number, name, address, cells, leaving, coming, trouble } = status;
        Self { database: number.0, name, address, cells, leaving, coming, trouble }
    }
}

#[derive(Serialize)]
struct Done {
    database: u16,
    moving: usize,
}

impl Databases {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let listed = databases::list(&self.first.cluster).await;
        let listed = listed.map_err(|e| failed("the databases of the cluster cannot be listed", &e))?;
        let listed: Vec<Shown> = listed.into_iter().map(Shown::from).collect();
        if self.first.json {
            return output::json(&listed);
        }
        let mut table = output::table(&["DATABASE", "ADDRESS", "CELLS", "LEAVING", "COMING", "STATE"]);
        for Shown { database, address, cells, leaving, coming, trouble, .. } in listed {
            let state = trouble.unwrap_or_else(|| "answers".to_owned());
            let numbers = [cells, leaving, coming].map(|number| number.to_string());
            table.add_row([database.to_string(), address].into_iter().chain(numbers).chain([state]));
        }
        Ok(output::print(&table)?)
    }
}

impl AddDatabase {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let added = databases::add(&self.first.cluster, &self.database).await;
        let Added { number, moving } = added.map_err(|e| failed("cells are not spread over the new database", &e))?;
        if self.first.json {
            return output::json(&Done { database: number.0, moving });
        }
        Ok(output::line(format_args!(
            "{number} is in the cluster, and {moving} cells are on their way; `stride cluster databases` shows how far they are"
        ))?)
    }
}

impl Readdress {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let number = DatabaseId(self.number);
        let changed = databases::readdress(&self.first.cluster, number, &self.database).await;
        changed.map_err(|e| failed("the address is as it was", &e))?;
        if self.first.json {
            return output::json(&Done { database: number.0, moving: 0 });
        }
        Ok(output::line(format_args!("{number} is reached at its new address as soon as the old one does not answer"))?)
    }
}

/// What went wrong, why, and what next.
fn failed(what: &str, error: &DatabaseError) -> Trouble {
    let why = stride_ids::with_causes(error);
    let next = match error {
        DatabaseError::NotSpread { .. } => "send cells there with `stride cells move CELL... --database NUMBER`",
        _ if error.is_unreachable() => "run it again when that database answers; nothing has changed",
        _ => "change what the reason names, then run it again; nothing has changed",
    };
    let trouble = if error.is_unreachable() { Trouble::unreachable(what) } else { Trouble::failed(what) };
    trouble.why(why).next(next)
}
