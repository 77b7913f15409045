//! `muster peers`: the other servers of the network.

use super::console::Console;
use super::exit::{Exit, Failure};
use super::render::{ago, printable};
use super::session::{Session, now};
use super::table::{Table, dim, plain, state};
use clap::{Args, Subcommand};
use muster_protocol::peer::{AddPeer, Peer, PeerState};
use muster_protocol::time::Timestamp;

/// Options of `muster peers`.
#[derive(Debug, Args)]
pub(crate) struct Peers {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the other servers; so also without a subcommand
    List,
    /// Join a server, and through it its network; the address is tried until it answers, also after a restart
    Add {
        /// For example `http://192.0.2.7:5001`
        url: String,
    },
    /// Let a server go: it does not come back unless it is added again
    Remove {
        /// Its name, or its id
        name: String,
    },
}

pub(crate) async fn run(args: Peers, session: &mut Session<'_>) -> Result<Exit, Failure> {
    match args.action {
        None | Some(Action::List) => session.show("v1/peers", &[], |peers: Vec<Peer>, console| render(&peers, console, now())).await,
        Some(Action::Add { url }) => {
            let peer = session.client.add_peer(&AddPeer { url }).await?;
            if session.json {
                session.print_json(&peer)?;
                return Ok(Exit::Done);
            }
            let is_up = peer.state == PeerState::Up;
            let why = peer.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
            let line = if is_up {
                format!("joined {} at {}", peer.name, peer.url)
            } else {
                format!("{} is {}{why}; it is tried until it answers", peer.name, peer.state)
            };
            session.console.line(&printable(&line))?;
            Ok(Exit::Done)
        }
        Some(Action::Remove { name }) => {
            let peers = session.client.peers().await?;
            let is_it = |peer: &&Peer| peer.name == name || peer.url == name || peer.server_id.is_some_and(|id| id.to_string() == name);
            let mut found: Vec<_> = peers.iter().filter(is_it).filter_map(|peer| peer.server_id).collect();
            found.sort_unstable();
            // One that was refused lately is shown beside what it was before.
            found.dedup();
            let id = match found.as_slice() {
                [id] => *id,
                [] => return Err(Failure::Usage(format!("there is no peer `{name}`; `muster peers` lists them"))),
                _ => {
                    return Err(Failure::Usage(format!(
                        "there are {} peers called `{name}`; give the id (`muster peers --json`)",
                        found.len()
                    )));
                }
            };
            let done = session.client.remove_peer(id).await?;
            if session.json {
                session.print_json(&done)?;
            } else {
                session.console.line(&printable(&done.message))?;
            }
            Ok(Exit::Done)
        }
    }
}

fn render(peers: &[Peer], console: &Console, now: Timestamp) -> String {
    if peers.is_empty() {
        return "no other server is known; join one with `muster peers add URL`, or start with --connect URL".to_owned();
    }
    let mut table = Table::new(&["~NAME", "STATE", "SINCE", "SEEN", "AGENTS", "FREE", "~ADDRESS"]);
    for peer in peers {
        table.row([
            plain(&peer.name),
            state(peer.state.as_str()),
            dim(peer.since.map(|since| ago(since, now)).unwrap_or_default()),
            dim(peer.last_seen.map(|seen| ago(seen, now)).unwrap_or_default()),
            plain(peer.agents.to_string()),
            plain(peer.free_slots.to_string()),
            plain(&peer.url),
        ]);
    }
    let mut lines = vec![table.render(&console.out)];
    for peer in peers {
        let said = [&peer.reason, &peer.fault];
        lines.extend(said.into_iter().flatten().map(|said| printable(&format!("! {}: {said}", peer.name))));
    }
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
    fn peers_that_are_away_or_misbehave_are_shown_with_the_reason() {
        let at = Timestamp(1_700_000_000_000);
        let place = json!({ "epoch": "", "sequence": 0 });
        let peers = serde_json::from_value::<Vec<_>>(json!([
            { "name": "Server-B", "url": "http://h:5002", "state": "down", "reason": "it cannot be reached", "since": at, "place": place,
              "agents": 4, "free_slots": 2 },
            { "name": "Server-C", "url": "http://h:5003", "state": "up", "fault": "it lies", "place": place, "agents": 0, "free_slots": 0 }
        ]))
        .unwrap();
        let console = Console { out: Channel::plain(sink()), err: Channel::plain(sink()) };
        let text = render(&peers, &console, Timestamp(at.0 + 180_000));
        assert!(text.contains("! Server-B: it cannot be reached") && text.contains("! Server-C: it lies"), "{text}");
        let line = text.lines().find(|line| line.starts_with("Server-B")).unwrap();
        assert_eq!(line.split_whitespace().collect::<Vec<_>>().join(" "), "Server-B down 3 min ago 4 2 http://h:5002");
        assert!(render(&[], &console, at).contains("--connect"));
    }
}
