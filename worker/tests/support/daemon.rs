//! The real daemon as a child process.

use super::llm::Llm;
use super::plane::Plane;
use super::{LONG, opencode, wait_for};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

pub(crate) struct Daemon {
    child: Mutex<Child>,
    log: Arc<Mutex<Vec<String>>>,
    pub(crate) dir: PathBuf,
}

/// What a daemon is started with.
#[derive(Default)]
pub(crate) struct Options<'a> {
    pub(crate) env: Vec<(&'a str, String)>,
    pub(crate) args: Vec<String>,
    pub(crate) opencode: Option<PathBuf>,
}

impl Daemon {
    /// Starts a daemon with its home and state under `dir`.
    pub(crate) fn start(plane: &Plane, llm: Option<&Llm>, dir: &Path, options: Options) -> Self {
        let home = dir.join("home");
        std::fs::create_dir_all(&home).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_muster-worker"));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &home)
            .env("MUSTER_LOG", "info,muster_worker=debug,opencode=debug");
        command.args(["--server", &plane.url, "--name", "w", "--slots", "4", "--isolated", "--state-dir"]).arg(dir.join("state"));
        if let Some(opencode) = options.opencode.or_else(opencode) {
            command.arg("--opencode").arg(opencode);
        }
        if let Some(llm) = llm {
            command.env("MUSTER_OPENCODE_CONFIG", llm.opencode_config().to_string());
        }
        let mut child = command.envs(options.env).args(options.args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::<Mutex<Vec<String>>>::default();
        let lines = BufReader::new(child.stderr.take().unwrap());
        let keep = Arc::clone(&log);
        let echo = std::env::var_os("MUSTER_TEST_LOG").is_some();
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                if echo {
                    eprintln!("    {line}");
                }
                keep.lock().unwrap().push(line);
            }
        });
        Self { child: Mutex::new(child), log, dir: dir.to_owned() }
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    pub(crate) fn wait_for_log(&self, part: &str) {
        wait_for(&format!("`{part}` in the log"), LONG, || self.log().contains(part).then_some(()));
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.lock().unwrap().id()).unwrap()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_raw(self.pid()).unwrap(), signal).unwrap();
    }

    pub(crate) fn wait_exit(&self) -> ExitStatus {
        wait_for("the end of the daemon", LONG, || self.child.lock().unwrap().try_wait().unwrap())
    }

    /// Ends it in good order; a killed daemon's OpenCode dies with it.
    pub(crate) fn end(&self) {
        let running = matches!(self.child.lock().unwrap().try_wait(), Ok(None));
        if running {
            self.signal(rustix::process::Signal::TERM);
            self.wait_exit();
        }
    }

    /// The process id of its OpenCode.
    pub(crate) fn opencode_pid(&self) -> Option<i32> {
        let noted = std::fs::read_to_string(self.dir.join("state/opencode/process")).ok()?;
        noted.split_whitespace().next()?.parse().ok()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- the daemon's log:\n{}\n----", self.log());
        }
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.end()));
        if let Ok(mut child) = self.child.lock() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// An assignment of a new task.
pub(crate) fn assignment(prompt: &str, codebase: Option<&Path>) -> Value {
    let id = uuid::Uuid::now_v7();
    let codebase = codebase.map(|path| {
        json!({"id": "c", "name": "c", "path": path, "description": "", "worker_id": "w", "status": "active", "is_global": false, "git": null,
            "created_at": 0, "updated_at": 0})
    });
    json!({
        "attempt": 1, "codebase": codebase,
        "task": {"id": id, "codebase_id": "c", "title": "t", "prompt": prompt, "agent_type": "build", "mode": "build", "status": "running",
            "state": "working", "priority": 0, "created_at": 0, "updated_at": 0, "started_at": null, "completed_at": null, "result": null,
            "error": null, "session_id": null, "metadata": {}, "attempt": 1, "worker_id": "w", "context_id": "x"}
    })
}
