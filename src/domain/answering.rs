//! Whether an answer fits what was asked.

mod words;

pub use words::from_message;

use muster_protocol::interaction::{Interaction, QUESTION, Reply, ReplyInteraction};

/// Why an answer does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// The field at fault.
    pub field: &'static str,
    /// What is wrong with it, and what to send instead.
    pub message: String,
}

/// The longest message or answer, in bytes.
const LONGEST: usize = 16_384;

/// Checks an answer against its question.
///
/// # Errors
/// What does not fit.
pub fn check(asked: &Interaction, given: &ReplyInteraction) -> Result<(), Wrong> {
    let wrong = |field, message: &str| Err(Wrong { field, message: message.to_owned() });
    if let Some(Reply::Other(_)) = &given.reply {
        return Err(Wrong { field: "reply", message: format!("must be one of {}", Reply::WORDS.join(", ")) });
    }
    let texts = given.answers.iter().flatten().chain(&given.message);
    if texts.into_iter().any(|text| text.len() > LONGEST) {
        return Err(Wrong { field: "answers", message: format!("no text may be longer than {LONGEST} bytes") });
    }
    if given.message.is_some() && given.reply != Some(Reply::Reject) {
        return wrong("message", "goes with `reply: \"reject\"` only: it is what the model is told");
    }
    if asked.kind == QUESTION {
        return check_answers(asked, given);
    }
    if !given.answers.is_empty() {
        return wrong("answers", "go with a question; a permission request wants `reply`: once, always or reject");
    }
    if given.reply.is_none() { wrong("reply", "must be once, always or reject") } else { Ok(()) }
}

fn check_answers(asked: &Interaction, given: &ReplyInteraction) -> Result<(), Wrong> {
    let wrong = |field, message: String| Err(Wrong { field, message });
    if given.reply == Some(Reply::Reject) {
        return if given.answers.is_empty() { Ok(()) } else { wrong("answers", "must be absent if the question is refused".to_owned()) };
    }
    if given.reply.is_some() {
        return wrong("reply", "a question wants `answers`, or `reply: \"reject\"`".to_owned());
    }
    let questions = asked.request.as_array().map_or(0, Vec::len);
    if given.answers.len() != questions {
        return wrong("answers", format!("must have one list for each of the {questions} questions, for example [[\"yes\"]]"));
    }
    if given.answers.iter().any(Vec::is_empty) {
        return wrong("answers", "no list may be empty".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check;
    use muster_protocol::interaction::{Interaction, ReplyInteraction};
    use serde_json::{Value, json};

    pub(super) fn asked(kind: &str, request: &Value) -> Interaction {
        serde_json::from_value(json!({
            "id": "018f0000-0000-7000-8000-000000000001", "task_id": "018f0000-0000-7000-8000-000000000002", "attempt": 1, "worker_id": "w",
            "kind": kind, "state": "open", "title": "t", "request": request, "created_at": 0
        }))
        .unwrap()
    }

    fn fault(asked: &Interaction, given: &Value) -> Option<&'static str> {
        let given: ReplyInteraction = serde_json::from_value(given.clone()).unwrap();
        check(asked, &given).err().map(|wrong| wrong.field)
    }

    #[test]
    fn a_permission_wants_yes_or_no() {
        let permission = asked("permission", &json!({"command": "rm -rf x"}));
        for fits in [json!({"reply": "once"}), json!({"reply": "always"}), json!({"reply": "reject", "message": "use trash"})] {
            assert_eq!(fault(&permission, &fits), None, "{fits}");
        }
        assert_eq!(fault(&permission, &json!({})), Some("reply"));
        assert_eq!(fault(&permission, &json!({"reply": "perhaps"})), Some("reply"));
        assert_eq!(fault(&permission, &json!({"reply": "once", "message": "m"})), Some("message"));
        assert_eq!(fault(&permission, &json!({"answers": [["yes"]]})), Some("answers"));
    }

    #[test]
    fn a_question_wants_an_answer_to_each_of_its_parts() {
        let question = asked("question", &json!([{"question": "which?"}, {"question": "why?"}]));
        assert_eq!(fault(&question, &json!({"answers": [["a"], ["b", "c"]]})), None);
        assert_eq!(fault(&question, &json!({"reply": "reject"})), None);
        assert_eq!(fault(&question, &json!({"answers": [["a"]]})), Some("answers"));
        assert_eq!(fault(&question, &json!({"answers": [["a"], []]})), Some("answers"));
        assert_eq!(fault(&question, &json!({"reply": "once"})), Some("reply"));
        assert_eq!(fault(&question, &json!({"reply": "reject", "answers": [["a"], ["b"]]})), Some("answers"));
    }
}
