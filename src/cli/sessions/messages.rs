//! The messages of a session as people read them.

use crate::cli::render::{counted, one_line, printable};
use crate::cli::style::Style;
use crate::cli::transcript::call_line;
use muster_protocol::session::SessionMessage;
use muster_protocol::stream::{ToolCall, ToolState};
use serde_json::Value;

/// The longest line about something that is not text.
const LONGEST: usize = 160;

/// Messages, an empty line between what was asked and answered.
pub(crate) fn transcript(messages: &[SessionMessage], coloured: bool) -> String {
    let texts: Vec<(bool, String)> = messages
        .iter()
        .map(|message| (message.role.as_deref() == Some("user"), message_text(message, coloured)))
        .filter(|(_, text)| !text.is_empty())
        .collect();
    let mut out = String::new();
    for (i, (is_asked, text)) in texts.iter().enumerate() {
        // The steps of one answer are messages of their own.
        if i > 0 {
            out.push_str(if *is_asked { "\n\n" } else { "\n" });
        }
        out.push_str(text);
    }
    out
}

fn message_text(message: &SessionMessage, coloured: bool) -> String {
    let is_asked = message.role.as_deref() == Some("user");
    let lines: Vec<String> = message.parts.iter().filter_map(|part| part_text(part, is_asked, coloured)).collect();
    lines.join("\n")
}

/// A part, or nothing where it says nothing to people.
fn part_text(part: &Value, is_asked: bool, coloured: bool) -> Option<String> {
    let text = || part["text"].as_str().map(|text| printable(text.trim_end())).filter(|text| !text.trim().is_empty());
    let note = |style: Style, line: &str| Some(style.paint(&one_line(line, LONGEST), coloured));
    match part["type"].as_str()? {
        // What OpenCode puts in by itself was said by nobody.
        "text" if part["synthetic"] == true || part["ignored"] == true => None,
        "text" if is_asked => text().map(|text| Style::Bold.paint(&format!("> {}", text.replace('\n', "\n  ")), coloured)),
        "text" => text(),
        "reasoning" => text().and_then(|text| note(Style::Dim, &format!("… {text}"))),
        "tool" => {
            let (style, line) = call_line(&tool_call(part)).unwrap_or_else(|| (Style::Busy, format!("… {}", tool_name(part))));
            note(style, &line)
        }
        "file" => note(Style::Plain, &format!("+ {}", part["filename"].as_str().or(part["url"].as_str()).unwrap_or("a file"))),
        "patch" => {
            let files = part["files"].as_array().map_or(0, Vec::len);
            note(Style::Plain, &format!("± {} changed", counted(files, "file")))
        }
        "error" if part["name"] == "MessageAbortedError" => note(Style::Dim, "· stopped"),
        "retry" => note(Style::Warn, &format!("↻ {}", error_text(&part["error"]))),
        "error" => note(Style::Bad, &format!("✗ {}", error_text(part))),
        "compaction" => note(Style::Dim, "· what was said before was summarised"),
        _ => None,
    }
}

fn tool_name(part: &Value) -> &str {
    part["tool"].as_str().unwrap_or("a tool")
}

fn tool_call(part: &Value) -> ToolCall {
    let state = &part["state"];
    let text = |name: &str| state[name].as_str().map(str::to_owned);
    ToolCall {
        call: String::new(),
        tool: tool_name(part).to_owned(),
        state: ToolState::from(state["status"].as_str().unwrap_or_default()),
        title: text("title"),
        input: state["input"].clone(),
        output: None,
        error: text("error"),
    }
}

fn error_text(error: &Value) -> String {
    let said = error["data"]["message"].as_str().or(error["message"].as_str()).or(error.as_str()).or(error["name"].as_str());
    said.unwrap_or("an error").to_owned()
}

#[cfg(test)]
mod tests {
    use super::transcript;
    use muster_protocol::session::SessionMessage;
    use serde_json::{Value, json};

    fn message(role: &str, parts: &Value) -> SessionMessage {
        serde_json::from_value(json!({ "id": "m", "role": role, "parts": parts })).unwrap()
    }

    #[test]
    fn messages_read_as_a_conversation() {
        let tool =
            json!({"type": "tool", "tool": "bash", "state": {"status": "completed", "input": {"command": "ls"}, "title": "List files"}});
        let failed =
            json!({"type": "tool", "tool": "read", "state": {"status": "error", "input": {"filePath": "x"}, "error": "no such file"}});
        let messages = [
            message("user", &json!([{"type": "text", "text": "look\naround"}, {"type": "text", "text": "hidden", "synthetic": true}])),
            message("assistant", &json!([{"type": "step-start"}, {"type": "reasoning", "text": "Let me\nsee"}, tool, failed])),
            message("assistant", &json!([{"type": "text", "text": "Two files.\x1b[2J\n"}, {"type": "patch", "files": ["a"]}])),
            message("user", &json!([{"type": "text", "text": "thanks"}])),
            message(
                "assistant",
                &json!([{"type": "retry", "error": {"name": "APIError", "data": {"message": "rate limited"}}}, {"type": "new"}]),
            ),
            message("assistant", &json!([{"type": "error", "name": "APIError", "message": "no credit"}])),
        ];
        insta::assert_snapshot!(transcript(&messages, false), @r"
        > look
          around
        … Let me see
        ✓ bash List files
        ✗ read x: no such file
        Two files.[2J
        ± 1 file changed

        > thanks
        ↻ rate limited
        ✗ no credit
        ");
    }
}
