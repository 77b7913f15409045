//! What it ran on.

use crate::raw::disk;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Facts by name, in the order in which they are shown.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Machine(pub Vec<(String, String)>);

impl Machine {
    /// Looks at this machine. `dir` is where the databases are.
    ///
    /// # Errors
    /// If the disk cannot be written.
    pub(crate) fn look(dir: &Path, programs: &BTreeMap<String, String>) -> Result<Self> {
        let mut facts = Vec::new();
        let mut fact = |name: &str, value: String| facts.push((name.to_owned(), value));
        fact("load average", file("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" "));
        fact("processor", cpu());
        fact("cores", std::thread::available_parallelism().map_or_else(|_| "?".to_owned(), |n| n.to_string()));
        fact("memory", memory());
        fact("kernel", said("uname", &["-sr"]));
        fact("file system of the databases", said("stat", &["-f", "-c", "%T", &dir.to_string_lossy()]));
        let fsync = disk::fsync(dir, 200)?;
        fact("fdatasync of 4 KiB there", format!("p50 {:.2} ms, p99 {:.2} ms", fsync.percentile(0.5).value, fsync.percentile(0.99).value));
        fact("muster", said("git", &["describe", "--always", "--dirty", "--tags"]));
        fact("rustc", said("rustc", &["--version"]));
        for (name, version) in programs {
            fact(name, version.clone());
        }
        Ok(Self(facts))
    }
}

fn file(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn cpu() -> String {
    let info = file("/proc/cpuinfo");
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).and_then(|rest| rest.split_once(':'));
    model.map_or_else(|| said("uname", &["-m"]), |(_, model)| model.trim().to_owned())
}

fn memory() -> String {
    let info = file("/proc/meminfo");
    let total = info.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default();
    let kilobytes: u64 = total.trim().trim_end_matches("kB").trim().parse().unwrap_or(0);
    format!("{} MiB", kilobytes / 1_024)
}

/// What a program says in one line, or `?`.
#[must_use]
pub(crate) fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success());
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.filter(|text| !text.is_empty()).unwrap_or_else(|| "?".to_owned())
}
