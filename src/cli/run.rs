//! `muster run`: gives a task to a worker and shows the answer.

use super::exit::{Exit, Failure};
use super::follow::follow;
use super::session::Session;
use super::sessions;
use super::signal::Interrupts;
use super::style::Style;
use backon::{ExponentialBuilder, Retryable};
use clap::Args;
use clap::builder::PossibleValuesParser;
use muster_protocol::client::ClientError;
use muster_protocol::task::{OnLost, SubmitTask, Target, Task};
use std::io::Read;
use std::time::Duration;
use uuid::Uuid;

const HELP: &str = "\
On a terminal the answer is written as it comes; what happens meanwhile is told on standard error.
Elsewhere standard output gets the result of the completed task, byte for byte and nothing else, at the end.
With --json it gets one line for each entry of the task's stream as it comes, then one line with the task.
Ctrl-C asks whether to cancel the task or to leave it running; a second one, or one without a terminal, leaves it running.";

/// Options of `muster run`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Run {
    /// What to do; `-` reads standard input
    #[arg(required = true, value_name = "PROMPT")]
    prompt: Vec<String>,
    /// The codebase to work in, by name or id; the worker's home directory if absent
    #[arg(long, short = 'C', value_name = "NAME|ID")]
    codebase: Option<String>,
    /// The worker that is to do it, by name or id; any if absent
    #[arg(long, short, value_name = "NAME|ID")]
    worker: Option<String>,
    /// The model, as "muster models" names it; the worker's default if absent
    #[arg(long, short, value_name = "PROVIDER/MODEL")]
    model: Option<String>,
    /// OpenCode's agent: build, plan, ..; build if absent
    #[arg(long)]
    mode: Option<String>,
    /// Go on with this conversation
    #[arg(long = "continue", value_name = "CONTEXT")]
    context: Option<String>,
    /// Go on with this OpenCode session, by enough of its id's beginning or end ("muster sessions")
    #[arg(long, value_name = "SESSION", conflicts_with_all = ["context", "codebase", "worker"])]
    session: Option<String>,
    /// Go on with a copy of the session, and leave the session itself as it is
    #[arg(long, requires = "session")]
    fork: bool,
    /// A label that the worker must have; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// A capability that the worker must have; may be repeated
    #[arg(long = "capability", value_name = "NAME")]
    capabilities: Vec<String>,
    /// A short title; the beginning of the prompt if absent
    #[arg(long)]
    title: Option<String>,
    /// Higher goes first
    #[arg(long, allow_negative_numbers = true)]
    priority: Option<i32>,
    /// What happens if the worker is lost meanwhile: wait for it, resume the session when it is back, restart elsewhere
    #[arg(long, value_name = "POLICY", value_parser = PossibleValuesParser::new(["wait", "resume", "restart"]))]
    on_lost: Option<String>,
    /// Do not wait: print the task's id
    #[arg(long, short)]
    detach: bool,
    /// Only the answer and errors
    #[arg(long, short)]
    quiet: bool,
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("it should look like KEY=VALUE".to_owned()),
    }
}

/// Submits the task, and follows it unless it is to be left alone.
pub(crate) async fn run(args: Run, session: &mut Session<'_>) -> Result<Exit, Failure> {
    let (detach, is_quiet) = (args.detach, args.quiet);
    let prompt = read_prompt(&args.prompt)?;
    let resumed = match &args.session {
        Some(typed) => Some(sessions::find(session, typed).await?),
        None => None,
    };
    let fork = args.fork;
    let mut request = args.into_request(prompt);
    if let Some(resumed) = &resumed {
        sessions::resume(resumed, fork, &mut request);
    }
    let mut interrupts = Interrupts::new().map_err(|error| Failure::Other(format!("cannot listen for Ctrl-C: {error}")))?;
    let key = Uuid::new_v4().to_string();
    let task = tokio::select! {
        task = submit(session, &request, &key) => task?,
        () = interrupts.next() => return Err(Failure::Interrupted("interrupted; the task may have been accepted, see \"muster tasks\"".to_owned())),
    };
    if !detach {
        return follow(session, task.id, is_quiet, &mut interrupts).await;
    }
    if session.json {
        session.print_json(&task)?;
    } else {
        session.console.line(&task.id.to_string())?;
        if !is_quiet && session.console.err.is_terminal {
            let how = format!("follow it with: {} task {} --follow", session.program, task.id);
            session.console.note(Style::Dim, &how);
        }
    }
    Ok(Exit::Done)
}

