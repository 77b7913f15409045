//! What is kept of the sessions and messages that workers tell of. Nothing that a worker sends is refused for what is in it: a sync that fails
//! would fail for ever. What is too large is cut instead.

use muster_protocol::session::{SessionMessage, SessionReport};
use muster_protocol::time::Timestamp;
use serde_json::{Value, json};

/// How many messages of a session are kept: the newest.
pub const MESSAGES_KEPT: usize = 2_000;

const LONGEST_TITLE: usize = 500;
const LONGEST_PATH: usize = 4_096;
const LONGEST_WORD: usize = 200;
const LARGEST_SUMMARY: usize = 64 << 10;
/// A larger message has its long texts cut.
const LARGEST_MESSAGE: usize = 256 << 10;
/// What is left of a long text, in characters.
const CUT_TEXT: usize = 4 << 10;
/// Numbers below are seconds, not milliseconds: the year 1973 is no time of a session.
const SECONDS_BELOW: f64 = 1e11;

/// A session as it is to be stored: what the report leaves out stays as it was.
#[must_use]
pub fn merged(known: Option<&SessionReport>, report: &SessionReport, now: Timestamp) -> SessionReport {
    let before = |field: fn(&SessionReport) -> Option<String>| known.and_then(field);
    let text = |new: Option<&String>, longest: usize, before: Option<String>| new.map(|text| cut(text, longest)).or(before);
    let summary = if report.summary.to_string().len() > LARGEST_SUMMARY { Value::Null } else { report.summary.clone() };
    let created = report.created.or_else(|| known.and_then(|known| known.created)).or(report.updated).unwrap_or(now);
    SessionReport {
        id: report.id.clone(),
        title: text(report.title.as_ref(), LONGEST_TITLE, before(|known| known.title.clone())),
        directory: text(report.directory.as_ref(), LONGEST_PATH, before(|known| known.directory.clone())),
        project_id: text(report.project_id.as_ref(), LONGEST_WORD, before(|known| known.project_id.clone())),
        created: Some(created),
        updated: Some(report.updated.or_else(|| known.and_then(|known| known.updated)).unwrap_or(created)),
        message_count: report.message_count.or_else(|| known.and_then(|known| known.message_count)),
        summary: if summary.is_null() { known.map(|known| known.summary.clone()).unwrap_or_default() } else { summary },
        version: text(report.version.as_ref(), LONGEST_WORD, before(|known| known.version.clone())),
        parent_id: report.parent_id.clone().or_else(|| known.and_then(|known| known.parent_id.clone())),
    }
}

/// When a message was begun: `time` is a time, or an object with `created`, as text or number. Without one it goes before all others.
#[must_use]
pub fn begun_at(message: &SessionMessage) -> Timestamp {
    let time = message.time.get("created").unwrap_or(&message.time);
    read_time(time).unwrap_or(Timestamp(0))
}

fn read_time(time: &Value) -> Option<Timestamp> {
    match time {
        Value::String(text) => Timestamp::parse(text),
        Value::Number(number) => {
            let number = number.as_f64()?;
            let ms = if number < SECONDS_BELOW { number * 1_000.0 } else { number };
            // The range that can be written as a date is read again by the type itself.
            #[expect(clippy::cast_possible_truncation, reason = "it saturates, and what is no date is refused next")]
            serde_json::from_value(json!(ms as i64)).ok()
        }
        _ => None,
    }
}

/// A message as it is to be stored: JSON, not larger than a message may be.
#[must_use]
pub fn kept(message: &SessionMessage) -> String {
    let json = json_of(message);
    if json.len() <= LARGEST_MESSAGE {
        return json;
    }
    let mut smaller = message.clone();
    smaller.parts.iter_mut().for_each(cut_texts);
    for value in [&mut smaller.time, &mut smaller.model, &mut smaller.tokens] {
        cut_texts(value);
    }
    for text in [smaller.role.as_mut(), smaller.agent.as_mut()].into_iter().flatten() {
        *text = cut(text, LONGEST_WORD);
    }
    let cut = json_of(&smaller);
    if cut.len() <= LARGEST_MESSAGE {
        return cut;
    }
    let note = format!("(this message has {} bytes, which is too much to keep)", json.len());
    let note = json!({ "type": "text", "synthetic": true, "text": note });
    json_of(&SessionMessage { parts: vec![note], time: json!(begun_at(message)), model: Value::Null, tokens: Value::Null, ..smaller })
}

