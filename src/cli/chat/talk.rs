//! The conversation itself: what has been said to whom, and what comes next.

use super::Chat;
use super::echo::Silenced;
use super::past;
use super::place::Place;
use super::typed::{self, Command, Typed};
use crate::cli::exit::{Exit, Failure};
use crate::cli::follow::follow_turn;
use crate::cli::render::{counted, printable, shell_word};
use crate::cli::run::submit;
use crate::cli::session::Session;
use crate::cli::sessions;
use crate::cli::signal::Interrupts;
use crate::cli::style::Style;
use muster_protocol::client::ClientError;
use muster_protocol::ids::{ContextId, SessionId, TaskId};
use muster_protocol::session::Session as OpencodeSession;
use muster_protocol::task::{SubmitTask, Task};
use std::ops::ControlFlow;
use uuid::Uuid;

/// How many turns are shown where a conversation is continued, and for `/history`.
const REMINDER: usize = 3;
const HISTORY: usize = 10;

/// A conversation at the terminal.
pub(super) struct Talk<'a, 'c> {
    session: &'a mut Session<'c>,
    place: Place,
    /// The conversation; that of a session is known after the first turn only.
    context: Option<ContextId>,
    /// The session that the first turn continues, and whether a copy of it.
    resumed: Option<(OpencodeSession, bool)>,
    model: Option<String>,
    mode: Option<String>,
    /// Who answered last, by id and name.
    holder: Option<(String, String)>,
    opencode: Option<SessionId>,
    /// What was left running here.
    left: Vec<TaskId>,
    /// What could not be sent, and the key to send the same again without doing it twice.
    unsent: Option<(SubmitTask, String)>,
    turns: usize,
    is_quiet: bool,
}

impl<'a, 'c> Talk<'a, 'c> {
    pub(super) async fn begin(args: Chat, session: &'a mut Session<'c>) -> Result<Self, Failure> {
        let mut resumed = None;
        let (context, place, opencode) = if let Some(context) = args.context {
            let last = turns_of(session, &context, 1).await?.pop();
            let last = last.ok_or_else(|| Failure::NotFound(format!("there is no conversation `{context}`; see \"muster tasks\"")))?;
            (Some(ContextId(context)), Place::of_task(session, &last).await?, last.session_id)
        } else if let Some(typed) = args.session {
            let found = sessions::find(session, &typed).await?;
            let place = Place::of_session(session, &found).await?;
            let (context, _) = (None, resumed.insert((found, args.fork)));
            (context, place, None)
        } else {
            (Some(new_context()), Place::find(session, args.worker.as_deref(), args.codebase.as_deref()).await?, None)
        };
        let mut talk = Self {
            session,
            holder: place.worker.clone(),
            place,
            context,
            turns: usize::from(opencode.is_some()),
            resumed,
            model: None,
            mode: args.mode,
            opencode,
            left: Vec::new(),
            unsent: None,
            is_quiet: args.quiet,
        };
        if let Some(model) = args.model {
            talk.model = Some(talk.known_model(model)?);
        }
        Ok(talk)
    }

    /// Whether there is a terminal to edit on.
    pub(super) fn has_screen(&self) -> bool {
        self.session.console.out.is_redrawn
    }

    pub(super) fn model_ids(&self) -> Vec<String> {
        self.place.model_ids()
    }

    /// Says where this talks to, and what was said last.
    pub(super) async fn greet(&mut self, is_scripted: bool) -> Result<(), Failure> {
        if !is_scripted {
            if self.turns > 0 || self.resumed.is_some() {
                self.show_past(REMINDER).await?;
            }
            self.say(Style::Bold, &format!("{} · {}", self.place.label, self.model_label()));
            let what = match (&self.resumed, &self.context) {
                (Some((of, true)), _) => format!("a copy of session {}", of.report.id),
                (Some((of, false)), _) => format!("session {}", of.report.id),
                (None, context) => format!("conversation {}", context.as_ref().map_or("", ContextId::as_str)),
            };
            self.say(Style::Dim, &what);
            if let Some(how) = self.how_to_continue() {
                self.say(Style::Dim, &format!("continue it later with: {how}"));
            }
            self.say(Style::Dim, "/help for the commands, Ctrl-D to leave");
        }
        if let Some(problem) = self.place.problem.clone() {
            self.warn(&problem);
        }
        Ok(())
    }

    /// Says how to come back, once there is something to come back to.
    pub(super) fn farewell(&mut self) {
        if let Some(how) = self.how_to_continue().filter(|_| self.turns > 0) {
            self.say(Style::Dim, &format!("continue with: {how}"));
        }
        if !self.left.is_empty() {
            let left = format!("{} left running; see: {} tasks", counted(self.left.len(), "turn"), self.session.program);
            self.warn(&left);
        }
    }

