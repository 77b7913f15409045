//! Which worker may take which task, and why not.

use muster_protocol::codebase::Codebase;
use muster_protocol::ids::{CodebaseId, ContextId, TaskId, WorkerId};
use muster_protocol::task::{Blocker, Task, builtin_mode};
use muster_protocol::time::Timestamp;
use muster_protocol::worker::{OPENCODE, Worker, WorkerStatus};
use std::collections::BTreeMap;

/// What a task asks of a worker.
#[derive(Debug, Clone, Default)]
pub struct Needs {
    /// The only worker that may take it.
    pub worker: Option<WorkerId>,
    /// Where it must run.
    pub codebase: Option<CodebaseId>,
    /// Which model; looked at only where any worker may take it, so that a fixed one can say itself that it has not.
    pub model: Option<String>,
    /// Capabilities.
    pub capabilities: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Which mode.
    pub mode: String,
}

impl Needs {
    /// What a task asks, with the worker and codebase that it was resolved to.
    #[must_use]
    pub fn of(task: &Task, worker: Option<WorkerId>, codebase: Option<CodebaseId>) -> Self {
        Self {
            worker,
            codebase,
            model: task.model.clone(),
            capabilities: task.capabilities.clone(),
            labels: task.labels.clone(),
            mode: task.mode.clone(),
        }
    }
}

/// What a worker has to offer.
#[derive(Debug, Clone)]
pub struct Offer<'a> {
    /// Its id.
    pub worker: &'a WorkerId,
    /// What it can do.
    pub capabilities: &'a [String],
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
    /// The ids of its models.
    pub models: &'a [String],
}

/// The lasting conditions that fail: whether the worker could take the task at all, once it has time.
#[must_use]
pub fn misfits(needs: &Needs, offer: &Offer<'_>) -> Vec<Blocker> {
    let mut failed = Vec::new();
    let mut fail = |code: &str, message: String| failed.push(Blocker { code: code.to_owned(), message });
    let fixed = needs.worker.is_some();
    if needs.worker.as_ref().is_some_and(|only| only != offer.worker) {
        fail("other_worker", "the task is for another worker".to_owned());
    }
    for capability in &needs.capabilities {
        if !offer.capabilities.contains(capability) {
            fail("capability", format!("it lacks the capability `{capability}`"));
        }
    }
    for (key, value) in &needs.labels {
        if offer.labels.get(key) != Some(value) {
            fail("label", format!("it lacks the label `{key}={value}`"));
        }
    }
    if !fixed && !builtin_mode::contains(&needs.mode) && !offer.capabilities.iter().any(|c| c == OPENCODE) {
        fail("no_opencode", "it has no OpenCode".to_owned());
    }
    if let Some(model) = needs.model.as_ref().filter(|model| !fixed && !offer.models.contains(model)) {
        fail("model", format!("it lacks the model `{model}`"));
    }
    failed
}

/// What holds a task back at a worker for now.
#[derive(Debug, Clone, Default)]
pub struct Load {
    /// Held attempts.
    pub running: u32,
    /// Writing tasks by codebase.
    pub writing: BTreeMap<CodebaseId, u32>,
}

/// The passing conditions that fail at a worker which could take the task.
#[must_use]
pub fn busy(needs: &Needs, worker: &Worker, codebase: Option<&Codebase>, load: &Load) -> Vec<Blocker> {
    let mut failed = Vec::new();
    let mut fail = |code: &str, message: String| failed.push(Blocker { code: code.to_owned(), message });
    match worker.status {
        WorkerStatus::Active => {}
        WorkerStatus::Draining => fail("draining", "it is draining and takes nothing new".to_owned()),
        WorkerStatus::Stale => fail("stale", format!("it has not been heard of since {}", worker.last_seen)),
        _ => fail("offline", format!("it is offline, last seen {}", worker.last_seen)),
    }
    if load.running >= worker.slots {
        fail("no_free_slot", format!("all of its {} slots are taken", worker.slots));
    }
    if let Some(codebase) = codebase.filter(|codebase| writes(&needs.mode, codebase.is_global)) {
        let writing = load.writing.get(&codebase.id).copied().unwrap_or(0);
        if writing >= codebase.parallel {
            let name = &codebase.name;
            fail("codebase_busy", format!("codebase `{name}` runs {writing} writing task(s) already and allows {}", codebase.parallel));
        }
    }
    failed
}

/// Whether a task counts against the `parallel` of its codebase: the mode `plan` and the global codebase do not.
#[must_use]
pub fn writes(mode: &str, is_global: bool) -> bool {
    mode != "plan" && !is_global && !builtin_mode::contains(mode)
}

/// What holds a task back whichever worker is looked at.
#[must_use]
pub fn general(task: &Task, running_in_context: Option<TaskId>, now: Timestamp) -> Vec<Blocker> {
    let mut failed = Vec::new();
    if let Some(not_before) = task.not_before.filter(|not_before| *not_before > now) {
        failed.push(Blocker { code: "not_before".to_owned(), message: format!("it is not to be started before {not_before}") });
    }
    if let Some(other) = running_in_context {
        let context: &ContextId = &task.context_id;
        failed.push(Blocker { code: "context_busy".to_owned(), message: format!("its conversation {context} runs task {other} first") });
    }
    failed
}

#[cfg(test)]
mod tests {
    use super::{Needs, Offer, misfits, writes};
    use muster_protocol::ids::WorkerId;
    use std::collections::BTreeMap;

    fn codes(needs: &Needs, capabilities: &[&str], models: &[&str]) -> Vec<String> {
        let capabilities: Vec<_> = capabilities.iter().map(ToString::to_string).collect();
        let models: Vec<_> = models.iter().map(ToString::to_string).collect();
        let labels = BTreeMap::from([("gpu".to_owned(), "yes".to_owned())]);
        let worker = WorkerId::from("w");
        let offer = Offer { worker: &worker, capabilities: &capabilities, labels: &labels, models: &models };
        misfits(needs, &offer).into_iter().map(|blocker| blocker.code).collect()
    }

    #[test]
    fn each_condition_that_fails_is_named() {
        let needs = Needs {
            mode: "build".into(),
            model: Some("a/b".into()),
            capabilities: vec!["docker".into()],
            labels: BTreeMap::from([("gpu".to_owned(), "no".to_owned())]),
            ..Needs::default()
        };
        assert_eq!(codes(&needs, &[], &[]), ["capability", "label", "no_opencode", "model"]);
        assert!(codes(&Needs { labels: BTreeMap::new(), ..needs }, &["docker", "opencode"], &["a/b"]).is_empty());
    }

    #[test]
    fn a_worker_that_was_named_is_not_passed_over_for_its_models() {
        let needs = Needs { worker: Some("w".into()), mode: "build".into(), model: Some("a/b".into()), ..Needs::default() };
        assert!(codes(&needs, &[], &[]).is_empty());
        assert_eq!(codes(&Needs { worker: Some("other".into()), ..needs }, &[], &[]), ["other_worker"]);
    }

    #[test]
    fn a_mode_that_needs_no_opencode_runs_everywhere() {
        assert!(codes(&Needs { mode: "echo".into(), ..Needs::default() }, &[], &[]).is_empty());
    }

    #[test]
    fn planning_and_chat_do_not_count_as_writing() {
        assert!(writes("build", false));
        assert!(!writes("plan", false));
        assert!(!writes("build", true));
    }
}
