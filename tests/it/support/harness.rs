//! Runs the cases: one runtime for all, a time limit each, a skip where something is missing, the logs where something fails.

use super::case::{Case, Cx};
use super::{fleet, llm, postgres, process, worker};
use anyhow::{Result, anyhow};
use futures_util::FutureExt;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use std::fmt::Write as _;
use std::fs;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::OnceLock;
use tokio::runtime::{Builder, Runtime};

/// How many cases run at once unless `--test-threads` says otherwise: they wait more than they compute.
const THREADS: usize = 4;
/// How much of each log is shown when a case fails.
const TAIL: usize = 80;

/// Something that not every machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// A PostgreSQL: `TEST_POSTGRES_URL`, or the programs to start a private one.
    Postgres,
    /// The pinned OpenCode.
    Opencode,
    /// Python 3, for the fake language model.
    Python,
    /// Node.js.
    Node,
    /// The official Python SDKs of A2A in build/a2a.
    A2aSdk,
    /// The official JavaScript SDK of A2A in build/a2a, and Node.js for it.
    A2aJs,
    /// The right to mount a small file system.
    Mount,
    /// The right to make network namespaces, and `ip` for it.
    Namespaces,
}

impl Need {
    pub(crate) const ALL: [Self; 6] = [Self::Postgres, Self::Opencode, Self::Python, Self::Node, Self::A2aSdk, Self::A2aJs];

    /// What `MUSTER_REQUIRE` names.
    pub(crate) fn required() -> Vec<String> {
        let list = std::env::var("MUSTER_REQUIRE").unwrap_or_default();
        list.split(',').map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect()
    }

    /// Its name in `MUSTER_REQUIRE`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Opencode => "opencode",
            Self::Python => "python",
            Self::Node => "node",
            Self::A2aSdk => "a2a-sdk",
            Self::A2aJs => "a2a-js",
            Self::Mount => "mount",
            Self::Namespaces => "namespaces",
        }
    }

    /// Why it is missing; `None` if it is here.
    pub(crate) fn missing(self) -> Option<String> {
        let here = match self {
            Self::Postgres => postgres::is_available(),
            Self::Opencode => worker::opencode().is_some(),
            Self::Python => answers(llm::PYTHON),
            Self::Node => answers("node"),
            Self::A2aSdk => ["v1", "v03"].iter().all(|version| a2a_sdk(version).is_file()),
            Self::A2aJs => a2a_sdk("js").is_file() && answers("node"),
            Self::Mount => may_mount(),
            Self::Namespaces => may_make_namespaces(),
        };
        (!here).then(|| format!("there is no {} here", self.word()))
    }
}

/// What `scripts/a2a-sdk.sh` leaves when an SDK is installed.
fn a2a_sdk(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("build/a2a/{version}/installed"))
}

/// Whether `mount` works here: its owner is root, and it is not forbidden.
fn may_mount() -> bool {
    let dir = root().join("mount");
    let tmpfs = |dir: &Path| Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(dir).stderr(Stdio::null()).status();
    let mounted = fs::create_dir_all(&dir).is_ok() && tmpfs(&dir).is_ok_and(|status| status.success());
    mounted && Command::new("umount").arg(&dir).status().is_ok_and(|status| status.success())
}

/// Whether network namespaces and pairs of interfaces can be made here.
fn may_make_namespaces() -> bool {
    // Asked once: two that try at the same moment would be in each other's way.
    static MAY: OnceLock<bool> = OnceLock::new();
    *MAY.get_or_init(make_a_namespace)
}

