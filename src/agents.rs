//! Who answers a message: the monitor, the coordinator, a worker agent of this server, or a registered machine.

mod conformance;
mod coordinator;
mod directory;
mod entries;
mod external;
mod intervene;
mod monitor;
mod specialist;
mod told;

pub use coordinator::{Coordinations, coordinate_open};
pub use directory::{Agent, Machine};
pub use entries::AgentAddress;
pub use external::{NoCard, Relays, look_at_agents, relay_waiting};
pub use specialist::Fitting;

use crate::app::App;
use crate::auth::Principal;
use crate::error::ApiError;
use crate::store::submit::{Answer, IdempotencyKey, NewTask, SubmitTask};
use crate::store::tx::NewEvent;
use crate::tasks::{ANSWERED_MODE, Place};
use muster_protocol::event::kind;
use muster_protocol::ids::{ContextId, TaskId, WorkerId};
use muster_protocol::task::{SubmitTask as Wanted, Target, Task, TaskState};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// In the metadata of a task: the agent that was asked.
pub const AGENT_KEY: &str = "agent";

/// In the metadata of a message and of its task: through how many servers it has come.
pub const HOPS_KEY: &str = "hops";

/// Through how many it may come: agents that give what they get to each other must end.
pub const MOST_HOPS: u64 = 8;

/// In the metadata of a task: the message that it began with.
pub const MESSAGE_KEY: &str = "a2a";

/// A message that is to be answered.
#[derive(Debug, Clone, Default)]
pub struct Message {
    /// Its id, as its sender chose it; empty where there is none.
    pub id: String,
    /// Its text parts.
    pub text: String,
    /// Its data parts.
    pub data: Vec<Value>,
    /// The conversation.
    pub context_id: Option<ContextId>,
    /// Which agent is to answer; its content decides if absent.
    pub agent: Option<String>,
    /// In which codebase of a machine.
    pub codebase: Option<String>,
    /// With which model.
    pub model: Option<String>,
    /// In which mode of OpenCode.
    pub mode: Option<String>,
    /// How long a coordination may take, in seconds, if less than usual.
    pub deadline_s: Option<u64>,
    /// Kept with the task.
    pub metadata: Map<String, Value>,
    /// The coordination that it is a part of.
    pub part_of: Option<PartOf>,
    /// With which the same message, sent again, is recognised; a peer's has one.
    pub once: Option<IdempotencyKey>,
}

/// Through how many servers a message has come, as its metadata says.
#[must_use]
pub fn hops_of(metadata: &Map<String, Value>) -> u64 {
    metadata.get(HOPS_KEY).and_then(Value::as_u64).unwrap_or(0)
}

/// A part of a coordination: a message that is given out once, however often that is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartOf {
    /// The task of the coordination.
    pub coordination: TaskId,
    /// Its place in the plan.
    pub place: usize,
}

impl PartOf {
    fn key(self) -> IdempotencyKey {
        let Self { coordination, place } = self;
        IdempotencyKey { key: format!("part:{coordination}:{place}"), hash: "part".to_owned() }
    }
}

impl Message {
    /// Text and data as one prompt.
    #[must_use]
    pub fn prompt(&self) -> String {
        let data = self.data.iter().map(Value::to_string);
        let parts = std::iter::once(self.text.clone()).filter(|text| !text.is_empty()).chain(data);
        parts.collect::<Vec<_>>().join("\n\n")
    }

    /// As a task for `target`.
    fn wanted(&self, target: Target) -> Wanted {
        Wanted {
            prompt: self.prompt(),
            context_id: self.context_id.clone(),
            target: Some(target),
            model: self.model.clone(),
            mode: self.mode.clone(),
            metadata: self.metadata.clone(),
            ..Wanted::default()
        }
    }
}

/// A message on its way to the agent that answers it.
struct Letter<'a> {
    who: &'a Principal,
    message: &'a Message,
    /// The name of the agent.
    agent: String,
    /// The event that tells of it, where it is not told already: it is written with the task.
    event: Option<NewEvent>,
}

impl<'a> Letter<'a> {
    fn new(who: &'a Principal, message: &'a Message, agent: String) -> Self {
        Self { who, message, agent, event: None }
    }
}

/// A message that an agent has accepted.
#[derive(Debug, Clone)]
pub struct Begun {
    /// Who answers.
    pub agent: String,
    /// The task that the message became; one that the server answers itself has ended.
    pub task: Task,
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
pub const LONGEST_WAIT: Duration = Duration::from_mins(10);

impl App {
    /// Lets an agent answer a message, and waits for what it says. The message and its answer are a task like any other.
    ///
    /// # Errors
    /// [`ApiError`]: an empty message, an unknown agent, a fault of the store.
    pub async fn answer_message(&self, who: &Principal, message: Message) -> Result<Reply, ApiError> {
        let Begun { agent, task } = self.begin_message(who, message).await?;
        let task = if task.state.is_terminal() { task } else { self.wait_for_end(task.id).await? };
        let text = match (&task.result, &task.error, task.state) {
            (Some(result), _, _) => result.clone(),
            (_, Some(error), _) => error.clone(),
            (_, _, TaskState::Canceled) => "canceled".to_owned(),
            _ => format!("task {} is {}; ask for it by its id", task.id, task.state),
        };
        Ok(Reply { agent, task, text })
    }

