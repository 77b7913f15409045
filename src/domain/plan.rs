//! How a coordination splits its work: which agent gets which prompt.

use muster_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

mod lines;

use lines::{Line, read};

/// The most parts of a coordination.
pub const MOST_PARTS: usize = 64;
/// The most bytes that all its prompts may have.
const MOST_BYTES: usize = 8 << 20;

/// Which agent gets which prompt. It is kept with the task of the coordination.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// What each part begins with.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub intro: String,
    /// Data that each part gets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<Value>,
    /// With which model, where the agent asks a machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// In which mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// When it ends, whatever is still missing.
    pub deadline: Timestamp,
    /// The parts.
    pub parts: Vec<Part>,
    /// How many agents get none, because there are too many.
    #[serde(default)]
    pub left_out: usize,
}

/// What one agent is to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The agent's name here.
    pub agent: String,
    /// The server where it is at home.
    pub server: String,
    /// What it is told beside the introduction.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prompt: String,
}

impl Plan {
    /// The prompt of a part.
    #[must_use]
    pub fn prompt(&self, part: &Part) -> String {
        let both = [self.intro.as_str(), part.prompt.as_str()];
        both.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n\n")
    }
}

/// What a message asks for, before it is known who takes part.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Split {
    /// What each gets.
    pub intro: String,
    /// Data that each gets.
    pub data: Vec<Value>,
    /// Names of agents and what each is to do; everybody gets the introduction if there are none.
    pub named: Vec<(String, String)>,
}

/// Why a message is no plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// There are no agents of these names.
    Unknown(Vec<String>),
    /// It says what is wrong.
    Said(String),
}

fn said<T>(what: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong::Said(what.into()))
}

/// Whether a message names agents, as far as can be seen without knowing their names.
#[must_use]
pub fn may_name(text: &str, data: &[Value]) -> bool {
    data.iter().any(|value| tasks_of(value).is_some()) || asked(text).lines().any(|line| read(line).is_some())
}

/// Splits a message. `known` gives the name of an agent for one of its names.
///
/// # Errors
/// [`Wrong`].
pub fn split(text: &str, mut data: Vec<Value>, known: impl Fn(&str) -> Option<String>) -> Result<Split, Wrong> {
    let text = asked(text);
    let split = match data.iter().position(|value| tasks_of(value).is_some()) {
        Some(place) => {
            let tasks = data.remove(place);
            if data.iter().any(|value| tasks_of(value).is_some()) {
                return said("only one data part may hold `tasks`");
            }
            Split { intro: text.trim().to_owned(), named: by_data(tasks_of(&tasks).unwrap_or_default(), known)?, data }
        }
        None => by_lines(text, data, known)?,
    };
    check(&split)?;
    Ok(split)
}

/// What a message asks for, without the word that brings it to a coordinator.
#[must_use]
pub fn asked(text: &str) -> &str {
    let text = text.trim();
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    if word.eq_ignore_ascii_case("coordinate") { rest.trim_start() } else { text }
}

fn check(split: &Split) -> Result<(), Wrong> {
    let Split { intro, data, named } = split;
    if named.len() > MOST_PARTS {
        return said(format!("gives out {} parts; {MOST_PARTS} are the most", named.len()));
    }
    let is_empty = |prompt: &str| prompt.is_empty() && intro.is_empty() && data.is_empty();
    if let Some((name, _)) = named.iter().find(|(_, prompt)| is_empty(prompt)) {
        return said(format!("gives {name} nothing to do"));
    }
    if named.is_empty() && is_empty("") {
        return said("must say what is to be done");
    }
    let each = intro.len() + data.iter().map(|value| value.to_string().len()).sum::<usize>();
    let own: usize = named.iter().map(|(_, prompt)| prompt.len()).sum();
    // Whoever names nobody may mean as many as there can be.
    let parts = if named.is_empty() { MOST_PARTS } else { named.len() };
    if each.saturating_mul(parts).saturating_add(own) > MOST_BYTES {
        return said(format!("all prompts together must not be longer than {} MiB", MOST_BYTES >> 20));
    }
    Ok(())
}

/// The `tasks` of a data part that is a plan: a list in which at least one names an agent.
fn tasks_of(value: &Value) -> Option<&[Value]> {
    let tasks = value.get("tasks")?.as_array()?;
    tasks.iter().any(|task| task.get("agent").is_some()).then_some(tasks)
}

fn by_data(tasks: &[Value], known: impl Fn(&str) -> Option<String>) -> Result<Vec<(String, String)>, Wrong> {
    let (mut named, mut unknown) = (Vec::new(), Vec::new());
    for (n, task) in tasks.iter().enumerate() {
        let Some(agent) = task.get("agent").and_then(Value::as_str) else { return said(format!("tasks[{n}].agent must be a name")) };
        let prompt = match task.get("prompt") {
            None | Some(Value::Null) => "",
            Some(Value::String(prompt)) => prompt.as_str(),
            Some(_) => return said(format!("tasks[{n}].prompt must be a text")),
        };
        match known(agent) {
            Some(name) => named.push((name, prompt.to_owned())),
            None => unknown.push(agent.to_owned()),
        }
    }
    if unknown.is_empty() { Ok(named) } else { Err(Wrong::Unknown(unknown)) }
}

fn by_lines(text: &str, data: Vec<Value>, known: impl Fn(&str) -> Option<String>) -> Result<Split, Wrong> {
    let mut split = Split { data, ..Split::default() };
    let mut doubtful: Vec<Line<'_>> = Vec::new();
    for whole in text.lines() {
        if let Some(line) = read(whole) {
            if let Some(name) = known(line.name) {
                split.named.push((name, line.rest.to_owned()));
                continue;
            }
            doubtful.push(line);
        }
        let told = split.named.last_mut().map_or(&mut split.intro, |(_, prompt)| prompt);
        if !told.is_empty() {
            told.push('\n');
        }
        told.push_str(whole);
    }
    // A word with a colon may be prose, unless it looks like a name or others are named in the same way.
    let names_others = !split.named.is_empty();
    let unknown: Vec<_> = doubtful.iter().filter(|line| line.is_name(names_others)).map(|line| line.name.to_owned()).collect();
    if !unknown.is_empty() {
        return Err(Wrong::Unknown(unknown));
    }
    split.intro = split.intro.trim().into();
    for (_, prompt) in &mut split.named {
        *prompt = prompt.trim().to_owned();
    }
    Ok(split)
}

#[cfg(test)]
mod tests;
