//! Child processes: started in a group of their own that dies with the daemon, and found again when they stay behind.

pub mod exec;
pub mod table;

use rustix::process::{Pid, Signal};
use std::io;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Nobody knows.
    Unknown,
}

impl From<std::process::ExitStatus> for Exit {
    fn from(status: std::process::ExitStatus) -> Self {
        use std::os::unix::process::ExitStatusExt as _;
        status.code().map(Self::Code).or_else(|| status.signal().map(Self::Signal)).unwrap_or(Self::Unknown)
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "killed by signal {signal}"),
            Self::Unknown => f.write_str("an unknown end"),
        }
    }
}

type Request = (Command, oneshot::Sender<io::Result<Child>>);

/// Starts children from one thread that lives as long as the daemon: the parent-death signal of Linux is sent
/// when the *thread* that started the child ends.
#[derive(Clone)]
pub struct Spawner {
    requests: std::sync::mpsc::SyncSender<Request>,
}

impl Spawner {
    /// Starts the thread. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start() -> io::Result<Self> {
        let (requests, todo) = std::sync::mpsc::sync_channel::<Request>(16);
        let runtime = tokio::runtime::Handle::current();
        std::thread::Builder::new().name("spawner".to_owned()).spawn(move || {
            let _guard = runtime.enter();
            while let Ok((mut command, done)) = todo.recv() {
                // Who asked may have gone; a child that nobody gets is killed on drop.
                let _ = done.send(command.spawn());
            }
        })?;
        Ok(Self { requests })
    }

    /// Starts a child.
    ///
    /// # Errors
    /// As [`Command::spawn`].
    pub async fn spawn(&self, command: Command) -> io::Result<Child> {
        let (done, started) = oneshot::channel();
        self.requests.try_send((command, done)).map_err(|_| io::Error::other("too many processes are being started at once"))?;
        started.await.map_err(|_| io::Error::other("the thread that starts processes has ended"))?
    }
}

/// Makes orphans of children the daemon's own, so that they can be found and reaped.
pub fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_child_subreaper(Some(rustix::process::getpid())) {
        tracing::warn!("cannot adopt orphaned processes, a cancel may miss some: {error}");
    }
}

/// Sends a signal to the process group of `leader`; gone is fine.
pub fn signal_group(leader: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(leader).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process_group(pid, signal);
    }
}

/// Ends a child: SIGTERM to its group, `grace`, SIGKILL.
pub async fn stop(child: &mut Child, grace: Duration) -> Exit {
    let Some(pid) = child.id() else { return child.wait().await.map_or(Exit::Unknown, Exit::from) };
    signal_group(pid, Signal::TERM);
    if let Ok(ended) = tokio::time::timeout(grace, child.wait()).await {
        // Whatever else is in its group: a launcher script may have a child that ignores the signal.
        signal_group(pid, Signal::KILL);
        return ended.map_or(Exit::Unknown, Exit::from);
    }
    signal_group(pid, Signal::KILL);
    child.wait().await.map_or(Exit::Unknown, Exit::from)
}

/// Runs a short command and gives its standard output; `None` if it fails or takes longer than `limit`.
pub async fn output(mut command: Command, limit: Duration) -> Option<String> {
    command.stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(limit, command.output()).await.ok()?.ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
