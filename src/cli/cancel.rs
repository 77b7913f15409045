//! `muster cancel`: cancels a task.

use super::exit::{Exit, Failure};
use super::lookup;
use super::session::Session;
use clap::Args;

/// Options of `muster cancel`.
#[derive(Debug, Args)]
pub(crate) struct Cancel {
    /// The task's id, or enough of its beginning or end
    #[arg(value_name = "TASK")]
    task: String,
}

pub(crate) async fn run(args: &Cancel, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let task = lookup::task(session, &args.task).await?;
    let answer = session.client.cancel(task).await?;
    if session.json {
        session.print_json(&answer)?;
    } else {
        session.console.line(&answer.message)?;
    }
    Ok(Exit::Done)
}
