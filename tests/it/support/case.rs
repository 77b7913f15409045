//! A case: its name, what it needs, and what it may use while it runs.

use super::harness::Need;
use super::{Fleet, fleet, harness};
use anyhow::{Context, Result};
use futures_util::future::LocalBoxFuture;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The body of a case: an `async fn(&Cx) -> Result<()>`, boxed.
pub(crate) type Body = for<'a> fn(&'a Cx) -> LocalBoxFuture<'a, Result<()>>;

/// One test of the integration binary.
pub(crate) struct Case {
    pub(super) name: &'static str,
    pub(super) needs: &'static [Need],
    pub(super) limit: Duration,
    pub(super) body: Body,
}

impl Case {
    pub(crate) fn new(name: &'static str, needs: &'static [Need], body: Body) -> Self {
        Self { name, needs, limit: Duration::from_mins(2), body }
    }

    /// Gives the case other than two minutes, in seconds.
    pub(crate) fn within(self, seconds: u64) -> Self {
        Self { limit: Duration::from_secs(seconds), ..self }
    }
}

/// Declares the cases of a file: what they need, then the names of `async fn name(cx: &Cx) -> Result<()>`.
///
/// ```ignore
/// cases! {
///     [Opencode, Python] => a_text_answer_arrives, twenty_tasks_share_four_slots within 240;
///     [] => an_unknown_path_is_refused;
/// }
/// ```
macro_rules! cases {
    ($([$($need:ident),*] => $($name:ident $(within $seconds:literal)?),+ $(,)?);+ $(;)?) => {
        pub(crate) fn cases() -> Vec<$crate::support::Case> {
            let mut all = Vec::new();
            $({
                const NEEDS: &[$crate::support::Need] = &[$($crate::support::Need::$need),*];
                $({
                    let name = concat!(module_path!(), "::", stringify!($name));
                    all.push($crate::support::Case::new(name, NEEDS, |cx| Box::pin($name(cx)))$(.within($seconds))?);
                })+
            })+
            all
        }
    };
}
pub(crate) use cases;

/// What a running case has: a directory of its own, and the shared fleet.
pub(crate) struct Cx {
    dir: PathBuf,
    used_fleet: AtomicBool,
    shared_dirs: Mutex<Vec<PathBuf>>,
}

impl Cx {
    pub(super) fn new(name: &str) -> Result<Self> {
        let dir = harness::root().join(name.trim_start_matches("it::").replace("::", "."));
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(Self { dir, used_fleet: AtomicBool::new(false), shared_dirs: Mutex::default() })
    }

    /// The case's directory. What ends with `.log` in it is shown when the case fails; it is removed when it passes.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A new directory in the case's directory.
    pub(crate) fn make_dir(&self, name: &str) -> Result<PathBuf> {
        let path = self.dir.join(name);
        fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// A new git repository with one commit in the case's directory.
    pub(crate) fn make_repository(&self, name: &str) -> Result<PathBuf> {
        let path = self.make_dir(name)?;
        git(&path, &["init", "--quiet", "--initial-branch=main"])?;
        fs::write(path.join("README"), format!("{name}\n"))?;
        git(&path, &["add", "."])?;
        git(&path, &["-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "--quiet", "-m", "Begin"])?;
        Ok(path)
    }

    /// The server, worker, OpenCode and language model that most cases share.
    pub(crate) async fn fleet(&self) -> Result<&'static Fleet> {
        self.used_fleet.store(true, Ordering::Relaxed);
        fleet::shared().await
    }

    /// The directory of something that several cases share; its logs are shown when this case fails.
    pub(crate) fn shared_dir(&self, name: &str) -> Result<PathBuf> {
        let path = harness::root().join(name);
        fs::create_dir_all(&path)?;
        self.shared_dirs.lock().unwrap_or_else(PoisonError::into_inner).push(path.clone());
        Ok(path)
    }

    /// What [`Self::shared_dir`] was asked for.
    pub(crate) fn shared_dirs(&self) -> Vec<PathBuf> {
        self.shared_dirs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn used_fleet(&self) -> bool {
        self.used_fleet.load(Ordering::Relaxed)
    }
}

fn git(dir: &Path, args: &[&str]) -> Result<()> {
    let output = Command::new("git").arg("-C").arg(dir).args(args).output().context("cannot run git")?;
    anyhow::ensure!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