    pub(super) fn warn(&mut self, text: &str) {
        self.say(Style::Warn, &format!("! {text}"));
    }

    /// The prompt of a terminal without a line editor.
    pub(super) fn prompt(&mut self) {
        let _ = self.session.console.err.write("> ");
    }

    /// Does what was typed; answers how the turn ended, or that the chat is over. What goes wrong ends the turn, not the chat.
    pub(super) async fn take(&mut self, text: &str) -> Result<ControlFlow<(), Exit>, Failure> {
        let done = match typed::read(text) {
            Typed::Nothing => Ok(Exit::Done),
            Typed::Message(message) => self.turn(message).await,
            Typed::Command(Command::Quit) => return Ok(ControlFlow::Break(())),
            Typed::Command(command) => self.command(command).await.map(|()| Exit::Done),
            Typed::Unknown(what) => Err(Failure::Usage(what)),
        };
        match done {
            Ok(exit) => Ok(ControlFlow::Continue(exit)),
            Err(Failure::Output(error)) => Err(Failure::Output(error)),
            Err(failure) => {
                if let Some(message) = failure.message() {
                    self.session.console.error(&message);
                }
                Ok(ControlFlow::Continue(failure.exit()))
            }
        }
    }

    async fn turn(&mut self, prompt: String) -> Result<Exit, Failure> {
        let _silenced = self.has_screen().then(Silenced::new);
        let mut interrupts = Interrupts::new().map_err(|error| Failure::Other(format!("cannot listen for Ctrl-C: {error}")))?;
        let task = tokio::select! {
            task = self.send(prompt) => task?,
            () = interrupts.next() => return Err(Failure::Interrupted("interrupted; the message may have been accepted, see /history".to_owned())),
        };
        self.turns += 1;
        let holder = self.holder.clone();
        let holder = holder.as_ref().map(|(id, name)| (id.as_str(), name.as_str()));
        let followed = follow_turn(self.session, task.id, self.is_quiet, holder, &mut interrupts).await;
        let followed = followed.inspect_err(|_| self.left.push(task.id))?;
        match followed.task {
            Some(task) => self.remember(&task).await,
            None => self.left.push(task.id),
        }
        if self.has_screen() {
            self.say(Style::Plain, "");
        }
        Ok(followed.exit)
    }

    /// Sends a message. Sent again after it could not be told whether it arrived, it has the same key.
    async fn send(&mut self, prompt: String) -> Result<Task, Failure> {
        let mut request = SubmitTask {
            prompt,
            target: self.place.target.clone(),
            model: self.model.clone(),
            mode: self.mode.clone(),
            context_id: self.context.clone(),
            ..SubmitTask::default()
        };
        if let Some((of, fork)) = &self.resumed {
            sessions::resume(of, *fork, &mut request);
        }
        let again = self.unsent.take().filter(|(unsent, _)| *unsent == request);
        let key = again.map_or_else(|| Uuid::new_v4().to_string(), |(_, key)| key);
        self.unsent = Some((request.clone(), key.clone()));
        let task = submit(self.session, &request, &key).await;
        if !matches!(&task, Err(Failure::Client(error)) if error.is_retryable()) {
            self.unsent = None;
        }
        if let Ok(task) = &task {
            self.context = Some(task.context_id.clone());
            // The conversation knows from which session it is copied.
            self.resumed = self.resumed.take().filter(|(_, fork)| !fork);
        }
        task
    }

    async fn remember(&mut self, task: &Task) {
        self.opencode = task.session_id.clone().or(self.opencode.take());
        if task.session_id.is_some() {
            // From now on the conversation has it.
            self.resumed = None;
        }
        self.left.retain(|left| *left != task.id);
        let Some(id) = task.worker_id.as_ref().map(ToString::to_string) else { return };
        if self.holder.as_ref().is_none_or(|(known, _)| *known != id) {
            let name = self.session.client.workers(&[]).await.ok();
            let name = name.and_then(|all| Some(all.into_iter().find(|worker| worker.worker_id.as_str() == id)?.name));
            self.holder = Some((id.clone(), name.unwrap_or(id)));
        }
    }

