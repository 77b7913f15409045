//! Why a task waits.

use crate::app::App;
use crate::auth::Principal;
use crate::domain::matching::{Load, Needs, Offer, busy, general, misfits};
use crate::error::ApiError;
use crate::store::codebases::CodebaseFilter;
use crate::store::external::agent_of;
use crate::store::tasks::TaskRecord;
use muster_protocol::codebase::Codebase;
use muster_protocol::ids::{CodebaseId, TaskId};
use muster_protocol::task::{Blocker, Explanation, TaskState, WorkerVerdict};
use muster_protocol::worker::{OPENCODE, Worker};
use std::collections::BTreeMap;

impl App {
    /// Explains what a task waits for: each worker and the conditions that fail.
    ///
    /// # Errors
    /// 404.
    pub async fn explain(&self, who: &Principal, id: TaskId) -> Result<Explanation, ApiError> {
        let record = self.task_for(who, id).await?;
        let ahead = self.store.ahead_in_context(&record.task).await?;
        let waits = record.task.state == TaskState::Submitted;
        let blockers = if waits { general(&record.task, ahead, self.now()) } else { Vec::new() };
        // A task for an agent of others is for no worker.
        let relayed = record.target_worker.as_ref().is_some_and(|target| agent_of(target).is_some());
        let forwarded = self.forwarded_to(&record).await?;
        let workers = if waits && !relayed { self.verdicts(&record).await? } else { Vec::new() };
        let summary = summary(&record, &blockers, &workers);
        let summary = forwarded.map_or_else(|| summary.clone(), |forwarded| format!("{summary}; {forwarded}"));
        Ok(Explanation { task_id: id, state: record.task.state, summary, blockers, workers })
    }

    /// To which machine of which peer a task was forwarded, and why.
    async fn forwarded_to(&self, record: &TaskRecord) -> Result<Option<String>, ApiError> {
        let Some(agent) = record.target_worker.as_ref().and_then(agent_of) else { return Ok(None) };
        if let Some(to) = record.task.metadata.get(super::FORWARDED_KEY) {
            let text = |key: &str| to[key].as_str().unwrap_or("?").to_owned();
            return Ok(Some(format!("it was forwarded to {} of {}: {}", text("agent"), text("server"), text("reason"))));
        }
        let home = self.store.external_agent(agent).await?.and_then(|agent| agent.home);
        Ok(home.map(|home| {
            let server = self.network.link(home).map_or_else(|| home.to_string(), |link| link.name());
            format!("it is for the agent {agent} of {server}")
        }))
    }

    async fn verdicts(&self, record: &TaskRecord) -> Result<Vec<WorkerVerdict>, ApiError> {
        let workers = self.workers(None).await?;
        let writing = self.store.writing_by_codebase().await?;
        let codebases = self.store.codebases(&CodebaseFilter::default()).await?;
        let codebases: BTreeMap<CodebaseId, Codebase> = codebases.into_iter().map(|codebase| (codebase.id.clone(), codebase)).collect();
        let needs = Needs::of(&record.task, record.target_worker.clone(), record.target_codebase.clone());
        Ok(workers.iter().map(|worker| verdict(&needs, worker, &codebases, &writing)).collect())
    }
}

fn verdict(
    needs: &Needs,
    worker: &Worker,
    codebases: &BTreeMap<CodebaseId, Codebase>,
    writing: &BTreeMap<CodebaseId, u32>,
) -> WorkerVerdict {
    let models: Vec<_> = worker.models.iter().map(|model| model.id.clone()).collect();
    let implied = worker.has_opencode().then(|| OPENCODE.to_owned());
    let capabilities: Vec<_> = worker.capabilities.iter().cloned().chain(implied).collect();
    let offer = Offer { worker: &worker.worker_id, capabilities: &capabilities, labels: &worker.labels, models: &models };
    let mut blockers = misfits(needs, &offer);
    if blockers.is_empty() {
        let codebase = needs.codebase.as_ref().or(worker.global_codebase_id.as_ref()).and_then(|id| codebases.get(id));
        let load = Load { running: worker.running, writing: writing.clone() };
        blockers = busy(needs, worker, codebase, &load);
    }
    WorkerVerdict { worker_id: worker.worker_id.clone(), name: worker.name.clone(), blockers }
}

fn summary(record: &TaskRecord, blockers: &[Blocker], workers: &[WorkerVerdict]) -> String {
    let task = &record.task;
    if task.state != TaskState::Submitted {
        let on = record.holder.as_ref().map(|holder| format!(" on worker {holder}")).unwrap_or_default();
        let lost = if task.disconnected { ", which is not heard of; the task waits for it" } else { "" };
        return format!("the task is {}{on}{lost}; it waits for no worker", task.state);
    }
    if let Some(blocker) = blockers.first() {
        return blocker.message.clone();
    }
    if let Some(agent) = record.target_worker.as_ref().and_then(agent_of) {
        return format!("it is relayed to the agent {agent} as soon as that has fewer tasks at once");
    }
    if workers.is_empty() {
        return "no worker has registered; start one with muster-worker".to_owned();
    }
    let named = |verdict: &&WorkerVerdict| record.target_worker.as_ref().is_none_or(|only| *only == verdict.worker_id);
    if let Some(ready) = workers.iter().find(|verdict| verdict.blockers.is_empty()) {
        return format!("worker {} can take it and will with its next pull", ready.name);
    }
    match workers.iter().filter(named).collect::<Vec<_>>().as_slice() {
        [only] => format!("worker {}: {}", only.name, only.blockers.iter().map(|b| b.message.as_str()).collect::<Vec<_>>().join("; ")),
        several => format!("none of {} workers can take it now; see why for each", several.len()),
    }
}
