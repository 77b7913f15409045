//! A message as agents read it: its parts as text and data, and whom and what its metadata chooses.

use super::error::{A2aError, Outcome};
use crate::agents::{Agent, Message};
use muster_protocol::a2a::{self, Content, ErrorKind, MOST_DEPTH, Metadata, Part, Role, SendMessageRequest, depth, depth_of};
use muster_protocol::ids::{ContextId, MAX_ID_LEN, is_acceptable_id};
use serde_json::{Value, json};

/// The most parts of a message.
const MOST_PARTS: usize = 1_000;
use crate::agents::HOPS_KEY;
pub(super) use crate::agents::MESSAGE_KEY;

/// Checks what can be checked of a message by itself.
///
/// # Errors
/// What does not fit.
pub(super) fn check(request: &SendMessageRequest) -> Outcome<()> {
    let message = &request.message;
    let wrong = |field: &str, reason: String| Err(A2aError::invalid(field, reason));
    if message.message_id.is_empty() {
        return wrong("message.messageId", "must not be empty".to_owned());
    }
    if message.role == Role::Unspecified {
        return wrong("message.role", "must be ROLE_USER or ROLE_AGENT".to_owned());
    }
    if message.parts.is_empty() || message.parts.len() > MOST_PARTS {
        return wrong("message.parts", format!("must be 1 to {MOST_PARTS}"));
    }
    if message.context_id.as_deref().is_some_and(|id| !id.is_empty() && !is_acceptable_id(id)) {
        return wrong("message.contextId", format!("must be 1 to {MAX_ID_LEN} printable ASCII characters without space or slash"));
    }
    check_depth(request)?;
    let configuration = request.configuration.as_ref();
    super::view::check_history(configuration.and_then(|configuration| configuration.history_length))
}

/// Refuses data that cannot be shown on every binding. In gRPC a level of JSON takes up to three of its messages, of which readers take a hundred in
/// one another, those around the data included.
fn check_depth(request: &SendMessageRequest) -> Outcome<()> {
    let message = &request.message;
    let demand = |field: String, depth: usize| {
        let reason = format!("must not be nested more than {MOST_DEPTH} levels deep");
        if depth > MOST_DEPTH { Err(A2aError::invalid(&field, reason)) } else { Ok(()) }
    };
    demand("metadata".to_owned(), depth_of(&request.metadata))?;
    demand("message.metadata".to_owned(), depth_of(&message.metadata))?;
    for (n, part) in message.parts.iter().enumerate() {
        demand(format!("message.parts[{n}].metadata"), depth_of(&part.metadata))?;
        if let Content::Data(data) = &part.content {
            demand(format!("message.parts[{n}].data"), depth(data))?;
        }
    }
    Ok(())
}

/// The message as agents read it. At an agent's own address its name in the metadata counts for nothing.
///
/// # Errors
/// A part that cannot be read, metadata of a wrong type.
pub(super) fn message_of(request: &SendMessageRequest, agent: Option<&Agent>, name: Option<String>) -> Outcome<Message> {
    let message = &request.message;
    let (mut texts, mut data) = (Vec::new(), Vec::new());
    for (n, part) in message.parts.iter().enumerate() {
        match &part.content {
            Content::Text(text) => texts.push(text.clone()),
            Content::Data(value) => data.push(value.clone()),
            Content::Url(url) => texts.push(titled(part, url)),
            Content::Raw(bytes) => texts.push(titled(part, readable(part, bytes, n)?)),
        }
    }
    let chosen = Chosen { message: &message.metadata, request: &request.metadata };
    let said = Message {
        id: message.message_id.clone(),
        text: texts.join("\n"),
        data,
        context_id: message.context_id.clone().filter(|id| !id.is_empty()).map(ContextId),
        agent: if agent.is_some() { name } else { chosen.text("agent")? },
        codebase: chosen.text("codebase")?,
        model: chosen.text("model")?,
        mode: chosen.text("mode")?,
        deadline_s: chosen.seconds("deadline_s")?,
        metadata: kept(message),
        ..Message::default()
    };
    if said.prompt().contains('\0') {
        return Err(A2aError::invalid("message.parts", "must not contain U+0000"));
    }
    Ok(said)
}

/// What the task keeps of its message.
fn kept(message: &a2a::Message) -> Metadata {
    let hops = message.metadata.get(HOPS_KEY).map(|hops| (HOPS_KEY.to_owned(), hops.clone()));
    [(MESSAGE_KEY.to_owned(), json!({ "message": message }))].into_iter().chain(hops).collect()
}

/// The text of a file.
fn readable<'a>(part: &Part, bytes: &'a [u8], n: usize) -> Outcome<&'a str> {
    let kind = part.media_type.as_deref().unwrap_or("text/plain");
    let refuse = |why: &str| {
        let message = format!("message.parts[{n}].raw: {why}; send text, or the address of the file");
        Err(A2aError::new(ErrorKind::ContentTypeNotSupported, message))
    };
    if !is_text(kind) {
        return refuse(&format!("files of the type `{}` are not read here", crate::error::shown(kind)));
    }
    std::str::from_utf8(bytes).or_else(|_| refuse("it is no UTF-8"))
}

