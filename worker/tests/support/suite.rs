//! One daemon with one OpenCode for many cases: starting them takes seconds.

use super::daemon::{Daemon, Options};
use super::left::nothing_left;
use super::llm::Llm;
use super::plane::Plane;
use super::{LONG, wait_for};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

pub(crate) struct Suite {
    pub(crate) plane: Arc<Plane>,
    pub(crate) llm: Llm,
    pub(crate) daemon: Daemon,
    dir: PathBuf,
}

impl Suite {
    /// Starts it with settings of the daemon, and waits until it knows its models.
    pub(crate) fn start(env: impl FnOnce(&Llm) -> Vec<(&'static str, String)>) -> Self {
        let dir = tempfile::tempdir().unwrap().keep();
        let (plane, llm) = (Plane::start(), Llm::start());
        let daemon = Daemon::start(&plane, Some(&llm), &dir, Options { env: env(&llm), ..Options::default() });
        wait_for("models", LONG, || plane.registration().filter(|registration| !registration.models.is_empty()));
        Self { plane, llm, daemon, dir }
    }

    /// A fresh directory.
    pub(crate) fn directory(&self) -> PathBuf {
        let path = self.dir.join(uuid::Uuid::now_v7().to_string());
        std::fs::create_dir(&path).unwrap();
        path
    }

    /// A fresh git repository with one file.
    pub(crate) fn repository(&self) -> PathBuf {
        let path = self.directory();
        std::fs::write(path.join("a.txt"), "hello file\n").unwrap();
        for args in [["init", "-q", "."].as_slice(), &["add", "."], &["-c", "user.name=n", "-c", "user.email=e", "commit", "-qm", "x"]] {
            assert!(Command::new("git").current_dir(&path).args(args).status().unwrap().success());
        }
        path
    }

    /// Ends it, and sees that it is gone: statics are not dropped.
    pub(crate) fn end(&self) {
        self.daemon.end();
        self.llm.end();
        nothing_left(&self.dir);
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
