//! Worker agents: they give work to a matching machine; with none, they do a small honest job on the text or data themselves, and say so.

use super::{Begun, Letter, Message};
use crate::app::App;
use crate::error::ApiError;
use crate::presence::is_there;
use crate::store::workers::WorkerRecord;
use crate::sync::lock;
use muster_protocol::task::Target;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

impl App {
    pub(super) async fn let_specialist_answer(&self, letter: Letter<'_>, n: usize) -> Result<Begun, ApiError> {
        let agent = &self.config.agents[n];
        if self.has_machine_for(n).await? {
            let target = Target { agent: Some(agent.name.clone()), ..Target::default() };
            return self.hand_over(letter, target).await;
        }
        let (name, can) = (&letter.agent, describe(letter.message));
        let text = format!("{name} ({}) has no machine with OpenCode to ask. What it can say by itself:\n{can}", agent.specialty);
        self.answered(letter, text).await
    }

    /// Whether a machine is there that can do a worker agent's work.
    pub(super) async fn has_machine_for(&self, n: usize) -> Result<bool, ApiError> {
        let fitting = self.fitting(n).await?;
        Ok(fitting.iter().any(|record| is_there(&self.shown(record, &BTreeMap::new()))))
    }

    /// The machines that can do a worker agent's work when they are there.
    async fn fitting(&self, n: usize) -> Result<Machines, ApiError> {
        // Whoever changes the registry after this makes what is read now out of date.
        let version = self.store.hub().registry();
        if let Some((known, fitting)) = lock(&self.fitting.0).get(&n)
            && *known == version
        {
            return Ok(Arc::clone(fitting));
        }
        let agent = &self.config.agents[n];
        let mut workers = self.store.workers(agent.model.as_deref()).await?;
        workers.retain(|record| {
            let worker = &record.worker;
            !record.gone && worker.has_opencode() && agent.capability.as_ref().is_none_or(|wanted| worker.capabilities.contains(wanted))
        });
        for record in &mut workers {
            // The largest part of it, and not looked at.
            record.worker.models = Vec::new();
        }
        let fitting: Machines = workers.into();
        lock(&self.fitting.0).insert(n, (version, Arc::clone(&fitting)));
        Ok(fitting)
    }
}

/// For each worker agent, by its place: the machines that fit it, and of which version of the registry they are.
#[derive(Debug, Default)]
pub struct Fitting(Mutex<HashMap<usize, (u64, Machines)>>);

type Machines = Arc<[WorkerRecord]>;

/// Parses, counts and summarises what a message holds.
fn describe(message: &Message) -> String {
    let mut said = String::new();
    let text = message.text.trim();
    if !text.is_empty() {
        let words = text.split_whitespace().count();
        // Writing to a string does not fail.
        let _ = writeln!(said, "- text: {} lines, {words} words, {} characters", text.lines().count(), text.chars().count());
        if let Ok(value) = serde_json::from_str::<Value>(text) {
            let _ = writeln!(said, "- it is JSON: {}", shape(&value));
        }
        let numbers: Vec<f64> =
            text.split(|c: char| c.is_whitespace() || c == ',' || c == ';').filter_map(|word| word.parse().ok()).collect();
        if numbers.len() > 1 {
            let _ = writeln!(said, "- {}", statistics(&numbers));
        }
    }
    for value in &message.data {
        let _ = writeln!(said, "- data: {}", shape(value));
    }
    said.trim_end().to_owned()
}

fn statistics(numbers: &[f64]) -> String {
    let sum: f64 = numbers.iter().sum();
    let smallest = numbers.iter().copied().fold(f64::INFINITY, f64::min);
    let largest = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let count = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
    format!("{count} numbers: sum {sum}, mean {}, from {smallest} to {largest}", sum / f64::from(count))
}

/// What a value is made of.
fn shape(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let keys: Vec<_> = map.keys().map(String::as_str).collect();
            format!("an object with {} keys ({})", keys.len(), keys.join(", "))
        }
        Value::Array(items) => {
            let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
            for item in items {
                *kinds.entry(kind(item)).or_default() += 1;
            }
            let kinds: Vec<_> = kinds.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
            let numbers: Vec<f64> = items.iter().filter_map(Value::as_f64).collect();
            let statistics = if numbers.len() > 1 { format!("; {}", statistics(&numbers)) } else { String::new() };
            format!("an array of {} items ({}){statistics}", items.len(), kinds.join(", "))
        }
        other => format!("a {}", kind(other)),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::describe;
    use crate::agents::Message;
    use serde_json::json;

    #[test]
    fn text_is_counted_and_its_numbers_are_summed() {
        let message = Message { text: "1 2 3\n4".into(), ..Message::default() };
        assert_eq!(describe(&message), "- text: 2 lines, 4 words, 7 characters\n- 4 numbers: sum 10, mean 2.5, from 1 to 4");
    }

    #[test]
    fn data_is_described_by_its_shape() {
        let message = Message { data: vec![json!({"a": 1, "b": 2}), json!([1, 2, "x"])], ..Message::default() };
        let said = describe(&message);
        assert!(said.contains("an object with 2 keys (a, b)"), "{said}");
        assert!(said.contains("an array of 3 items (2 number, 1 string); 2 numbers: sum 3"), "{said}");
    }
}
