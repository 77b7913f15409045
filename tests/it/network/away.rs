//! Peers that die, fall silent, come back and move.

use super::net::{DOWN, LIMIT, SLACK, all_up, happen, hold, id, joining, named, peer, same_everywhere, star, until_peer, until_state};
use crate::support::{Cx, cases};
use anyhow::{Context as _, Result, ensure};
use muster_protocol::peer::{AddPeer, PeerState};
use serde_json::json;
use std::time::{Duration, Instant};

cases! {
    [] =>
        a_killed_peer_is_down_soon_and_comes_back_by_itself,
        a_peer_that_falls_silent_is_down_soon_however_busy_the_others_are,
        a_network_survives_restarts_of_all_its_servers,
        a_peer_at_a_new_address_is_found_again,
        a_server_that_was_away_catches_up;
}

async fn a_killed_peer_is_down_soon_and_comes_back_by_itself(cx: &Cx) -> Result<()> {
    let mut servers = star(cx, &["A", "B", "C"]).await?;
    let mut c = servers.pop().context("three")?;
    let (b, a) = (servers.pop().context("two")?, servers.pop().context("one")?);
    let before = peer(&a, "C").await?.context("C is known")?;
    c.kill().await?;
    for server in [&a, &b] {
        let shown = until_state(server, "C", PeerState::Down, DOWN + SLACK).await?;
        ensure!(shown.reason.is_some() && shown.last_seen.is_some() && shown.since > before.since, "{shown:?}");
    }
    // The others go on.
    happen(&a, 10).await?;
    happen(&b, 10).await?;
    same_everywhere(&[&a, &b]).await?;
    c.restart().await?;
    all_up(&[&a, &b, &c]).await?;
    same_everywhere(&[&a, &b, &c]).await.map(drop)
}

/// Something changes all the time at A: what it hears of others must not count as a word of C.
async fn a_peer_that_falls_silent_is_down_soon_however_busy_the_others_are(cx: &Cx) -> Result<()> {
    let servers = star(cx, &["A", "B", "C"]).await?;
    let [a, b, c] = servers.as_slice() else { unreachable!() };
    hold(c, true)?;
    let busy = async {
        for n in 0.. {
            let url = format!("http://127.0.0.1:1/{n}");
            let adding = a.client().clone();
            // The answer takes its time; that it was asked is enough.
            tokio::spawn(async move { adding.add_peer(&AddPeer { url }).await });
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let begun = Instant::now();
    let seen = async {
        until_state(a, "C", PeerState::Down, DOWN + SLACK).await?;
        until_state(b, "C", PeerState::Down, DOWN + SLACK).await
    };
    tokio::select! {
        seen = seen => { seen?; }
        () = busy => {}
    }
    ensure!(begun.elapsed() < (DOWN + SLACK) * 2, "it took {:?}", begun.elapsed());
    happen(b, 10).await?;
    same_everywhere(&[a, b]).await?;
    hold(c, false)?;
    all_up(&[a, b, c]).await?;
    same_everywhere(&[a, b, c]).await.map(drop)
}

async fn a_network_survives_restarts_of_all_its_servers(cx: &Cx) -> Result<()> {
    let mut a = named(cx, "A")?.launch().await?;
    let mut b = joining(cx, "B", &[&a])?.launch().await?;
    // C is told of A by B alone, and is not told again by its command line.
    let mut c = named(cx, "C")?.launch().await?;
    c.client().add_peer(&AddPeer { url: b.url() }).await?;
    all_up(&[&a, &b, &c]).await?;
    let ids = [id(&a).await?, id(&b).await?, id(&c).await?];
    for server in [&mut a, &mut b, &mut c] {
        server.stop().await?;
    }
    // Without B, which made them known to each other.
    a.restart().await?;
    c.restart().await?;
    all_up(&[&a, &c]).await?;
    b.restart().await?;
    all_up(&[&a, &b, &c]).await?;
    ensure!(ids == [id(&a).await?, id(&b).await?, id(&c).await?], "identities have changed");
    let lines = same_everywhere(&[&a, &b, &c]).await?;
    ensure!(lines.len() == 6, "each was started twice: {:?}", lines.keys());
    Ok(())
}

async fn a_peer_at_a_new_address_is_found_again(cx: &Cx) -> Result<()> {
    let mut servers = star(cx, &["A", "B", "C"]).await?;
    let (mut c, b, a) = (servers.pop().context("three")?, servers.pop().context("two")?, servers.pop().context("one")?);
    c.kill().await?;
    until_state(&a, "C", PeerState::Down, DOWN + SLACK).await?;
    c.move_to_another_port()?;
    c.restart().await?;
    let is_there = |peer: &muster_protocol::peer::Peer| peer.state == PeerState::Up && peer.url.ends_with(&format!(":{}", c.port()));
    for server in [&a, &b] {
        until_peer(server, "C", LIMIT, is_there).await?;
        let known = server.client().peers().await?.into_iter().filter(|peer| peer.name == "C").count();
        ensure!(known == 1, "C is known {known} times");
    }
    // Its agents have moved with it.
    let message = json!({ "role": "user", "messageId": "m1", "parts": [{ "kind": "text", "text": "status report" }] });
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": "message/send", "params": { "message": message } });
    let answer = a.post("/agents/Monitor-C", &request).await?;
    ensure!(answer["result"]["status"]["state"] == "completed", "Monitor-C answers {answer}");
    all_up(&[&a, &b, &c]).await?;
    same_everywhere(&[&a, &b, &c]).await.map(drop)
}

async fn a_server_that_was_away_catches_up(cx: &Cx) -> Result<()> {
    let mut servers = star(cx, &["A", "B", "C"]).await?;
    let (mut c, b, a) = (servers.pop().context("three")?, servers.pop().context("two")?, servers.pop().context("one")?);
    c.kill().await?;
    happen(&a, 2_000).await?;
    happen(&b, 1_000).await?;
    c.restart().await?;
    let began = Instant::now();
    let lines = same_everywhere(&[&a, &b, &c]).await?;
    eprintln!("{} events were the same everywhere after {:?}", lines.values().map(Vec::len).sum::<usize>(), began.elapsed());
    Ok(())
}
