//! `muster chat`: a conversation at the terminal. Each message is a task of one context.

mod echo;
mod editor;
mod lines;
mod past;
mod place;
mod talk;
mod typed;

use super::exit::{Exit, Failure};
use super::session::Session;
use clap::Args;
use editor::{Editor, Input, history_file};
use lines::Lines;
use std::io::{IsTerminal, stdin};
use std::ops::ControlFlow;
use talk::Talk;

const HELP: &str = "\
At the prompt: /help lists the commands. Enter sends; Alt-Enter, or Enter after a \\ at the end, begins another line; what is pasted is one message.
Ctrl-C while an answer comes cancels that turn, a second one leaves it running. Ctrl-D ends the chat.
In a pipe each line is a message (a \\ at its end joins the next one), standard output gets the answers and nothing else, each ended with a line
break, and the exit code is that of the last turn that failed.";

/// Options of `muster chat`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Chat {
    /// The worker to talk with, by name or id; any if absent
    #[arg(long, short, value_name = "NAME|ID")]
    worker: Option<String>,
    /// The codebase to work in, by name or id; the worker's home directory if absent
    #[arg(long, short = 'C', value_name = "NAME|ID")]
    codebase: Option<String>,
    /// Go on with this conversation
    #[arg(long = "continue", value_name = "CONTEXT", conflicts_with_all = ["worker", "codebase"])]
    context: Option<String>,
    /// Go on with this OpenCode session, by enough of its id's beginning or end ("muster sessions")
    #[arg(long, value_name = "SESSION", conflicts_with_all = ["context", "worker", "codebase"])]
    session: Option<String>,
    /// Go on with a copy of the session, and leave the session itself as it is
    #[arg(long, requires = "session")]
    fork: bool,
    /// The model, as "muster models" names it; the worker's default if absent
    #[arg(long, short, value_name = "PROVIDER/MODEL")]
    model: Option<String>,
    /// OpenCode's agent: build, plan, ..; build if absent
    #[arg(long)]
    mode: Option<String>,
    /// Only the answers and errors
    #[arg(long, short)]
    quiet: bool,
}

/// Where messages come from.
enum Source {
    Editor(Box<Editor>),
    Lines(Lines),
}

impl Source {
    /// The line editor, where there is a terminal that can be edited on.
    fn open(talk: &Talk<'_, '_>) -> Result<Self, Failure> {
        if !(stdin().is_terminal() && talk.has_screen()) {
            return Ok(Self::Lines(Lines::new()));
        }
        Ok(Self::Editor(Box::new(Editor::new(talk.model_ids(), history_file())?)))
    }

    async fn next(&mut self) -> Result<Input, Failure> {
        match self {
            // It needs the thread: nothing else happens while somebody types.
            Self::Editor(editor) => tokio::task::block_in_place(|| editor.next()),
            Self::Lines(lines) => lines.next().await,
        }
    }
}

/// Talks until the input ends.
pub(crate) async fn run(args: Chat, session: &mut Session<'_>) -> Result<Exit, Failure> {
    if session.json {
        return Err(Failure::Usage("a chat has no --json; use \"muster run --continue CONTEXT --json\"".to_owned()));
    }
    let mut talk = Talk::begin(args, session).await?;
    let mut source = Source::open(&talk)?;
    let is_scripted = matches!(source, Source::Lines(_)) && !stdin().is_terminal();
    talk.greet(is_scripted).await?;
    if matches!(&source, Source::Editor(editor) if !editor.remembers()) {
        talk.warn("the history file cannot be used; messages are remembered for this chat only");
    }
    let mut exit = Exit::Done;
    loop {
        if matches!(source, Source::Lines(_)) && !is_scripted {
            talk.prompt();
        }
        let text = match source.next().await? {
            Input::Text(text) => text,
            Input::GivenUp => continue,
            Input::End => break,
        };
        match talk.take(&text).await? {
            ControlFlow::Break(()) => break,
            ControlFlow::Continue(Exit::Done) => (),
            ControlFlow::Continue(failed) => exit = failed,
        }
        // A script whose user interrupts it, or that has lost its server, must not go on with its next line.
        if is_scripted && matches!(exit, Exit::Interrupted | Exit::Unreachable) {
            break;
        }
    }
    talk.farewell();
    Ok(if is_scripted { exit } else { Exit::Done })
}
