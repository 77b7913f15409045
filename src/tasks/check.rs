//! What a submit must be like, by itself: its fields, its idempotency key, its title.

use crate::error::{ApiError, FieldError};
use crate::store::submit::IdempotencyKey;
use muster_protocol::ids::{MAX_ID_LEN, is_acceptable_id};
use muster_protocol::task::SubmitTask as Wanted;
use muster_protocol::time::Timestamp;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

const MOST_ATTEMPTS: u32 = 100;
const LONGEST_TITLE: usize = 80;
const LONGEST_WORD: usize = 200;

/// Checks everything that needs no look at the registry.
pub(super) fn check(wanted: &Wanted, now: Timestamp) -> Result<(), ApiError> {
    let mut fields = Vec::new();
    let mut wrong = |field: &str, message: &str| fields.push(FieldError::new(field, message));
    if wanted.prompt.trim().is_empty() && wanted.mode.as_deref() != Some(muster_protocol::task::builtin_mode::NOOP) {
        wrong("prompt", "must not be empty");
    }
    if wanted.model.as_ref().is_some_and(|model| !model.split_once('/').is_some_and(|(p, m)| !p.is_empty() && !m.is_empty())) {
        wrong("model", "must be `provider/model`, as `GET /v1/opencode/models` lists them");
    }
    if wanted.mode.as_ref().is_some_and(|mode| mode.trim().is_empty() || mode.len() > LONGEST_WORD) {
        wrong("mode", "must be the name of an OpenCode agent, for example build or plan");
    }
    if wanted.deadline.is_some_and(|deadline| deadline <= now) {
        wrong("deadline", "has passed already");
    }
    if let (Some(not_before), Some(deadline)) = (wanted.not_before, wanted.deadline)
        && not_before >= deadline
    {
        wrong("not_before", "must be before the deadline");
    }
    if wanted.max_attempts.is_some_and(|n| !(1..=MOST_ATTEMPTS).contains(&n)) {
        wrong("max_attempts", "must be from 1 to 100");
    }
    if wanted.context_id.as_ref().is_some_and(|id| !is_acceptable_id(id.as_str())) {
        wrong("context_id", &format!("must be 1 to {MAX_ID_LEN} printable ASCII characters without space or slash"));
    }
    if wanted.resume_session_id.as_ref().is_some_and(|id| !is_acceptable_id(id.as_str())) {
        wrong("resume_session_id", "must be an OpenCode session id, such as ses_..");
    }
    if wanted.fork && wanted.resume_session_id.is_none() {
        wrong("fork", "needs a session to copy: name it in resume_session_id");
    }
    if fields.is_empty() { Ok(()) } else { Err(ApiError::Invalid { fields }) }
}

/// The key with the hash of the canonical body: fields in one order, absent ones left out.
pub(super) fn idempotency_key(key: String, wanted: &Wanted) -> Result<IdempotencyKey, ApiError> {
    if !is_acceptable_id(&key) {
        let message = format!("the header Idempotency-Key must be 1 to {MAX_ID_LEN} printable ASCII characters without space or slash");
        return Err(ApiError::BadRequest(message));
    }
    let body = sorted(serde_json::to_value(wanted).map_err(ApiError::internal)?);
    let hash = hex::encode(Sha256::digest(body.to_string().as_bytes()));
    Ok(IdempotencyKey { key, hash })
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().map(|(key, value)| (key, sorted(value))).collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

/// The first line of a prompt, cut.
pub(crate) fn title_of(prompt: &str) -> String {
    let line = prompt.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("(no prompt)");
    let mut title: String = line.chars().take(LONGEST_TITLE).collect();
    if line.chars().nth(LONGEST_TITLE).is_some() {
        title.push('…');
    }
    title
}

#[cfg(test)]
mod tests {
    use super::{idempotency_key, title_of};
    use muster_protocol::task::SubmitTask;
    use serde_json::json;

    fn wanted(body: serde_json::Value) -> SubmitTask {
        serde_json::from_value(body).unwrap()
    }

    #[test]
    fn the_order_of_fields_makes_no_other_body() {
        let one = wanted(json!({"prompt": "p", "metadata": {"a": 1, "b": {"c": 2, "d": 3}}}));
        let other: SubmitTask = serde_json::from_str(r#"{"metadata":{"b":{"d":3,"c":2},"a":1},"prompt":"p"}"#).unwrap();
        let hash = |wanted| idempotency_key("k".into(), wanted).unwrap().hash;
        assert_eq!(hash(&one), hash(&other));
        assert_ne!(hash(&one), hash(&wanted(json!({"prompt": "p"}))));
    }

    #[test]
    fn a_title_is_the_first_line_of_the_prompt() {
        assert_eq!(title_of("\n  fix the tests \nand more"), "fix the tests");
        assert_eq!(title_of(&"x".repeat(100)).chars().count(), 81);
    }
}