fn json_of(message: &SessionMessage) -> String {
    serde_json::to_string(message).unwrap_or_else(|_| "null".to_owned())
}

fn cut_texts(value: &mut Value) {
    match value {
        Value::String(text) => *text = cut(text, CUT_TEXT),
        Value::Array(items) => items.iter_mut().for_each(cut_texts),
        Value::Object(map) => map.values_mut().for_each(cut_texts),
        _ => {}
    }
}

fn cut(text: &str, longest: usize) -> String {
    match text.char_indices().nth(longest) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::{LARGEST_MESSAGE, begun_at, kept, merged};
    use muster_protocol::session::{SessionMessage, SessionReport};
    use muster_protocol::time::Timestamp;
    use serde_json::{Value, json};

    fn report(body: Value) -> SessionReport {
        serde_json::from_value(body).unwrap()
    }

    fn message(body: Value) -> SessionMessage {
        serde_json::from_value(body).unwrap()
    }

    #[test]
    fn what_a_report_leaves_out_stays_as_it_was() {
        let now = Timestamp(50);
        let first = merged(
            None,
            &report(json!({"id": "s", "title": "T", "created": 10, "updated": 20, "messageCount": 3, "summary": {"files": 1}})),
            now,
        );
        let again = merged(Some(&first), &report(json!({"id": "s", "updated": 30, "summary": null})), Timestamp(99));
        assert_eq!(again, SessionReport { updated: Some(Timestamp(30)), ..first });
    }

    #[test]
    fn a_session_without_times_has_that_of_its_first_report_for_ever() {
        let bare = report(json!({"id": "s"}));
        let first = merged(None, &bare, Timestamp(50));
        assert_eq!((first.created, first.updated), (Some(Timestamp(50)), Some(Timestamp(50))));
        assert_eq!(merged(Some(&first), &bare, Timestamp(99)), first);
    }

    #[test]
    fn a_time_is_read_in_each_of_its_forms() {
        let at = |time: Value| begun_at(&message(json!({"id": "m", "time": time}))).0;
        let expected = 1_700_000_000_123;
        for time in [
            json!(expected),
            json!(1_700_000_000_123.0),
            json!("2023-11-14T22:13:20.123456"),
            json!("2023-11-14T22:13:20.123Z"),
            json!({"created": expected, "completed": expected + 5}),
            json!({"created": "2023-11-14T22:13:20.123"}),
        ] {
            assert_eq!(at(time.clone()), expected, "{time}");
        }
        assert_eq!(at(json!(1_700_000_000)), 1_700_000_000_000);
        for nothing in [Value::Null, json!({}), json!({"created": null}), json!("soon"), json!(1e300), json!([1])] {
            assert_eq!(at(nothing.clone()), 0, "{nothing}");
        }
    }

    #[test]
    fn a_message_that_is_too_large_is_cut_and_stays_a_message() {
        let long = "ü".repeat(LARGEST_MESSAGE);
        let tool = json!({"type": "tool", "tool": "bash", "state": {"output": long, "status": "completed"}});
        let read = |json: String| serde_json::from_str::<SessionMessage>(&json).unwrap();
        let large = message(json!({"id": "m", "role": "assistant", "parts": [{"type": "text", "text": "hello"}, tool]}));
        let cut = read(kept(&large));
        assert_eq!((&cut.parts[0], &cut.parts[1]["state"]["status"]), (&large.parts[0], &json!("completed")));
        assert!(cut.parts[1]["state"]["output"].as_str().unwrap().chars().count() < 5_000);
        let many: Vec<_> = (0..200_000).map(|n| json!({ "n": n })).collect();
        let cut = read(kept(&SessionMessage { parts: many, ..large }));
        assert_eq!((cut.parts.len(), cut.id.as_str(), cut.role.as_deref()), (1, "m", Some("assistant")));
    }

    #[test]
    fn a_message_of_an_ordinary_size_is_kept_as_it_came() {
        let whole = message(json!({"id": "m", "role": "user", "time": {"created": 5}, "cost": 0.25, "parts": [{"text": "a\u{0}b"}]}));
        assert_eq!(serde_json::from_str::<SessionMessage>(&kept(&whole)).unwrap(), whole);
        assert!(!kept(&whole).contains('\0'));
    }
}
