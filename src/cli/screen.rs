//! Writes what is read of a task to the two streams, so that they do not run into each other on one terminal.

use super::console::Console;
use super::render::{printable, shorten};
use super::style::Style;
use super::transcript::Piece;
use std::io;

const FRAMES: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];

/// Whose line is not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Nothing,
    Answer,
    Reasoning,
}

/// The two streams while a task is followed.
///
/// - The answer is written as it comes only where standard output is a terminal: what is read by a program is the result, once, at the end.
/// - Notes go to standard error. Reasoning and the progress line only if that is a terminal.
pub(crate) struct Screen<'a> {
    pub(crate) console: &'a mut Console,
    is_quiet: bool,
    open: Open,
    has_answer: bool,
    has_progress: bool,
    frame: usize,
}

impl<'a> Screen<'a> {
    /// A screen; a quiet one writes the answer only.
    pub(crate) fn new(console: &'a mut Console, is_quiet: bool) -> Self {
        Self { console, is_quiet, open: Open::Nothing, has_answer: false, has_progress: false, frame: 0 }
    }

    /// Whether any of the answer was written.
    pub(crate) fn has_answer(&self) -> bool {
        self.has_answer
    }

    pub(crate) fn show(&mut self, piece: &Piece) -> io::Result<()> {
        match piece {
            Piece::Answer(text) if self.console.out.is_terminal => self.answer(&printable(text)),
            Piece::Paragraph if self.console.out.is_terminal && self.has_answer => {
                self.end_line()?;
                self.console.out.write("\n")
            }
            Piece::Answer(_) | Piece::Paragraph => Ok(()),
            Piece::Reasoning(text) => self.reasoning(&printable(text)),
            Piece::Note(style, line) => self.note(*style, line),
        }
    }

    fn answer(&mut self, text: &str) -> io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        self.clear_progress();
        if self.open == Open::Reasoning {
            self.end_line()?;
        }
        self.console.out.write(text)?;
        self.has_answer = true;
        self.open = if text.ends_with('\n') { Open::Nothing } else { Open::Answer };
        Ok(())
    }

    fn reasoning(&mut self, text: &str) -> io::Result<()> {
        if self.is_quiet || !self.console.err.is_terminal || text.is_empty() {
            return Ok(());
        }
        self.clear_progress();
        if self.open == Open::Answer {
            self.end_line()?;
        }
        let text = Style::Dim.paint(text, self.console.err.is_coloured);
        // Nothing can be done where standard error cannot be written.
        let _ = self.console.err.write(&text);
        self.open = Open::Reasoning;
        Ok(())
    }

    /// A line on standard error.
    pub(crate) fn note(&mut self, style: Style, line: &str) -> io::Result<()> {
        if self.is_quiet { Ok(()) } else { self.insist(style, line) }
    }

    /// A line on standard error of a quiet screen too.
    pub(crate) fn insist(&mut self, style: Style, line: &str) -> io::Result<()> {
        self.end_line()?;
        self.console.note(style, line);
        Ok(())
    }

    /// Ends what is on the line, so that something else can begin one.
    pub(crate) fn end_line(&mut self) -> io::Result<()> {
        self.clear_progress();
        match std::mem::replace(&mut self.open, Open::Nothing) {
            Open::Nothing => Ok(()),
            Open::Answer => self.console.out.write("\n"),
            Open::Reasoning => {
                let _ = self.console.err.write("\n");
                Ok(())
            }
        }
    }

    /// Draws the progress line, or draws it again; not where something is being written.
    pub(crate) fn progress(&mut self, text: &str) {
        self.console.measure();
        let err = &mut self.console.err;
        if self.is_quiet || !err.is_redrawn || self.open != Open::Nothing {
            return;
        }
        let width = usize::from(err.width.unwrap_or(80)).saturating_sub(3);
        self.frame = (self.frame + 1) % FRAMES.len();
        let text = Style::Dim.paint(&shorten(&printable(text), width), err.is_coloured);
        let _ = err.write(&format!("\r\x1b[2K{} {text}", FRAMES[self.frame]));
        self.has_progress = true;
    }

    fn clear_progress(&mut self) {
        if std::mem::take(&mut self.has_progress) {
            let _ = self.console.err.write("\r\x1b[2K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Open, Screen};
    use crate::cli::console::{Channel, Console, Recorder};
    use crate::cli::style::Style;
    use crate::cli::transcript::Piece;

    fn answer(text: &str) -> Piece {
        Piece::Answer(text.to_owned())
    }

    #[test]
    fn on_one_terminal_notes_and_answer_have_lines_of_their_own() {
        let tty = Recorder::default();
        let mut console = Console { out: Channel::terminal(tty.clone(), false, None), err: Channel::terminal(tty.clone(), false, None) };
        let mut screen = Screen::new(&mut console, false);
        let told = [
            Piece::Reasoning("let me see".to_owned()),
            answer("I will"),
            Piece::Note(Style::Good, "✓ bash ls".to_owned()),
            answer(" look.\n"),
            Piece::Paragraph,
            answer("Done\x1b[2J."),
        ];
        for piece in &told {
            screen.show(piece).unwrap();
        }
        screen.end_line().unwrap();
        assert_eq!(tty.text(), "let me see\nI will\n✓ bash ls\n look.\n\nDone[2J.\n");
    }

    #[test]
    fn the_progress_line_is_gone_before_anything_else_is_written() {
        let tty = Recorder::default();
        let mut console =
            Console { out: Channel::terminal(tty.clone(), false, None), err: Channel::terminal(tty.clone(), false, Some(20)) };
        let mut screen = Screen::new(&mut console, false);
        screen.progress("a text that is longer than the terminal is wide");
        screen.show(&answer("hi")).unwrap();
        screen.progress("writing");
        assert_eq!(screen.open, Open::Answer, "no progress line within a line of the answer");
        assert_eq!(tty.text(), "\r\x1b[2K⠙ a text that is l…\r\x1b[2Khi");
    }

    #[test]
    fn without_terminals_there_are_notes_and_no_answer_progress_or_reasoning() {
        let (out, err) = (Recorder::default(), Recorder::default());
        let mut console = Console { out: Channel::plain(out.clone()), err: Channel::plain(err.clone()) };
        let mut screen = Screen::new(&mut console, false);
        for piece in [answer("partial"), Piece::Reasoning("hm".to_owned()), Piece::Paragraph, Piece::Note(Style::Good, "✓ ok".to_owned())]
        {
            screen.show(&piece).unwrap();
        }
        screen.progress("writing");
        assert_eq!((out.text().as_str(), err.text().as_str()), ("", "✓ ok\n"));
        assert!(!screen.has_answer());
    }
}
