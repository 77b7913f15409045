//! The task of another agent as it is told here: what it tells, event by event or as a whole, becomes entries of this server's stream, each once.

use muster_protocol::a2a::{Artifact, Content, Part, State, StreamResponse, Task, TaskStatus};
use muster_protocol::stream::{Delta, Made};

/// What is new.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// A piece of plain text of an artifact.
    Text(Delta),
    /// An artifact, or more of it.
    Made(Made),
    /// Something that it says while it works.
    Said(String),
}

/// A task of another agent, as far as it was told here.
#[derive(Debug, Clone, Default)]
pub struct Mirror {
    /// Its id there.
    pub task_id: String,
    /// Its conversation there.
    pub context_id: String,
    /// How far it is.
    pub status: TaskStatus,
    artifacts: Vec<Artifact>,
}

impl Mirror {
    /// A task of which these artifacts were told here before.
    #[must_use]
    pub fn new(task_id: String, context_id: String, artifacts: Vec<Artifact>) -> Self {
        let artifacts = artifacts.into_iter().map(joined).collect();
        Self { task_id, context_id, artifacts, ..Self::default() }
    }

    /// Takes in an event, and answers what is new. An event of another task is none of this one's.
    pub fn take(&mut self, event: StreamResponse) -> Vec<News> {
        match event {
            StreamResponse::Task(task) => self.whole(task),
            StreamResponse::Message(message) => {
                let parts = message.parts;
                self.status.state = State::Completed;
                self.context_id = message.context_id.unwrap_or_default();
                self.piece(Artifact { artifact_id: "answer".to_owned(), parts, ..Artifact::default() }, false, true).into_iter().collect()
            }
            StreamResponse::StatusUpdate(update) if self.is_of(&update.task_id, &update.context_id) => self.status(update.status),
            StreamResponse::ArtifactUpdate(update) if self.is_of(&update.task_id, &update.context_id) => {
                self.piece(update.artifact, update.append, update.last_chunk).into_iter().collect()
            }
            StreamResponse::StatusUpdate(_) | StreamResponse::ArtifactUpdate(_) => Vec::new(),
        }
    }

    /// What it said in words: its artifacts, else what it said with its status.
    #[must_use]
    pub fn text(&self) -> String {
        let made: Vec<_> = self.artifacts.iter().map(words).filter(|text| !text.is_empty()).collect();
        if made.is_empty() { self.says().unwrap_or_default() } else { made.join("\n\n") }
    }

    /// What it says with its status.
    #[must_use]
    pub fn says(&self) -> Option<String> {
        let message = self.status.message.as_ref()?;
        let texts: Vec<_> = message.parts.iter().filter_map(Part::as_text).collect();
        Some(texts.join("\n")).filter(|text| !text.trim().is_empty())
    }

    fn is_of(&mut self, task: &str, context: &str) -> bool {
        if self.task_id.is_empty() {
            task.clone_into(&mut self.task_id);
            context.clone_into(&mut self.context_id);
        }
        self.task_id == task
    }

    /// The task as it is there. What was told here already is not told again.
    fn whole(&mut self, task: Task) -> Vec<News> {
        if !self.is_of(&task.id, &task.context_id) {
            return Vec::new();
        }
        let mut news = Vec::new();
        for artifact in task.artifacts.into_iter().flatten().map(joined) {
            let known = self.artifacts.iter().find(|known| known.artifact_id == artifact.artifact_id);
            match known.map(|known| rest_of(known, &artifact)) {
                Some(Rest::Nothing) => {}
                Some(Rest::Text(text)) => {
                    let more = Artifact { parts: vec![Part::text(text)], ..artifact };
                    news.extend(self.piece(more, true, false));
                }
                None | Some(Rest::Other) => news.extend(self.piece(artifact, false, false)),
            }
        }
        news.extend(self.status(task.status));
        news
    }

    fn status(&mut self, status: TaskStatus) -> Vec<News> {
        let said = |status: &TaskStatus| status.message.as_ref().map(|message| message.message_id.clone());
        let is_new = said(&status) != said(&self.status) || self.status.state != status.state;
        self.status = status;
        let works = matches!(self.status.state, State::Working | State::Submitted);
        if is_new && works { self.says().map(News::Said).into_iter().collect() } else { Vec::new() }
    }

    fn piece(&mut self, artifact: Artifact, append: bool, last: bool) -> Option<News> {
        if artifact.parts.is_empty() {
            return None;
        }
        let artifact = joined(artifact);
        let place = self.artifacts.iter().position(|known| known.artifact_id == artifact.artifact_id);
        let known = place.and_then(|place| self.artifacts.get_mut(place));
        let is_more = append && known.is_some();
        let replaces = known.is_some() && !append;
        match known {
            Some(known) if append => {
                known.parts.extend(artifact.parts.iter().cloned());
                *known = joined(std::mem::take(known));
            }
            Some(known) => known.clone_from(&artifact),
            None => self.artifacts.push(artifact.clone()),
        }
        let text = plain_text(&artifact).filter(|_| !replaces && place.is_none_or(|place| self.is_plain(place)));
        Some(match text {
            Some(text) => News::Text(Delta { part: artifact.artifact_id.clone(), delta: text.to_owned() }),
            None => News::Made(Made { artifact, append: is_more, last }),
        })
    }

    fn is_plain(&self, place: usize) -> bool {
        self.artifacts.get(place).is_some_and(|artifact| plain_text(artifact).is_some())
    }
}

/// What of an artifact was not told.
enum Rest {
    Nothing,
    Text(String),
    Other,
}

