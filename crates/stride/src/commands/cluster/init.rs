//! `stride cluster init DIR`: the certificates by which the nodes of a cluster know each other.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use stride_net::certificates::{Authority, Made};
use stride_sim::Clock;

use crate::output;

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Where the CA is and each host gets a folder with what goes to it
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// A name or an IP address by which other nodes reach a node
    #[arg(long = "host", value_name = "NAME")]
    hosts: Vec<String>,
}

impl Init {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let dir = self.dir.display();
        let authority =
            Authority::open(&self.dir, &Clock::real()).context("there is no CA to make certificates with")?;
        output::line(format_args!("{dir}: the CA; keep ca.key away from the nodes"))?;
        for host in &self.hosts {
            let made = authority.add(host).with_context(|| format!("no certificate for {host}"))?;
            output::line(match made {
                Made::New => format!("{dir}/{host}: goes to {host}; valid for a year"),
                Made::Kept => format!("{dir}/{host}: was there and is kept; to renew it, move the folder away first"),
            })?;
        }
        Ok(())
    }
}
