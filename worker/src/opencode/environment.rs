//! The environment that OpenCode gets: the user's own configuration and credentials (default), or, isolated, a home of
//! its own, an allow-list of variables and every switch that keeps it offline.

use crate::config::Config;
use crate::identity::write_durably;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// Always passed from the worker's own environment.
const BASICS: [&str; 5] = ["PATH", "LANG", "LC_*", "HTTP_PROXY", "HTTPS_PROXY"];
/// Passed in user mode besides.
const USERS: [&str; 6] = ["HOME", "XDG_*", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy"];
/// What keeps OpenCode offline and away from everything outside its own home.
const OFFLINE: [(&str, &str); 10] = [
    ("OPENCODE_DISABLE_MODELS_FETCH", "1"),
    ("npm_config_offline", "true"),
    ("OPENCODE_DISABLE_AUTOUPDATE", "1"),
    ("OPENCODE_DISABLE_LSP_DOWNLOAD", "1"),
    ("OPENCODE_DISABLE_DEFAULT_PLUGINS", "1"),
    ("OPENCODE_DISABLE_SHARE", "1"),
    ("OPENCODE_DISABLE_EXTERNAL_SKILLS", "1"),
    ("OPENCODE_DISABLE_CLAUDE_CODE", "1"),
    ("OPENCODE_DISABLE_PROJECT_CONFIG", "1"),
    ("OPENCODE_DISABLE_FFF", "1"),
];

/// The hosts that are reached without a proxy: OpenCode talks to itself.
const LOOPBACK: &str = "127.0.0.1,localhost,::1";

/// The plugin that marks bash calls with their session and hides the server's password from them.
const MARKS_PLUGIN: &str = r#"export const MusterMarks = async () => ({
  "shell.env": async (input, output) => {
    output.env.MUSTER_SESSION_ID = input.sessionID ?? "";
    output.env.OPENCODE_SERVER_PASSWORD = "";
  },
});
"#;

/// What OpenCode is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// All its variables; no others.
    pub variables: BTreeMap<String, String>,
    /// Its working directory: empty, so that nothing is picked up from it.
    pub working_dir: PathBuf,
}

/// Makes the files that OpenCode is started with, and its variables from the worker's own.
///
/// # Errors
/// As the file system says.
pub fn prepare(config: &Config, own: &BTreeMap<String, String>) -> io::Result<Environment> {
    let base = config.state_dir.join("opencode");
    let working_dir = base.join("empty");
    make_dir(&working_dir)?;
    let mut variables = passed(own, &BASICS);
    variables.extend(passed(own, &config.pass_env));
    if config.isolated {
        variables.extend(isolated(&base)?);
    } else {
        variables.extend(passed(own, &USERS));
        variables.insert("HOME".to_owned(), config.home.to_string_lossy().into_owned());
        variables.insert("OPENCODE_DISABLE_AUTOUPDATE".to_owned(), "1".to_owned());
        // OpenCode installs its plugin package before it answers; without a network npm would try again for over a minute.
        variables.insert("npm_config_fetch_retries".to_owned(), "0".to_owned());
    }
    let plugin = config.mark_processes.then(|| base.join("plugin/muster-marks.js"));
    if let Some(plugin) = &plugin {
        make_dir(&base.join("plugin"))?;
        put(plugin, MARKS_PLUGIN)?;
    }
    if let Some(content) = content(config.opencode_config.as_ref(), own.get("OPENCODE_CONFIG_CONTENT"), plugin.as_deref()) {
        variables.insert("OPENCODE_CONFIG_CONTENT".to_owned(), content.to_string());
    }
    let no_proxy = own.get("NO_PROXY").or_else(|| own.get("no_proxy")).filter(|hosts| !hosts.is_empty());
    let no_proxy = no_proxy.map_or_else(String::new, |hosts| format!("{hosts},")) + LOOPBACK;
    variables.extend(["NO_PROXY", "no_proxy"].map(|name| (name.to_owned(), no_proxy.clone())));
    variables.remove(crate::process::table::MARK);
    Ok(Environment { variables, working_dir })
}

