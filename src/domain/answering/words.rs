//! What somebody means who answers in a message.

use super::Wrong;
use muster_protocol::interaction::{Interaction, QUESTION, Reply, ReplyInteraction};
use serde_json::Value;

const ONCE: [&str; 9] = ["yes", "y", "ok", "okay", "once", "allow", "approve", "approved", "allow once"];
const ALWAYS: [&str; 3] = ["always", "yes always", "allow always"];
const REJECT: [&str; 7] = ["no", "n", "reject", "deny", "refuse", "denied", "rejected"];

/// Reads an answer from a message: from data that has the shape of a [`ReplyInteraction`], else from its words. A permission wants yes, always, or
/// no, the latter with what the model is to be told after `:` or `,`. A question takes the words as they are; several questions take a line each.
///
/// # Errors
/// Words of which nobody can say what they mean.
pub fn from_message(asked: &Interaction, text: &str, data: &[Value]) -> Result<ReplyInteraction, Wrong> {
    let shaped = |value: &&Value| value.get("reply").is_some() || value.get("answers").is_some();
    if let Some(value) = data.iter().find(shaped) {
        return serde_json::from_value(value.clone())
            .map_err(|e| Wrong { field: "message.parts", message: format!("the data is no answer: {e}") });
    }
    let text = text.trim();
    if asked.kind == QUESTION { answers(asked, text) } else { permission(text) }
}

fn permission(text: &str) -> Result<ReplyInteraction, Wrong> {
    let plain = |text: &str| text.trim().trim_end_matches(['.', '!']).to_lowercase().replace(',', "");
    let is_one_of = |words: &[&str], text: &str| words.contains(&plain(text).as_str());
    let reply = |reply| ReplyInteraction { reply: Some(reply), ..ReplyInteraction::default() };
    if is_one_of(&ONCE, text) {
        return Ok(reply(Reply::Once));
    }
    if is_one_of(&ALWAYS, text) {
        return Ok(reply(Reply::Always));
    }
    if is_one_of(&REJECT, text) {
        return Ok(reply(Reply::Reject));
    }
    if let Some((word, told)) = text.split_once([':', ',', ';'])
        && is_one_of(&REJECT, word)
    {
        let message = Some(told.trim().to_owned()).filter(|told| !told.is_empty());
        return Ok(ReplyInteraction { message, ..reply(Reply::Reject) });
    }
    let message =
        "it asks for a permission: answer `yes` (this once), `always` or `no`, the latter with what it is to do instead: `no: ..`";
    Err(Wrong { field: "message.parts", message: message.to_owned() })
}

fn answers(asked: &Interaction, text: &str) -> Result<ReplyInteraction, Wrong> {
    let questions = asked.request.as_array().map_or(1, Vec::len);
    let lines: Vec<_> = if questions == 1 { vec![text] } else { text.lines().map(str::trim).filter(|line| !line.is_empty()).collect() };
    if text.is_empty() || lines.len() != questions {
        let message = format!(
            "it asks {questions} questions: answer with a line for each, or with data such as {{\"answers\":[[\"yes\"],[\"no\"]]}}"
        );
        return Err(Wrong { field: "message.parts", message });
    }
    Ok(ReplyInteraction { answers: lines.into_iter().map(|line| vec![line.to_owned()]).collect(), ..ReplyInteraction::default() })
}

#[cfg(test)]
mod tests {
    use super::super::tests::asked;
    use super::from_message;
    use muster_protocol::interaction::Reply;
    use serde_json::{Value, json};

    #[test]
    fn a_permission_is_given_and_refused_in_words() {
        let permission = asked("permission", &json!({}));
        let read = |text: &str| from_message(&permission, text, &[]).map(|reply| (reply.reply, reply.message));
        for yes in ["yes", " Y ", "OK.", "Allow once"] {
            assert_eq!(read(yes), Ok((Some(Reply::Once), None)), "{yes}");
        }
        assert_eq!(read("Yes, always!"), Ok((Some(Reply::Always), None)));
        assert_eq!(read("no"), Ok((Some(Reply::Reject), None)));
        assert_eq!(read("No, use the trash: it is safer"), Ok((Some(Reply::Reject), Some("use the trash: it is safer".into()))));
        for unclear in ["", "perhaps", "yes but only src", "do it differently"] {
            assert!(read(unclear).is_err(), "{unclear}");
        }
    }

    #[test]
    fn questions_take_the_words_as_they_are() {
        let read = |questions: &Value, text: &str| from_message(&asked("question", questions), text, &[]).map(|reply| reply.answers);
        let (one, two) = (json!([{ "question": "which?" }]), json!([{ "question": "which?" }, { "question": "why?" }]));
        assert_eq!(read(&one, "sqlite\nplease"), Ok(vec![vec!["sqlite\nplease".into()]]));
        assert_eq!(read(&two, "sqlite\n\n small "), Ok(vec![vec!["sqlite".into()], vec!["small".into()]]));
        assert!(read(&two, "sqlite").is_err() && read(&one, " ").is_err());
    }

    #[test]
    fn data_is_taken_at_its_word() {
        let permission = asked("permission", &json!({}));
        let data = [json!({ "other": 1 }), json!({ "reply": "reject", "message": "not now" })];
        let reply = from_message(&permission, "yes", &data).unwrap();
        assert_eq!((reply.reply, reply.message.as_deref()), (Some(Reply::Reject), Some("not now")));
        assert!(from_message(&permission, "yes", &[json!({ "answers": 7 })]).is_err());
    }
}
