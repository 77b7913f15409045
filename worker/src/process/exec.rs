//! The way of a child to its own program: it passes through this binary once more, which sets what only the child
//! itself can set (parent-death signal, session and group, limits) and then becomes the program. So no `unsafe` is needed.

use rustix::process::{Resource, Rlimit};
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use tokio::process::Command;

/// The hidden first argument.
const INTERCEPT: &str = "__become";
/// The exit code if the program cannot be started, as shells have it.
const NOT_STARTED: i32 = 127;

/// A command that starts `program` on the way described above.
///
/// # Errors
/// If this binary cannot be named.
pub fn command(program: &Path, args: &[&str]) -> std::io::Result<Command> {
    // This link works even when the binary was replaced on disk since the start.
    let own = Path::new("/proc/self/exe");
    let own = if own.exists() { own.to_owned() } else { std::env::current_exe()? };
    let mut command = Command::new(own);
    command.arg0("muster-worker-child").arg(INTERCEPT).arg(std::process::id().to_string()).arg(program).args(args);
    Ok(command)
}

/// Takes over if this process was started by [`command`]; returns otherwise.
pub fn intercept() {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_none_or(|first| first != INTERCEPT) {
        return;
    }
    let parent = args.next().and_then(|pid| pid.to_str()?.parse::<i32>().ok());
    let Some(program) = args.next() else { fail("no program is given") };
    prepare(parent);
    let error = std::process::Command::new(&program).args(args.collect::<Vec<OsString>>()).exec();
    fail(&format!("cannot start {}: {error}", program.display()));
}

fn prepare(parent: Option<i32>) {
    #[cfg(target_os = "linux")]
    {
        if let Err(error) = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)) {
            fail(&format!("cannot be tied to its parent: {error}"));
        }
        // The parent may have died before that was set.
        if rustix::process::getppid().map(rustix::process::Pid::as_raw_pid) != parent {
            fail("the parent has gone");
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = parent;
    // A session of its own is a group of its own, without a terminal.
    if let Err(error) = rustix::process::setsid() {
        fail(&format!("cannot have a session of its own: {error}"));
    }
    let _ = rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let files = rustix::process::getrlimit(Resource::Nofile);
    let _ = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum });
}

fn fail(why: &str) -> ! {
    eprintln!("muster-worker: child: {why}");
    std::process::exit(NOT_STARTED)
}
