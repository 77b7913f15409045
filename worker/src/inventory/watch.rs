//! Notices when the files change that OpenCode, or this worker, reads only once, and has them read again.
//!
//! What the running OpenCode 1.18.33 does about a changed file was tried out:
//!
//! | file | what makes it count |
//! | --- | --- |
//! | the user's `opencode.json` (global) | only a new start; not even giving up all directories |
//! | `auth.json` | giving up the directories (`/global/dispose`), 0.1 s |
//! | a project's `opencode.json` | giving up that directory (`/instance/dispose`) |
//!
//! The last two end the runs there, so they are done while no task runs. Where tasks run, and for the first, another OpenCode is started beside the
//! one that runs: new runs begin in it, and the older one ends when its last run is over. So a worker that is never idle takes a change over as
//! soon as any other. A configuration that is no JSON is left alone: OpenCode would not start with it.

use super::json::{meaning, readable};
use super::stir::Stir;
use crate::agent::Shared;
use crate::config::CodebaseSetting;
use crate::opencode::server::{Replaced, Running, State};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// After a change, when it is looked whether the file is written to its end.
const SETTLE: Duration = Duration::from_millis(200);
/// After OpenCode did not start with what has changed, or could not be started beside others: when it is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(15);
/// The largest file whose content is compared; of larger ones only size and time.
const MOST_BYTES: u64 = 4 << 20;
/// The names of OpenCode's configuration files.
const CONFIGS: [&str; 3] = ["opencode.json", "opencode.jsonc", "config.json"];

/// What has to be done for a changed file to count, the most first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Remedy {
    /// Another one is started in its place.
    Replace,
    /// It gives up all directories.
    ForgetAll,
    /// It gives up one.
    Forget(String),
}

/// A file as it was seen: its size and time, and a hash of its content.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    size: u64,
    modified: Option<SystemTime>,
    content: Vec<u8>,
}

/// The files that OpenCode reads at its start.
#[derive(Debug)]
pub struct Watch {
    files: Vec<(PathBuf, Remedy)>,
    /// Whether projects may have a configuration of their own.
    projects: bool,
    seen: HashMap<PathBuf, Option<Seen>>,
    /// Changes that the last look saw first: one that is still being written is looked at again.
    fresh: HashMap<PathBuf, Option<Seen>>,
}

impl Watch {
    /// The files of an OpenCode with these variables, as they are now.
    #[must_use]
    pub fn new(variables: &BTreeMap<String, String>) -> Self {
        let given = |name: &str| variables.get(name).filter(|path| !path.is_empty()).map(PathBuf::from);
        let home = given("HOME").unwrap_or_default();
        let config = given("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config")).join("opencode");
        let data = given("XDG_DATA_HOME").unwrap_or_else(|| home.join(".local/share")).join("opencode");
        let mut files: Vec<_> = CONFIGS.iter().map(|name| (config.join(name), Remedy::Replace)).collect();
        files.extend(given("OPENCODE_CONFIG").map(|file| (file, Remedy::Replace)));
        files.extend(given("OPENCODE_CONFIG_DIR").into_iter().flat_map(|dir| CONFIGS.map(|name| (dir.join(name), Remedy::Replace))));
        files.push((data.join("auth.json"), Remedy::ForgetAll));
        let mut watch = Self {
            files,
            projects: !variables.contains_key("OPENCODE_DISABLE_PROJECT_CONFIG"),
            seen: HashMap::new(),
            fresh: HashMap::new(),
        };
        watch.look(&[]);
        watch
    }

    /// What has changed, and is as the last look saw it, with what to do about it. A file that is looked at for the first time has not.
    fn look(&mut self, projects: &[PathBuf]) -> Vec<(PathBuf, Remedy)> {
        let mut all = self.files.clone();
        for project in projects.iter().filter(|_| self.projects) {
            let remedy = Remedy::Forget(project.to_string_lossy().into_owned());
            let names = CONFIGS[..2].iter().flat_map(|name| [project.join(name), project.join(".opencode").join(name)]);
            all.extend(names.map(|file| (file, remedy.clone())));
        }
        all.retain(|(file, _)| self.changed(file));
        all
    }

    /// Has it told when one of the files is written, or something in a project. The last one is the home directory, where much is.
    fn watch_with(&self, stir: &Stir, projects: &[PathBuf], own: Option<&Path>) {
        for file in self.seen.keys().map(PathBuf::as_path).chain(own) {
            stir.watch(file);
        }
        for project in projects.split_last().map_or(&[][..], |(_home, projects)| projects) {
            stir.watch(project);
            // Where the branch and what is staged are.
            stir.watch(&project.join(".git"));
        }
    }

    /// When to look again: soon, if something was seen to change.
    fn pause(&self) -> Duration {
        if self.fresh.is_empty() { LOOK } else { SETTLE }
    }

    fn changed(&mut self, file: &Path) -> bool {
        let Some(before) = self.seen.get(file) else {
            self.seen.insert(file.to_owned(), look_at(file, None));
            return false;
        };
        let earlier = self.fresh.remove(file);
        let now = look_at(file, earlier.as_ref().unwrap_or(before).as_ref());
        if is_same(before.as_ref(), now.as_ref()) {
            if *before != now {
                self.seen.insert(file.to_owned(), now);
            }
            return false;
        }
        let settled = earlier.is_some_and(|earlier| is_same(earlier.as_ref(), now.as_ref()));
        (if settled { &mut self.seen } else { &mut self.fresh }).insert(file.to_owned(), now);
        settled
    }
}

