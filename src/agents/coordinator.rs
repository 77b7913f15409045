//! The coordinator. It says what there is to coordinate: this server's worker agents and the machines behind them.

use super::Message;
use super::directory::letter;
use crate::app::App;
use crate::error::ApiError;
use crate::presence::is_there;
use std::fmt::Write as _;

impl App {
    /// The agents and machines that could take a part of the work, and what they are.
    pub(super) async fn say_what_there_is(&self, message: &Message) -> Result<String, ApiError> {
        let workers = self.workers(None).await?;
        let there: Vec<_> = workers.iter().filter(|worker| is_there(worker)).collect();
        let server = &self.store.identity().name;
        let asked = message.text.trim().split_once(char::is_whitespace).map_or("", |(_, rest)| rest.trim());
        let mut text = format!("To coordinate \"{asked}\", {server} has:\n");
        for (n, agent) in self.config.agents.iter().enumerate() {
            // Writing to a string does not fail.
            let _ = writeln!(text, "- worker agent Worker-{}-{server} ({})", letter(n), agent.specialty);
        }
        for worker in &there {
            let free = worker.slots.saturating_sub(worker.running);
            let _ = writeln!(text, "- machine {}: {free} of {} slots free, {} models", worker.name, worker.slots, worker.models.len());
        }
        if there.is_empty() {
            let _ = writeln!(text, "- no machine is there; start one with muster-worker");
        }
        let _ = write!(text, "No part of it was given out: name an agent or a machine to hand it work.");
        Ok(text)
    }
}
