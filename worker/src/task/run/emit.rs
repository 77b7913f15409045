//! Entries and limits: the shapes of what a run says.

use super::Action;
use crate::opencode::error::{Failure, code};
use crate::opencode::events::{MessageInfo, QuestionRequest};
use crate::policy::Limits;
use muster_protocol::stream::{EntryKind, Todo, Todos};
use muster_protocol::task::Usage;
use muster_protocol::time::Timestamp;
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;

/// The longest text inside the detail of an entry, in characters.
pub(super) const MAX_DETAIL: usize = 16_384;

/// An entry.
pub(super) fn tell(kind: EntryKind, data: &impl Serialize) -> Action {
    Action::Tell(kind, serde_json::to_value(data).unwrap_or_default())
}

/// `todo.updated` as an entry.
pub(super) fn todos(items: &[Value]) -> Action {
    let text = |item: &Value, field: &str| item[field].as_str().unwrap_or_default().to_owned();
    let todo = |item: &Value| Todo { content: text(item, "content"), status: text(item, "status"), priority: text(item, "priority") };
    tell(EntryKind::Todo, &Todos { items: items.iter().map(todo).collect() })
}

/// A question in a line.
pub(super) fn question_title(request: &QuestionRequest) -> String {
    let texts: Vec<&str> = request.questions.iter().filter_map(|question| question["question"].as_str()).collect();
    cut_text(&texts.join(" / "), 500)
}

/// A value with its texts cut to `most` characters each.
pub(super) fn cut(value: &Value, most: usize) -> Value {
    match value {
        Value::String(text) => Value::String(cut_text(text, most)),
        Value::Array(items) => Value::Array(items.iter().map(|item| cut(item, most)).collect()),
        Value::Object(fields) => Value::Object(fields.iter().map(|(name, field)| (name.clone(), cut(field, most))).collect()),
        other => other.clone(),
    }
}

/// A text cut to `most` characters, with a sign that it was.
pub(super) fn cut_text(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}… [{} bytes in all]", &text[..end], text.len()),
        None => text.to_owned(),
    }
}

/// What one message has spent.
pub(super) fn usage_of(info: &MessageInfo) -> Usage {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "token counts; what is negative or too large saturates")]
    let count = |tokens: f64| tokens as u64;
    let tokens = &info.tokens;
    Usage {
        input: count(tokens.input),
        output: count(tokens.output),
        reasoning: count(tokens.reasoning),
        cache_read: count(tokens.cache.read),
        cache_write: count(tokens.cache.write),
        cost: info.cost,
    }
}

/// What several messages have spent.
pub(super) fn sum<'a>(all: impl Iterator<Item = &'a Usage>) -> Usage {
    let mut sum = all.fold(Usage::default(), |sum, one| Usage {
        input: sum.input.saturating_add(one.input),
        output: sum.output.saturating_add(one.output),
        reasoning: sum.reasoning.saturating_add(one.reasoning),
        cache_read: sum.cache_read.saturating_add(one.cache_read),
        cache_write: sum.cache_write.saturating_add(one.cache_write),
        cost: sum.cost + one.cost,
    });
    // The order of the messages must not show in the last digits: a billionth of a dollar is nothing.
    sum.cost = (sum.cost * 1e9).round() / 1e9;
    sum
}

/// What a run has taken so far.
pub(super) struct Spent {
    pub(super) ran_ms: u64,
    pub(super) silent_ms: u64,
    pub(super) steps: usize,
    pub(super) unfinished: u32,
    pub(super) compactions: u32,
    pub(super) usage: Usage,
}

/// Why a retry is not waited for: it comes `wait` milliseconds from now, when the run has taken `ends` milliseconds.
pub(super) fn too_long(limits: &Limits, wait: u64, ends: u64, deadline: Option<Timestamp>) -> Option<String> {
    let over = |limit: Duration, value: u64| !limit.is_zero() && u128::from(value) > limit.as_millis();
    if over(limits.retry_wait, wait) {
        Some(format!(
            "longer than a run may wait (limits.retry_wait_s on the worker is {}); try again then, or take another model",
            limits.retry_wait.as_secs()
        ))
    } else if over(limits.wall, ends) {
        Some(format!("by then the run has taken longer than it may (limits.wall_s on the worker is {})", limits.wall.as_secs()))
    } else {
        deadline.map(|deadline| format!("that is after the task's deadline ({deadline})"))
    }
}

/// The first limit that is broken.
pub(super) fn broken_limit(limits: &Limits, spent: &Spent) -> Option<Failure> {
    let tokens = spent.usage.input + spent.usage.output + spent.usage.reasoning;
    let over = |limit: u128, value: u128| limit > 0 && value >= limit;
    let (code, message) = if over(limits.unfinished_steps.into(), spent.unfinished.into()) {
        let message = format!(
            "stopped after {} model calls in a row that ended without a finish reason: the provider breaks off its streams, and OpenCode would repeat this for ever",
            spent.unfinished
        );
        (code::STEP_LIMIT, message)
    } else if limits.steps > 0 && spent.steps > limits.steps as usize {
        (
            code::STEP_LIMIT,
            format!("stopped after {} model calls (limits.steps on the worker); split the task, or raise the limit", limits.steps),
        )
    } else if over(limits.compactions.into(), spent.compactions.into()) {
        let message = format!(
            "stopped after the conversation was compacted {} times (limits.compactions on the worker): the model's context is too small for this task",
            spent.compactions
        );
        (code::COMPACTION_LIMIT, message)
    } else if over(limits.tokens.into(), tokens.into()) {
        (code::TOKEN_LIMIT, format!("stopped after {tokens} tokens (limits.tokens on the worker is {})", limits.tokens))
    } else if limits.cost_usd > 0.0 && spent.usage.cost >= limits.cost_usd {
        let message = format!("stopped after {:.4} US dollars (limits.cost_usd on the worker is {})", spent.usage.cost, limits.cost_usd);
        (code::COST_LIMIT, message)
    } else if over(limits.wall.as_millis(), spent.ran_ms.into()) {
        (code::TIME_LIMIT, format!("stopped after {} s (limits.wall_s on the worker)", limits.wall.as_secs()))
    } else if over(limits.stall.as_millis(), spent.silent_ms.into()) {
        (code::STALL_LIMIT, format!("stopped after {} s without any sign of life (limits.stall_s on the worker)", limits.stall.as_secs()))
    } else {
        return None;
    };
    Some(Failure::new(code, message))
}
