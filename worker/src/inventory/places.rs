//! The codebases as they are now. Each is looked at by a job of its own: one on a slow disk, or with a git that takes long,
//! keeps what was seen of it last and holds nobody up.

use super::{git, problem};
use crate::agent::Shared;
use crate::config::CodebaseSetting;
use futures_util::future::join_all;
use muster_protocol::codebase::{GLOBAL_NAME, GitState, RegisterCodebase};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

/// How long a look is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// What was seen of a directory.
#[derive(Debug, Clone, Default, PartialEq)]
struct Look {
    problem: Option<String>,
    git: Option<GitState>,
}

/// A directory, what was seen of it last, and the look that is going on.
#[derive(Debug, Default)]
struct Place {
    last: Look,
    job: Option<JoinHandle<Look>>,
}

/// All directories that are looked at.
#[derive(Debug, Default)]
pub struct Places(HashMap<PathBuf, Place>);

impl Places {
    /// All codebases, the global one first.
    pub async fn look(&mut self, shared: &Shared) -> Vec<RegisterCodebase> {
        let settings = shared.codebases();
        let added = shared.added.besides(&settings);
        let others: Vec<&CodebaseSetting> = settings.iter().chain(&added).collect();
        let home = &shared.config.home;
        self.0.retain(|path, _| path == home || others.iter().any(|setting| setting.path == *path));
        self.0.entry(home.clone()).or_default();
        for setting in &others {
            self.0.entry(setting.path.clone()).or_default();
        }
        // A home directory that is a git work tree may be huge; nobody asks for its state.
        join_all(self.0.iter_mut().map(|(path, place)| place.look(path, path != home, &shared.tracker))).await;
        let seen = |path: &Path| self.0.get(path).map(|place| place.last.clone()).unwrap_or_default();
        let mut all = vec![RegisterCodebase {
            name: GLOBAL_NAME.to_owned(),
            path: home.to_string_lossy().into_owned(),
            description: "The home directory".to_owned(),
            is_global: true,
            parallel: None,
            git: None,
            problem: seen(home).problem,
        }];
        all.extend(others.into_iter().map(|setting| {
            let look = seen(&setting.path);
            RegisterCodebase {
                name: setting.name.clone(),
                path: setting.path.to_string_lossy().into_owned(),
                description: setting.description.clone(),
                is_global: false,
                parallel: Some(setting.parallel),
                git: look.git,
                problem: look.problem,
            }
        }));
        all
    }
}

impl Place {
    async fn look(&mut self, path: &Path, with_git: bool, tracker: &TaskTracker) {
        let job = self.job.get_or_insert_with(|| tracker.spawn(look(path.to_owned(), with_git)));
        if let Ok(done) = tokio::time::timeout(PATIENCE, job).await {
            self.job = None;
            self.last = done.unwrap_or_default();
        }
    }
}

async fn look(path: PathBuf, with_git: bool) -> Look {
    let dir = path.clone();
    // A directory on a network that does not answer blocks whoever asks for it.
    let problem = tokio::task::spawn_blocking(move || problem(&dir)).await.unwrap_or_default();
    let git = if with_git && problem.is_none() { git::state(&path).await } else { None };
    Look { problem, git }
}

#[cfg(test)]
mod tests {
    use super::{Look, Place};
    use std::path::Path;
    use tokio_util::task::TaskTracker;

    #[tokio::test(start_paused = true)]
    async fn a_codebase_that_takes_long_keeps_what_was_seen_of_it_and_holds_nobody_up() {
        let tracker = TaskTracker::new();
        let (finish, finished) = tokio::sync::oneshot::channel::<()>();
        let seen = Look { problem: Some("seen before".to_owned()), git: None };
        let job = tracker.spawn(async move {
            let _ = finished.await;
            Look::default()
        });
        let mut place = Place { last: seen.clone(), job: Some(job) };
        place.look(Path::new("/"), false, &tracker).await;
        assert_eq!((&place.last, place.job.is_some()), (&seen, true));
        finish.send(()).unwrap();
        place.look(Path::new("/"), false, &tracker).await;
        assert_eq!((place.last, place.job.is_none()), (Look::default(), true));
    }
}