    /// Gives a message to the agent that is to answer it, without waiting for what comes of it.
    ///
    /// # Errors
    /// As of [`Self::answer_message`].
    pub async fn begin_message(&self, who: &Principal, mut message: Message) -> Result<Begun, ApiError> {
        if message.prompt().trim().is_empty() {
            return Err(ApiError::invalid("message.parts", "must hold some text or data"));
        }
        if hops_of(&message.metadata) > MOST_HOPS {
            let message = format!("has come through more than {MOST_HOPS} servers: agents give it to each other in a circle");
            return Err(ApiError::invalid("message.metadata.hops", message));
        }
        if let Some(known) = self.known_message(who, &message).await? {
            return Ok(known);
        }
        let agent = self.agent_for(&message).await?;
        if message.codebase.is_some() && !matches!(agent, Agent::Machine(..) | Agent::External(_)) {
            let message = "goes with a machine: name that in `agent`, or send the message to its own address";
            return Err(ApiError::invalid("message.metadata.codebase", message));
        }
        let name = self.agent_name(&agent);
        message.metadata.entry(AGENT_KEY).or_insert_with(|| json!(name));
        let data = json!({ "agent": name, "length": message.prompt().len(), "from": who.id });
        let event = NewEvent { kind: kind::MESSAGE_RECEIVED, subject: format!("agents/{name}"), at: self.now(), data };
        let letter = Letter { event: Some(event), ..Letter::new(who, &message, name) };
        match agent {
            Agent::Monitor => self.let_monitor_answer(letter).await,
            Agent::Coordinator => self.coordinate(letter).await,
            Agent::Specialist(n) => self.let_specialist_answer(letter, n).await,
            Agent::Conformance => self.let_conformance_answer(letter).await,
            Agent::External(external) => self.relay_message(letter, external).await,
            Agent::Machine(machine, _) => {
                let codebase = match &message.codebase {
                    None => self.codebase_of(&message, &machine).await?,
                    named => named.clone(),
                };
                let target = Target { worker: Some(machine.0), codebase, ..Target::default() };
                self.hand_over(letter, target).await
            }
        }
    }

    /// Where a conversation with a machine goes on.
    async fn codebase_of(&self, message: &Message, machine: &WorkerId) -> Result<Option<String>, ApiError> {
        let Some(context) = &message.context_id else { return Ok(None) };
        let known = self.store.context(context).await?.filter(|known| known.worker_id.as_ref() == Some(machine));
        Ok(known.and_then(|known| known.codebase_id).map(|codebase| codebase.0))
    }

    /// A message that was sent before, and what it became.
    async fn known_message(&self, who: &Principal, message: &Message) -> Result<Option<Begun>, ApiError> {
        let Some(once) = &message.once else { return Ok(None) };
        let Some((_, task)) = self.store.submitted_with(&who.id, &once.key, self.now()).await? else { return Ok(None) };
        let Some(record) = self.store.task(task).await? else { return Ok(None) };
        let agent = record.task.metadata.get(AGENT_KEY).and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Some(Begun { agent, task: record.task }))
    }

    /// Stores a message that this server has answered itself.
    async fn answered(&self, letter: Letter<'_>, text: String) -> Result<Begun, ApiError> {
        let target = Target { agent: Some(letter.agent.clone()), ..Target::default() };
        let wanted = Wanted { mode: Some(ANSWERED_MODE.to_owned()), model: None, ..letter.message.wanted(target) };
        self.take_in(letter, wanted, Place::default(), Some(Answer::Given(text))).await
    }

    /// Gives a message to a registered machine.
    async fn hand_over(&self, letter: Letter<'_>, target: Target) -> Result<Begun, ApiError> {
        let wanted = letter.message.wanted(target);
        let place = self.place_for(letter.who, &wanted, self.now()).await?;
        self.take_in(letter, wanted, place, None).await
    }

    /// Stores the task that a message becomes, and that the message was received.
    async fn take_in(&self, letter: Letter<'_>, wanted: Wanted, place: Place, answer: Option<Answer>) -> Result<Begun, ApiError> {
        let task = self.task_of(&letter, wanted, place);
        self.store_taken(letter, task, answer).await
    }

    fn task_of(&self, letter: &Letter<'_>, wanted: Wanted, place: Place) -> NewTask {
        let parent_id = letter.message.part_of.map(|part| part.coordination);
        NewTask { parent_id, ..self.new_task(letter.who, wanted, place, self.now()) }
    }

    /// A part of a coordination, or a message of a peer, that was taken in before is answered with the task that it became.
    async fn store_taken(&self, letter: Letter<'_>, task: NewTask, answer: Option<Answer>) -> Result<Begun, ApiError> {
        let key = letter.message.part_of.map(PartOf::key).or_else(|| letter.message.once.clone());
        let task = self.store_new(SubmitTask { task, key, answer, message: letter.event, now: self.now() }).await?;
        Ok(Begun { agent: letter.agent, task })
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
