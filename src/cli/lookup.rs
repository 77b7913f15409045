//! From what people type to the id that the server knows.

use super::exit::Failure;
use super::session::Session;
use muster_protocol::codebase::Codebase;
use muster_protocol::ids::{TaskId, WorkerId};
use muster_protocol::worker::Worker;
use serde::Deserialize;
use std::collections::BTreeSet;

/// The fewest characters by which a task is looked for.
const SHORTEST: usize = 4;
/// How many pages of a list are looked at.
const MOST_PAGES: usize = 20;

/// As much of a task as is needed to find it.
#[derive(Debug, Deserialize)]
struct Listed {
    id: TaskId,
}

/// The short form of a task's id in tables: its last group. Its beginning is the time it was made and tells tasks of a minute not apart.
pub(crate) fn short(task: TaskId) -> String {
    let id = task.to_string();
    id.rsplit_once('-').map_or(id.clone(), |(_, last)| last.to_owned())
}

/// The task that `typed` means: its id, or the beginning or end of the id, or the beginning of the short form, of exactly one task.
pub(crate) async fn task(session: &Session<'_>, typed: &str) -> Result<TaskId, Failure> {
    if let Ok(id) = typed.parse() {
        return Ok(id);
    }
    if !is_part_of_id(typed) {
        return Err(Failure::Usage(format!("`{typed}` is no task id, nor at least {SHORTEST} characters of one; see \"muster tasks\"")));
    }
    let (listed, is_all) = session.pages::<Listed>("v1/opencode/tasks", &[("q", typed)], MOST_PAGES).await?;
    if !is_all {
        return Err(Failure::Usage(format!("there are too many tasks to look for `{typed}`; give the whole id")));
    }
    let ids: Vec<TaskId> = listed.into_iter().map(|listed| listed.id).collect();
    find(typed, &ids)
}

fn is_part_of_id(typed: &str) -> bool {
    typed.len() >= SHORTEST && typed.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
}

fn find(typed: &str, ids: &[TaskId]) -> Result<TaskId, Failure> {
    let typed = typed.to_ascii_lowercase();
    let is_meant = |id: &TaskId| {
        let whole = id.to_string();
        whole.starts_with(&typed) || whole.ends_with(&typed) || short(*id).starts_with(&typed)
    };
    // A task that moved between two pages while they were read is listed twice.
    let matching: BTreeSet<TaskId> = ids.iter().copied().filter(is_meant).collect();
    let mut matching = matching.into_iter();
    match (matching.next(), matching.next()) {
        (Some(id), None) => Ok(id),
        (None, _) => Err(Failure::NotFound(format!("no task's id begins or ends with `{typed}`; see \"muster tasks\""))),
        (Some(one), Some(other)) => {
            let more = matching.count();
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            Err(Failure::NotFound(format!("`{typed}` is not enough to tell tasks apart: {one}, {other}{more}")))
        }
    }
}

/// The id of the codebase that `typed` names, among those of `worker` if it is given.
pub(crate) async fn codebase(session: &Session<'_>, typed: &str, worker: Option<&str>) -> Result<String, Failure> {
    let codebases = session.pages::<Codebase>("v1/opencode/codebases", &[], MOST_PAGES).await?.0;
    if let Some(exact) = codebases.iter().find(|codebase| codebase.id.as_str() == typed) {
        return Ok(exact.id.to_string());
    }
    let of_worker = |codebase: &&Codebase| worker.is_none() || codebase.worker_id.as_ref().map(WorkerId::as_str) == worker;
    let mut named = codebases.iter().filter(|codebase| codebase.name == typed).filter(of_worker);
    match (named.next(), named.next()) {
        (Some(codebase), None) => Ok(codebase.id.to_string()),
        (None, _) => Err(Failure::NotFound(format!("there is no codebase `{typed}`; see \"muster codebases\""))),
        _ => {
            Err(Failure::NotFound(format!("several workers have a codebase `{typed}`; add --worker or give its id (\"muster codebases\")")))
        }
    }
}

/// The id of the worker that `typed` names.
pub(crate) async fn worker(session: &Session<'_>, typed: &str) -> Result<String, Failure> {
    let workers = session.pages::<Worker>("v1/opencode/workers", &[], MOST_PAGES).await?.0;
    let found = |is: &dyn Fn(&&Worker) -> bool| workers.iter().find(is).map(|worker| worker.worker_id.to_string());
    found(&|worker| worker.worker_id.as_str() == typed)
        .or_else(|| found(&|worker| worker.name == typed))
        .ok_or_else(|| Failure::NotFound(format!("there is no worker `{typed}`; see \"muster workers\"")))
}

#[cfg(test)]
mod tests {
    use super::{find, is_part_of_id, short};
    use crate::cli::exit::Exit;
    use muster_protocol::ids::TaskId;

    fn ids() -> Vec<TaskId> {
        let ids = ["0199aaaa-0001-7000-8000-00000000beef", "0199aaaa-0002-7000-8000-00000000cafe", "0199bbbb-0003-7000-8000-00000001cafe"];
        ids.iter().map(|id| id.parse().unwrap()).collect()
    }

    #[test]
    fn a_task_is_found_by_the_beginning_or_the_end_of_its_id() {
        assert_eq!(find("0199bb", &ids()).unwrap(), ids()[2]);
        assert_eq!(find("BEEF", &ids()).unwrap(), ids()[0]);
        assert_eq!(find("00000001", &ids()).unwrap(), ids()[2], "the beginning of what a table shows");
        for id in ids() {
            assert_eq!(find(&short(id), &ids()).unwrap(), id, "the short form shown in tables must work");
        }
    }

    #[test]
    fn what_fits_several_tasks_or_none_is_refused_with_the_reason() {
        let several = find("0199aaaa", &ids()).unwrap_err();
        assert!(several.message().unwrap().contains("0199aaaa-0002-7000-8000-00000000cafe"));
        assert_eq!(several.exit(), Exit::Refused);
        assert!(find("cafe", &ids()).unwrap_err().message().unwrap().contains("not enough"));
        assert!(find("dead", &ids()).unwrap_err().message().unwrap().contains("no task"));
    }

    #[test]
    fn only_parts_of_ids_are_looked_for() {
        assert!(is_part_of_id("0199-"));
        assert!(!is_part_of_id("abc"));
        assert!(!is_part_of_id("nonsense"));
    }
}
