//! `muster explain`: why a task is waiting.

use super::exit::{Exit, Failure};
use super::lookup;
use super::render::counted;
use super::session::Session;
use super::style::Style;
use super::table::{Table, plain};
use clap::Args;
use muster_protocol::task::{Blocker, Explanation, WorkerVerdict};

/// Options of `muster explain`.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The task's id, or enough of its beginning or end
    #[arg(value_name = "TASK")]
    task: String,
}

pub(crate) async fn run(args: &Explain, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let task = lookup::task(session, &args.task).await?;
    let path = format!("v1/opencode/tasks/{task}/explain");
    session
        .show(&path, &[], |explanation: Explanation, console| {
            let mut lines = vec![explanation.summary.clone()];
            lines.extend(explanation.blockers.iter().map(|blocker| format!("- {}", blocker.message)));
            if !explanation.workers.is_empty() {
                let mut table = Table::new(&["~WORKER", "~WHY NOT"]).wrapped();
                for worker in &explanation.workers {
                    table.row([plain(&worker.name), verdict(worker)]);
                }
                lines.push(format!("\n{}", table.render(&console.out)));
            }
            lines.join("\n")
        })
        .await
}

fn verdict(worker: &WorkerVerdict) -> (Style, String) {
    if worker.blockers.is_empty() { (Style::Good, "it would take the task".to_owned()) } else { (Style::Plain, reasons(&worker.blockers)) }
}

fn reasons(blockers: &[Blocker]) -> String {
    blockers.iter().map(|blocker| blocker.message.as_str()).collect::<Vec<_>>().join("; ")
}

/// The most workers that are named while a task waits.
const MOST_WORKERS: usize = 3;

/// Why it waits, in a few lines for those who wait with it.
pub(crate) fn brief(explanation: &Explanation) -> String {
    let mut lines = vec![format!("… {}", explanation.summary)];
    lines.extend(explanation.blockers.iter().map(|blocker| format!("  {}", blocker.message)));
    // The summary may have said it already.
    let is_news = |worker: &&WorkerVerdict| !worker.blockers.is_empty() && !explanation.summary.contains(&reasons(&worker.blockers));
    let blocked: Vec<&WorkerVerdict> = explanation.workers.iter().filter(is_news).collect();
    lines.extend(blocked.iter().take(MOST_WORKERS).map(|worker| format!("  {}: {}", worker.name, reasons(&worker.blockers))));
    let more = blocked.len().saturating_sub(MOST_WORKERS);
    if more > 0 {
        lines.push(format!("  and {}", counted(more, "other worker")));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::{Explanation, brief};
    use serde_json::json;

    fn explanation(workers: usize) -> Explanation {
        let busy =
            json!([{"code": "codebase_busy", "message": "another task writes in web"}, {"code": "draining", "message": "it drains"}]);
        let workers: Vec<_> =
            (0..workers).map(|n| json!({"worker_id": format!("w{n}"), "name": format!("box-{n}"), "blockers": busy})).collect();
        let data = json!({
            "task_id": "0199aaaa-0001-7000-8000-00000000beef", "state": "submitted", "summary": "No worker can take it now.",
            "blockers": [], "workers": workers,
        });
        serde_json::from_value(data).unwrap()
    }

    #[test]
    fn those_who_wait_are_told_the_reason_of_each_worker() {
        insta::assert_snapshot!(brief(&explanation(1)), @r"
        … No worker can take it now.
          box-0: another task writes in web; it drains
        ");
    }

    #[test]
    fn what_the_summary_says_is_not_said_again() {
        let mut one = explanation(1);
        one.summary = "worker box-0: another task writes in web; it drains".to_owned();
        assert_eq!(brief(&one), "… worker box-0: another task writes in web; it drains");
    }

    #[test]
    fn a_long_list_of_workers_is_cut() {
        let text = brief(&explanation(12));
        assert_eq!(text.lines().count(), 5);
        assert!(text.ends_with("and 9 other workers"), "{text}");
    }
}