/// Whether files of a media type are text.
fn is_text(media_type: &str) -> bool {
    const TEXTS: [&str; 7] = ["json", "xml", "yaml", "x-yaml", "toml", "javascript", "sql"];
    let kind = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let (main, sub) = kind.split_once('/').unwrap_or((&kind, ""));
    main == "text" || (main == "application" && (TEXTS.contains(&sub) || sub.ends_with("+json") || sub.ends_with("+xml")))
}

/// A file with its name before it.
fn titled(part: &Part, content: &str) -> String {
    match &part.filename {
        Some(name) => format!("{name}:\n{content}"),
        None => content.to_owned(),
    }
}

/// A whole number of seconds; gRPC's numbers are all floating.
pub(super) fn seconds(value: &Value) -> Option<u64> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "what is cut off is looked for before")]
    let whole = |n: f64| (n.fract() == 0.0 && (1.0..1e15).contains(&n)).then_some(n as u64);
    value.as_u64().or_else(|| value.as_f64().and_then(whole)).filter(|seconds| *seconds > 0)
}

/// What the metadata of the message, or of the request, chooses.
struct Chosen<'a> {
    message: &'a Metadata,
    request: &'a Metadata,
}

impl Chosen<'_> {
    fn seconds(&self, key: &str) -> Outcome<Option<u64>> {
        match self.message.get(key).or_else(|| self.request.get(key)) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match seconds(value) {
                Some(seconds) => Ok(Some(seconds)),
                None => Err(A2aError::invalid(&format!("message.metadata.{key}"), "must be a number of seconds, at least 1")),
            },
        }
    }

    fn text(&self, key: &str) -> Outcome<Option<String>> {
        let wrong = |reason: &str| Err(A2aError::invalid(&format!("message.metadata.{key}"), reason));
        match self.message.get(key).or_else(|| self.request.get(key)) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.contains('\0') => wrong("must not contain U+0000"),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => wrong("must be a text"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{check, message_of};
    use muster_protocol::a2a::{ErrorKind, SendMessageRequest};
    use serde_json::{Value, json};

    fn request(parts: &Value, metadata: &Value) -> SendMessageRequest {
        serde_json::from_value(json!({ "message": { "messageId": "m", "role": "ROLE_USER", "parts": parts, "metadata": metadata } }))
            .unwrap()
    }

    #[test]
    fn parts_become_text_and_data() {
        let parts = json!([
            { "text": "read this" },
            { "raw": "YSxi", "filename": "a.csv", "mediaType": "text/csv; charset=utf-8" },
            { "url": "https://x/y.png", "filename": "y.png" },
            { "data": [1, 2] }
        ]);
        let message = message_of(&request(&parts, &json!({ "model": "a/b", "agent": "laptop" })), None, None).unwrap();
        assert_eq!(message.text, "read this\na.csv:\na,b\ny.png:\nhttps://x/y.png");
        assert_eq!((message.data, message.model.as_deref(), message.agent.as_deref()), (vec![json!([1, 2])], Some("a/b"), Some("laptop")));
    }

    #[test]
    fn files_that_are_no_text_are_refused_by_their_type() {
        for part in [json!({ "raw": "AAAA", "mediaType": "image/png" }), json!({ "raw": "/w==", "mediaType": "text/plain" })] {
            let refused = message_of(&request(&json!([part]), &json!({})), None, None).unwrap_err();
            assert_eq!(refused.kind, ErrorKind::ContentTypeNotSupported, "{part}");
        }
        let refused = message_of(&request(&json!([{ "text": "x" }]), &json!({ "model": 7 })), None, None).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::InvalidParams);
    }

    #[test]
    fn data_is_nested_no_deeper_than_every_binding_can_show() {
        let nested = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!({ "a": [inner] }));
        let fault = |data: Value| {
            let in_metadata = check(&request(&json!([{ "text": "x" }]), &json!({ "a": data.clone() })));
            let in_part = check(&request(&json!([{ "text": "x" }, { "data": data }]), &json!({})));
            (in_part.err().map(|error| error.message), in_metadata.is_err())
        };
        assert_eq!(fault(nested(15)), (None, true));
        assert!(fault(nested(14)) == (None, false));
        let (in_part, _) = fault(nested(16));
        assert!(in_part.is_some_and(|message| message.starts_with("message.parts[1].data: ")));
    }

    #[test]
    fn a_message_says_who_speaks_and_something() {
        let fault = |message: Value| check(&serde_json::from_value(json!({ "message": message })).unwrap()).is_err();
        let parts = json!([{ "text": "x" }]);
        assert!(!fault(json!({ "messageId": "m", "role": "ROLE_USER", "parts": parts })));
        assert!(fault(json!({ "messageId": "", "role": "ROLE_USER", "parts": parts })));
        assert!(fault(json!({ "messageId": "m", "role": "ROLE_UNSPECIFIED", "parts": parts })));
        assert!(fault(json!({ "messageId": "m", "role": "ROLE_USER", "parts": [] })));
        assert!(fault(json!({ "messageId": "m", "role": "ROLE_USER", "parts": vec![json!({ "text": "" }); 1_001] })));
        assert!(fault(json!({ "messageId": "m", "role": "ROLE_USER", "parts": parts, "contextId": "a b" })));
    }
}
