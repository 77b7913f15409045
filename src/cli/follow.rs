//! Following a task to its end.

use super::exit::{Exit, Failure};
use super::reader::Reader;
use super::screen::Screen;
use super::session::Session;
use super::signal::{Choice, Interrupts, ask};
use super::style::Style;
use super::transcript::{Piece, Transcript};
use super::{explain, summary};
use backon::{ExponentialBuilder, Retryable};
use futures_util::StreamExt;
use muster_protocol::client::{Client, ClientError, Incoming, StreamMessage};
use muster_protocol::ids::TaskId;
use muster_protocol::stream::{DONE_EVENT, StreamEntry};
use muster_protocol::task::{Task, TaskState};
use serde_json::Value;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, timeout};

/// A task that waits this long is worth a word, and so is every change of the reason, looked for as often.
const PATIENCE: Duration = Duration::from_secs(2);
const EXPLAIN_AGAIN: Duration = Duration::from_secs(5);
/// How long what is asked beside the stream may take, so that it does not hold up the answer.
const ASIDE: Duration = Duration::from_secs(5);
/// How often the progress line moves.
const FRAME: Duration = Duration::from_millis(120);

/// How the following went on.
enum Step {
    More,
    Ended,
    Left,
}

/// What Ctrl-C does, and what is said at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// A task by itself: Ctrl-C asks what to do; the end says how to go on.
    Alone,
    /// A turn of a conversation at the terminal: Ctrl-C cancels it, a second one leaves it; the end is one line.
    Turn,
}

/// How the following ended.
pub(crate) struct Followed {
    pub(crate) exit: Exit,
    /// The task as it ended; none if it was left running.
    pub(crate) task: Option<Box<Task>>,
}

/// One task being followed.
struct Follower<'a> {
    client: Client,
    task: TaskId,
    program: String,
    json: bool,
    manner: Manner,
    screen: Screen<'a>,
    transcript: Transcript,
    is_lost: bool,
    cancels: bool,
    reason: Option<String>,
    since: Instant,
}

/// Shows what the task says until it has ended or Ctrl-C leaves it, and how it ended.
pub(crate) async fn follow(session: &mut Session<'_>, task: TaskId, is_quiet: bool, interrupts: &mut Interrupts) -> Result<Exit, Failure> {
    let mut follower = Follower::new(session, task, is_quiet);
    Ok(follower.run(interrupts).await?.exit)
}

/// The same for a turn of a conversation, whose worker may be known by id and name.
pub(crate) async fn follow_turn(
    session: &mut Session<'_>,
    task: TaskId,
    is_quiet: bool,
    holder: Option<(&str, &str)>,
    interrupts: &mut Interrupts,
) -> Result<Followed, Failure> {
    let mut follower = Follower::new(session, task, is_quiet);
    (follower.manner, follower.json, follower.transcript) = (Manner::Turn, false, Transcript::of_turn(holder));
    follower.run(interrupts).await
}

impl<'a> Follower<'a> {
    fn new(session: &'a mut Session<'_>, task: TaskId, is_quiet: bool) -> Self {
        Self {
            client: session.client.clone(),
            task,
            program: session.program.clone(),
            json: session.json,
            manner: Manner::Alone,
            screen: Screen::new(session.console, is_quiet),
            transcript: Transcript::new(),
            is_lost: false,
            cancels: false,
            reason: None,
            since: Instant::now(),
        }
    }

    async fn run(&mut self, interrupts: &mut Interrupts) -> Result<Followed, Failure> {
        match self.stream(interrupts).await? {
            Step::Left => Ok(Followed { exit: self.leave()?, task: None }),
            Step::Ended | Step::More => self.finish().await,
        }
    }