fn rest_of(known: &Artifact, now: &Artifact) -> Rest {
    if known.parts == now.parts {
        return Rest::Nothing;
    }
    match (only_text(known), only_text(now)) {
        (Some(told), Some(all)) => match all.strip_prefix(told) {
            Some("") => Rest::Nothing,
            Some(rest) => Rest::Text(rest.to_owned()),
            None => Rest::Other,
        },
        _ => Rest::Other,
    }
}

/// The text of an artifact that is nothing but text.
fn only_text(artifact: &Artifact) -> Option<&str> {
    match artifact.parts.as_slice() {
        [part] => is_bare(part).then(|| part.as_text()).flatten(),
        _ => None,
    }
}

/// The same, of one that has no name and nothing else beside it.
fn plain_text(artifact: &Artifact) -> Option<&str> {
    let is_plain =
        artifact.name.is_none() && artifact.description.is_none() && artifact.metadata.is_empty() && artifact.extensions.is_empty();
    only_text(artifact).filter(|_| is_plain)
}

fn is_bare(part: &Part) -> bool {
    part.filename.is_none() && part.metadata.is_empty()
}

/// Texts that follow each other are one: agents cut them anywhere.
fn joined(mut artifact: Artifact) -> Artifact {
    let mut parts: Vec<Part> = Vec::new();
    for part in std::mem::take(&mut artifact.parts) {
        match (parts.last_mut(), &part.content) {
            (Some(Part { content: Content::Text(all), filename: None, metadata, .. }), Content::Text(more))
                if metadata.is_empty() && is_bare(&part) =>
            {
                all.push_str(more);
            }
            _ => parts.push(part),
        }
    }
    Artifact { parts, ..artifact }
}

fn words(artifact: &Artifact) -> String {
    artifact.parts.iter().filter_map(Part::as_text).collect()
}

#[cfg(test)]
mod tests {
    use super::{Mirror, News};
    use muster_protocol::a2a::{State, StreamResponse};
    use muster_protocol::stream::Delta;
    use serde_json::{Value, json};

    fn take(mirror: &mut Mirror, event: Value) -> Vec<News> {
        mirror.take(serde_json::from_value::<StreamResponse>(event).unwrap())
    }

    fn piece(text: &str, append: bool) -> Value {
        json!({ "artifactUpdate": { "taskId": "t", "contextId": "c", "append": append, "artifact": { "artifactId": "a", "parts": [{ "text": text }] } } })
    }

    fn task(text: &str, state: &str) -> Value {
        json!({ "task": { "id": "t", "contextId": "c", "status": { "state": state }, "artifacts": [{ "artifactId": "a", "parts": [{ "text": text }] }] } })
    }

    fn text(delta: &str) -> Vec<News> {
        vec![News::Text(Delta { part: "a".into(), delta: delta.into() })]
    }

    #[test]
    fn after_a_broken_stream_only_the_rest_is_told() {
        let mut mirror = Mirror::default();
        assert_eq!(take(&mut mirror, piece("one ", false)), text("one "));
        assert_eq!(take(&mut mirror, piece("two ", true)), text("two "));
        assert_eq!(take(&mut mirror, task("one two three", "TASK_STATE_WORKING")), text("three"));
        assert_eq!(take(&mut mirror, task("one two three", "TASK_STATE_COMPLETED")), []);
        assert_eq!((mirror.text().as_str(), mirror.status.state), ("one two three", State::Completed));
    }

    #[test]
    fn what_was_told_before_a_restart_is_not_told_again() {
        let before = serde_json::from_value(json!([{ "artifactId": "a", "parts": [{ "text": "one" }, { "text": " two" }] }])).unwrap();
        let mut mirror = Mirror::new("t".into(), "c".into(), before);
        assert_eq!(take(&mut mirror, task("one two!", "TASK_STATE_WORKING")), text("!"));
    }

    #[test]
    fn what_changed_otherwise_is_told_whole() {
        let mut mirror = Mirror::default();
        take(&mut mirror, piece("draft", false));
        let news = take(&mut mirror, task("final", "TASK_STATE_WORKING"));
        assert!(matches!(&news[..], [News::Made(made)] if !made.append && made.artifact.parts[0].as_text() == Some("final")), "{news:?}");
        assert_eq!(mirror.text(), "final");
    }

    #[test]
    fn events_of_another_task_are_not_told() {
        let mut mirror = Mirror::default();
        take(&mut mirror, task("x", "TASK_STATE_WORKING"));
        let other = json!({ "artifactUpdate": { "taskId": "other", "contextId": "c", "artifact": { "artifactId": "a", "parts": [{ "text": "y" }] } } });
        assert_eq!(take(&mut mirror, other), []);
    }

    #[test]
    fn what_it_says_is_told_once() {
        let mut mirror = Mirror::default();
        let says = json!({ "statusUpdate": { "taskId": "t", "contextId": "c", "status": { "state": "TASK_STATE_WORKING",
            "message": { "messageId": "m", "role": "ROLE_AGENT", "parts": [{ "text": "reading" }] } } } });
        assert_eq!(take(&mut mirror, says.clone()), [News::Said("reading".into())]);
        assert_eq!(take(&mut mirror, says), []);
    }

    #[test]
    fn a_bare_message_is_the_whole_answer() {
        let mut mirror = Mirror::default();
        take(&mut mirror, json!({ "message": { "messageId": "m", "role": "ROLE_AGENT", "parts": [{ "text": "hi" }] } }));
        assert_eq!((mirror.text().as_str(), mirror.status.state), ("hi", State::Completed));
    }
}
