//! Following a peer: hello, then its feed; and, where it cannot reach this server, sending it what it would read here.

use super::feed::Feed;
use super::hello::{Greeted, say};
use super::http::{self, Lines, PeerError};
use super::link::{Link, SILENCE};
use super::receive::Receiver;
use crate::app::App;
use crate::store::StoreError;
use crate::store::peers::PutPeer;
use muster_protocol::ids::ServerId;
use muster_protocol::peer::{Line, Place, PushTaken, Pushed, Welcome};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const FEED: &str = "/v1/network/feed";
const PUSH: &str = "/v1/network/push";
/// How often a peer is looked at that reads from this server too.
const PAUSE_OF_PUSHES: Duration = Duration::from_millis(50);
/// How much is sent at once, in bytes: the smallest body that any server takes.
const LARGEST_PUSH: usize = 48 << 10;

/// Why following a peer ended.
pub(super) enum Ended {
    /// It is to be begun again at once, from the place that is kept.
    Rewind,
    /// It broke, or never began.
    After(PeerError),
}

/// Follows a peer until that breaks.
pub(super) async fn follow(app: &App, link: &Arc<Link>) -> Ended {
    match try_to_follow(app, link).await {
        Ok(()) => Ended::Rewind,
        Err(error) => Ended::After(error),
    }
}

async fn try_to_follow(app: &App, link: &Arc<Link>) -> Result<(), PeerError> {
    let url = link.url();
    let welcome = match say(app, &url).await? {
        Greeted::Peer(welcome) if welcome.hello.server_id == link.id => welcome,
        Greeted::Peer(welcome) => {
            let name = &welcome.hello.name;
            super::seeds::found(app, &url, &welcome).await;
            return Err(PeerError::Unreachable(format!("at its address another server answers, {name}")));
        }
        Greeted::Itself => return Err(PeerError::Unreachable("at its address this server itself answers".to_owned())),
    };
    link.met(&welcome.hello);
    let token = app.network.key.token(app.store.identity().server_id, link.id);
    let place = remember(app, link, &url).await.map_err(|error| PeerError::Unreachable(error.to_string()))?;
    let query = [("epoch", place.epoch.as_str()), ("after", &place.sequence.to_string()), ("reader", &app.store.identity().epoch)];
    let lines = Lines::new(http::open(&url, FEED, token.expose(), &query).await?);
    let mut receiver = Receiver::new(app.clone(), Arc::clone(link));
    tokio::select! {
        ended = receive(app, link, lines, &mut receiver) => ended,
        ended = send(app, &url, token.expose(), &welcome) => ended,
    }
}

/// A peer that was found at an address is remembered there, whoever told of it; answers how far its log was read.
async fn remember(app: &App, link: &Link, url: &str) -> Result<Place, StoreError> {
    let known = app.store.peer(link.id).await?;
    if known.as_ref().is_none_or(|peer| peer.url != url) {
        let (server_id, name, url) = (link.id, link.name(), url.to_owned());
        app.store.write(PutPeer { server_id, name, url, take_back: false, now: app.now() }).await?;
    }
    Ok(known.map(|peer| peer.place).unwrap_or_default())
}

async fn receive(app: &App, link: &Link, mut lines: Lines, receiver: &mut Receiver) -> Result<(), PeerError> {
    let mut changes = app.network.changes();
    let mut silent_at = Instant::now() + SILENCE;
    loop {
        changes.mark_unchanged();
        if receiver.must_begin_again() {
            return Ok(());
        }
        let next = tokio::select! {
            // What others say is no word of this one.
            next = tokio::time::timeout_at(silent_at, lines.next()) => next,
            _ = changes.changed() => continue,
        };
        let next = next.map_err(|_| PeerError::Unreachable(format!("it has said nothing for {} s", SILENCE.as_secs())))?;
        silent_at = Instant::now() + SILENCE;
        let Some(told) = next? else { return Err(PeerError::Unreachable("it ended the connection".to_owned())) };
        let mut read = Vec::with_capacity(told.len());
        for line in told {
            read.push(serde_json::from_slice::<Line>(&line).map_err(|e| {
                PeerError::Fault(format!("it tells what cannot be read ({e}): {}", http::shown(&String::from_utf8_lossy(&line))))
            })?);
        }
        link.is_up(app).await;
        receiver.take(read).await?;
    }
}

/// Sends a peer that cannot reach this server what it would read here; does nothing where it can.
async fn send(app: &App, url: &str, token: &str, welcome: &Welcome) -> Result<(), PeerError> {
    if welcome.reached {
        return std::future::pending().await;
    }
    let mut feed = begin(app, welcome.hello.server_id, &welcome.hello.epoch, &welcome.place).await?;
    loop {
        let lines = feed.next().await.map_err(|error| PeerError::Unreachable(error.to_string()))?;
        let Some(lines) = lines else { return Err(PeerError::Unreachable("it was removed".to_owned())) };
        for lines in pieces(&lines) {
            let answer: PushTaken = http::post(url, PUSH, Some(token), &Pushed { lines }).await?;
            if answer.followed {
                return std::future::pending().await;
            }
        }
        tokio::time::sleep(PAUSE_OF_PUSHES).await;
    }
}

/// Lines in as many requests as they need: one is larger than [`LARGEST_PUSH`] only if a line alone is.
fn pieces(lines: &[Line]) -> Vec<Vec<Value>> {
    let (mut pieces, mut size) = (vec![Vec::new()], 0);
    for line in lines.iter().filter_map(|line| serde_json::to_value(line).ok()) {
        let length = line.to_string().len();
        if size > 0 && size + length > LARGEST_PUSH {
            pieces.push(Vec::new());
            size = 0;
        }
        size += length;
        if let Some(last) = pieces.last_mut() {
            last.push(line);
        }
    }
    pieces
}

async fn begin(app: &App, reader: ServerId, reader_epoch: &str, place: &Place) -> Result<Feed, PeerError> {
    Feed::begin(app.clone(), reader, reader_epoch.to_owned(), place).await.map_err(|error| PeerError::Unreachable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::{LARGEST_PUSH, pieces};
    use muster_protocol::peer::{Line, Place};

    #[test]
    fn what_is_too_large_for_one_request_is_sent_in_several_and_whole() {
        let line = |n: u64| Line::Told(Place { epoch: "e".repeat(1_000), sequence: n });
        let lines: Vec<_> = (0..200).map(line).collect();
        let pieces = pieces(&lines);
        assert!(pieces.len() > 4 && pieces.iter().all(|piece| !piece.is_empty()));
        let length = |piece: &Vec<serde_json::Value>| piece.iter().map(|line| line.to_string().len()).sum::<usize>();
        assert!(pieces.iter().all(|piece| length(piece) <= LARGEST_PUSH));
        let told: Vec<_> = pieces.concat().iter().map(|line| line["told"]["sequence"].as_u64().unwrap()).collect();
        assert_eq!(told, (0..200).collect::<Vec<_>>());
        let large = Line::Told(Place { epoch: "e".repeat(LARGEST_PUSH * 2), sequence: 1 });
        assert_eq!(super::pieces(&[line(1), large, line(2)]).len(), 3);
    }
}
