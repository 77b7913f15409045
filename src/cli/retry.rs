//! `muster retry`: runs a task again, as a new task.

use super::exit::{Exit, Failure};
use super::lookup;
use super::session::Session;
use super::style::Style;
use clap::Args;

/// Options of `muster retry`.
#[derive(Debug, Args)]
pub(crate) struct Retry {
    /// The task's id, or enough of its beginning or end
    #[arg(value_name = "TASK")]
    task: String,
}

pub(crate) async fn run(args: &Retry, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let task = lookup::task(session, &args.task).await?;
    let new = session.client.retry(task).await?;
    if session.json {
        session.print_json(&new)?;
    } else {
        session.console.line(&new.id.to_string())?;
        let how = format!("follow it with: {} task {} --follow", session.program, new.id);
        session.console.note(Style::Dim, &how);
    }
    Ok(Exit::Done)
}