fn read_prompt(words: &[String]) -> Result<String, Failure> {
    let prompt = if words == ["-"] {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).map_err(|error| Failure::Other(format!("cannot read standard input: {error}")))?;
        String::from_utf8(bytes).map_err(|_| Failure::Usage("standard input is no UTF-8 text".to_owned()))?
    } else {
        words.join(" ")
    };
    if prompt.trim().is_empty() {
        return Err(Failure::Usage("the prompt is empty".to_owned()));
    }
    Ok(prompt)
}

impl Run {
    fn into_request(self, prompt: String) -> SubmitTask {
        let has_target = self.codebase.is_some() || self.worker.is_some();
        SubmitTask {
            prompt,
            title: self.title,
            target: has_target.then_some(Target { codebase: self.codebase, worker: self.worker, ..Target::default() }),
            model: self.model,
            mode: self.mode,
            capabilities: self.capabilities,
            labels: self.labels.into_iter().collect(),
            priority: self.priority,
            context_id: self.context.as_deref().map(Into::into),
            on_lost: self.on_lost.as_deref().and_then(OnLost::from_word),
            ..SubmitTask::default()
        }
    }
}

/// Submits under a key, so that trying again cannot make a second task.
pub(crate) async fn submit(session: &mut Session<'_>, request: &SubmitTask, key: &str) -> Result<Task, Failure> {
    let client = session.client.clone();
    let again = ExponentialBuilder::default().with_min_delay(Duration::from_millis(200)).with_max_times(4);
    let attempt = || client.submit(request, Some(key));
    let tell = |error: &ClientError, pause: Duration| {
        if session.console.err.is_terminal {
            session.console.note(Style::Warn, &format!("! {error}; trying again in {:.1} s", pause.as_secs_f32()));
        }
    };
    Ok(attempt.retry(again).when(ClientError::is_retryable).notify(tell).await?)
}

#[cfg(test)]
mod tests {
    use super::{Run, label, read_prompt};
    use crate::cli::{Cli, Command};
    use clap::{CommandFactory, Parser};
    use serde_json::json;

    fn parse(args: &[&str]) -> Run {
        match Cli::parse_from([&["muster", "run"], args].concat()).command {
            Command::Run(run) => run,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_options_of_all_commands_agree_with_each_other() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_bare_prompt_asks_for_nothing_else() {
        let request = parse(&["fix", "the tests"]).into_request("fix the tests".to_owned());
        assert_eq!(serde_json::to_value(request).unwrap(), json!({"prompt": "fix the tests"}));
    }

    #[test]
    fn every_option_reaches_the_request() {
        let args = "p --codebase web -w box --model a/b --mode plan --continue ctx --label os=linux --label gpu= --capability x --title t --priority -2 --on-lost restart";
        let request = parse(&args.split(' ').collect::<Vec<_>>()).into_request("p".to_owned());
        let expected = json!({
            "prompt": "p", "title": "t", "target": {"codebase": "web", "worker": "box"}, "model": "a/b", "mode": "plan", "capabilities": ["x"],
            "labels": {"os": "linux", "gpu": ""}, "priority": -2, "context_id": "ctx", "on_lost": "restart",
        });
        assert_eq!(serde_json::to_value(request).unwrap(), expected);
    }

    #[test]
    fn a_prompt_is_its_words_and_not_empty() {
        let words = |words: &[&str]| read_prompt(&words.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(words(&["fix", "it"]).unwrap(), "fix it");
        assert!(words(&[" \n"]).is_err());
    }

    #[test]
    fn a_label_has_a_key_and_a_value() {
        assert_eq!(label("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(label("a").is_err() && label("=b").is_err());
    }
}
