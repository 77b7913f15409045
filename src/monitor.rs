//! The monitor of the earlier system, served from the event log: its messages, agents and statistics. The shapes are the earlier system's.

use crate::app::App;
use crate::domain::monitor::{Kinds, Tally, message};
use crate::presence::is_there;
use crate::store::StoreError;
use crate::store::events::{EventFilter, KeepTally};
use muster_protocol::event::Event;
use muster_protocol::ids::WorkerId;
use muster_protocol::monitor::{AgentStatus, MonitorAgent, MonitorMessage, MonitorStats};
use std::collections::{BTreeMap, HashMap};

/// How many events are read in one go.
const CHUNK: u32 = 500;
/// How many are, to count them.
const COUNTED: u32 = 2_000;
/// After how many more events the tally is kept again.
const KEPT_EVERY: u64 = 10_000;
/// How far back a search looks, in events: it reads each.
const SEARCHED: u64 = 100_000;

/// What was counted of the event log.
#[derive(Debug, Default)]
pub struct Counted {
    tally: Tally,
    /// How far the tally in the database goes; unknown before it was looked for.
    kept: Option<u64>,
}

/// Turns events into messages; knows the names of workers.
pub struct Teller {
    app: App,
    names: HashMap<String, String>,
}

impl Teller {
    /// One that has still to learn every name.
    #[must_use]
    pub fn new(app: App) -> Self {
        Self { app, names: HashMap::new() }
    }

    /// An event as a message.
    ///
    /// # Errors
    /// Of the store.
    pub async fn tell(&mut self, event: &Event) -> Result<MonitorMessage, StoreError> {
        let id = worker_of(event);
        if event.subject.starts_with("workers/")
            && let Some(name) = event.data.get("name").and_then(|name| name.as_str())
            && let Some(id) = id
        {
            self.names.insert(id.to_owned(), name.to_owned());
        }
        if let Some(id) = id.filter(|id| !self.names.contains_key(*id)) {
            let known = self.app.store.worker(&WorkerId::from(id)).await?;
            let name = known.map_or_else(|| id.to_owned(), |record| record.worker.name);
            self.names.insert(id.to_owned(), name);
        }
        let name = id.and_then(|id| self.names.get(id)).map(String::as_str);
        Ok(message(event, &self.app.store.identity().name, name))
    }

    /// A page of messages, newest first, and the place of the oldest of them.
    ///
    /// # Errors
    /// Of the store.
    pub async fn page(&mut self, before: u64, kinds: &Kinds, limit: u32) -> Result<(Vec<MonitorMessage>, Option<u64>), StoreError> {
        let kinds = if *kinds == Kinds::default() { None } else { self.app.with_tally(|tally| kinds.among(tally.kinds.keys())).await? };
        let events = self.app.store.events_before(before, 0, kinds.as_deref(), limit).await?;
        let mut messages = Vec::with_capacity(events.len());
        for event in &events {
            messages.push(self.tell(event).await?);
        }
        Ok((messages, events.last().map(|event| event.sequence)))
    }
}

/// The worker that an event is about.
fn worker_of(event: &Event) -> Option<&str> {
    event.subject.strip_prefix("workers/").or_else(|| event.data.get("worker_id").and_then(|id| id.as_str()))
}

impl App {
    /// Messages with a text in what they say, who says it or what they hold beside, newest first, among the newest hundred thousand.
    ///
    /// # Errors
    /// Of the store.
    pub async fn search_messages(&self, text: &str, limit: usize) -> Result<Vec<MonitorMessage>, StoreError> {
        let text = text.to_lowercase();
        let mut teller = Teller::new(self.clone());
        let mut found = Vec::new();
        let mut before = self.store.log_head().await?.saturating_add(1);
        let after = before.saturating_sub(SEARCHED + 1);
        loop {
            let events = self.store.events_before(before, after, None, CHUNK).await?;
            let Some(last) = events.last() else { return Ok(found) };
            before = last.sequence;
            for event in &events {
                let message = teller.tell(event).await?;
                if holds(&message, &text) {
                    found.push(message);
                }
                if found.len() >= limit {
                    return Ok(found);
                }
            }
        }
    }

    /// How many messages there are of some kinds.
    ///
    /// # Errors
    /// Of the store.
    pub async fn count_messages(&self, kinds: &Kinds) -> Result<u64, StoreError> {
        self.with_tally(|tally| tally.count(kinds)).await
    }

    /// How many events there are of each kind.
    ///
    /// # Errors
    /// Of the store.
    pub async fn counts_by_kind(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        self.with_tally(|tally| tally.kinds.clone()).await
    }

