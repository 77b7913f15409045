//! A program on a terminal: a pseudo-terminal whose other end types and reads.

use super::wait::wait_for;
use anyhow::{Context, Result, bail};
use pty_process::{OwnedWritePty, Size};
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Child;
use tokio::task::JoinHandle;

const LIMIT: Duration = Duration::from_secs(45);
/// What the line editor writes when it begins to read: bracketed paste on.
const READS: &str = "\x1b[?2004h";

/// A running program and all that it has written to its terminal.
pub(crate) struct Terminal {
    child: Child,
    keys: OwnedWritePty,
    written: Arc<Mutex<Vec<u8>>>,
    /// Reads what it writes, until nobody can write any more.
    reader: JoinHandle<()>,
    /// How much of it was waited for.
    seen: usize,
}

impl Terminal {
    /// Starts a command on a terminal of 100 columns; what it writes is in `log` too.
    pub(crate) fn start(command: &Command, log: &Path) -> Result<Self> {
        let (pty, other_end) = pty_process::open()?;
        pty.resize(Size::new(30, 100))?;
        let mut started = pty_process::Command::new(command.get_program()).args(command.get_args()).kill_on_drop(true);
        for (name, value) in command.get_envs() {
            started = match value {
                Some(value) => started.env(name, value),
                None => started.env_remove(name),
            };
        }
        let child = started.env("TERM", "xterm-256color").env_remove("NO_COLOR").spawn(other_end)?;
        let (mut screen, keys) = pty.into_split();
        let written = Arc::new(Mutex::new(Vec::new()));
        let (kept, log) = (Arc::clone(&written), log.to_owned());
        let reader = tokio::spawn(async move {
            let mut bytes = [0; 4096];
            // The end of a terminal is an error on Linux.
            while let Ok(n @ 1..) = screen.read(&mut bytes).await {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend_from_slice(&bytes[..n]);
                let _ = std::fs::write(&log, &*kept);
            }
        });
        Ok(Self { child, keys, written, reader, seen: 0 })
    }

    /// Types.
    pub(crate) async fn press(&mut self, keys: &str) -> Result<()> {
        Ok(self.keys.write_all(keys.as_bytes()).await?)
    }

    /// Waits until the line editor reads.
    pub(crate) async fn until_it_reads(&mut self) -> Result<()> {
        self.until(READS).await
    }

    /// Waits until this was written, after what was waited for before.
    pub(crate) async fn until(&mut self, text: &str) -> Result<()> {
        let (written, seen) = (Arc::clone(&self.written), self.seen);
        let what = format!("{text:?} on the terminal");
        let found = wait_for(&what, LIMIT, async || {
            let written = written.lock().unwrap_or_else(PoisonError::into_inner);
            let rest = written.get(seen..).unwrap_or_default();
            let found = rest.windows(text.len()).position(|piece| piece == text.as_bytes());
            Ok(found.map(|at| seen + at + text.len()))
        });
        self.seen = found.await.with_context(|| format!("it wrote {:?}", self.text()))?;
        Ok(())
    }

    /// All that was written, without what moves and colours.
    pub(crate) fn text(&self) -> String {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let all = String::from_utf8_lossy(&written).into_owned();
        let mut pieces = all.split("\x1b[");
        let first = pieces.next().unwrap_or_default().to_owned();
        let end = |piece: &str| piece.find(|c: char| c.is_ascii_alphabetic()).map_or(piece.len(), |at| at + 1);
        pieces.fold(first, |text, piece| text + &piece[end(piece)..])
    }

    /// Waits for the program's end, and until all that it wrote was read.
    pub(crate) async fn ended(&mut self) -> Result<ExitStatus> {
        let ended = async {
            let status = self.child.wait().await?;
            (&mut self.reader).await?;
            Ok(status)
        };
        match tokio::time::timeout(LIMIT, ended).await {
            Ok(status) => status,
            Err(_) => bail!("it does not end; it wrote {:?}", self.text()),
        }
    }
}
