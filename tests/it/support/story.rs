//! A task from its submission to its end, as a viewer of its stream sees it.

use anyhow::{Result, ensure};
use muster_protocol::client::Client;
use muster_protocol::ids::TaskId;
use muster_protocol::stream::{DONE_EVENT, Delta, EntryKind, FileChange, InteractionNote, StatusNote, StreamEntry, ToolCall};
use muster_protocol::task::{SubmitTask, Target, Task};
use serde::de::DeserializeOwned;

/// A task that has ended, and all that it said.
#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) task: Task,
    pub(crate) entries: Vec<StreamEntry>,
}

/// A task for a codebase.
pub(crate) fn in_codebase(codebase: &str, prompt: &str) -> SubmitTask {
    SubmitTask {
        prompt: prompt.to_owned(),
        target: Some(Target { codebase: Some(codebase.to_owned()), ..Target::default() }),
        ..SubmitTask::default()
    }
}

/// A task for a worker's global codebase: direct chat.
pub(crate) fn on_worker(worker: &str, prompt: &str) -> SubmitTask {
    SubmitTask {
        prompt: prompt.to_owned(),
        target: Some(Target { worker: Some(worker.to_owned()), ..Target::default() }),
        ..SubmitTask::default()
    }
}

/// Submits a task and follows it to its end.
pub(crate) async fn run_task(client: &Client, task: &SubmitTask) -> Result<Story> {
    let task = client.submit(task, None).await?;
    follow(client, task.id).await
}

/// Follows a task to its end, from its first entry; over lost connections.
pub(crate) async fn follow(client: &Client, task: TaskId) -> Result<Story> {
    let mut stream = client.follow_task(task, None);
    let mut entries: Vec<StreamEntry> = Vec::new();
    loop {
        let message = stream.next(|_| ()).await?;
        if message.event == DONE_EVENT {
            break;
        }
        let entry: StreamEntry = serde_json::from_str(&message.data)?;
        let expected = entries.len() as u64 + 1;
        ensure!(entry.task_seq == expected, "the stream goes on with entry {} where {expected} is next", entry.task_seq);
        entries.push(entry);
    }
    Ok(Story { task: client.task(task).await?, entries })
}

/// Follows a task until an entry of it is what is waited for; an error if it ends without.
pub(crate) async fn until_entry(client: &Client, task: TaskId, wanted: impl Fn(&StreamEntry) -> bool) -> Result<StreamEntry> {
    let mut stream = client.follow_task(task, None);
    loop {
        let message = stream.next(|_| ()).await?;
        ensure!(message.event != DONE_EVENT, "the task ended before the entry that is waited for: {}", message.data);
        let entry: StreamEntry = serde_json::from_str(&message.data)?;
        if wanted(&entry) {
            return Ok(entry);
        }
    }
}

impl Story {
    /// The answer as it was streamed.
    pub(crate) fn text(&self) -> String {
        self.all::<Delta>(&EntryKind::Text).into_iter().map(|delta| delta.delta).collect()
    }

    /// The reasoning as it was streamed.
    pub(crate) fn reasoning(&self) -> String {
        self.all::<Delta>(&EntryKind::Reasoning).into_iter().map(|delta| delta.delta).collect()
    }

    /// Every state of every tool call.
    pub(crate) fn tools(&self) -> Vec<ToolCall> {
        self.all(&EntryKind::Tool)
    }

    /// Every changed file.
    pub(crate) fn files(&self) -> Vec<FileChange> {
        self.all(&EntryKind::File)
    }

    /// Every change of state, of the task and of the run.
    pub(crate) fn statuses(&self) -> Vec<StatusNote> {
        self.all(&EntryKind::Status)
    }

    /// Every permission request and question.
    pub(crate) fn interactions(&self) -> Vec<InteractionNote> {
        self.all(&EntryKind::Interaction)
    }

    /// How often the task's run was begun.
    pub(crate) fn starts(&self) -> usize {
        self.statuses().iter().filter(|status| status.state == "starting").count()
    }

    fn all<T: DeserializeOwned>(&self, kind: &EntryKind) -> Vec<T> {
        self.entries.iter().filter(|entry| entry.kind == *kind).filter_map(StreamEntry::read).collect()
    }
}
