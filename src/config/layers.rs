//! The layers: embedded default < file < environment < command line. All that is wrong with keys and types is found in one go.

use super::settings::Settings;
use figment::error::Kind;
use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Tag, Value};
use figment::{Error, Figment, Metadata, Profile, Provider};
use std::path::Path;

/// The embedded file.
const DEFAULT: &str = include_str!("../../config/server.toml");

/// What the embedded file is called as a source.
const DEFAULT_NAME: &str = "the default";

/// The keys of an agent; arrays have no default element to compare with.
const AGENT_KEYS: [&str; 5] = ["name", "specialty", "instructions", "capability", "model"];

/// Where values come from.
pub(super) struct Layers<'a> {
    /// The configuration file and its name.
    pub(super) file: Option<(&'a Path, &'a str)>,
    /// The environment: variable and value.
    pub(super) env: &'a [(String, String)],
    /// The command line: option, key and value.
    pub(super) flags: Vec<(&'static str, &'static str, Value)>,
}

/// Values that one source gives, by key.
struct Given {
    source: String,
    dict: Dict,
}

impl Provider for Given {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.source.clone())
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Profile::Default.collect(self.dict.clone()))
    }
}

/// The layers on one another.
pub(super) struct Layered {
    /// What they say; where a value had a wrong type, the default. `None` if that did not help.
    pub(super) settings: Option<Settings>,
    /// What is wrong, a line each.
    pub(super) problems: Vec<String>,
    figment: Figment,
}

impl Layered {
    /// Where the value of a key comes from, as a person would look for it; `None` for the default.
    pub(super) fn source(&self, key: &str) -> Option<&str> {
        let key = key.split('[').next().unwrap_or(key);
        let metadata = self.figment.find_metadata(key)?;
        (metadata.name != DEFAULT_NAME).then_some(&*metadata.name)
    }
}

/// Puts the layers on one another.
pub(super) fn layered(layers: &Layers<'_>) -> Layered {
    let mut problems = Vec::new();
    let defaults = Figment::from(Toml::string(DEFAULT));
    let known = defaults.extract::<Dict>().unwrap_or_default();
    let defaults = Figment::from(Given { source: DEFAULT_NAME.to_owned(), dict: known.clone() });
    let mut figment = defaults.clone();
    if let Some((path, text)) = layers.file {
        match file_layer(path, text, &known, &mut problems) {
            Ok(given) => figment = figment.merge(given),
            Err(problem) => problems.push(problem),
        }
    }
    for given in env_layers(layers.env, &known) {
        figment = figment.merge(given);
    }
    for (option, key, value) in &layers.flags {
        figment = figment.merge(Given { source: format!("the option {option}"), dict: nested(key, value.clone()) });
    }
    let settings = extract(figment.clone(), &defaults, &mut problems);
    Layered { settings, problems, figment }
}

/// Reads the settings. Each value of a wrong type is told, and replaced by its default to find the next one.
fn extract(mut figment: Figment, defaults: &Figment, problems: &mut Vec<String>) -> Option<Settings> {
    const MOST: usize = 50;
    for _ in 0..MOST {
        let error = match figment.extract::<Settings>() {
            Ok(settings) => return Some(settings),
            Err(error) => error,
        };
        problems.push(describe(&error));
        // An element of a list cannot be replaced alone.
        let key = match error.path.first().map(String::as_str) {
            Some(list @ ("agents" | "listen")) => list.to_owned(),
            _ => error.path.join("."),
        };
        let Ok(default) = defaults.find_value(&key) else { return None };
        figment = figment.merge(Given { source: DEFAULT_NAME.to_owned(), dict: nested(&key, default) });
    }
    None
}

fn file_layer(path: &Path, text: &str, known: &Dict, problems: &mut Vec<String>) -> Result<Given, String> {
    let shown = path.display();
    let data = Toml::string(text).data().map_err(|error| format!("{shown} is not TOML: {}", without_excerpt(&error.to_string())))?;
    let dict = data.into_iter().next().map(|(_, dict)| dict).unwrap_or_default();
    unknown_keys(&dict, known, "", &mut |key, expected| {
        problems.push(format!("unknown key `{key}` in {shown}; known here: {}", expected.join(", ")));
    });
    Ok(Given { source: shown.to_string(), dict })
}