fn make_a_namespace() -> bool {
    let ip = |args: &[&str]| {
        let status = Command::new("ip").args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    let name = format!("muster-it-{}", std::process::id());
    let link = format!("mit{}", std::process::id());
    let made = ip(&["netns", "add", &name]) && ip(&["link", "add", &link, "type", "veth", "peer", "name", "eth0", "netns", &name]);
    let _ = ip(&["link", "del", &link]);
    let _ = ip(&["netns", "del", &name]);
    made
}

fn answers(program: &str) -> bool {
    let status = Command::new(program).arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// What a missing need means for a case: a skip, or a failure where `MUSTER_REQUIRE` (a comma list) names it.
fn verdict(needs: &[Need]) -> Option<Result<Completion, Failed>> {
    let (need, reason) = needs.iter().find_map(|need| Some((need, need.missing()?)))?;
    if Need::required().iter().any(|word| word == need.word()) {
        return Some(Err(Failed::from(format!("{reason}, and MUSTER_REQUIRE names it"))));
    }
    Some(Ok(Completion::ignored_with(reason)))
}

static ROOT: OnceLock<PathBuf> = OnceLock::new();

/// The directory of this run, outside of the repository: what looks for the repository around a codebase must find none.
pub(super) fn root() -> &'static Path {
    ROOT.get_or_init(|| std::env::temp_dir().join(format!("muster-it.{}", std::process::id())))
}

/// Runs the cases that the command line asks for and ends everything that was started.
pub(crate) fn run(cases: Vec<Case>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    let Ok(runtime) = Builder::new_multi_thread().enable_all().build() else { return ExitCode::FAILURE };
    // It lives as long as the process: cases borrow it from their threads.
    let runtime: &'static Runtime = Box::leak(Box::new(runtime));
    runtime.spawn(end_on_signal());
    let trials = cases.into_iter().map(|case| Trial::ignorable_test(title(case.name), move || run_one(runtime, &case))).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    runtime.block_on(async {
        fleet::stop().await;
        postgres::clean_up().await;
    });
    end();
    if conclusion.has_failed() {
        eprintln!("The directories of failed cases are in {}", root().display());
    } else {
        let _ = fs::remove_dir_all(root());
    }
    conclusion.exit_code()
}

fn title(name: &str) -> &str {
    name.trim_start_matches("it::")
}

fn run_one(runtime: &Runtime, case: &Case) -> Result<Completion, Failed> {
    if let Some(verdict) = verdict(case.needs) {
        return verdict;
    }
    let cx = Cx::new(case.name).map_err(|error| Failed::from(format!("{error:#}")))?;
    let body = AssertUnwindSafe((case.body)(&cx)).catch_unwind();
    let outcome = runtime.block_on(async { tokio::time::timeout(case.limit, body).await });
    let result = match outcome {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => Err(anyhow!("{}", panic_message(panic.as_ref()))),
        Err(_) => Err(anyhow!("not done within {} s", case.limit.as_secs())),
    };
    match result {
        Ok(()) => {
            let _ = fs::remove_dir_all(cx.dir());
            Ok(Completion::Completed)
        }
        Err(error) => Err(Failed::from(format!("{error:#}\n{}", logs_of(&cx)))),
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked").to_owned()
}

/// The ends of all logs of a case, and of the shared fleet's if it used that.
fn logs_of(cx: &Cx) -> String {
    let mut text = String::new();
    let mut dirs = vec![cx.dir().to_owned()];
    dirs.extend(cx.shared_dirs());
    dirs.dedup();
    if cx.used_fleet() {
        dirs.push(fleet::dir());
    }
    for dir in dirs {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        let mut logs: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
        logs.sort();
        for log in logs {
            let content = fs::read(&log).unwrap_or_default();
            let content = String::from_utf8_lossy(&content);
            let lines: Vec<&str> = content.lines().collect();
            let _ = writeln!(text, "--- {} ({} lines, the last {TAIL}):", log.display(), lines.len());
            for line in &lines[lines.len().saturating_sub(TAIL)..] {
                let _ = writeln!(text, "{line}");
            }
        }
    }
    text
}

/// Ctrl-C must not leave servers behind.
async fn end_on_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else { return };
    tokio::select! {
        _ = interrupt.recv() => (),
        _ = terminate.recv() => (),
    }
    end();
    std::process::exit(130);
}

fn end() {
    process::kill_all();
    postgres::stop();
}
