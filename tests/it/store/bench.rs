//! A store on a fresh database, with a clock that stands still until it is moved, and the writes of a test in a line each.

mod worker;

pub(crate) use worker::{entry, model, plainly_says, says, text};

use crate::support::{Cx, Postgres};
use anyhow::{Context, Result, bail};
use muster::clock::{Clock, Ids, ManualClock, SystemIds};
use muster::domain::federation::Shared;
use muster::store::claim::{Glance, Look, PullOutcome, PullTasks, Told};
use muster::store::sql::Dialect;
use muster::store::submit::{NewTask, SubmitTask, Submitted};
use muster::store::tasks::TaskRecord;
use muster::store::{OpenError, OpenOptions, Store};
use muster_protocol::codebase::RegisterCodebase;
use muster_protocol::ids::{CodebaseId, ContextId, PrincipalId, TaskId, WorkerId};
use muster_protocol::task::{Assignment, OnLost, Target, Task};
use muster_protocol::time::Timestamp;
use muster_protocol::worker::{AttemptState, Pull, RunningAttempt};
use serde_json::Map;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Declares the cases of a file: names of `async fn name(bench: &Bench) -> Result<()>`, each run on both databases.
macro_rules! on_both {
    ($($name:ident $(within $seconds:literal)?),+ $(,)?) => {
        pub(crate) fn cases() -> Vec<$crate::support::Case> {
            use $crate::store::bench::Bench;
            use $crate::support::{Case, Need};
            let mut all = Vec::new();
            $({
                let name = concat!(module_path!(), "::", stringify!($name), "_on_sqlite");
                let case = Case::new(name, &[], |cx| Box::pin(async move { $name(&Bench::sqlite(cx).await?).await }));
                all.push(case$(.within($seconds))?);
                let name = concat!(module_path!(), "::", stringify!($name), "_on_postgres");
                let case = Case::new(name, &[Need::Postgres], |cx| Box::pin(async move { $name(&Bench::postgres(cx).await?).await }));
                all.push(case$(.within($seconds))?);
            })+
            all
        }
    };
}
pub(crate) use on_both;

pub(crate) struct Bench {
    pub(crate) store: Store,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) ids: Arc<SystemIds>,
    pub(crate) url: String,
}

pub(crate) fn sqlite_url(dir: &Path) -> String {
    format!("sqlite://{}", dir.join("muster.db").display())
}

impl Bench {
    pub(crate) async fn sqlite(cx: &Cx) -> Result<Self> {
        Self::at(sqlite_url(cx.dir()), 8_192).await
    }

    pub(crate) async fn postgres(_: &Cx) -> Result<Self> {
        Self::at(Postgres::fresh_database().await?, 8_192).await
    }

    pub(crate) async fn at(url: String, queue: usize) -> Result<Self> {
        let (clock, ids) = (Arc::new(ManualClock::default()), Arc::new(SystemIds::default()));
        let options = OpenOptions {
            url: url.clone(),
            name: "Server-A".into(),
            shared: Shared::everything(),
            readers: 4,
            queue,
            clock: clock.clone(),
            ids: ids.clone(),
        };
        Ok(Self { store: Store::open(options).await?, clock, ids, url })
    }

    /// Opens the same database once more, as a server of another name.
    pub(crate) async fn open_again(&self, name: &str) -> Result<Store, OpenError> {
        let (clock, ids) = (self.clock.clone(), self.ids.clone());
        Store::open(OpenOptions {
            url: self.url.clone(),
            name: name.into(),
            shared: Shared::everything(),
            readers: 2,
            queue: 64,
            clock,
            ids,
        })
        .await
    }