fn unknown_keys(dict: &Dict, known: &Dict, under: &str, tell: &mut impl FnMut(&str, Vec<&str>)) {
    for (key, value) in dict {
        let path = if under.is_empty() { key.clone() } else { format!("{under}.{key}") };
        match (known.get(key), value) {
            (None, _) => tell(&path, known.keys().map(String::as_str).collect()),
            (Some(Value::Dict(_, below)), Value::Dict(_, dict)) => unknown_keys(dict, below, &path, tell),
            (_, Value::Array(_, agents)) if path == "agents" => {
                let keys = agents.iter().enumerate().filter_map(|(i, agent)| Some((i, agent.as_dict()?)));
                for (i, key) in keys.flat_map(|(i, agent)| agent.keys().map(move |key| (i, key))) {
                    if !AGENT_KEYS.contains(&key.as_str()) {
                        tell(&format!("agents[{i}].{key}"), AGENT_KEYS.to_vec());
                    }
                }
            }
            _ => {}
        }
    }
}

/// The environment variable of a key.
fn env_name(key: &str) -> String {
    match key {
        "log.filter" => "MUSTER_LOG".to_owned(),
        key => format!("MUSTER_{}", key.replace('.', "_").to_uppercase()),
    }
}

fn env_layers(env: &[(String, String)], known: &Dict) -> Vec<Given> {
    let leaves = leaves(known, "");
    let given = |(key, default): &(String, Value)| {
        let name = env_name(key);
        let (_, text) = env.iter().find(|(variable, _)| *variable == name)?;
        let value = env_value(text, default, key == "agents");
        Some(Given { source: format!("the environment variable {name}"), dict: nested(key, value) })
    };
    leaves.iter().filter_map(given).collect()
}

/// Text from the environment as the kind of value that the default has; text of no such kind stays text, and is told as wrong.
fn env_value(text: &str, default: &Value, structured: bool) -> Value {
    match default {
        Value::Array(..) if !structured => Value::from(list(text)),
        Value::String(..) => Value::from(text),
        _ => text.parse().unwrap_or_else(|_| Value::from(text)),
    }
}

/// The items of a list that is separated by commas.
fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

fn leaves(dict: &Dict, under: &str) -> Vec<(String, Value)> {
    let path = |key: &str| if under.is_empty() { key.to_owned() } else { format!("{under}.{key}") };
    let below = |(key, value): (&String, &Value)| match value {
        Value::Dict(_, dict) => leaves(dict, &path(key)),
        leaf => vec![(path(key), leaf.clone())],
    };
    dict.iter().flat_map(below).collect()
}

fn nested(key: &str, value: Value) -> Dict {
    let mut parts = key.rsplit('.');
    let last = parts.next().unwrap_or(key);
    let innermost = Dict::from([(last.to_owned(), value)]);
    parts.fold(innermost, |dict, part| Dict::from([(part.to_owned(), Value::Dict(Tag::Default, dict))]))
}

fn describe(error: &Error) -> String {
    let source = error.metadata.as_ref().map_or_else(|| "the configuration".into(), |metadata| metadata.name.clone());
    let key = error.path.join(".");
    match &error.kind {
        Kind::MissingField(field) => format!("`{field}` is missing in `{key}` in {source}"),
        Kind::InvalidType(actual, expected) | Kind::InvalidValue(actual, expected) => {
            format!("`{key}` in {source} is {actual}, but must be {}", plain(expected))
        }
        kind => format!("`{key}` in {source}: {}", one_line(&kind.to_string())),
    }
}

/// A type as people name it.
fn plain(expected: &str) -> &str {
    match expected {
        "u16" => "a number from 0 to 65535",
        "u32" => "a whole number from 0 on",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        other => other,
    }
}

/// The message without the lines that show the file: there may be a password in them.
fn without_excerpt(message: &str) -> String {
    let lines: Vec<_> = message.lines().map(str::trim).filter(|line| !line.is_empty() && !line.contains('|')).collect();
    lines.join(": ")
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
