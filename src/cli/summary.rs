//! What is said of a task when it has ended.

use super::render::{cost, count, counted, one_line, shell_word, took};
use super::style::Style;
use muster_protocol::stream::FileChange;
use muster_protocol::task::{Task, TaskState, Usage};

/// The code of a task whose session is used by something else on its machine.
const SESSION_BUSY: &str = "session_busy_elsewhere";

/// What is wrong with how it ended; nothing if nothing is.
pub(crate) fn trouble(task: &Task) -> Vec<(Style, String)> {
    let mut lines = Vec::new();
    if let Some(error) = task.error.as_deref().filter(|_| task.state != TaskState::Completed) {
        let code = task.error_code.as_deref().map_or(String::new(), |code| format!(" ({code})"));
        lines.push((Style::Bad, format!("{}{code}: {}", task.state, one_line(error, 2_000))));
        if task.error_code.as_deref() == Some(SESSION_BUSY) {
            lines.push((Style::Warn, "somebody else works in this session; add --fork to go on in a copy of it".to_owned()));
        }
    }
    if task.state == TaskState::Canceled && task.confirmed == Some(false) {
        lines.push((Style::Warn, "the worker has not confirmed that the run has ended".to_owned()));
    }
    if task.verified == Some(false) {
        lines.push((Style::Warn, "the stored output is not byte for byte what the worker sent".to_owned()));
    }
    lines
}

/// What it took, and how to go on.
pub(crate) fn lines(task: &Task, worker: Option<&str>, program: &str) -> Vec<(Style, String)> {
    let mut facts = vec![format!("{} {}", task.state, task.id)];
    facts.extend(worker.map(|worker| format!("on {worker}")));
    facts.extend(measures(task));
    let mut lines = vec![(Style::of_word(task.state.as_str()), facts.join(" · "))];
    if task.session_id.is_some() {
        let context = shell_word(task.context_id.as_str());
        lines.push((Style::Dim, format!("continue with: {program} run --continue {context} \"..\"")));
    }
    lines
}

/// The same of a turn of a conversation that goes on.
pub(crate) fn turn(task: &Task, worker: Option<&str>) -> (Style, String) {
    let is_done = task.state == TaskState::Completed;
    let mut facts: Vec<String> = (!is_done).then(|| task.state.to_string()).into_iter().collect();
    facts.extend(worker.map(str::to_owned));
    facts.extend(measures(task));
    (if is_done { Style::Dim } else { Style::of_word(task.state.as_str()) }, facts.join(" · "))
}

/// Tokens, cost, time and files.
fn measures(task: &Task) -> Vec<String> {
    let mut facts = Vec::new();
    if let Some(usage) = task.usage.filter(|usage| *usage != Usage::default()) {
        facts.push(format!(
            "{} tokens in, {} out",
            count(usage.input + usage.cache_read + usage.cache_write),
            count(usage.output + usage.reasoning)
        ));
        facts.extend((usage.cost > 0.0).then(|| cost(usage.cost)));
    }
    facts.extend(task.completed_at.map(|end| took(end.since(task.started_at.unwrap_or(task.created_at)))));
    facts.extend(changes(&task.changes));
    facts
}

/// The changed files in a few words; none if there are none.
pub(crate) fn changes(changes: &[FileChange]) -> Option<String> {
    let (added, removed) = changes.iter().fold((0, 0), |(a, r), change| (a + change.additions, r + change.deletions));
    (!changes.is_empty()).then(|| format!("{} changed, +{} -{}", counted(changes.len(), "file"), count(added), count(removed)))
}

#[cfg(test)]
mod tests {
    use super::{lines, trouble, turn};
    use crate::cli::task::tests::example;
    use muster_protocol::ids::SessionId;
    use muster_protocol::task::TaskState;

    fn text(task: &muster_protocol::task::Task) -> String {
        let lines = [trouble(task), lines(task, Some("build-box"), "muster")].concat();
        lines.into_iter().map(|(_, line)| line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_end_says_what_it_took_and_how_to_go_on() {
        insta::assert_snapshot!(text(&example()), @r#"
        completed 0199aaaa-0001-7000-8000-00000000beef · on build-box · 1,200 tokens in, 400 out · $0.0123 · 8.5 s · 1 file changed, +10 -2
        continue with: muster run --continue ctx-1 ".."
        "#);
    }

    #[test]
    fn a_failure_says_why_and_a_task_without_session_cannot_be_continued() {
        let mut task = example();
        task.state = TaskState::Failed;
        task.error = Some("no such model:\nx/y".to_owned());
        task.error_code = Some("unknown_model".to_owned());
        (task.session_id, task.usage, task.changes) = (None, None, Vec::new());
        insta::assert_snapshot!(text(&task), @r"
        failed (unknown_model): no such model: x/y
        failed 0199aaaa-0001-7000-8000-00000000beef · on build-box · 8.5 s
        ");
    }

    #[test]
    fn a_turn_is_told_in_one_line() {
        let mut task = example();
        assert_eq!(turn(&task, Some("box")).1, "box · 1,200 tokens in, 400 out · $0.0123 · 8.5 s · 1 file changed, +10 -2");
        (task.state, task.usage, task.changes) = (TaskState::Canceled, None, Vec::new());
        assert_eq!(turn(&task, None).1, "canceled · 8.5 s");
    }

    #[test]
    fn a_context_is_quoted_for_the_shell() {
        let mut task = example();
        task.session_id = Some(SessionId::from("ses_1"));
        task.context_id = "my$context".into();
        assert!(text(&task).ends_with("run --continue 'my$context' \"..\""));
    }
}
