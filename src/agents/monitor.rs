//! The monitor: answers from the event log and the registry.

use super::{Begun, Letter};
use crate::app::App;
use crate::error::ApiError;
use crate::network::shown;
use crate::store::events::RecordEvent;
use muster_protocol::peer::PeerState;
use muster_protocol::task::TaskState;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// How many running tasks are named.
const TASKS_SHOWN: usize = 5;
/// How much of an id is shown where there is no name: what is random of it comes last, so that it is enough to see that it is another one.
const ID_SHOWN: usize = 13;

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
        let (events, origins) = (self.counts_by_kind().await?, self.counts_by_origin().await?);
        let total: u64 = events.values().sum();
        let (running, names) = (self.running_tasks().await?, self.server_names());
        let mut report = format!("Status of {} (version {}, {}):\n", status.name, status.version, status.database);
        let mut line = |text: String| {
            // Writing to a string does not fail.
            let _ = writeln!(report, "- {text}");
        };
        line(format!("workers: {}", counts(&status.workers)));
        line(format!("models: {}, codebases: {}", status.models, status.codebases));
        line(format!("tasks: {}", counts(&status.tasks)));
        line(format!("running tasks: {running}"));
        line(format!("events logged: {total} ({})", counts(&events)));
        line(format!("events by server: {}", by_server(&origins, &names)));
        line(format!("connected peers: {}", self.connected_peers()));
        line(format!("up for {} s", status.uptime_s));
        Ok(report.trim_end().to_owned())
    }

    /// The names of the servers whose events are in the log, by their ids.
    fn server_names(&self) -> BTreeMap<String, String> {
        let own = self.store.identity();
        let others = self.network.links().into_iter().map(|link| (link.id.to_string(), link.name()));
        others.chain([(own.server_id.to_string(), own.name.clone())]).collect()
    }

    /// The peers that are heard of, and those that are not.
    fn connected_peers(&self) -> String {
        let (there, away): (Vec<_>, Vec<_>) = shown(self).into_iter().partition(|peer| peer.state == PeerState::Up);
        let there: Vec<_> = there.into_iter().map(|peer| peer.name).collect();
        let away = away.into_iter().map(|peer| format!("{} is {}", peer.name, peer.state));
        let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
        std::iter::once(there).chain(away).collect::<Vec<_>>().join("; ")
    }

    /// What runs now, and where.
    async fn running_tasks(&self) -> Result<String, ApiError> {
        let workers: BTreeMap<_, _> = self.workers(None).await?.into_iter().map(|worker| (worker.worker_id, worker.name)).collect();
        let held = self.store.held_tasks().await?.into_iter().map(|record| {
            let holder = record.holder.unwrap_or_else(|| "nobody".into());
            let on = workers.get(&holder).map_or(holder.as_str(), String::as_str).to_owned();
            (record.task, on)
        });
        let own = self.store.open_coordinations().await?.into_iter().map(|record| {
            let by = record.task.target.agent.clone().unwrap_or_default();
            (record.task, by)
        });
        let running: Vec<_> = held.chain(own).filter(|(task, _)| task.state != TaskState::Submitted).collect();
        let mut said: Vec<_> = running.iter().take(TASKS_SHOWN).map(|(task, on)| format!("'{}' on {on}", task.title)).collect();
        said.extend((running.len() > TASKS_SHOWN).then(|| format!("and {} more", running.len() - TASKS_SHOWN)));
        Ok(if said.is_empty() { "none".to_owned() } else { said.join(", ") })
    }
}

/// How many events there are of each server, by its name; the beginning of its id where that is not known.
fn by_server(origins: &BTreeMap<String, u64>, names: &BTreeMap<String, String>) -> String {
    let name = |id: &String| names.get(id).cloned().unwrap_or_else(|| id.chars().take(ID_SHOWN).collect());
    let mut all: Vec<_> = origins.iter().map(|(id, n)| format!("{} {n}", name(id))).collect();
    all.sort();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

fn counts(by_word: &BTreeMap<String, u64>) -> String {
    let some: Vec<_> = by_word.iter().filter(|(_, n)| **n > 0).map(|(word, n)| format!("{n} {word}")).collect();
    if some.is_empty() { "none".to_owned() } else { some.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::{by_server, counts};
    use std::collections::BTreeMap;

    #[test]
    fn events_are_told_by_the_names_of_servers() {
        let of = |pairs: &[(&str, u64)]| pairs.iter().map(|(id, n)| ((*id).to_owned(), *n)).collect::<BTreeMap<_, _>>();
        let names = BTreeMap::from([("0199aaaa-0001-7000".to_owned(), "Server-B".to_owned()), ("0199aaaa-0002".into(), "Server-A".into())]);
        let origins = of(&[("0199aaaa-0001-7000", 4), ("0199aaaa-0002", 11), ("0199bbbb-0003-7000-8000", 1)]);
        assert_eq!(by_server(&origins, &names), "0199bbbb-0003 1, Server-A 11, Server-B 4");
        assert_eq!(by_server(&of(&[]), &names), "none");
    }

    #[test]
    fn counts_name_only_what_there_is() {
        let by_word = BTreeMap::from([("active".to_owned(), 2), ("offline".to_owned(), 0), ("stale".to_owned(), 1)]);
        assert_eq!(counts(&by_word), "2 active, 1 stale");
        assert_eq!(counts(&BTreeMap::new()), "none");
    }
}
