//! Standard output and standard error, and what is known of them.

use super::render::printable;
use super::style::{Style, wants_colour};
use std::env;
use std::io::{self, IsTerminal, Write};

/// One of the two streams.
pub(crate) struct Channel {
    writer: Box<dyn Write>,
    /// Whether a person looks at it.
    pub(crate) is_terminal: bool,
    /// Whether it gets colours.
    pub(crate) is_coloured: bool,
    /// How many columns it has, if it is a terminal.
    pub(crate) width: Option<u16>,
}

impl Channel {
    /// A stream that is no terminal.
    pub(crate) fn plain(writer: impl Write + 'static) -> Self {
        Self { writer: Box::new(writer), is_terminal: false, is_coloured: false, width: None }
    }

    /// A stream that is a terminal.
    pub(crate) fn terminal(writer: impl Write + 'static, is_coloured: bool, width: Option<u16>) -> Self {
        Self { writer: Box::new(writer), is_terminal: true, is_coloured, width }
    }

    fn of_process(writer: impl Write + 'static, is_terminal: bool, width: Option<u16>) -> Self {
        let (no_color, term) = (env::var("NO_COLOR").ok(), env::var("TERM").ok());
        let is_coloured = wants_colour(is_terminal, no_color.as_deref(), term.as_deref());
        if is_terminal { Self::terminal(writer, is_coloured, width) } else { Self::plain(writer) }
    }

    /// Writes and flushes. Control characters stay as they are.
    pub(crate) fn write(&mut self, text: &str) -> io::Result<()> {
        self.writer.write_all(text.as_bytes())?;
        self.writer.flush()
    }
}

/// Both streams.
pub(crate) struct Console {
    pub(crate) out: Channel,
    pub(crate) err: Channel,
}

impl Console {
    /// Those of this process.
    pub(crate) fn of_process() -> Self {
        // A terminal that does not know its size says 0.
        let width = |table: &mut comfy_table::Table| table.width().filter(|width| *width > 0);
        let out_width = width(&mut comfy_table::Table::new());
        let err_width = width(comfy_table::Table::new().use_stderr());
        Self {
            out: Channel::of_process(io::BufWriter::new(io::stdout()), io::stdout().is_terminal(), out_width),
            err: Channel::of_process(io::stderr(), io::stderr().is_terminal(), err_width),
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
