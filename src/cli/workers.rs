//! `muster workers`: the machines that run tasks.

use super::console::Console;
use super::exit::{Exit, Failure};
use super::render::{ago, printable};
use super::session::{Session, now};
use super::table::{Table, dim, plain, state};
use clap::Args;
use muster_protocol::time::Timestamp;
use muster_protocol::worker::Worker;

/// Options of `muster workers`.
#[derive(Debug, Args)]
pub(crate) struct Workers {
    /// Only those with this status: active, draining, stale, offline
    #[arg(long)]
    status: Option<String>,
    /// Only those with this capability
    #[arg(long)]
    capability: Option<String>,
    /// Only those that have this model
    #[arg(long)]
    model: Option<String>,
}

pub(crate) async fn run(args: &Workers, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let filters = [("status", &args.status), ("capability", &args.capability), ("model", &args.model)];
    let query: Vec<(&str, &str)> = filters.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))).collect();
    session.show("v1/opencode/workers", &query, |workers: Vec<Worker>, console| render(&workers, console, now())).await
}

fn render(workers: &[Worker], console: &Console, now: Timestamp) -> String {
    if workers.is_empty() {
        return "There is no worker. Start one with: muster-worker --server URL".to_owned();
    }
    let mut table = Table::new(&["~NAME", "STATUS", "TASKS", "~OPENCODE", "MODELS", "~SYSTEM", "~LABELS", "SEEN"]);
    for worker in workers {
        let opencode = worker.opencode_version.as_deref().unwrap_or("none");
        let system = [worker.os.as_deref(), worker.arch.as_deref()].into_iter().flatten().collect::<Vec<_>>().join("/");
        let labels = worker.labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ");
        table.row([
            plain(&worker.name),
            state(worker.status.as_str()),
            plain(format!("{}/{}", worker.running, worker.slots)),
            plain(opencode),
            plain(worker.models.len().to_string()),
            plain(system),
            plain(labels),
            dim(ago(worker.last_seen, now)),
        ]);
    }
    let mut lines = vec![table.render(&console.out)];
    for worker in workers {
        lines.extend(worker.drain_reason.iter().map(|reason| printable(&format!("{} drains: {reason}", worker.name))));
        lines.extend(worker.alarm.iter().map(|alarm| printable(&format!("! {}: {alarm}", worker.name))));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::render;
    use crate::cli::console::{Channel, Console};
    use muster_protocol::time::Timestamp;
    use muster_protocol::worker::Worker;
    use serde_json::json;
    use std::io::sink;

    fn console() -> Console {
        Console { out: Channel::plain(sink()), err: Channel::plain(sink()) }
    }

    #[test]
    fn workers_show_what_they_have_and_what_is_wrong() {
        let (at, worker) = worker();
        insta::assert_snapshot!(render(&[worker], &console(), Timestamp(at.0 + 180_000)), @r"
        NAME       STATUS  TASKS  OPENCODE  MODELS  SYSTEM        LABELS             SEEN
        build-box  active  1/4    1.2.3     0       linux/x86_64  gpu=none os=linux  3 min ago
        ! build-box: two machines use this id
        ");
    }

    #[test]
    fn colours_reach_the_terminal_and_control_characters_of_others_do_not() {
        let (at, mut worker) = worker();
        worker.alarm = Some("\u{1b}[2Jgone".to_owned());
        let console = Console { out: Channel::terminal(sink(), true, Some(120)), err: Channel::plain(sink()) };
        let text = render(&[worker], &console, at);
        assert!(text.contains("\u{1b}[1mNAME"), "{text:?}");
        assert!(!text.contains("\u{1b}[2J"), "{text:?}");
    }

    fn worker() -> (Timestamp, Worker) {
        let at = Timestamp(1_700_000_000_000);
        let worker = serde_json::from_value(json!({
            "worker_id": "w1", "name": "build-box", "hostname": "h", "capabilities": ["opencode"], "models": [], "global_codebase_id": "c1",
            "labels": {"gpu": "none", "os": "linux"}, "slots": 4, "running": 1, "status": "active", "registered_at": at, "last_seen": at,
            "os": "linux", "arch": "x86_64", "opencode_version": "1.2.3", "alarm": "two machines use this id",
        }))
        .unwrap();
        (at, worker)
    }

    #[test]
    fn without_workers_it_says_how_to_start_one() {
        assert!(render(&[], &console(), Timestamp(0)).contains("muster-worker --server"));
    }
}
