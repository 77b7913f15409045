//! Servers of which one reaches the other, and not the other way: who can, sends.

use super::liar::Liar;
use super::net::{LIMIT, copy, happen, hold, id, joining, log, named, same_everywhere, until_peer, until_state};
use crate::support::{CutProxy, Cx, Server, cases};
use anyhow::{Result, ensure};
use muster_protocol::event::kind;
use muster_protocol::peer::{AddPeer, PeerState};
use serde_json::json;

cases! {
    [] =>
        who_cannot_be_reached_sends_what_it_has,
        who_is_reached_again_is_followed_again,
        a_removed_peer_that_cannot_be_reached_is_let_go,
        a_clone_that_was_there_in_between_does_not_keep_the_place_of_who_sends,
        who_sends_is_not_looked_for_where_it_is_not;
}

/// A server behind an address at which, for now, nobody gets through.
async fn behind(cx: &Cx, name: &str, to: &Server) -> Result<(Server, CutProxy)> {
    let server = joining(cx, name, &[to])?;
    let proxy = CutProxy::start(server.port()).await?;
    proxy.refuse(true);
    let server = server.with_args(["--public-url".to_owned(), proxy.url(), "--insecure".to_owned()]).launch().await?;
    Ok((server, proxy))
}

async fn who_cannot_be_reached_sends_what_it_has(cx: &Cx) -> Result<()> {
    let a = named(cx, "A")?.launch().await?;
    let c = joining(cx, "C", &[&a])?.launch().await?;
    let (mut b, _proxy) = behind(cx, "B", &a).await?;
    for server in [&a, &c] {
        let shown = until_state(server, "B", PeerState::OutboundOnly, LIMIT).await?;
        ensure!(shown.reason.as_ref().is_some_and(|reason| reason.contains("cannot be reached")), "{shown:?}");
        until_state(&b, server.name(), PeerState::Up, LIMIT).await?;
    }
    // More than fits into one request.
    happen(&b, 700).await?;
    happen(&a, 30).await?;
    same_everywhere(&[&a, &b, &c]).await?;
    until_peer(&a, "B", LIMIT, |peer| peer.agents > 0).await?;
    b.kill().await?;
    until_state(&a, "B", PeerState::Down, LIMIT).await?;
    happen(&a, 30).await?;
    b.restart().await?;
    until_state(&a, "B", PeerState::OutboundOnly, LIMIT).await?;
    until_state(&c, "B", PeerState::OutboundOnly, LIMIT).await?;
    happen(&b, 30).await?;
    same_everywhere(&[&a, &b, &c]).await.map(drop)
}

async fn who_is_reached_again_is_followed_again(cx: &Cx) -> Result<()> {
    let a = named(cx, "A")?.launch().await?;
    let (b, proxy) = behind(cx, "B", &a).await?;
    until_state(&a, "B", PeerState::OutboundOnly, LIMIT).await?;
    happen(&b, 20).await?;
    proxy.refuse(false);
    until_state(&a, "B", PeerState::Up, LIMIT).await?;
    happen(&b, 20).await?;
    same_everywhere(&[&a, &b]).await?;
    // B reads from A all the time; that A has lost it, it must be told.
    proxy.refuse(true);
    until_state(&a, "B", PeerState::OutboundOnly, LIMIT).await?;
    happen(&b, 20).await?;
    same_everywhere(&[&a, &b]).await?;
    proxy.refuse(false);
    until_state(&a, "B", PeerState::Up, LIMIT).await?;
    happen(&b, 20).await?;
    same_everywhere(&[&a, &b]).await.map(drop)
}

/// B never hears a hello from the others: whom it knows, it knows from what it found itself.
async fn a_removed_peer_that_cannot_be_reached_is_let_go(cx: &Cx) -> Result<()> {
    let a = named(cx, "A")?.launch().await?;
    let c = joining(cx, "C", &[&a])?.launch().await?;
    let (mut b, _proxy) = behind(cx, "B", &a).await?;
    until_state(&b, "C", PeerState::Up, LIMIT).await?;
    let removed = b.muster(["peers", "remove", "C"]).output()?;
    ensure!(removed.status.success(), "{removed:?}");
    let is_away = async |b: &Server| Ok::<_, anyhow::Error>(super::net::peer(b, "C").await?.is_none_or(|peer| peer.state != PeerState::Up));
    ensure!(is_away(&b).await?, "it is still there");
    b.stop().await?;
    b.restart().await?;
    until_state(&b, "A", PeerState::Up, LIMIT).await?;
    happen(&a, 5).await?;
    same_everywhere(&[&a, &b, &c]).await?;
    ensure!(is_away(&b).await?, "it came back by itself");
    Ok(())
}

/// Who sends is held for a moment, so that it does not hear that a clone of it, which is reached, was taken for it.
async fn a_clone_that_was_there_in_between_does_not_keep_the_place_of_who_sends(cx: &Cx) -> Result<()> {
    let a = named(cx, "A")?.launch().await?;
    let (mut b, proxy) = behind(cx, "B", &a).await?;
    until_state(&a, "B", PeerState::OutboundOnly, LIMIT).await?;
    b.stop().await?;
    let copied = cx.dir().join("copied");
    copy(b.data_dir(), &copied)?;
    b.restart().await?;
    until_state(&a, "B", PeerState::OutboundOnly, LIMIT).await?;
    hold(&b, true)?;
    let mut clone = Server::new(cx.dir(), "clone")?.with_args(["--name", "B"]).with_data_dir(copied).launch().await?;
    until_peer(&a, "B", LIMIT, |peer| peer.state == PeerState::Up && peer.url == clone.url()).await?;
    clone.kill().await?;
    hold(&b, false)?;
    proxy.refuse(false);
    until_peer(&a, "B", LIMIT, |peer| peer.state == PeerState::Up && peer.url == proxy.url()).await?;
    happen(&b, 20).await?;
    same_everywhere(&[&a, &b]).await.map(drop)
}

/// While B is silent, somebody says that it is where nobody is.
async fn who_sends_is_not_looked_for_where_it_is_not(cx: &Cx) -> Result<()> {
    let a = named(cx, "A")?.launch().await?;
    let (b, proxy) = behind(cx, "B", &a).await?;
    until_state(&a, "B", PeerState::OutboundOnly, LIMIT).await?;
    let nowhere = "http://127.0.0.1:1";
    let known = json!([{ "server_id": id(&b).await?, "name": "B", "url": nowhere }]);
    let state = json!({ "state": { "name": "gossip", "url": "", "version": "0", "agents": [], "peers": known } });
    let gossip = Liar::start("gossip", |_| Some(vec![format!("{state}\n")])).await?;
    hold(&b, true)?;
    until_state(&a, "B", PeerState::Down, LIMIT).await?;
    a.client().add_peer(&AddPeer { url: gossip.url.clone() }).await?;
    until_peer(&a, "B", LIMIT, |peer| peer.url == nowhere).await?;
    hold(&b, false)?;
    until_state(&a, "B", PeerState::OutboundOnly, LIMIT).await?;
    happen(&b, 20).await?;
    proxy.refuse(false);
    until_peer(&a, "B", LIMIT, |peer| peer.state == PeerState::Up && peer.url == proxy.url()).await?;
    let (a_log, b_id) = (log(&a).await?, id(&b).await?);
    let lost = a_log.iter().filter(|event| event.kind == kind::PEER_DOWN && event.subject == format!("peers/{b_id}")).count();
    ensure!(lost <= 3, "A lost it {lost} times");
    until_peer(&b, "A", LIMIT, |peer| peer.state == PeerState::Up).await.map(drop)
}
