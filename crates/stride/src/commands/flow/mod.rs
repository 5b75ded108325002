//! `stride flow deploy | run | ls | status | explain | approve | refuse | event | move | cancel | rm`

mod artefact;
mod explain;
mod ls;
mod run;
mod say;
mod status;
mod target;

use clap::Subcommand;

use crate::client::Client;

#[derive(Debug, Subcommand)]
pub(crate) enum Flow {
    /// Check a flow and keep it, so that it can run
    Deploy(artefact::Deploy),
    /// Begin a run and follow it to its end; the result goes to stdout
    Run(run::Run),
    /// List flows, or the runs of one
    Ls(ls::Ls),
    /// How a run stands, and what it waits for
    Status(status::Show),
    /// Show the plan of a flow, or of a run with what it took
    Explain(explain::Explain),
    /// Consent to what a run asks
    Approve(say::Approve),
    /// Refuse what a run asks
    Refuse(say::Refuse),
    /// Tell a run of an event
    Event(say::Event),
    /// Take a run to another version of its flow
    Move(say::Move),
    /// End a run; what has succeeded is compensated
    Cancel(say::Cancel),
    /// Remove a flow, or a run that has ended
    Rm(say::Rm),
}

impl Flow {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        match self {
            Self::Deploy(deploy) => deploy.run(client).await,
            Self::Run(run) => run.run(client).await,
            Self::Ls(ls) => ls.run(client).await,
            Self::Status(show) => show.run(client).await,
            Self::Explain(explain) => explain.run(client).await,
            Self::Approve(approve) => approve.run(client).await,
            Self::Refuse(refuse) => refuse.run(client).await,
            Self::Event(event) => event.run(client).await,
            Self::Move(to) => to.run(client).await,
            Self::Cancel(cancel) => cancel.run(client).await,
            Self::Rm(rm) => rm.run(client).await,
        }
    }
}
