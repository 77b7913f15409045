//! What was said before, in short.

use crate::cli::render::{counted, printable};
use crate::cli::style::Style;
use muster_protocol::task::{Task, TaskState};

/// How many lines of a message are shown.
const MOST_LINES: usize = 12;
/// How many lines of a session's end are shown.
const MOST_LINES_AT_END: usize = 40;

/// A turn: what was asked, what was answered, and how it ended if not well.
pub(super) fn turn(task: &Task, coloured: bool) -> String {
    let asked = excerpt(&task.prompt).replace('\n', "\n  ");
    let mut lines = vec![Style::Bold.paint(&format!("> {asked}"), coloured)];
    lines.extend(task.result.as_deref().map(excerpt).filter(|text| !text.is_empty()));
    if task.state != TaskState::Completed {
        let why = task.error.as_deref().map_or(String::new(), |error| format!(": {}", excerpt(error)));
        let style = Style::of_word(task.state.as_str());
        lines.push(style.paint(&format!("{}{why}", task.state), coloured));
    }
    lines.join("\n")
}

/// The beginning of a text.
fn excerpt(text: &str) -> String {
    let text = printable(text);
    let text = text.trim_end();
    let mut lines: Vec<&str> = text.lines().take(MOST_LINES).collect();
    let more = text.lines().count().saturating_sub(MOST_LINES);
    let rest = format!("… {more} more {}", if more == 1 { "line" } else { "lines" });
    if more > 0 {
        lines.push(&rest);
    }
    lines.join("\n")
}

/// The end of what was said in a session.
pub(super) fn end(text: &str) -> String {
    let more = text.lines().count().saturating_sub(MOST_LINES_AT_END);
    let lines: Vec<&str> = text.lines().skip(more).collect();
    let first = (more > 0).then(|| format!("… {} before\n", counted(more, "line")));
    first.unwrap_or_default() + &lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::{end, excerpt, turn};
    use crate::cli::task::tests::example;
    use muster_protocol::task::TaskState;

    #[test]
    fn a_turn_is_what_was_asked_and_answered() {
        let mut task = example();
        assert_eq!(turn(&task, false), "> Fix the tests\nAll 12 pass now.");
        (task.state, task.result, task.error) = (TaskState::Failed, None, Some("no such model\x1b[2J".to_owned()));
        assert_eq!(turn(&task, false), "> Fix the tests\nfailed: no such model[2J");
    }

    #[test]
    fn a_long_text_is_cut_and_says_so() {
        let text = excerpt(&"a line\n".repeat(30));
        assert_eq!((text.lines().count(), text.lines().last()), (13, Some("… 18 more lines")));
        let text = end(&"a line\n".repeat(50));
        assert_eq!((text.lines().count(), text.lines().next()), (41, Some("… 10 lines before")));
    }
}