    /// How many events there are of each server, by its id.
    ///
    /// # Errors
    /// Of the store.
    pub async fn counts_by_origin(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        self.with_tally(|tally| tally.origins.clone()).await
    }

    /// This server's own agents and its workers.
    ///
    /// # Errors
    /// Of the store.
    pub async fn monitored_agents(&self) -> Result<Vec<MonitorAgent>, StoreError> {
        let (now, server) = (self.now(), &self.store.identity().name);
        let registered = self.workers(None).await?;
        let of_agents = self.own_agents().into_iter().map(|name| format!("agents/{name}"));
        let all: Vec<_> = of_agents.chain(registered.iter().map(|worker| format!("workers/{}", worker.worker_id))).collect();
        let told: HashMap<String, u64> =
            self.with_tally(|tally| all.into_iter().map(|who| (tally.told_of(&who), who)).map(|(n, who)| (who, n)).collect()).await?;
        let told = |who: &str| told.get(who).copied().unwrap_or_default();
        let own = self.own_agents().into_iter().map(|name| MonitorAgent {
            status: "active".to_owned(),
            description: format!("an agent of {server}"),
            messages_count: told(&format!("agents/{name}")),
            last_seen: now,
            id: name.clone(),
            name,
        });
        let workers = registered.into_iter().map(|worker| MonitorAgent {
            status: worker.status.to_string(),
            description: format!("OpenCode on {}", worker.hostname.as_deref().unwrap_or("a machine")),
            messages_count: told(&format!("workers/{}", worker.worker_id)),
            last_seen: worker.last_seen,
            id: worker.worker_id.0,
            name: worker.name,
        });
        Ok(own.chain(workers).collect())
    }

    /// What the monitor shows of a worker, after an event about it; `None` for other events.
    ///
    /// # Errors
    /// Of the store.
    pub async fn agent_status(&self, event: &Event) -> Result<Option<AgentStatus>, StoreError> {
        let Some(id) = event.subject.strip_prefix("workers/") else { return Ok(None) };
        let Some(record) = self.store.worker(&WorkerId::from(id)).await? else { return Ok(None) };
        let worker = self.shown(&record, &BTreeMap::new());
        let messages_count = self.with_tally(|tally| tally.told_of(&event.subject)).await?;
        Ok(Some(AgentStatus { agent_id: id.to_owned(), name: worker.name, status: worker.status.to_string(), messages_count }))
    }

    /// Counts.
    ///
    /// # Errors
    /// Of the store.
    pub async fn monitor_stats(&self) -> Result<MonitorStats, StoreError> {
        let there = self.workers(None).await?.iter().filter(|worker| is_there(worker)).count() + self.own_agents().len();
        let stats = |tally: &Tally| MonitorStats {
            total_messages: tally.count(&Kinds::default()),
            tool_calls: 0,
            errors: tally.errors,
            tokens: tally.tokens,
            avg_response_time: tally.average_ms(),
            active_agents: there as u64,
            interventions: tally.interventions,
        };
        self.with_tally(stats).await
    }

    /// Counts what came to the log, and keeps the tally if much did.
    ///
    /// # Errors
    /// Of the store.
    pub async fn keep_tally(&self) -> Result<(), StoreError> {
        let mut counted = self.counted.lock().await;
        self.count_on(&mut counted).await?;
        let seq = counted.tally.seq;
        if seq.saturating_sub(counted.kept.unwrap_or_default()) >= KEPT_EVERY {
            self.store.write(KeepTally(counted.tally.clone())).await?;
            counted.kept = Some(seq);
        }
        Ok(())
    }

    /// Looks at the tally, brought up to the head of the log.
    async fn with_tally<T>(&self, look: impl FnOnce(&Tally) -> T) -> Result<T, StoreError> {
        let mut counted = self.counted.lock().await;
        self.count_on(&mut counted).await?;
        Ok(look(&counted.tally))
    }

    /// Goes on counting where it was, also after a request that was given up in between.
    async fn count_on(&self, counted: &mut Counted) -> Result<(), StoreError> {
        if counted.kept.is_none() {
            counted.tally = self.store.kept_tally().await?.unwrap_or_default();
            counted.kept = Some(counted.tally.seq);
        }
        loop {
            let filter = EventFilter { after: counted.tally.seq, limit: COUNTED, ..EventFilter::default() };
            let events = self.store.events(&filter).await?;
            for event in &events {
                counted.tally.add(event);
            }
            if events.len() < COUNTED as usize {
                return Ok(());
            }
        }
    }
}

fn holds(message: &MonitorMessage, text: &str) -> bool {
    let own = [&message.content, &message.agent_name];
    own.into_iter().chain(message.metadata.values()).any(|field| field.to_lowercase().contains(text))
}
