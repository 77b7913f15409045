//! Who answers a message: the monitor, the coordinator, a worker agent of this server, or a registered machine.

mod coordinator;
mod monitor;
mod specialist;

use crate::app::App;
use crate::auth::Principal;
use crate::domain::routing::{Route, by_content};
use crate::error::ApiError;
use crate::store::events::RecordEvent;
use crate::store::submit::SubmitTask;
use crate::store::tx::NewEvent;
use crate::tasks::{ANSWERED_MODE, Place};
use muster_protocol::event::kind;
use muster_protocol::ids::{ContextId, TaskId, WorkerId};
use muster_protocol::task::{SubmitTask as Wanted, Target, Task, TaskState};
use serde_json::{Value, json};
use std::time::Duration;

/// A message that is to be answered.
#[derive(Debug, Clone, Default)]
pub struct Message {
    /// Its text parts.
    pub text: String,
    /// Its data parts.
    pub data: Vec<Value>,
    /// The conversation.
    pub context_id: Option<ContextId>,
    /// Which agent is to answer; its content decides if absent.
    pub agent: Option<String>,
}

impl Message {
    /// Text and data as one prompt.
    #[must_use]
    pub fn prompt(&self) -> String {
        let data = self.data.iter().map(Value::to_string);
        let parts = std::iter::once(self.text.clone()).filter(|text| !text.is_empty()).chain(data);
        parts.collect::<Vec<_>>().join("\n\n")
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Who answers.
    pub agent: String,
    /// The task that the message became.
    pub task: Task,
    /// What is said.
    pub text: String,
}

/// How long an answer is waited for; a task that takes longer is answered as it is then, and can be asked for by its id.
const LONGEST_WAIT: Duration = Duration::from_mins(10);

/// An agent of this server.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Agent {
    Monitor,
    Coordinator,
    /// One of `[[agents]]`, by its place.
    Specialist(usize),
    /// A registered worker, with its name.
    Machine(WorkerId, String),
}

impl App {
    /// Lets an agent answer a message. The message and its answer are a task like any other.
    ///
    /// # Errors
    /// [`ApiError`]: an empty message, an unknown agent, a fault of the store.
    pub async fn answer_message(&self, who: &Principal, message: Message) -> Result<Reply, ApiError> {
        if message.prompt().trim().is_empty() {
            return Err(ApiError::invalid("message.parts", "must hold some text or data"));
        }
        let agent = self.agent_for(&message).await?;
        let name = self.agent_name(&agent);
        let data = json!({ "agent": name, "length": message.prompt().len(), "from": who.id });
        let event = NewEvent { kind: kind::AGENT_MESSAGE, subject: format!("agents/{name}"), at: self.now(), data };
        self.store.write(RecordEvent(event)).await?;
        match agent {
            Agent::Monitor => {
                let text = self.report_status().await?;
                self.answered(who, &message, name, text).await
            }
            Agent::Coordinator => {
                let text = self.say_what_there_is(&message).await?;
                self.answered(who, &message, name, text).await
            }
            Agent::Specialist(n) => self.let_specialist_answer(who, &message, n, name).await,
            Agent::Machine(machine, _) => {
                let target = Target { worker: Some(machine.0), ..Target::default() };
                self.let_machine_answer(who, &message, target, name).await
            }
        }
    }

    /// The names of this server's own agents, for its banner.
    #[must_use]
    pub fn own_agents(&self) -> Vec<String> {
        let specialists = (0..self.config.agents.len()).map(Agent::Specialist);
        let agents = std::iter::once(Agent::Coordinator).chain(specialists).chain([Agent::Monitor]);
        agents.map(|agent| self.agent_name(&agent)).collect()
    }

