//! Whether anything is left of a daemon, its OpenCode and their tools.

use super::{LONG, wait_for};
use std::path::Path;

/// Waits until no process is left that was started for the directory of a case: everything there has it in its environment or arguments.
pub(crate) fn nothing_left(dir: &Path) {
    let own = std::process::id().to_string();
    let name = dir.to_string_lossy().into_owned();
    let belongs = |pid: &str| {
        let read = |file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        ["environ", "cmdline"].iter().any(|file| String::from_utf8_lossy(&read(file)).contains(&name))
    };
    let left = || -> Vec<String> {
        let pids = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        let others = pids.filter(|pid| pid.bytes().all(|byte| byte.is_ascii_digit()) && *pid != own);
        others.filter(|pid| belongs(pid)).collect()
    };
    let mut last = Vec::new();
    wait_for(&format!("the end of the processes of {name}: {last:?}"), LONG, || {
        last = left();
        last.is_empty().then_some(())
    });
}
