//! What the cases of the network ask of servers: whom they know, and what has happened in their eyes.

use crate::support::{Cx, Server, wait_for};
use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use muster_protocol::event::{Event, kind};
use muster_protocol::ids::{EventId, ServerId};
use muster_protocol::peer::{Peer, PeerState};
use muster_protocol::task::SubmitTask;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// How long servers may take to agree, on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_mins(1);
/// After so long a peer that is gone must be shown so.
pub(super) const DOWN: Duration = Duration::from_secs(10);
/// How much later than the promise is still no failure, as the machine is busy.
pub(super) const SLACK: Duration = Duration::from_secs(5);

/// The events of each start of each server, in the order of a log.
pub(super) type Lines = BTreeMap<(ServerId, String), Vec<(u64, EventId)>>;

/// A server that is not started yet, called as it is here.
pub(crate) fn named(cx: &Cx, name: &str) -> Result<Server> {
    Ok(Server::new(cx.dir(), name)?.with_args(["--name", name]))
}

/// The same with servers to join.
pub(crate) fn joining(cx: &Cx, name: &str, to: &[&Server]) -> Result<Server> {
    let urls: Vec<_> = to.iter().map(|server| server.url()).collect();
    Ok(named(cx, name)?.with_args(["--connect".to_owned(), urls.join(",")]))
}

/// Servers `A`, `B`, .. that run, each joined to the first.
pub(crate) async fn star(cx: &Cx, names: &[&str]) -> Result<Vec<Server>> {
    let mut servers: Vec<Server> = Vec::new();
    for name in names {
        let to: Vec<&Server> = servers.first().into_iter().collect();
        let server = if to.is_empty() { named(cx, name)? } else { joining(cx, name, &to)? };
        servers.push(server.launch().await?);
    }
    all_up(&servers.iter().collect::<Vec<_>>()).await?;
    Ok(servers)
}

/// Who a server is.
pub(super) async fn id(server: &Server) -> Result<ServerId> {
    let first = server.client().events(&[("type", kind::SERVER_STARTED), ("limit", "1")]).await?;
    Ok(first.first().context("its log is empty")?.origin)
}

/// What a server shows of a peer.
pub(super) async fn peer(server: &Server, name: &str) -> Result<Option<Peer>> {
    let peers = server.client().peers().await?;
    // Of two of one name, the one that is there.
    let mut found: Vec<_> = peers.into_iter().filter(|peer| peer.name == name).collect();
    found.sort_by_key(|peer| peer.state != PeerState::Up);
    Ok(found.into_iter().next())
}

/// Waits until a server shows a peer as wanted.
pub(super) async fn until_peer(server: &Server, name: &str, limit: Duration, is_it: impl Fn(&Peer) -> bool) -> Result<Peer> {
    let waited = wait_for("a peer to be as expected", limit, async || Ok(peer(server, name).await?.filter(|peer| is_it(peer)))).await;
    match waited {
        Ok(peer) => Ok(peer),
        Err(error) => Err(error.context(format!("{} shows {:#?}", server.name(), server.client().peers().await))),
    }
}

pub(super) async fn until_state(server: &Server, name: &str, state: PeerState, limit: Duration) -> Result<Peer> {
    until_peer(server, name, limit, |peer| peer.state == state).await.with_context(|| format!("{name} is to be {state}"))
}

/// Waits until each of these follows each other.
pub(crate) async fn all_up(servers: &[&Server]) -> Result<()> {
    for server in servers {
        for other in servers.iter().filter(|other| other.name() != server.name()) {
            until_state(server, other.name(), PeerState::Up, LIMIT).await?;
        }
    }
    Ok(())
}

/// Makes `count` shared events at a server, in no particular order.
pub(super) async fn happen(server: &Server, count: usize) -> Result<()> {
    let submit = |n: usize| async move {
        let task = SubmitTask { prompt: format!("number {n}"), ..SubmitTask::default() };
        server.client().submit(&task, None).await
    };
    stream::iter((0..count).map(submit)).buffer_unordered(16).try_collect::<Vec<_>>().await?;
    Ok(())
}

/// The whole log of a server.
pub(super) async fn log(server: &Server) -> Result<Vec<Event>> {
    let mut events: Vec<Event> = Vec::new();
    loop {
        let after = events.last().map_or(0, |event| event.sequence).to_string();
        let page = server.client().events(&[("after", &after), ("limit", "1000")]).await?;
        if page.is_empty() {
            return Ok(events);
        }
        events.extend(page);
    }
}

/// What a log has of each start of each server. Each must be there from 1 on, in order, without holes and once.
pub(super) fn lines(of: &str, events: &[Event]) -> Result<Lines> {
    let mut lines = Lines::new();
    for event in events {
        ensure!(event.kind != kind::LOG_GAP, "{of} gave something up: {event:?}");
        let Some(number) = event.originseq else { continue };
        let line = lines.entry((event.origin, event.epoch.clone())).or_default();
        let expected = line.len() as u64 + 1;
        ensure!(number == expected, "{of} has event {number} of {} where {expected} was to come: {event:?}", event.origin);
        line.push((number, event.id));
    }
    Ok(lines)
}

/// Waits until all servers have the same events, and answers them. What must never be seen, on the way too: an event twice, too early, or given up.
pub(super) async fn same_everywhere(servers: &[&Server]) -> Result<Lines> {
    let limit = LIMIT * 2;
    wait_for("all servers to have the same events", limit, async || {
        let mut all = Vec::new();
        for server in servers {
            all.push(lines(server.name(), &log(server).await?)?);
        }
        // The first is read again at last: nothing has happened in between.
        let again = lines(servers[0].name(), &log(servers[0]).await?)?;
        Ok(all.iter().all(|lines| *lines == again).then_some(again))
    })
    .await
}

/// How many events of a server all starts together have.
pub(super) fn count_of(lines: &Lines, id: ServerId) -> usize {
    lines.iter().filter(|((origin, _), _)| *origin == id).map(|(_, line)| line.len()).sum()
}

/// Copies a directory with all that is in it to a place where there is none.
pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp").arg("-a").args([from, to]).status()?;
    ensure!(status.success(), "{} cannot be copied", from.display());
    Ok(())
}

/// Holds a process, or lets it go on: what is held keeps its connections, and never answers.
pub(super) fn hold(server: &Server, hold: bool) -> Result<()> {
    use rustix::process::{Pid, Signal, kill_process};
    let pid = Pid::from_raw(i32::try_from(server.process_id()?)?).context("no process")?;
    Ok(kill_process(pid, if hold { Signal::STOP } else { Signal::CONT })?)
}