/// Makes a home of its own for an OpenCode under `base`, and gives the variables that keep it in there and offline. Beside them it needs `PATH`,
/// and its configuration.
///
/// # Errors
/// As the file system says.
pub fn isolated(base: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut variables: BTreeMap<String, String> = OFFLINE.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    variables.extend(["NO_PROXY", "no_proxy"].map(|name| (name.to_owned(), LOOPBACK.to_owned())));
    let home = base.join("home");
    for (name, path) in [
        ("HOME", home.clone()),
        ("XDG_CONFIG_HOME", home.join(".config")),
        ("XDG_DATA_HOME", home.join(".local/share")),
        ("XDG_STATE_HOME", home.join(".local/state")),
        ("XDG_CACHE_HOME", home.join(".cache")),
        ("TMPDIR", base.join("tmp")),
    ] {
        make_dir(&path)?;
        variables.insert(name.to_owned(), path.to_string_lossy().into_owned());
    }
    // With these there OpenCode sees its plugin package installed and does not ask the network for it.
    let config = home.join(".config/opencode");
    make_dir(&config.join("node_modules"))?;
    put(&config.join("package-lock.json"), r#"{"packages":{"":{"dependencies":{"@opencode-ai/plugin":"*"}}}}"#)?;
    // An empty catalogue: only the providers of the given configuration count, and the start is faster by seconds.
    let catalogue = base.join("models.json");
    put(&catalogue, "{}")?;
    variables.insert("OPENCODE_MODELS_PATH".to_owned(), catalogue.to_string_lossy().into_owned());
    Ok(variables)
}

/// The configuration given by environment: the worker's setting, or the user's own variable, with the plugin added.
fn content(setting: Option<&Value>, users: Option<&String>, plugin: Option<&Path>) -> Option<Value> {
    let mut content = setting.cloned().or_else(|| serde_json::from_str(users?).ok());
    if let Some(plugin) = plugin {
        let content = content.get_or_insert_with(|| json!({}));
        let mut plugins = content["plugin"].as_array().cloned().unwrap_or_default();
        if let Ok(url) = url::Url::from_file_path(plugin) {
            plugins.push(Value::String(url.into()));
        }
        content["plugin"] = Value::Array(plugins);
    }
    content
}

fn passed<P: AsRef<str>>(own: &BTreeMap<String, String>, patterns: &[P]) -> BTreeMap<String, String> {
    let wanted = |name: &str| {
        patterns.iter().any(|pattern| match pattern.as_ref().strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == pattern.as_ref(),
        })
    };
    own.iter().filter(|(name, _)| wanted(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Writes a file that is not there as it should be: with all of them there a worker starts on a full disk too.
fn put(path: &Path, text: &str) -> io::Result<()> {
    if fs::read(path).is_ok_and(|there| there == text.as_bytes()) { Ok(()) } else { write_durably(path, text.as_bytes()) }
}

fn make_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(test)]
mod tests {
    use super::{Environment, prepare};
    use crate::config::{Config, Flags, load};
    use std::collections::BTreeMap;
    use std::path::Path;

    fn own() -> BTreeMap<String, String> {
        let pairs = [
            ("HOME", "/home/u"),
            ("PATH", "/bin"),
            ("XDG_DATA_HOME", "/data"),
            ("ANTHROPIC_API_KEY", "k"),
            ("MUSTER_TOKEN", "secret"),
            ("RANDOM_SECRET", "secret"),
            ("NO_PROXY", "intra"),
            ("MUSTER_SESSION_ID", "ses_outer"),
        ];
        pairs.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    }

    fn environment(state: &Path, isolated: bool, setting: Option<&str>) -> Environment {
        let flags = Flags {
            isolated,
            state_dir: Some(state.to_string_lossy().into_owned()),
            opencode_config: setting.map(str::to_owned),
            ..Flags::default()
        };
        let config: Config = load(&flags, &own()).unwrap();
        prepare(&config, &own()).unwrap()
    }

    #[test]
    fn in_user_mode_opencode_has_the_users_home_and_keys_but_not_the_workers_secrets() {
        let state = tempfile::tempdir().unwrap();
        let variables = environment(state.path(), false, None).variables;
        assert_eq!(variables["HOME"], "/home/u");
        assert_eq!(variables["XDG_DATA_HOME"], "/data");
        assert_eq!(variables["ANTHROPIC_API_KEY"], "k");
        assert_eq!(variables["NO_PROXY"], "intra,127.0.0.1,localhost,::1");
        for absent in ["MUSTER_TOKEN", "RANDOM_SECRET", "MUSTER_SESSION_ID", "OPENCODE_DISABLE_MODELS_FETCH", "OPENCODE_MODELS_PATH"] {
            assert!(!variables.contains_key(absent), "{absent}");
        }
    }

    #[test]
    fn in_isolated_mode_nothing_of_the_users_is_seen_and_nothing_is_fetched() {
        let state = tempfile::tempdir().unwrap();
        let variables = environment(state.path(), true, Some(r#"{"model":"a/b","plugin":["x"]}"#)).variables;
        let private = state.path().to_string_lossy();
        for name in ["HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "TMPDIR", "OPENCODE_MODELS_PATH"] {
            assert!(variables[name].starts_with(&*private), "{name}");
        }
        assert!(!variables.contains_key("ANTHROPIC_API_KEY"));
        assert_eq!(variables["OPENCODE_DISABLE_MODELS_FETCH"], "1");
        let content: serde_json::Value = serde_json::from_str(&variables["OPENCODE_CONFIG_CONTENT"]).unwrap();
        assert_eq!(content["model"], "a/b");
        assert_eq!(content["plugin"].as_array().unwrap().len(), 2);
    }
}
