//! Standard output and standard error, and what is known of them.

use super::render::printable;
use super::style::{Style, wants_colour};
use rustix::termios::tcgetwinsize;
use std::env;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;

/// One of the two streams.
pub(crate) struct Channel {
    writer: Box<dyn Write>,
    /// Whether a person looks at it.
    pub(crate) is_terminal: bool,
    /// Whether it gets colours.
    pub(crate) is_coloured: bool,
    /// How many columns it has, if it is a terminal.
    pub(crate) width: Option<u16>,
    /// Whether a line of it can be written again: not on a dumb terminal.
    pub(crate) is_redrawn: bool,
    /// Which stream of this process it is, if it is one.
    of_process: Option<fn() -> Option<u16>>,
}

impl Channel {
    /// A stream that is no terminal.
    pub(crate) fn plain(writer: impl Write + 'static) -> Self {
        Self { writer: Box::new(writer), is_terminal: false, is_coloured: false, width: None, is_redrawn: false, of_process: None }
    }

    /// A stream that is a terminal.
    pub(crate) fn terminal(writer: impl Write + 'static, is_coloured: bool, width: Option<u16>) -> Self {
        Self { writer: Box::new(writer), is_terminal: true, is_coloured, width, is_redrawn: true, of_process: None }
    }

    fn of_process(writer: impl Write + 'static, is_terminal: bool, measure: fn() -> Option<u16>) -> Self {
        let (no_color, term) = (env::var("NO_COLOR").ok(), env::var("TERM").ok());
        let is_coloured = wants_colour(is_terminal, no_color.as_deref(), term.as_deref());
        let channel = if is_terminal { Self::terminal(writer, is_coloured, measure()) } else { Self::plain(writer) };
        let is_redrawn = channel.is_redrawn && term.as_deref() != Some("dumb");
        Self { is_redrawn, of_process: Some(measure), ..channel }
    }

    /// Whether it is a stream of this process.
    pub(crate) fn is_of_process(&self) -> bool {
        self.of_process.is_some()
    }

    /// Writes and flushes. Control characters stay as they are.
    pub(crate) fn write(&mut self, text: &str) -> io::Result<()> {
        self.writer.write_all(text.as_bytes())?;
        self.writer.flush()
    }
}

/// How wide a terminal is; none if it does not know: then it says 0.
fn columns(terminal: &impl AsFd) -> Option<u16> {
    tcgetwinsize(terminal).ok().map(|size| size.ws_col).filter(|columns| *columns > 0)
}

/// Both streams.
pub(crate) struct Console {
    pub(crate) out: Channel,
    pub(crate) err: Channel,
}

impl Console {
    /// Those of this process.
    pub(crate) fn of_process() -> Self {
        Self {
            out: Channel::of_process(io::BufWriter::new(io::stdout()), io::stdout().is_terminal(), || columns(&io::stdout())),
            err: Channel::of_process(io::stderr(), io::stderr().is_terminal(), || columns(&io::stderr())),
        }
    }

    /// Looks again how wide the terminals are.
    pub(crate) fn measure(&mut self) {
        for channel in [&mut self.out, &mut self.err] {
            if let Some(measure) = channel.of_process.filter(|_| channel.is_terminal) {
                channel.width = measure();
            }
        }
    }

    /// A line for standard output.
    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        self.out.write(&format!("{text}\n"))
    }

    /// A line for people on standard error. Nothing can be done if it cannot be written.
    pub(crate) fn note(&mut self, style: Style, text: &str) {
        let text = style.paint(&printable(text), self.err.is_coloured);
        let _ = self.err.write(&format!("{text}\n"));
    }

    /// What went wrong.
    pub(crate) fn error(&mut self, message: &str) {
        let head = Style::Bad.paint("error:", self.err.is_coloured);
        let _ = self.err.write(&format!("{head} {}\n", printable(message)));
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.write("")
    }
}

/// Remembers what was written.
#[cfg(test)]
#[derive(Clone, Default)]
pub(crate) struct Recorder(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

#[cfg(test)]
impl Recorder {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[cfg(test)]
impl Write for Recorder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