fn is_same(one: Option<&Seen>, other: Option<&Seen>) -> bool {
    one.map(|seen| &seen.content) == other.map(|seen| &seen.content)
}

fn look_at(file: &Path, before: Option<&Seen>) -> Option<Seen> {
    let meta = std::fs::metadata(file).ok().filter(std::fs::Metadata::is_file)?;
    let (size, modified) = (meta.len(), meta.modified().ok());
    if let Some(before) = before
        && before.size == size
        && before.modified == modified
    {
        return Some(before.clone());
    }
    let content = if size <= MOST_BYTES { std::fs::read(file).ok()? } else { format!("{size} {modified:?}").into_bytes() };
    Some(Seen { size, modified, content: Sha256::digest(meaning(content)).to_vec() })
}

/// What waits to be done.
#[derive(Debug, Default)]
struct Pending {
    files: BTreeMap<PathBuf, Remedy>,
    /// Not before.
    again: Option<Instant>,
}

/// Has changed files read again, until the daemon ends.
pub async fn keep_fresh(shared: Arc<Shared>, watch: Watch) {
    tokio::select! {
        () = watch_all(&shared, watch) => {}
        () = shared.exit.cancelled() => {}
    }
}

async fn watch_all(shared: &Shared, mut watch: Watch) {
    let mut pending = Pending::default();
    let mut own = shared.config.origin.file().map(|file| (look_at(&file, None), file));
    let stir = Arc::new(Stir::new());
    let mut stirred: Option<Instant> = None;
    loop {
        tokio::select! {
            () = tokio::time::sleep(watch.pause()) => {}
            // What is written again and again is no reason to look more often than once a second.
            () = stir.stirred(), if stirred.is_none_or(|at| at.elapsed() > LOOK) => {
                stirred = Some(Instant::now());
                tokio::time::sleep(SETTLE).await;
                shared.look_again.notify_one();
            }
        }
        if let Some((seen, file)) = &mut own {
            let now = look_at(file, seen.as_ref());
            if now.as_ref().map(|seen| &seen.content) != seen.as_ref().map(|seen| &seen.content) {
                *seen = now;
                reload_own(shared, file);
            }
        }
        let settings = shared.codebases();
        let mut projects: Vec<PathBuf> =
            settings.iter().chain(&shared.added.besides(&settings)).map(|setting| setting.path.clone()).collect();
        projects.push(shared.config.home.clone());
        let own_file = own.as_ref().map(|(_, file)| file.clone());
        let stirs = Arc::clone(&stir);
        // A directory on a network that does not answer blocks whoever asks for it.
        let looked = tokio::task::spawn_blocking(move || {
            let changed = watch.look(&projects);
            watch.watch_with(&stirs, &projects, own_file.as_deref());
            (watch, changed)
        });
        let Ok((back, changed)) = looked.await else { return };
        watch = back;
        if !changed.is_empty() {
            pending.again = None;
        }
        for (file, remedy) in changed {
            note(&mut pending, file, remedy);
        }
        if !pending.files.is_empty() && pending.again.is_none_or(|again| Instant::now() >= again) {
            apply(shared, &mut pending).await;
        }
    }
}

fn note(pending: &mut Pending, file: PathBuf, remedy: Remedy) {
    if let Err(error) = check(&file, &remedy) {
        tracing::warn!("{} is not taken over, it cannot be read ({error}); OpenCode goes on with what it was", file.display());
        pending.files.remove(&file);
    } else {
        pending.files.insert(file, remedy);
    }
}

/// Whether OpenCode can read a file.
fn check(file: &Path, remedy: &Remedy) -> Result<(), String> {
    match std::fs::read_to_string(file) {
        Ok(text) if *remedy != Remedy::ForgetAll => readable(&text),
        _ => Ok(()),
    }
}

/// Does what is pending.
async fn apply(shared: &Shared, pending: &mut Pending) {
    if pending.files.iter().any(|(file, remedy)| check(file, remedy).is_err()) {
        // It is being written again; the next looks show what comes of it.
        return;
    }
    let state = shared.opencode.state();
    if matches!(state, State::Starting { .. }) {
        // It may have read them before they changed.
        return;
    }
    if let State::Ready(running) = state {
        let files = pending.files.keys().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ");
        tracing::info!("{files} has changed; OpenCode reads it again");
        let remedies: BTreeSet<Remedy> = pending.files.values().cloned().collect();
        if let Err(problem) = read_again(shared, &running, &remedies).await {
            tracing::warn!("{files} is not taken over yet, OpenCode goes on as it was: {problem}");
            pending.again = Some(Instant::now() + TRY_AGAIN);
            return;
        }
    }
    *pending = Pending::default();
    shared.look_again.notify_one();
}