    pub(crate) fn is_postgres(&self) -> bool {
        self.store.dialect() == Dialect::Postgres
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    pub(crate) fn uuid(&self) -> uuid::Uuid {
        self.ids.uuid(self.now())
    }

    /// A task for any worker, in a conversation of its own.
    pub(crate) fn task(&self, prompt: &str) -> NewTask {
        NewTask {
            id: TaskId(self.uuid()),
            owner: PrincipalId::from("local"),
            own_only: false,
            context_id: ContextId(self.uuid().to_string()),
            session_id: None,
            fork: false,
            parent_id: None,
            retry_of: None,
            title: prompt.to_owned(),
            prompt: prompt.to_owned(),
            mode: "build".to_owned(),
            model: None,
            target: Target { any: true, ..Target::default() },
            worker: None,
            codebase: None,
            writing: true,
            capabilities: Vec::new(),
            labels: BTreeMap::new(),
            priority: 0,
            not_before: None,
            deadline: None,
            on_lost: OnLost::Wait,
            max_attempts: 3,
            metadata: Map::new(),
        }
    }

    /// A task for a codebase of a worker.
    pub(crate) fn task_in(&self, prompt: &str, worker: &Daemon, codebase: &CodebaseId) -> NewTask {
        NewTask { worker: Some(worker.id.clone()), codebase: Some(codebase.clone()), ..self.task(prompt) }
    }

    pub(crate) async fn submitted(&self, task: NewTask) -> Result<Submitted> {
        Ok(self.store.write(SubmitTask { task, key: None, answer: None, message: None, now: self.now() }).await?)
    }

    /// Submits a task that is accepted.
    pub(crate) async fn submit(&self, task: NewTask) -> Result<Task> {
        match self.submitted(task).await? {
            Submitted::Accepted(task) => Ok(*task),
            other => bail!("not accepted: {other:?}"),
        }
    }

    pub(crate) async fn record(&self, id: TaskId) -> Result<TaskRecord> {
        self.store.task(id).await?.context("the task is gone")
    }

    /// A worker's pull, with what it says it has.
    pub(crate) async fn pull_outcome(&self, worker: &Daemon, running: &[RunningAttempt]) -> Result<PullOutcome> {
        let (instance, registration, now) = (worker.instance, worker.registration, self.now());
        let look = Look { worker: worker.id.clone(), instance, registration, after: None, now };
        let pull = PullTasks { look, running: running.to_vec(), tell_drops: true, stop_after_ms: 30_000 };
        Ok(self.store.write(pull).await?)
    }

    /// Whether a quick look says that a worker's pull would find anything.
    pub(crate) async fn finds_something(&self, worker: &Daemon, running: &[RunningAttempt]) -> Result<bool> {
        let (instance, registration, running) = (worker.instance, worker.registration, running.to_vec());
        let pull = Pull { instance, registration, pull_seq: 1, wait_ms: None, running };
        Ok(self.store.glance(&worker.id, &pull, self.now()).await? != Glance::Nothing)
    }

    pub(crate) async fn pull_with(&self, worker: &Daemon, running: &[RunningAttempt]) -> Result<Told> {
        match self.pull_outcome(worker, running).await? {
            PullOutcome::Told(told) => Ok(told),
            other => bail!("the pull was refused: {other:?}"),
        }
    }

    /// What a worker that has nothing is given.
    pub(crate) async fn pull(&self, worker: &Daemon) -> Result<Vec<Assignment>> {
        Ok(self.pull_with(worker, &[]).await?.assign)
    }

    /// The one attempt that a worker which has nothing is given.
    pub(crate) async fn pull_one(&self, worker: &Daemon) -> Result<Assignment> {
        let mut assigned = self.pull(worker).await?;
        anyhow::ensure!(assigned.len() == 1, "{} tasks were given, not one", assigned.len());
        assigned.pop().context("none")
    }
}

/// A worker as the tests play it.
#[derive(Debug, Clone)]
pub(crate) struct Daemon {
    pub(crate) id: WorkerId,
    pub(crate) instance: muster_protocol::ids::InstanceId,
    pub(crate) registration: u64,
    pub(crate) global: CodebaseId,
    /// By name.
    pub(crate) codebases: BTreeMap<String, CodebaseId>,
}

/// An attempt as a worker names it in its pull.
pub(crate) fn running(assignment: &Assignment) -> RunningAttempt {
    RunningAttempt { task_id: assignment.task.id, attempt: assignment.attempt, state: AttemptState::Started, next_seq: 0, stopping: false }
}

pub(crate) fn codebase(name: &str) -> RegisterCodebase {
    RegisterCodebase {
        name: name.to_owned(),
        path: format!("/code/{name}"),
        description: String::new(),
        is_global: false,
        parallel: None,
        git: None,
        problem: None,
    }
}

pub(crate) fn home() -> RegisterCodebase {
    RegisterCodebase { path: "/home/user".to_owned(), is_global: true, ..codebase("global") }
}
