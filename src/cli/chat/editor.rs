//! Reading messages at a terminal: a line editor with many lines, a history on disk, and completion of commands.

use super::typed;
use crate::cli::exit::Failure;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{
    Cmd, CompletionType, ConditionalEventHandler, Config, Context, Event, EventContext, EventHandler, Helper, KeyCode, KeyEvent, Modifiers,
    RepeatCount,
};
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// How many messages the history keeps.
const REMEMBERED: usize = 1_000;
const PROMPT: &str = "> ";
/// The prompt after a line that ends with a backslash.
const CONTINUED: &str = "  ";

/// What was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Input {
    Text(String),
    /// Ctrl-C on a line that was not empty: it is given up.
    GivenUp,
    /// Ctrl-D, Ctrl-C on an empty line, or the end of the input.
    End,
}

/// The line editor.
pub(super) struct Editor {
    editor: rustyline::Editor<Words, FileHistory>,
    history: Option<PathBuf>,
}

impl Editor {
    /// An editor; `models` complete `/model`. Without a history file there is only that of this chat.
    pub(super) fn new(models: Vec<String>, history: Option<PathBuf>) -> Result<Self, Failure> {
        let config = Config::builder()
            .max_history_size(REMEMBERED)
            .and_then(|config| config.history_ignore_dups(true))
            .map_err(|error| failure(&error))?
            .history_ignore_space(true)
            .completion_type(CompletionType::List)
            .bracketed_paste(true)
            .auto_add_history(false)
            .build();
        let mut editor = rustyline::Editor::with_config(config).map_err(|error| failure(&error))?;
        editor.set_helper(Some(Words { models }));
        let newline = || EventHandler::Simple(Cmd::Newline);
        editor.bind_sequence(KeyEvent(KeyCode::Enter, Modifiers::ALT), newline());
        editor.bind_sequence(KeyEvent::ctrl('J'), newline());
        editor.bind_sequence(KeyEvent::ctrl('C'), EventHandler::Conditional(Box::new(CtrlC)));
        let history = history.filter(|path| make_private(path).is_ok() && editor.load_history(path).is_ok());
        Ok(Self { editor, history })
    }

    /// Whether what is typed is kept on disk.
    pub(super) fn remembers(&self) -> bool {
        self.history.is_some()
    }

    /// Waits for a message. The terminal is the editor's meanwhile.
    pub(super) fn next(&mut self) -> Result<Input, Failure> {
        let (mut text, mut prompt) = (String::new(), PROMPT);
        loop {
            match self.editor.readline(prompt) {
                Ok(line) => {
                    if let Some(beginning) = line.strip_suffix('\\') {
                        (text, prompt) = (text + beginning + "\n", CONTINUED);
                        continue;
                    }
                    text.push_str(&line);
                    self.remember(&text);
                    return Ok(Input::Text(text));
                }
                Err(ReadlineError::Eof) if text.is_empty() => return Ok(Input::End),
                Err(ReadlineError::Interrupted | ReadlineError::Eof) => return Ok(Input::GivenUp),
                Err(error) => return Err(failure(&error)),
            }
        }
    }

    /// Nothing is lost but the history where that cannot be written.
    fn remember(&mut self, text: &str) {
        if !text.trim().is_empty() && self.editor.add_history_entry(text).unwrap_or(false) {
            self.history.iter().for_each(|path| drop(self.editor.append_history(path)));
        }
    }
}

fn failure(error: &ReadlineError) -> Failure {
    Failure::Other(format!("cannot read from the terminal: {error}"))
}

/// Makes the file where there is none, and lets nobody else read it: messages hold all kinds of things.
fn make_private(path: &Path) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))
}

/// Where messages are remembered.
pub(super) fn history_file() -> Option<PathBuf> {
    let dir = dirs::state_dir().or_else(dirs::data_local_dir)?;
    Some(dir.join("muster").join("chat-history"))
}

struct CtrlC;

impl ConditionalEventHandler for CtrlC {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, context: &EventContext) -> Option<Cmd> {
        Some(if context.line().is_empty() { Cmd::EndOfFile } else { Cmd::Interrupt })
    }
}

/// The words that Tab completes.
struct Words {
    models: Vec<String>,
}

impl Completer for Words {
    type Candidate = String;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(self.completions(line.get(..pos).unwrap_or(line)))
    }
}

impl Words {
    /// Where the word begins, and what it may become.
    fn completions(&self, typed: &str) -> (usize, Vec<String>) {
        if let Some(word) = typed.strip_prefix("/model ") {
            let models = self.models.iter().filter(|model| model.starts_with(word));
            return (typed.len() - word.len(), models.cloned().collect());
        }
        if !typed.starts_with('/') {
            return (0, Vec::new());
        }
        (0, typed::names().filter(|name| name.starts_with(typed)).map(str::to_owned).collect())
    }
}

impl Hinter for Words {
    type Hint = String;
}
impl Highlighter for Words {}
impl Validator for Words {}
impl Helper for Words {}

#[cfg(test)]
mod tests {
    use super::{Words, make_private};
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn commands_and_models_are_completed() {
        let words = Words { models: vec!["fake/echo".to_owned(), "fake/small".to_owned(), "other/x".to_owned()] };
        assert_eq!(words.completions("/mo").1, ["/model", "/mode"]);
        assert_eq!(words.completions("/model fake/s"), (7, vec!["fake/small".to_owned()]));
        assert!(words.completions("hello /m").1.is_empty());
    }

    #[test]
    fn the_history_is_readable_by_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/chat-history");
        make_private(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        make_private(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
