//! The command line. Everything but `serve` goes through [`muster_protocol::client::Client`].

mod agents;
mod cancel;
mod chat;
mod codebases;
mod console;
mod events;
mod exit;
mod explain;
mod follow;
mod lookup;
mod models;
mod peers;
mod reader;
mod render;
mod retry;
mod run;
mod screen;
mod session;
mod sessions;
mod signal;
mod status;
mod style;
mod summary;
mod table;
mod task;
mod tasks;
mod token;
mod transcript;
mod waiting;
mod workers;

use clap::{Parser, Subcommand};
use console::Console;
use exit::{Exit, Failure};
use muster::config::ServeArgs;
use muster::serve;
use session::Session;

/// Where a server is looked for if none is named.
const DEFAULT_SERVER: &str = "http://127.0.0.1:5001";

/// The heading of the options that every command but `serve` reads.
const BUT_SERVE: &str = "Options of all commands but serve";

/// Runs tasks in OpenCode on your machines.
#[derive(Debug, Parser)]
#[command(name = "muster", version, after_help = exit::help(), subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// The server to talk to
    #[arg(long, global = true, help_heading = BUT_SERVE, env = "MUSTER_SERVER", value_name = "URL", default_value = DEFAULT_SERVER)]
    server: String,
    /// The token to show it; prefer the environment, which other users cannot read
    #[arg(long, global = true, help_heading = BUT_SERVE, env = "MUSTER_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Print the server's data as JSON, for scripts
    #[arg(long, global = true, help_heading = BUT_SERVE)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a server
    Serve(ServeArgs),
    /// Give a task to a worker and show the answer
    Run(run::Run),
    /// Talk with a machine's OpenCode, turn by turn
    Chat(chat::Chat),
    /// List the machines that run tasks
    Workers(workers::Workers),
    /// List agents, and add and remove those of others
    Agents(agents::Agents),
    /// List the other servers of the network, join and let go
    Peers(peers::Peers),
    /// List the models that the workers' OpenCode has
    Models(models::Models),
    /// List the directories that tasks can run in
    Codebases(codebases::Codebases),
    /// List the OpenCode sessions of all machines
    Sessions(sessions::Sessions),
    /// Show an OpenCode session and its last messages
    Session(sessions::Show),
    /// List tasks
    Tasks(tasks::Tasks),
    /// Show one task, or follow it
    Task(task::Show),
    /// Cancel a task
    Cancel(cancel::Cancel),
    /// Run a task again, as a new task of the same conversation
    Retry(retry::Retry),
    /// Say why a task is waiting
    Explain(explain::Explain),
    /// List what running tasks ask: permissions and questions
    Waiting(waiting::Waiting),
    /// Permit what a running task asks for
    Approve(waiting::Approve),
    /// Refuse what a running task asks for
    Deny(waiting::Deny),
    /// Answer the question of a running task
    Answer(waiting::Answer),
    /// Show what has happened: the server's event log
    Events(events::Events),
    /// Show the server at a glance
    Status(status::Status),
    /// Make, list and revoke tokens
    Token(token::Tokens),
}

/// Runs a command and prints what went wrong, in one line.
pub(crate) async fn run(cli: Cli) -> Exit {
    run_on(cli, &mut Console::of_process()).await
}

async fn run_on(cli: Cli, console: &mut Console) -> Exit {
    let outcome = match cli.command {
        Command::Serve(args) => serve_until_stopped(args).await,
        command => match Session::new(&cli.server, cli.token, cli.json, console) {
            Ok(mut session) => dispatch(command, &mut session).await,
            Err(failure) => Err(failure),
        },
    };
    let outcome = outcome.and_then(|exit| console.flush().map(|()| exit).map_err(Failure::from));
    outcome.unwrap_or_else(|failure| {
        if let Some(message) = failure.message() {
            console.error(&message);
        }
        failure.exit()
    })
}

async fn serve_until_stopped(args: ServeArgs) -> Result<Exit, Failure> {
    match serve::run(&args).await {
        Ok(()) => Ok(Exit::Done),
        Err(error) => Err(Failure::Other(error.to_string())),
    }
}

async fn dispatch(command: Command, session: &mut Session<'_>) -> Result<Exit, Failure> {
    match command {
        Command::Serve(args) => serve_until_stopped(args).await,
        Command::Run(args) => run::run(args, session).await,
        Command::Chat(args) => chat::run(args, session).await,
        Command::Workers(args) => workers::run(&args, session).await,
        Command::Agents(args) => agents::run(args, session).await,
        Command::Peers(args) => peers::run(args, session).await,
        Command::Models(args) => models::run(&args, session).await,
        Command::Codebases(args) => codebases::run(&args, session).await,
        Command::Sessions(args) => sessions::run(&args, session).await,
        Command::Session(args) => sessions::show(&args, session).await,
        Command::Tasks(args) => tasks::run(&args, session).await,
        Command::Task(args) => task::run(&args, session).await,
        Command::Cancel(args) => cancel::run(&args, session).await,
        Command::Retry(args) => retry::run(&args, session).await,
        Command::Explain(args) => explain::run(&args, session).await,
        Command::Waiting(args) => waiting::list(&args, session).await,
        Command::Approve(args) => waiting::approve(&args, session).await,
        Command::Deny(args) => waiting::deny(&args, session).await,
        Command::Answer(args) => waiting::answer(&args, session).await,
        Command::Events(args) => events::run(&args, session).await,
        Command::Status(args) => status::run(&args, session).await,
        Command::Token(args) => token::run(args, session).await,
    }
}

#[cfg(test)]
mod tests;