    async fn stream(&mut self, interrupts: &mut Interrupts) -> Result<Step, Failure> {
        let mut entries = self.client.follow_task(self.task, None).into_stream();
        let reader = Reader::of(self.screen.console);
        let mut frames = interval(FRAME);
        let mut explain = interval_at(self.since + PATIENCE, EXPLAIN_AGAIN);
        // Nothing is made up for what did not happen while a question was open.
        frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
        explain.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let step = tokio::select! {
                biased;
                () = interrupts.next() => self.interrupted(interrupts).await?,
                () = reader.gone() => return Err(Reader::failure()),
                incoming = entries.next() => match incoming {
                    Some(Incoming::Message(message)) => self.message(&message).await?,
                    Some(Incoming::Lost(error)) => self.lost(&error)?,
                    Some(Incoming::Refused(error)) => {
                        self.screen.end_line()?;
                        return Err(error.into());
                    }
                    None => Step::Ended,
                },
                _ = explain.tick(), if self.transcript.is_waiting() && !self.json => self.explain().await?,
                _ = frames.tick() => {
                    let elapsed = self.since.elapsed().as_secs();
                    self.screen.progress(&format!("{} · {elapsed} s", self.transcript.progress()));
                    Step::More
                }
            };
            if !matches!(step, Step::More) {
                return Ok(step);
            }
        }
    }

    async fn message(&mut self, message: &StreamMessage) -> Result<Step, Failure> {
        if std::mem::take(&mut self.is_lost) {
            self.screen.note(Style::Dim, "· connected again")?;
        }
        if message.event == DONE_EVENT {
            return Ok(Step::Ended);
        }
        if self.json {
            self.screen.console.line(&one_line_of_json(&message.data))?;
        } else if let Ok(entry) = serde_json::from_str::<StreamEntry>(&message.data) {
            if let Some(id) = self.transcript.nameless_worker(&entry) {
                let name = self.name_of(&id).await;
                self.transcript.name_worker(id, name);
            }
            for piece in self.transcript.entry(&entry) {
                self.screen.show(&piece)?;
            }
        }
        Ok(Step::More)
    }

    fn lost(&mut self, error: &ClientError) -> Result<Step, Failure> {
        if !std::mem::replace(&mut self.is_lost, true) {
            let reason = match error {
                ClientError::Unreachable { reason, .. } => reason.clone(),
                other => other.to_string(),
            };
            self.screen.note(Style::Warn, &format!("! lost the server ({reason}); the task goes on, connecting again"))?;
        }
        Ok(Step::More)
    }

    /// Says why the task waits, if there is a reason and it is a new one.
    async fn explain(&mut self) -> Result<Step, Failure> {
        if let Ok(Ok(explanation)) = timeout(ASIDE, self.client.explain(self.task)).await {
            let reason = explain::brief(&explanation);
            if self.reason.as_ref() != Some(&reason) {
                self.screen.note(Style::Warn, &reason)?;
                self.reason = Some(reason);
            }
        }
        Ok(Step::More)
    }

    async fn interrupted(&mut self, interrupts: &mut Interrupts) -> Result<Step, Failure> {
        self.screen.end_line()?;
        if self.cancels {
            return Ok(Step::Left);
        }
        let choice = if self.manner == Manner::Turn { Choice::Cancel } else { ask(self.screen.console, interrupts).await };
        match choice {
            Choice::Leave => Ok(Step::Left),
            Choice::Wait => Ok(Step::More),
            Choice::Cancel => {
                self.cancels = true;
                match self.client.cancel(self.task).await {
                    Ok(_) if self.manner == Manner::Turn => {
                        self.screen.note(Style::Warn, "· canceling this turn; Ctrl-C again leaves it running")?;
                    }
                    Ok(answer) => self.screen.note(Style::Warn, &answer.message)?,
                    Err(error) => self.screen.note(Style::Bad, &format!("not canceled: {error}"))?,
                }
                Ok(Step::More)
            }
        }
    }

    fn leave(&mut self) -> Result<Exit, Failure> {
        self.screen.end_line()?;
        let (program, task) = (&self.program, self.task);
        let how =
            format!("left running; follow it with: {program} task {task} --follow\n            cancel it with: {program} cancel {task}");
        self.screen.console.note(Style::Warn, &how);
        Ok(Exit::Interrupted)
    }

    async fn finish(&mut self) -> Result<Followed, Failure> {
        let path = format!("v1/opencode/tasks/{}", self.task);
        let again = ExponentialBuilder::default().with_jitter().with_max_times(6);
        let page = (|| self.client.get_text(&path, &[])).retry(again).when(ClientError::is_retryable).await?;
        let task: Task = self.client.read(&page.text)?;
        self.screen.end_line()?;
        if self.json {
            self.screen.console.line(page.text.trim_end())?;
        } else {
            self.result(&task)?;
            let worker = match &task.worker_id {
                Some(id) => Some(self.name_of(id.as_str()).await),
                None => None,
            };
            for (style, line) in summary::trouble(&task) {
                self.screen.insist(style, &line)?;
            }
            let lines = match self.manner {
                Manner::Alone => summary::lines(&task, worker.as_deref(), &self.program),
                Manner::Turn => vec![summary::turn(&task, worker.as_deref())],
            };
            for (style, line) in lines {
                self.screen.note(style, &line)?;
            }
        }
        let exit = match Exit::of_task(&task) {
            Exit::Canceled if self.cancels => Exit::Interrupted,
            exit => exit,
        };
        Ok(Followed { exit, task: Some(Box::new(task)) })
    }

    /// Writes the result where it was not written as it came.
    fn result(&mut self, task: &Task) -> Result<(), Failure> {
        let Some(result) = task.result.as_deref() else { return Ok(()) };
        if !self.screen.console.out.is_terminal {
            // A program must not take a part for the whole.
            let whole = if task.state == TaskState::Completed { result } else { "" };
            self.screen.console.out.write(whole)?;
            if self.manner == Manner::Turn && !whole.is_empty() && !whole.ends_with('\n') {
                // The next answer begins a line of its own.
                self.screen.console.out.write("\n")?;
            }
        } else if !self.screen.has_answer() {
            self.screen.show(&Piece::Answer(result.to_owned()))?;
        }
        Ok(self.screen.end_line()?)
    }

    /// The name of a worker, or its id where that cannot be found out.
    async fn name_of(&self, id: &str) -> String {
        let path = format!("v1/opencode/workers/{id}");
        let page = timeout(ASIDE, self.client.get_text(&path, &[])).await.ok().and_then(Result::ok);
        let worker: Option<Value> = page.and_then(|page| self.client.read(&page.text).ok());
        worker.and_then(|worker| worker["name"].as_str().map(str::to_owned)).unwrap_or_else(|| id.to_owned())
    }
}

/// `data` as it came, unless it has several lines.
fn one_line_of_json(data: &str) -> String {
    if !data.contains('\n') {
        return data.to_owned();
    }
    serde_json::from_str::<Value>(data).map_or_else(|_| data.replace('\n', " "), |value| value.to_string())
}
