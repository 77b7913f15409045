//! The coordinator. A message to it is split into parts, each for an agent; they are worked on side by side, and the answer says who did what.
//!
//! The plan is kept with the task of the coordination, from the transaction that stores it; each part is a task of its own that has it as its
//! parent. So a server that is started again finds what was begun and begins the rest.

mod participants;
mod piece;
mod run;
mod work;

pub use run::{Coordinations, coordinate_open};

use super::{Begun, Letter, Message};
use crate::app::App;
use crate::domain::coordination::{begins, planned};
use crate::domain::plan::{MOST_PARTS, Part, Plan, Wrong, asked, may_name, split};
use crate::error::ApiError;
use crate::store::coordinations::PLAN_KEY;
use crate::store::submit::Answer;
use crate::store::tx::NewEvent;
use crate::tasks::{ANSWERED_MODE, Place, title_of};
use muster_protocol::event::kind;
use muster_protocol::task::{SubmitTask as Wanted, Target};
use muster_protocol::time::Timestamp;
use participants::Names;
use serde_json::json;
use std::time::Duration;

/// How many names a refusal lists.
const NAMES_SHOWN: usize = 20;

impl App {
    /// Makes a message a coordination, and begins it.
    pub(super) async fn coordinate(&self, letter: Letter<'_>) -> Result<Begun, ApiError> {
        let (message, name, now) = (letter.message, &letter.agent, self.now());
        let plan = self.plan(message, now).await?;
        let target = Target { agent: Some(name.clone()), ..Target::default() };
        let title = Some(asked(&message.text)).filter(|asked| !asked.is_empty()).map(title_of);
        let mut wanted = Wanted { mode: Some(ANSWERED_MODE.to_owned()), model: None, title, ..message.wanted(target) };
        wanted.metadata.insert(PLAN_KEY.to_owned(), json!(plan));
        let task = self.task_of(&letter, wanted, Place::default());
        let data = json!({ "title": task.title, "agent": name, "parts": planned(&plan), "deadline": plan.deadline });
        let event = NewEvent { kind: kind::COORDINATION_STARTED, subject: format!("tasks/{}", task.id), at: now, data };
        let answer = Answer::Begun { said: Some(begins(&plan)), event: Some(event) };
        let begun = self.store_taken(letter, task, Some(answer)).await?;
        run::begin(self, begun.task.clone(), true);
        Ok(begun)
    }

    /// Which agent gets which prompt.
    async fn plan(&self, message: &Message, now: Timestamp) -> Result<Plan, ApiError> {
        let names = if may_name(&message.text, &message.data) { self.names().await? } else { Names::default() };
        let split = split(&message.text, message.data.clone(), |name| names.find(name).map(|found| found.name.clone()));
        let split = split.map_err(|wrong| refused(wrong, &names))?;
        let mut parts = Vec::new();
        for (name, prompt) in split.named {
            let server = names.find(&name).map(|found| found.server.clone()).unwrap_or_default();
            parts.push(Part { agent: name, server, prompt });
        }
        let mut left_out = 0;
        if parts.is_empty() {
            let all = self.participants().await?;
            left_out = all.len().saturating_sub(MOST_PARTS);
            let part = |one: participants::Participant| Part { agent: one.name, server: one.server, prompt: String::new() };
            parts.extend(all.into_iter().take(MOST_PARTS).map(part));
        }
        let longest = self.config.coordination.deadline;
        let limit = message.deadline_s.map_or(longest, |seconds| longest.min(Duration::from_secs(seconds)));
        let deadline = Timestamp(now.0.saturating_add(i64::try_from(limit.as_millis()).unwrap_or(i64::MAX)));
        let Message { model, mode, .. } = message.clone();
        Ok(Plan { intro: split.intro, data: split.data, model, mode, deadline, parts, left_out })
    }
}

fn refused(wrong: Wrong, names: &Names) -> ApiError {
    let message = match wrong {
        Wrong::Said(what) => what,
        Wrong::Unknown(unknown) => {
            let unknown: Vec<_> = unknown.iter().map(|name| format!("`{}`", crate::error::shown(name))).collect();
            let all = names.all();
            let more = if all.len() > NAMES_SHOWN { ", .." } else { "" };
            let there: Vec<_> = all.into_iter().take(NAMES_SHOWN).collect();
            format!(
                "names {}, which can get no part; there are {}{more} (an indented line belongs to the part before it)",
                unknown.join(", "),
                there.join(", ")
            )
        }
    };
    ApiError::invalid("message.parts", message)
}