    async fn command(&mut self, command: Command) -> Result<(), Failure> {
        match command {
            Command::Help => self.tell(&typed::help())?,
            Command::Model(None) => self.tell_models()?,
            Command::Model(Some(model)) => {
                self.model = typed::chosen(model).map(|model| self.known_model(model)).transpose()?;
                let label = self.model_label();
                self.say(Style::Dim, &format!("from now on: {label}"));
            }
            Command::Mode(mode) => {
                let is_changed = mode.is_some();
                self.mode = mode.map_or_else(|| self.mode.take(), typed::chosen);
                let mode = self.mode.clone().unwrap_or_else(|| "build (the default)".to_owned());
                self.tell(&if is_changed { format!("from now on: {mode}") } else { mode })?;
            }
            Command::History => self.show_past(HISTORY).await?,
            Command::Cancel => self.cancel().await?,
            Command::New => {
                let context = new_context();
                self.say(Style::Dim, &format!("a new conversation: {context}"));
                (self.context, self.resumed, self.opencode, self.unsent, self.turns) = (Some(context), None, None, None, 0);
            }
            Command::Session => self.tell_session()?,
            // It is taken before.
            Command::Quit => (),
        }
        Ok(())
    }

    fn tell_models(&mut self) -> Result<(), Failure> {
        let mut lines = vec![self.model_label()];
        lines.extend(self.place.model_ids().into_iter().map(|id| format!("  {id}")));
        self.tell(&lines.join("\n"))
    }

    fn tell_session(&mut self) -> Result<(), Failure> {
        let machine = self.holder.as_ref().map_or("not known before the first answer", |(_, name)| name.as_str());
        let opencode = self.opencode.as_ref().map_or("none yet", SessionId::as_str);
        let mode = self.mode.as_deref().unwrap_or("build (the default)");
        let mut lines = vec![
            format!("place         {}", self.place.label),
            format!("machine       {machine}"),
            format!("model         {}", self.model_label()),
            format!("mode          {mode}"),
            format!("session       {opencode}"),
        ];
        lines.extend(self.context.iter().map(|context| format!("conversation  {context}")));
        lines.extend(self.how_to_continue().map(|how| format!("continue      {how}")));
        self.tell(&lines.join("\n"))
    }

    async fn cancel(&mut self) -> Result<(), Failure> {
        let left = std::mem::take(&mut self.left);
        if left.is_empty() {
            self.say(Style::Dim, "nothing was left running here");
        }
        for task in left {
            match self.session.client.cancel(task).await {
                Ok(answer) => self.say(Style::Warn, &answer.message),
                Err(error @ ClientError::Refused { .. }) => self.say(Style::Dim, &error.to_string()),
                Err(error) => {
                    self.left.push(task);
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }

    async fn show_past(&mut self, most: usize) -> Result<(), Failure> {
        let coloured = self.session.console.out.is_coloured;
        if let Some((of, _)) = &self.resumed {
            // A turn is a question and at least one message that answers it.
            let messages = sessions::last(self.session, of, u32::try_from(2 * most).unwrap_or(u32::MAX)).await?;
            let said = messages.map(|list| sessions::transcript(&list.messages, coloured)).unwrap_or_default();
            return self.tell(&format!("{}\n", past::end(&said)));
        }
        let context = self.context.clone();
        let turns = turns_of(self.session, context.as_ref().map_or("", ContextId::as_str), most).await?;
        if turns.is_empty() {
            self.say(Style::Dim, "nothing has been said yet");
        }
        for task in turns {
            self.tell(&format!("{}\n", past::turn(&task, coloured)))?;
        }
        Ok(())
    }

    /// The model, if the place has it or does not say what it has.
    fn known_model(&self, model: String) -> Result<String, Failure> {
        let known = self.place.model_ids();
        if known.is_empty() || known.contains(&model) {
            return Ok(model);
        }
        let some: Vec<&str> = known.iter().take(8).map(String::as_str).collect();
        let more = if known.len() > some.len() { ", .." } else { "" };
        Err(Failure::NotFound(format!("there is no model `{model}` here; there are {}{more}", some.join(", "))))
    }

    fn model_label(&self) -> String {
        self.model.clone().unwrap_or_else(|| self.place.default_model())
    }

    fn how_to_continue(&self) -> Option<String> {
        let context = self.context.as_ref()?;
        Some(format!("{} chat --continue {}", self.session.program, shell_word(context.as_str())))
    }

    /// What was asked for: on standard output at a terminal, beside the answers elsewhere.
    fn tell(&mut self, text: &str) -> Result<(), Failure> {
        if self.session.console.out.is_terminal {
            return Ok(self.session.console.line(&printable(text))?);
        }
        self.session.console.note(Style::Plain, text);
        Ok(())
    }

    fn say(&mut self, style: Style, text: &str) {
        if !self.is_quiet {
            self.session.console.note(style, text);
        }
    }
}

fn new_context() -> ContextId {
    ContextId(Uuid::now_v7().to_string())
}

/// The last turns of a conversation, oldest first.
async fn turns_of(session: &Session<'_>, context: &str, most: usize) -> Result<Vec<Task>, Failure> {
    let most = most.to_string();
    let mut tasks = session.client.tasks(&[("context_id", context), ("order", "newest"), ("limit", &most)]).await?;
    tasks.reverse();
    Ok(tasks)
}