    async fn agent_for(&self, message: &Message) -> Result<Agent, ApiError> {
        let Some(name) = &message.agent else {
            return Ok(match by_content(&message.text) {
                Route::Monitor => Agent::Monitor,
                Route::Coordinator => Agent::Coordinator,
                Route::Default => Agent::Specialist(0),
            });
        };
        let specialists = (0..self.config.agents.len()).map(Agent::Specialist);
        let mut own = [Agent::Monitor, Agent::Coordinator].into_iter().chain(specialists);
        let is_named = |agent: &Agent| match agent {
            Agent::Specialist(n) if self.config.agents[*n].name == *name => true,
            Agent::Monitor if name == "monitor" => true,
            Agent::Coordinator if name == "coordinator" => true,
            agent => self.agent_name(agent) == *name,
        };
        if let Some(agent) = own.find(is_named) {
            return Ok(agent);
        }
        let workers = self.workers(None).await?;
        let machine = workers.iter().find(|worker| worker.name == *name || worker.worker_id.as_str() == name);
        machine
            .map(|worker| Agent::Machine(worker.worker_id.clone(), worker.name.clone()))
            .ok_or_else(|| ApiError::not_found("agent", name))
    }

    fn agent_name(&self, agent: &Agent) -> String {
        let server = &self.store.identity().name;
        match agent {
            Agent::Monitor => format!("Monitor-{server}"),
            Agent::Coordinator => format!("Coordinator-{server}"),
            Agent::Specialist(n) => format!("Worker-{}-{server}", letter(*n)),
            Agent::Machine(_, name) => name.clone(),
        }
    }

    /// Stores a message that this server has answered itself.
    async fn answered(&self, who: &Principal, message: &Message, agent: String, text: String) -> Result<Reply, ApiError> {
        let now = self.now();
        let wanted = Wanted {
            prompt: message.prompt(),
            mode: Some(ANSWERED_MODE.to_owned()),
            context_id: message.context_id.clone(),
            target: Some(Target { agent: Some(agent.clone()), ..Target::default() }),
            ..Wanted::default()
        };
        let task = self.new_task(who, wanted, Place::default(), now);
        let task = self.store_new(SubmitTask { task, key: None, answer: Some(text.clone()), now }).await?;
        Ok(Reply { agent, task, text })
    }

    /// Gives a message to a registered machine and waits for what its OpenCode says.
    async fn let_machine_answer(&self, who: &Principal, message: &Message, target: Target, agent: String) -> Result<Reply, ApiError> {
        let wanted = Wanted { prompt: message.prompt(), context_id: message.context_id.clone(), target: Some(target), ..Wanted::default() };
        let task = self.submit(who, wanted, None).await?;
        let task = self.wait_for_end(task.id).await?;
        let text = match (&task.result, &task.error, task.state) {
            (Some(result), _, _) => result.clone(),
            (_, Some(error), _) => error.clone(),
            (_, _, TaskState::Canceled) => "canceled".to_owned(),
            _ => format!("task {} is {}; ask for it by its id", task.id, task.state),
        };
        Ok(Reply { agent, task, text })
    }

    /// Waits until a task has ended, at most [`LONGEST_WAIT`], and answers it as it is then.
    async fn wait_for_end(&self, id: TaskId) -> Result<Task, ApiError> {
        let mut signal = self.store.hub().task(id);
        let end = tokio::time::sleep(LONGEST_WAIT);
        tokio::pin!(end);
        loop {
            signal.mark_unchanged();
            let record = self.store.task(id).await?.ok_or_else(|| ApiError::not_found("task", id))?;
            if record.task.state.is_terminal() {
                return Ok(record.task);
            }
            tokio::select! {
                () = &mut end => return Ok(record.task),
                () = self.life.stopping() => return Ok(record.task),
                _ = signal.changed() => {}
            }
        }
    }
}

/// A, B, .. Z, then 27, 28, ..
fn letter(n: usize) -> String {
    let letter = u8::try_from(n).ok().and_then(|n| b'A'.checked_add(n)).filter(u8::is_ascii_uppercase);
    letter.map_or_else(|| (n + 1).to_string(), |letter| char::from(letter).to_string())
}
