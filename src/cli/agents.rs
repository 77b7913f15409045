//! `muster agents`: who answers messages, and agents of others.

use super::console::Console;
use super::exit::{Exit, Failure};
use super::render::{ago, printable};
use super::session::{Session, now};
use super::table::{Table, dim, plain, state};
use clap::{Args, Subcommand};
use muster_protocol::agent::{AddAgent, AgentEntry};
use muster_protocol::time::Timestamp;

/// Options of `muster agents`.
#[derive(Debug, Args)]
pub(crate) struct Agents {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the agents; so also without a subcommand
    List,
    /// Add an agent of others by its address or that of its card; the same again reads the card anew
    Add {
        /// For example `http://127.0.0.1:5002/agents/planner`
        url: String,
        /// The name under which it is to be reached here; made of its card's if absent
        #[arg(long)]
        name: Option<String>,
        /// The environment variable that holds the bearer token which the agent is shown
        #[arg(long, value_name = "VARIABLE")]
        token_env: Option<String>,
        /// Let the agent be at another scheme, host or port than its card
        #[arg(long)]
        other_host: bool,
    },
    /// Remove an agent of others; its tasks that have not ended fail
    Remove {
        /// Its name
        name: String,
    },
}

pub(crate) async fn run(args: Agents, session: &mut Session<'_>) -> Result<Exit, Failure> {
    match args.action {
        None | Some(Action::List) => {
            session.show("v1/agents", &[], |agents: Vec<AgentEntry>, console| render(&agents, console, now())).await
        }
        Some(Action::Add { url, name, token_env, other_host }) => {
            let token = match token_env {
                None => None,
                Some(variable) => Some(std::env::var(&variable).map_err(|_| Failure::Usage(format!("the environment has no {variable}")))?),
            };
            let added = session.client.add_agent(&AddAgent { url, name, token, other_host }).await?;
            if session.json {
                session.print_json(&added)?;
                return Ok(Exit::Done);
            }
            let speaks = added.speaks.unwrap_or_default();
            session.console.line(&printable(&format!("added {} ({speaks}), reached at {}", added.name, added.url)))?;
            if let Some(note) = added.note {
                session.console.line(&printable(&note))?;
            }
            Ok(Exit::Done)
        }
        Some(Action::Remove { name }) => {
            let answer = session.client.remove_agent(&name).await?;
            if session.json {
                session.print_json(&answer)?;
            } else {
                session.console.line(&printable(&format!("removed {name}")))?;
            }
            Ok(Exit::Done)
        }
    }
}

fn render(agents: &[AgentEntry], console: &Console, now: Timestamp) -> String {
    let mut table = Table::new(&["~NAME", "KIND", "STATE", "SINCE", "~SPEAKS", "~HOME"]);
    for agent in agents {
        table.row([
            plain(&agent.name),
            plain(agent.kind.as_str()),
            state(agent.health.state.as_str()),
            dim(agent.health.since.map(|since| ago(since, now)).unwrap_or_default()),
            plain(agent.speaks.as_deref().unwrap_or_default()),
            plain(&agent.home),
        ]);
    }
    let mut lines = vec![table.render(&console.out)];
    let reasons = agents.iter().filter_map(|agent| Some((agent, agent.health.reason.as_ref()?)));
    lines.extend(reasons.map(|(agent, reason)| printable(&format!("! {}: {reason}", agent.name))));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::render;
    use crate::cli::console::{Channel, Console};
    use muster_protocol::time::Timestamp;
    use serde_json::json;
    use std::io::sink;

    #[test]
    fn agents_that_are_away_are_shown_with_the_reason() {
        let at = Timestamp(1_700_000_000_000);
        let agents = serde_json::from_value::<Vec<_>>(json!([
            { "name": "Monitor-A", "kind": "own", "description": "", "url": "u", "home": "A", "health": { "state": "up" } },
            { "name": "planner", "kind": "external", "description": "", "url": "u", "home": "http://h/card.json", "speaks": "JSONRPC 0.3",
              "health": { "state": "down", "reason": "connection refused", "since": at } }
        ]))
        .unwrap();
        let console = Console { out: Channel::plain(sink()), err: Channel::plain(sink()) };
        let text = render(&agents, &console, Timestamp(at.0 + 180_000));
        let line = text.lines().find(|line| line.starts_with("planner")).unwrap();
        assert_eq!(line.split_whitespace().collect::<Vec<_>>().join(" "), "planner external down 3 min ago JSONRPC 0.3 http://h/card.json");
        assert!(text.ends_with("! planner: connection refused"), "{text}");
    }
}
