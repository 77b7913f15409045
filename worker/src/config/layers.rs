//! The layers of the configuration and how one value is read out of them.

use super::{CodebaseSetting, DEFAULTS, Flags};
use figment::providers::{Format as _, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Options whose keys are the user's own.
const OPEN_TABLES: [&str; 2] = ["labels", "codebases"];

/// Values from one source, named in complaints.
struct Layer {
    name: String,
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

/// Reads values and collects what is wrong with them.
pub(super) struct Reader {
    figment: Figment,
    /// What is wrong, one line each.
    pub(super) problems: Vec<String>,
}

/// Stacks the layers.
pub(super) fn read(flags: &Flags, env: &BTreeMap<String, String>) -> Result<Reader, Vec<String>> {
    let defaults = Figment::from(Toml::string(DEFAULTS));
    let default_values: Dict = defaults.extract().map_err(|e| vec![format!("the built-in configuration is broken: {e}")])?;
    let mut problems = Vec::new();
    let mut figment = defaults;
    if let Some(file) = file(flags, env) {
        match std::fs::read_to_string(&file) {
            Ok(text) => figment = with_file(figment, &default_values, &file, &text, &mut problems),
            Err(error) => problems.push(format!("config: cannot read {}: {error}", file.display())),
        }
    }
    let from_env = env_values(&default_values, "", env, &mut problems);
    figment = figment.merge(Layer { name: "the environment".to_owned(), values: from_env });
    figment = figment.merge(Layer { name: "the command line".to_owned(), values: flag_values(flags, &mut problems) });
    Ok(Reader { figment, problems })
}

fn file(flags: &Flags, env: &BTreeMap<String, String>) -> Option<PathBuf> {
    given(flags, env).or_else(|| place(flags, env).filter(|path| path.is_file()))
}

fn given(flags: &Flags, env: &BTreeMap<String, String>) -> Option<PathBuf> {
    flags.config.clone().or_else(|| env.get("MUSTER_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from))
}

/// Where the configuration file is, or would be.
pub(super) fn place(flags: &Flags, env: &BTreeMap<String, String>) -> Option<PathBuf> {
    given(flags, env).or_else(|| Some(dirs::config_dir()?.join("muster").join("worker.toml")))
}

fn with_file(figment: Figment, defaults: &Dict, path: &std::path::Path, text: &str, problems: &mut Vec<String>) -> Figment {
    let name = format!("the file {}", path.display());
    match Figment::from(Toml::string(text)).extract::<Dict>() {
        Ok(values) => {
            unknown_keys(&values, defaults, "", &name, problems);
            figment.merge(Layer { name, values })
        }
        Err(error) => {
            problems.push(format!("config: {name} is no TOML: {}", error.to_string().trim().replace('\n', " ")));
            figment
        }
    }
}

fn unknown_keys(values: &Dict, known: &Dict, prefix: &str, source: &str, problems: &mut Vec<String>) {
    for (key, value) in values {
        match (known.get(key), value) {
            (None, _) => problems.push(format!("{prefix}{key}: there is no such option (in {source})")),
            (Some(Value::Dict(_, inner)), Value::Dict(_, given)) if !OPEN_TABLES.contains(&key.as_str()) => {
                unknown_keys(given, inner, &format!("{prefix}{key}."), source, problems);
            }
            _ => {}
        }
    }
}

/// What the environment says: one variable an option, read as the default's type.
fn env_values(defaults: &Dict, prefix: &str, env: &BTreeMap<String, String>, problems: &mut Vec<String>) -> Dict {
    let mut values = Dict::new();
    for (key, default) in defaults {
        let path = format!("{prefix}{key}");
        let variable = format!("MUSTER_{}", path.replace('.', "_").to_uppercase());
        if let Value::Dict(_, inner) = default {
            let nested = if OPEN_TABLES.contains(&key.as_str()) {
                // `MUSTER_CODEBASE=a=/a` reads as well as `MUSTER_CODEBASES=a=/a,b=/b`.
                let singular = variable.trim_end_matches('S').to_owned();
                env.get(&variable)
                    .or_else(|| env.get(&singular))
                    .filter(|text| !text.is_empty())
                    .map(|text| pairs(key, text.split(','), problems))
                    .unwrap_or_default()
            } else {
                env_values(inner, &format!("{path}."), env, problems)
            };
            if !nested.is_empty() {
                values.insert(key.clone(), nested.into());
            }
        } else if let Some(text) = env.get(&variable) {
            match typed(text, default) {
                Some(value) => drop(values.insert(key.clone(), value)),
                None => problems.push(format!("{path}: `{text}` is no {} (in {variable})", default_kind(default))),
            }
        }
    }
    values
}

fn typed(text: &str, default: &Value) -> Option<Value> {
    match default {
        Value::Bool(..) => match text {
            "1" | "true" | "yes" | "on" => Some(true.into()),
            "" | "0" | "false" | "no" | "off" => Some(false.into()),
            _ => None,
        },
        Value::Num(_, figment::value::Num::F64(_)) => text.parse::<f64>().ok().map(Value::from),
        Value::Num(..) => text.parse::<u64>().ok().map(Value::from),
        Value::Array(..) => Some(Value::from(text.split(',').map(|item| item.trim().to_owned()).collect::<Vec<_>>())),
        _ => Some(text.to_owned().into()),
    }
}

/// A whole number of whatever width.
fn integer(value: &Value) -> Option<i128> {
    match value {
        Value::Num(_, number) => number.to_i128().or_else(|| i128::try_from(number.to_u128()?).ok()),
        _ => None,
    }
}

fn default_kind(default: &Value) -> &'static str {
    match default {
        Value::Bool(..) => "boolean (`true` or `false`)",
        Value::Num(..) => "number",
        _ => "text",
    }
}

fn flag_values(flags: &Flags, problems: &mut Vec<String>) -> Dict {
    let texts = [
        ("server", &flags.server),
        ("name", &flags.name),
        ("opencode", &flags.opencode),
        ("state_dir", &flags.state_dir),
        ("token", &flags.token),
        ("opencode_config", &flags.opencode_config),
        ("log_format", &flags.log_format),
    ];
    let given = texts.into_iter().filter_map(|(key, text)| Some((key.to_owned(), Value::from(text.clone()?))));
    let mut values: Dict = given.collect();
    if let Some(slots) = &flags.slots {
        match slots.parse::<u64>() {
            Ok(number) => drop(values.insert("slots".to_owned(), number.into())),
            Err(_) => problems.push(format!("slots: `{slots}` is no number (in the command line)")),
        }
    }
    if let Some(share) = &flags.share_sessions {
        values.insert("sessions".to_owned(), Dict::from([("share".to_owned(), Value::from(share.clone()))]).into());
    }
    if flags.isolated {
        values.insert("isolated".to_owned(), true.into());
    }
    for (key, given) in [("labels", &flags.labels), ("codebases", &flags.codebases)] {
        if !given.is_empty() {
            values.insert(key.to_owned(), pairs(key, given.iter().map(String::as_str), problems).into());
        }
    }
    values
}

fn pairs<'a>(option: &str, texts: impl Iterator<Item = &'a str>, problems: &mut Vec<String>) -> Dict {
    let mut values = Dict::new();
    for text in texts {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() && !value.is_empty() => {
                if values.insert(key.trim().to_owned(), value.trim().to_owned().into()).is_some() {
                    problems.push(format!("{option}: `{key}` is given twice"));
                }
            }
            _ => {
                problems
                    .push(format!("{option}: `{text}` should look like {}", if option == "labels" { "KEY=VALUE" } else { "NAME=PATH" }));
            }
        }
    }
    values
}

impl Reader {
    /// Notes a problem.
    pub(super) fn problem(&mut self, line: String) {
        self.problems.push(line);
    }

    /// The value of an option; `None` after noting what is wrong with it.
    pub(super) fn get<T: DeserializeOwned>(&mut self, key: &str) -> Option<T> {
        match self.figment.extract_inner(key) {
            Ok(value) => Some(value),
            Err(error) => {
                let source = error.metadata.as_ref().map(|metadata| format!(" (in {})", metadata.name)).unwrap_or_default();
                self.problems.push(format!("{key}: {}{source}", error.kind));
                None
            }
        }
    }

    pub(super) fn text(&mut self, key: &str) -> String {
        // Digits from a file or the environment are text here too.
        match self.figment.find_value(key) {
            Ok(value @ Value::Num(..)) => integer(&value).map(|n| n.to_string()).unwrap_or_default(),
            _ => self.get(key).unwrap_or_default(),
        }
    }

    pub(super) fn number<T: DeserializeOwned + PartialOrd + std::fmt::Display + Copy + Default>(
        &mut self,
        key: &str,
        least: T,
        most: T,
    ) -> T {
        let Some(value) = self.get::<T>(key) else { return T::default() };
        if value < least || value > most {
            self.problems.push(format!("{key}: {value} is not between {least} and {most}"));
        }
        value
    }

    pub(super) fn seconds(&mut self, key: &str, least: u64, most: u64) -> Duration {
        Duration::from_secs(self.number(key, least, most))
    }

    pub(super) fn json(&mut self, key: &str) -> Option<serde_json::Value> {
        let text = self.text(key);
        if text.trim().is_empty() {
            return None;
        }
        match serde_json::from_str::<serde_json::Value>(&text) {
            Ok(value) if value.is_object() => Some(value),
            Ok(_) => {
                self.problems.push(format!("{key}: must be a JSON object"));
                None
            }
            Err(error) => {
                self.problems.push(format!("{key}: is no JSON: {error}"));
                None
            }
        }
    }

    pub(super) fn labels(&mut self) -> BTreeMap<String, String> {
        let Some(labels) = self.get::<BTreeMap<String, Value>>("labels") else { return BTreeMap::new() };
        let mut texts = BTreeMap::new();
        for (key, value) in labels {
            match value {
                Value::String(_, text) => drop(texts.insert(key, text)),
                Value::Bool(_, flag) => drop(texts.insert(key, flag.to_string())),
                value @ Value::Num(..) => drop(texts.insert(key, integer(&value).map(|n| n.to_string()).unwrap_or_default())),
                _ => self.problems.push(format!("labels: the value of `{key}` must be a text")),
            }
        }
        texts
    }

    pub(super) fn codebases(&mut self) -> Vec<CodebaseSetting> {
        let Some(table) = self.get::<BTreeMap<String, Value>>("codebases") else { return Vec::new() };
        let mut settings = Vec::new();
        for (name, value) in table {
            let read = match value {
                Value::String(_, path) => Some((path, String::new(), 1)),
                Value::Dict(_, mut table) => {
                    let description = table.remove("description").and_then(Value::into_string).unwrap_or_default();
                    let parallel = table.remove("parallel").map_or(Some(1), |v| integer(&v).and_then(|n| u32::try_from(n).ok()));
                    let path = table.remove("path").and_then(Value::into_string);
                    path.zip(parallel.filter(|n| *n > 0)).filter(|_| table.is_empty()).map(|(path, n)| (path, description, n))
                }
                _ => None,
            };
            match read {
                Some((path, description, parallel)) if !path.is_empty() => {
                    settings.push(CodebaseSetting { name, path: PathBuf::from(path), description, parallel });
                }
                _ => self
                    .problems
                    .push(format!("codebases.{name}: should be a path, or {{ path = \"..\", description = \"..\", parallel = 1 }}")),
            }
        }
        settings
    }
}