async fn read_again(shared: &Shared, running: &Running, remedies: &BTreeSet<Remedy>) -> Result<(), String> {
    if !remedies.contains(&Remedy::Replace)
        && let Ok(_quiet) = shared.working.try_write()
    {
        return forget(running, remedies).await.map_err(|error| error.to_string());
    }
    match running.replace().await {
        Replaced::Done => Ok(()),
        Replaced::Failed(problem) => Err(problem),
        Replaced::TooMany => Err("tasks still run in those that it has taken the place of before".to_owned()),
    }
}

async fn forget(running: &Running, remedies: &BTreeSet<Remedy>) -> Result<(), crate::opencode::client::OpenCodeError> {
    if remedies.contains(&Remedy::ForgetAll) {
        running.client.forget(None).await?;
    } else {
        for remedy in remedies {
            if let Remedy::Forget(directory) = remedy {
                running.client.forget(Some(directory)).await?;
            }
        }
    }
    running.forget_catalogues().await;
    Ok(())
}

/// Takes the codebases of the worker's own configuration file over; all else counts at the next start.
fn reload_own(shared: &Shared, file: &Path) {
    match shared.config.origin.load() {
        Ok(config) => {
            let told = describe(&config.codebases);
            if shared.set_codebases(config.codebases) {
                tracing::info!("{} has changed: {told}; other options count at the next start", file.display());
                shared.look_again.notify_one();
            } else {
                tracing::info!("{} has changed; options other than codebases count at the next start", file.display());
            }
        }
        Err(problems) => {
            tracing::warn!("{} is not taken over, all stays as it was: {}", file.display(), problems.join("; "));
        }
    }
}

fn describe(codebases: &[CodebaseSetting]) -> String {
    let names: Vec<&str> = codebases.iter().map(|codebase| codebase.name.as_str()).collect();
    if names.is_empty() { "no codebases".to_owned() } else { format!("codebases {}", names.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::{Remedy, Watch};
    use std::collections::BTreeMap;
    use std::fs;

    #[test]
    fn a_change_of_content_is_noticed_once_and_a_touch_is_not() {
        let home = tempfile::tempdir().unwrap();
        let config = home.path().join(".config/opencode/opencode.json");
        fs::create_dir_all(config.parent().unwrap()).unwrap();
        fs::write(&config, "{}").unwrap();
        let project = home.path().join("p");
        fs::create_dir(&project).unwrap();
        let variables = BTreeMap::from([("HOME".to_owned(), home.path().to_string_lossy().into_owned())]);
        let mut watch = Watch::new(&variables);
        assert_eq!(watch.look(std::slice::from_ref(&project)), []);
        fs::write(&config, "{}").unwrap();
        assert_eq!(watch.look(std::slice::from_ref(&project)), [], "touched only");
        fs::write(&config, "{\"a\":1}").unwrap();
        fs::write(project.join("opencode.json"), "{}").unwrap();
        let auth = home.path().join(".local/share/opencode/auth.json");
        fs::create_dir_all(auth.parent().unwrap()).unwrap();
        fs::write(&auth, "{}").unwrap();
        assert_eq!(watch.look(std::slice::from_ref(&project)), [], "it may still be being written");
        let changed: Vec<Remedy> = watch.look(std::slice::from_ref(&project)).into_iter().map(|(_, remedy)| remedy).collect();
        let forget = Remedy::Forget(project.to_string_lossy().into_owned());
        assert_eq!(changed, [Remedy::Replace, Remedy::ForgetAll, forget]);
        assert_eq!(watch.look(&[project]), []);
    }

    #[test]
    fn a_file_that_is_being_written_is_left_alone_until_it_is_whole() {
        let home = tempfile::tempdir().unwrap();
        let config = home.path().join(".config/opencode/opencode.json");
        fs::create_dir_all(config.parent().unwrap()).unwrap();
        fs::write(&config, "{}").unwrap();
        let mut watch = Watch::new(&BTreeMap::from([("HOME".to_owned(), home.path().to_string_lossy().into_owned())]));
        for part in ["", "{\"a\"", "{\"a\":1}"] {
            fs::write(&config, part).unwrap();
            assert_eq!(watch.look(&[]), [], "{part}");
        }
        assert_eq!(watch.look(&[]).len(), 1);
        for part in ["", "{\"a\":1}", "{\"a\":1}"] {
            fs::write(&config, part).unwrap();
            assert_eq!(watch.look(&[]), [], "as it was before: {part}");
        }
    }
}
