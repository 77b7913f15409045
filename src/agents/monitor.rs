//! The monitor: answers from the event log and the registry.

use super::{Begun, Letter};
use crate::app::App;
use crate::error::ApiError;
use crate::store::events::RecordEvent;
use std::collections::BTreeMap;
use std::fmt::Write as _;

impl App {
    pub(super) async fn let_monitor_answer(&self, mut letter: Letter<'_>) -> Result<Begun, ApiError> {
        // Its report counts the message too.
        if let Some(event) = letter.event.take() {
            self.store.write(RecordEvent(event)).await?;
        }
        let text = self.report_status().await?;
        self.answered(letter, text).await
    }

    /// What there is and what happened, in words.
    async fn report_status(&self) -> Result<String, ApiError> {
        let status = self.status().await?;
        let events = self.counts_by_kind().await?;
        let total: u64 = events.values().sum();
        let mut report = format!("Status of {} (version {}, {}):\n", status.name, status.version, status.database);
        let mut line = |text: String| {
            // Writing to a string does not fail.
            let _ = writeln!(report, "- {text}");
        };
        line(format!("workers: {}", counts(&status.workers)));
        line(format!("models: {}, codebases: {}", status.models, status.codebases));
        line(format!("tasks: {}", counts(&status.tasks)));
        line(format!("events logged: {total} ({})", counts(&events)));
        line("connected peers: none".to_owned());
        line(format!("up for {} s", status.uptime_s));
        Ok(report.trim_end().to_owned())
    }
}

fn counts(by_word: &BTreeMap<String, u64>) -> String {
    let some: Vec<_> = by_word.iter().filter(|(_, n)| **n > 0).map(|(word, n)| format!("{n} {word}")).collect();
    if some.is_empty() { "none".to_owned() } else { some.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::counts;
    use std::collections::BTreeMap;

    #[test]
    fn counts_name_only_what_there_is() {
        let by_word = BTreeMap::from([("active".to_owned(), 2), ("offline".to_owned(), 0), ("stale".to_owned(), 1)]);
        assert_eq!(counts(&by_word), "2 active, 1 stale");
        assert_eq!(counts(&BTreeMap::new()), "none");
    }
}
