//! `muster codebases`: the directories that tasks can run in.

use super::console::Console;
use super::exit::{Exit, Failure};
use super::lookup;
use super::session::Session;
use super::table::{Table, dim, plain, state};
use clap::Args;
use muster_protocol::codebase::{Codebase, GitState};
use muster_protocol::ids::WorkerId;

/// From so many columns on, ids are shown beside the rest.
const ROOM_FOR_IDS: u16 = 110;

/// Options of `muster codebases`.
#[derive(Debug, Args)]
pub(crate) struct Codebases {
    /// Only those of this worker, by name or id
    #[arg(long, short, value_name = "NAME|ID")]
    worker: Option<String>,
}

pub(crate) async fn run(args: &Codebases, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let worker = match &args.worker {
        Some(typed) => Some(lookup::worker(session, typed).await?),
        None => None,
    };
    let query: Vec<(&str, &str)> = worker.iter().map(|id| ("worker_id", id.as_str())).collect();
    session.show("v1/opencode/codebases", &query, |codebases: Vec<Codebase>, console| render(&codebases, console)).await
}

fn render(codebases: &[Codebase], console: &Console) -> String {
    if codebases.is_empty() {
        return "There is no codebase. A worker brings them: muster-worker --codebase NAME=PATH".to_owned();
    }
    // Ids are needed where names are not enough; they must not take the room of everything else.
    let has_ids = console.out.width.is_none_or(|width| width >= ROOM_FOR_IDS);
    let columns = ["~NAME", "~WORKER", "STATUS", "~BRANCH", "~PATH", "ID"];
    let mut table = Table::new(&columns[..if has_ids { 6 } else { 5 }]);
    for codebase in codebases {
        let worker = codebase.worker_name.as_deref().or(codebase.worker_id.as_ref().map(WorkerId::as_str)).unwrap_or("-");
        let branch = codebase.git.as_ref().map_or(String::new(), branch);
        let cells = [plain(&codebase.name), plain(worker), state(codebase.status.as_str()), plain(branch), plain(&codebase.path)];
        table.row(cells.into_iter().chain(has_ids.then(|| dim(codebase.id.as_str()))));
    }
    let mut lines = vec![table.render(&console.out)];
    for codebase in codebases {
        lines.extend(codebase.problem.iter().map(|problem| super::render::printable(&format!("! {}: {problem}", codebase.path))));
    }
    lines.join("\n")
}

/// The branch, or the beginning of the commit; a star if there are changes.
fn branch(git: &GitState) -> String {
    let commit = git.head.as_ref().map(|head| head.chars().take(8).collect());
    let name: String = git.branch.clone().or(commit).unwrap_or_default();
    if git.dirty { format!("{name}*") } else { name }
}

#[cfg(test)]
mod tests {
    use super::render;
    use crate::cli::console::{Channel, Console};
    use muster_protocol::codebase::Codebase;
    use muster_protocol::time::Timestamp;
    use serde_json::{Value, json};
    use std::io::sink;

    fn codebase(changes: &Value) -> Codebase {
        let at = Timestamp(0);
        let mut data = json!({
            "id": "cb_1", "name": "web", "path": "/srv/web", "description": "", "worker_id": "w1", "worker_name": "build-box",
            "status": "active", "is_global": false, "git": {"branch": "main", "dirty": true}, "created_at": at, "updated_at": at,
        });
        data.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        serde_json::from_value(data).unwrap()
    }

    #[test]
    fn codebases_show_where_they_are_and_what_is_wrong() {
        let gone = json!({"name": "old", "path": "/srv/old", "status": "offline", "git": {"head": "0123456789abcdef"}, "problem": "no such directory"});
        let codebases = [codebase(&json!({})), codebase(&gone)];
        let console = Console { out: Channel::plain(sink()), err: Channel::plain(sink()) };
        insta::assert_snapshot!(render(&codebases, &console), @r"
        NAME  WORKER     STATUS   BRANCH    PATH      ID
        web   build-box  active   main*     /srv/web  cb_1
        old   build-box  offline  01234567  /srv/old  cb_1
        ! /srv/old: no such directory
        ");
    }
}
