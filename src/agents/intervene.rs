//! Interventions: a human tells a task, a machine or an agent something, and it reaches it.

use super::{Agent, Letter, Message};
use crate::app::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::store::events::RecordEvent;
use crate::store::tx::NewEvent;
use crate::tasks::title_of;
use muster_protocol::event::kind;
use muster_protocol::ids::{TaskId, WorkerId};
use muster_protocol::monitor::Intervention;
use muster_protocol::task::{SubmitTask as Wanted, Target, Task, TaskState};
use serde_json::json;

/// How many names a refusal lists.
const NAMES_SHOWN: usize = 20;
/// The states of a task that can be told something while it runs.
const RUNNING: [TaskState; 3] = [TaskState::Working, TaskState::InputRequired, TaskState::AuthRequired];

/// Whom a message reaches.
struct Reached {
    name: String,
    subject: String,
    task: Task,
    continues: Option<TaskId>,
}

impl App {
    /// Tells a task (by its id), a machine (by its id or name) or an agent of this server (by its name) something: what runs there gets it as the next
    /// turn of its conversation, else it is a task of its own. Nothing is waited for.
    ///
    /// # Errors
    /// 404 with the names that there are; 422 for an empty message; those of a submit.
    pub async fn intervene(&self, who: &Principal, agent_id: String, message: String) -> Result<Intervention, ApiError> {
        if message.trim().is_empty() {
            return Err(ApiError::invalid("message", "must not be empty"));
        }
        let reached = self.reach(who, &agent_id, &message).await?;
        let now = self.now();
        // As much of it as a task's title holds: prompts are not in the log.
        let data = json!({
            "agent": reached.name, "text": title_of(&message), "from": who.id, "task_id": reached.task.id, "continues": reached.continues,
        });
        let event = NewEvent { kind: kind::AGENT_INTERVENTION, subject: reached.subject, at: now, data };
        // The task is stored: a repeat would make a second one.
        if let Err(error) = self.store.write(RecordEvent(event)).await {
            tracing::warn!(task.id = %reached.task.id, "an intervention is not in the event log: {error}");
        }
        let Reached { name: agent_name, task, continues, .. } = reached;
        Ok(Intervention { agent_id, message, timestamp: now, agent_name, task_id: task.id, continues })
    }

    async fn reach(&self, who: &Principal, agent_id: &str, message: &str) -> Result<Reached, ApiError> {
        let task = match agent_id.parse::<TaskId>() {
            Ok(id) => match self.task_for(who, id).await {
                Err(ApiError::NotFound { .. }) => None,
                found => Some((id, found?)),
            },
            Err(_) => None,
        };
        if let Some((id, record)) = task {
            let (name, subject) = (record.task.title.clone(), format!("tasks/{id}"));
            let task = self.next_turn(who, record.task, message.to_owned(), None, None).await?;
            return Ok(Reached { name, subject, task, continues: Some(id) });
        }
        let message = Message { text: message.to_owned(), agent: Some(agent_id.to_owned()), ..Message::default() };
        let agent = match self.agent_for(&message).await {
            Err(ApiError::NotFound { .. }) => return Err(self.nobody_there(agent_id).await?),
            other => other?,
        };
        let name = self.agent_name(&agent);
        let subject = match &agent {
            Agent::Machine(id, _) => format!("workers/{id}"),
            _ => format!("agents/{name}"),
        };
        let mut continues = None;
        let task = match agent {
            Agent::Machine(id, _) => match self.running_on(who, &id).await? {
                Some(task) => {
                    continues = Some(task.id);
                    self.next_turn(who, task, message.text, None, None).await?
                }
                None => self.hand_to(who, message.text, Target { worker: Some(id.0), ..Target::default() }).await?,
            },
            Agent::Specialist(n) if self.has_machine_for(n).await? => {
                let agent = Some(self.config.agents[n].name.clone());
                self.hand_to(who, message.text, Target { agent, ..Target::default() }).await?
            }
            Agent::Specialist(n) => self.let_specialist_answer(Letter::new(who, &message, name.clone()), n).await?.task,
            Agent::External(external) => self.relay_message(Letter::new(who, &message, name.clone()), external).await?.task,
            Agent::Monitor => self.let_monitor_answer(Letter::new(who, &message, name.clone())).await?.task,
            Agent::Conformance => self.let_conformance_answer(Letter::new(who, &message, name.clone())).await?.task,
            Agent::Coordinator => self.coordinate(Letter::new(who, &message, name.clone())).await?.task,
        };
        Ok(Reached { name, subject, task, continues })
    }

    async fn hand_to(&self, who: &Principal, prompt: String, target: Target) -> Result<Task, ApiError> {
        self.submit(who, Wanted { prompt, target: Some(target), ..Wanted::default() }, None).await
    }

    /// The newest task that runs on a machine, as far as the caller may see it.
    async fn running_on(&self, who: &Principal, worker: &WorkerId) -> Result<Option<Task>, ApiError> {
        let mut held = self.store.held_by(worker).await?;
        held.retain(|record| RUNNING.contains(&record.task.state) && (who.sees_everything() || record.task.owner == who.id));
        Ok(held.into_iter().map(|record| record.task).max_by_key(|task| task.id))
    }

    async fn nobody_there(&self, asked: &str) -> Result<ApiError, ApiError> {
        let workers = self.workers(None).await?.into_iter().map(|worker| worker.name);
        let mut names: Vec<_> = self.own_agents().into_iter().chain(workers).collect();
        let more = if names.len() > NAMES_SHOWN { ", .." } else { "" };
        names.truncate(NAMES_SHOWN);
        let asked = crate::error::shown(asked);
        Ok(ApiError::NotFound { what: format!("task, worker or agent `{asked}`; there are {}{more}", names.join(", ")) })
    }
}
