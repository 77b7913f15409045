//! Child processes, and what they take of the machine.

use anyhow::{Context as _, Result};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How many ticks `/proc` counts a second, on every Linux.
const TICKS: u64 = 100;

/// A child that ends with its owner.
pub(crate) struct Process(Child);

impl Process {
    /// Starts one with both outputs in a file.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(crate) fn start(mut command: Command, log: &Path) -> Result<Self> {
        let file = fs::File::create(log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("starting {}", command.get_program().to_string_lossy()))?;
        Ok(Self(child))
    }

    /// What to measure it with.
    #[must_use]
    pub(crate) fn meter(&self, name: &'static str) -> Meter {
        Meter { name, pid: self.0.id() }
    }

    /// Whether it has ended.
    #[must_use]
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }

    /// Asks it to end and waits until it has.
    ///
    /// # Errors
    /// If it does not within 30 s.
    pub(crate) fn stop(&mut self) -> Result<()> {
        self.signal(rustix::process::Signal::TERM);
        let begun = Instant::now();
        while !self.has_ended() {
            anyhow::ensure!(begun.elapsed() < Duration::from_secs(30), "a process does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn signal(&mut self, signal: rustix::process::Signal) {
        if !self.has_ended()
            && let Some(pid) = i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw)
        {
            // It may just have ended.
            let _ = rustix::process::kill_process(pid, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.stop().is_err() {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

/// Reads what a process takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Meter {
    name: &'static str,
    pid: u32,
}

impl Meter {
    /// This process, the load generator.
    #[must_use]
    pub(crate) fn own() -> Self {
        Self { name: "generator", pid: std::process::id() }
    }

    /// The processor time that it has used; zero where the system does not say.
    #[must_use]
    pub(crate) fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        Duration::from_millis(ticks * 1_000 / TICKS)
    }

    /// Its resident memory in bytes.
    ///
    /// # Errors
    /// If the system does not say.
    pub(crate) fn memory(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).context("reading its memory")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("the system does not say its memory")?;
        let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kilobytes * 1_024)
    }
}

/// How many cores a process has used since `before`, and how much time for each of so many steps, as text.
#[expect(clippy::cast_precision_loss, reason = "counts of a few millions")]
#[must_use]
pub(crate) fn cores(meter: &Meter, before: Duration, took: Duration, steps: u64) -> String {
    let used = meter.cpu().saturating_sub(before).as_secs_f64();
    format!("{} {:.2} cores, {:.0} us each", meter.name, used / took.as_secs_f64(), used * 1e6 / steps.max(1) as f64)
}
