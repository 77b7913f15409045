//! The process table: who of a run is still there.
//!
//! On Linux a run's processes are known by a mark in their environment, by their session, or by a parent that has one
//! of these. Elsewhere there are no marks to read, and what OpenCode's abort leaves behind is not seen.

use rustix::process::{Pid, Signal, WaitOptions};
use std::collections::HashSet;
use std::time::Duration;

/// The environment variable that marks the processes of an OpenCode session.
pub const MARK: &str = "MUSTER_SESSION_ID";

/// A process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its parent.
    pub parent: i32,
    /// Its session.
    pub session: i32,
    /// Whether it has ended and only waits to be reaped.
    pub zombie: bool,
    /// When it was started, in clock ticks since boot: with the id this names it for ever.
    pub started: u64,
}

/// All processes that can be seen.
#[must_use]
pub fn snapshot() -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(read).collect()
}

/// One process; `None` if there is none with this id.
#[must_use]
pub fn read(pid: i32) -> Option<Process> {
    parse_stat(pid, &std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Reads `/proc/PID/stat`, see `proc_pid_stat(5)`. The name in parentheses may contain anything.
fn parse_stat(pid: i32, stat: &str) -> Option<Process> {
    let fields: Vec<&str> = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<i32>().ok();
    Some(Process {
        pid,
        zombie: matches!(*fields.first()?, "Z" | "X"),
        parent: number(1)?,
        session: number(3)?,
        started: fields.get(19)?.parse().ok()?,
    })
}

/// The value of [`MARK`] in the environment that a process was started with.
fn mark_of(pid: i32) -> Option<String> {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    let prefix = format!("{MARK}=");
    let value = environment.split(|byte| *byte == 0).find_map(|variable| variable.strip_prefix(prefix.as_bytes()))?;
    String::from_utf8(value.to_vec()).ok()
}

/// The processes of some OpenCode sessions: the marked ones, what shares a session with them, and all their descendants.
#[must_use]
pub fn of_sessions<S: std::hash::BuildHasher>(sessions: &HashSet<String, S>) -> Vec<Process> {
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let all: Vec<Process> = snapshot().into_iter().filter(|process| process.pid != own && process.pid != 1).collect();
    let marked: HashSet<i32> =
        all.iter().filter(|process| mark_of(process.pid).is_some_and(|mark| sessions.contains(&mark))).map(|p| p.pid).collect();
    family(all, marked)
}

/// Extends `members` by what shares a session with one of them and by their descendants.
fn family(all: Vec<Process>, mut members: HashSet<i32>) -> Vec<Process> {
    loop {
        let groups: HashSet<i32> = all.iter().filter(|p| members.contains(&p.pid)).map(|p| p.session).collect();
        let more: Vec<i32> = all
            .iter()
            // A process leads the session whose number it has: the daemon's own session is never led by a marked process.
            .filter(|p| {
                !members.contains(&p.pid) && (members.contains(&p.parent) || (groups.contains(&p.session) && members.contains(&p.session)))
            })
            .map(|p| p.pid)
            .collect();
        if more.is_empty() {
            return all.into_iter().filter(|p| members.contains(&p.pid)).collect();
        }
        members.extend(more);
    }
}

/// Ends every process of some OpenCode sessions: SIGTERM, `grace`, SIGKILL. Gives how many would not go.
pub async fn end_sessions<S: std::hash::BuildHasher>(sessions: &HashSet<String, S>, grace: Duration) -> usize {
    let begun = tokio::time::Instant::now();
    let mut asked = HashSet::new();
    loop {
        let left: Vec<Process> = of_sessions(sessions).into_iter().filter(still_there).collect();
        if left.is_empty() {
            return 0;
        }
        let patience_is_over = begun.elapsed() >= grace;
        if begun.elapsed() >= grace * 2 + Duration::from_secs(2) {
            return left.len();
        }
        for process in &left {
            if patience_is_over {
                send(process, Signal::KILL);
            } else if asked.insert((process.pid, process.started)) {
                send(process, Signal::TERM);
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Whether a process is more than a zombie; one that is the daemon's own is reaped.
fn still_there(process: &Process) -> bool {
    if process.zombie && process.parent == i32::try_from(std::process::id()).unwrap_or(0) {
        reap(process.pid);
    }
    !process.zombie
}

fn reap(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG);
    }
}

/// Sends a signal, unless the id is another process's by now.
fn send(process: &Process, signal: Signal) {
    let same = read(process.pid).is_some_and(|now| now.started == process.started);
    if let Some(pid) = Pid::from_raw(process.pid).filter(|_| same) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Reaps adopted orphans. Only what was a zombie at the time of the last call too: the daemon's own children are
/// waited for elsewhere, at once.
pub fn reap_orphans<S: std::hash::BuildHasher + Default>(last: &mut HashSet<(i32, u64), S>) {
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let zombies: HashSet<(i32, u64), S> =
        snapshot().into_iter().filter(|p| p.zombie && p.parent == own).map(|p| (p.pid, p.started)).collect();
    for (pid, _) in zombies.intersection(last) {
        reap(*pid);
    }
    *last = zombies;
}

/// Kills a process and its session, if the id still is that process's. Gives whether there was one.
#[must_use]
pub fn kill_stale(pid: i32, started: u64) -> bool {
    let all = snapshot();
    let members: Vec<&Process> = all.iter().filter(|p| p.session == pid && p.started >= started && !p.zombie).collect();
    // If the leader is there it must be the one meant; without it, its number cannot have been given out again while its session lives.
    let same = all.iter().find(|p| p.pid == pid).is_none_or(|leader| leader.started == started);
    if !same || members.is_empty() {
        return false;
    }
    for process in members {
        send(process, Signal::KILL);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::{Process, family, parse_stat};
    use std::collections::HashSet;

    fn process(pid: i32, parent: i32, session: i32) -> Process {
        Process { pid, parent, session, zombie: false, started: 1 }
    }

    #[test]
    fn a_stale_process_is_killed_with_its_session_but_not_another_one_of_its_number() {
        let mut child = std::process::Command::new("setsid").args(["sh", "-c", "sleep 60 & wait"]).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let leads = || super::read(pid).filter(|process| process.session == pid);
        let started = std::iter::from_fn(|| Some(leads())).inspect(|_| std::thread::yield_now()).flatten().next().unwrap().started;
        assert!(!super::kill_stale(pid, started + 1), "a later process with this number is somebody else");
        assert!(child.try_wait().unwrap().is_none());
        assert!(super::kill_stale(pid, started));
        child.wait().unwrap();
        // Its children die in their own time.
        while super::snapshot().iter().any(|process| process.session == pid && !process.zombie) {
            std::thread::yield_now();
        }
        assert!(!super::kill_stale(pid, started));
    }

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_confuse_the_reader() {
        let stat = "42 (a) b (c)) S 7 42 41 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987 1 2";
        assert_eq!(parse_stat(42, stat), Some(Process { pid: 42, parent: 7, session: 41, zombie: false, started: 987 }));
        assert!(parse_stat(42, "42 (broken").is_none());
    }

    #[test]
    fn a_family_is_the_marked_their_descendants_and_who_shares_their_session() {
        // 10 is marked and leads session 10; 11 is an orphan of it, 12 a child with a session of its own; 20 and 21 are others.
        let all =
            vec![process(10, 5, 10), process(11, 1, 10), process(12, 10, 12), process(13, 12, 12), process(20, 5, 20), process(21, 20, 20)];
        let mut found: Vec<i32> = family(all, HashSet::from([10])).iter().map(|p| p.pid).collect();
        found.sort_unstable();
        assert_eq!(found, [10, 11, 12, 13]);
    }

    #[test]
    fn a_marked_process_in_a_foreign_session_takes_nobody_else_with_it() {
        let all = vec![process(5, 1, 5), process(10, 5, 5), process(6, 5, 5)];
        let found: Vec<i32> = family(all, HashSet::from([10])).iter().map(|p| p.pid).collect();
        assert_eq!(found, [10]);
    }
}
