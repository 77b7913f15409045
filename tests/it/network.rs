//! Servers that join into a network: real processes that find each other, lose each other, and lose nothing of what happened.

mod away;
mod chaos;
mod copies;
mod directory;
mod events;
mod liar;
mod lies;
mod namespaces;
pub(crate) mod net;
mod one_way;

use crate::support::{Case, Cx, Http, cases};
use anyhow::{Context as _, Result, ensure};
use muster_protocol::peer::PeerState;
use net::{LIMIT, all_up, id, joining, named, star, until_peer, until_state};
use serde_json::json;

pub(crate) fn all() -> Vec<Case> {
    let more = [
        away::cases(),
        copies::cases(),
        directory::cases(),
        events::cases(),
        lies::cases(),
        one_way::cases(),
        namespaces::cases(),
        chaos::all(),
    ];
    cases().into_iter().chain(more.into_iter().flatten()).collect()
}

cases! {
    [] =>
        joining_is_mutual_and_spreads,
        servers_start_in_any_order,
        a_server_refuses_itself,
        a_wrong_key_is_refused_and_said_on_both_sides,
        a_right_key_joins,
        a_server_elsewhere_needs_a_key,
        a_removed_peer_stays_away_until_it_is_added_again,
        what_is_no_server_is_shown_so,
        five_servers_in_a_line_become_one_network;
}

async fn joining_is_mutual_and_spreads(cx: &Cx) -> Result<()> {
    let a = named(cx, "A")?.launch().await?;
    let b = joining(cx, "B", &[&a])?.launch().await?;
    let c = joining(cx, "C", &[&b])?.launch().await?;
    all_up(&[&a, &b, &c]).await?;
    let shown = until_state(&a, "C", PeerState::Up, LIMIT).await?;
    ensure!(shown.server_id == Some(id(&c).await?) && shown.url.ends_with(&format!(":{}", c.port())), "A shows C as {shown:?}");
    ensure!(shown.reason.is_none() && shown.fault.is_none() && shown.version.is_some(), "A shows C as {shown:?}");
    let listed = a.muster(["peers"]).output()?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    ensure!(listed.contains("B ") && listed.contains("C ") && listed.contains("up"), "`muster peers` says {listed}");
    Ok(())
}

async fn servers_start_in_any_order(cx: &Cx) -> Result<()> {
    let mut a = named(cx, "A")?;
    let b = joining(cx, "B", &[&a])?.launch().await?;
    let waiting = until_peer(&b, &a.url(), LIMIT, |peer| peer.state == PeerState::Down).await?;
    ensure!(waiting.reason.is_some(), "no reason is told: {waiting:?}");
    let c = joining(cx, "C", &[&b])?.launch().await?;
    a.restart().await?;
    all_up(&[&a, &b, &c]).await
}

async fn a_server_refuses_itself(cx: &Cx) -> Result<()> {
    let a = named(cx, "A")?;
    let urls = format!("{},http://localhost:{}", a.url(), a.port());
    let a = a.with_args(["--connect".to_owned(), urls]).launch().await?;
    for url in [a.url(), format!("http://localhost:{}", a.port())] {
        let shown = until_state(&a, &url, PeerState::Refused, LIMIT).await?;
        ensure!(shown.reason.as_ref().is_some_and(|reason| reason.contains("itself")), "{shown:?}");
    }
    ensure!(a.client().peers().await?.iter().all(|peer| peer.server_id.is_none()), "it is its own peer");
    Ok(())
}

const KEY: &str = "MUSTER_NETWORK_KEY";

async fn a_wrong_key_is_refused_and_said_on_both_sides(cx: &Cx) -> Result<()> {
    let a = named(cx, "A")?.with_env(KEY, "the key of this network").launch().await?;
    let b = joining(cx, "B", &[&a])?.with_env(KEY, "the key of another one").launch().await?;
    let at_b = until_state(&b, &a.url(), PeerState::Refused, LIMIT).await?;
    let at_a = until_state(&a, "B", PeerState::Refused, LIMIT).await?;
    for (server, shown) in [(&a, &at_a), (&b, &at_b)] {
        ensure!(shown.reason.as_ref().is_some_and(|reason| reason.contains("another network key")), "{shown:?}");
        ensure!(server.log().contains("another network key"), "{} logs nothing: {}", server.name(), server.log());
        let listed = String::from_utf8_lossy(&server.muster(["peers"]).output()?.stdout).into_owned();
        ensure!(listed.contains("another network key") && listed.contains("refused"), "`muster peers` says {listed}");
    }
    // Whoever has not said hello can ask nothing, and one without a key is no better.
    let stranger = json!({ "protocol": 1, "server_id": uuid::Uuid::now_v7(), "name": "X", "epoch": "e", "url": "http://127.0.0.1:1", "version": "1",
        "challenge": "c", "proof": "" });
    let plain = named(cx, "D")?.launch().await?;
    for (name, value) in [("x-forwarded-for", "192.0.2.1"), ("host", "muster.example"), ("origin", "http://evil.example")] {
        let through = Http::new(&plain).with_header(name, value)?;
        let refused = through.post("/v1/network/hello", &stranger).await?.refused(409, "network_key")?;
        ensure!(refused.to_string().contains("joins servers of its own machine only"), "{name}: {refused}");
    }
    Http::new(&a).get("/v1/network/feed").await?.refused(409, "conflict")?;
    let c = joining(cx, "C", &[&a])?.launch().await?;
    until_state(&c, &a.url(), PeerState::Refused, LIMIT).await.map(drop)
}

async fn a_right_key_joins(cx: &Cx) -> Result<()> {
    let a = named(cx, "A")?.with_env(KEY, "the key of this network").launch().await?;
    let b = joining(cx, "B", &[&a])?.with_env(KEY, "the key of this network").launch().await?;
    all_up(&[&a, &b]).await
}

async fn a_server_elsewhere_needs_a_key(cx: &Cx) -> Result<()> {
    // An address of documentation: nobody is asked there, as there is no key.
    let elsewhere = "http://192.0.2.1:5001";
    let a = named(cx, "A")?.with_args(["--connect", elsewhere]).launch().await?;
    let shown = until_state(&a, elsewhere, PeerState::Refused, LIMIT).await?;
    ensure!(shown.reason.as_ref().is_some_and(|reason| reason.contains("MUSTER_NETWORK_KEY")), "{shown:?}");
    Ok(())
}

async fn a_removed_peer_stays_away_until_it_is_added_again(cx: &Cx) -> Result<()> {
    let servers = star(cx, &["A", "B", "C"]).await?;
    let [a, b, c] = servers.as_slice() else { unreachable!() };
    let removed = a.muster(["peers", "remove", "B"]).output()?;
    ensure!(removed.status.success(), "{removed:?}");
    let at_b = until_state(b, "A", PeerState::Refused, LIMIT).await?;
    ensure!(at_b.reason.as_ref().is_some_and(|reason| reason.contains("removed")), "B shows {at_b:?}");
    // C tells A of B all the time, and B knocks.
    net::happen(c, 5).await?;
    net::same_everywhere(&[a, c]).await?;
    let at_a = net::peer(a, "B").await?;
    ensure!(at_a.as_ref().is_none_or(|peer| peer.state != PeerState::Up), "it came back by itself: {at_a:?}");
    // Added again at another spelling of its address.
    let added = a.muster(["peers", "add", &format!("http://localhost:{}", b.port())]).output()?;
    ensure!(added.status.success(), "{added:?}");
    all_up(&[a, b, c]).await?;
    net::same_everywhere(&[a, b, c]).await.map(drop)
}

async fn what_is_no_server_is_shown_so(cx: &Cx) -> Result<()> {
    let page = axum::Router::new().fallback(async || axum::response::Html("<html>not here</html>"));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let serving = tokio::spawn(async move { axum::serve(listener, page).await });
    // This one takes a connection and never answers.
    let silent = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let silent_url = format!("http://{}", silent.local_addr()?);
    let a = named(cx, "A")?.with_args(["--connect".to_owned(), format!("{url},{silent_url}")]).launch().await?;
    let shown = until_state(&a, &url, PeerState::Refused, LIMIT).await?;
    ensure!(shown.reason.as_ref().is_some_and(|reason| reason.contains("no server of Muster")), "{shown:?}");
    let shown = until_state(&a, &silent_url, PeerState::Down, LIMIT).await?;
    ensure!(shown.reason.as_ref().is_some_and(|reason| reason.contains("in time")), "{shown:?}");
    let answer = Http::new(&a).post("/v1/peers", &json!({ "url": "ftp://here" })).await?;
    answer.error().context("a wrong address")?;
    serving.abort();
    Ok(())
}

async fn five_servers_in_a_line_become_one_network(cx: &Cx) -> Result<()> {
    let mut line = vec![named(cx, "A")?.launch().await?];
    for name in ["B", "C", "D", "E"] {
        let last = line.last().context("there is one")?;
        line.push(joining(cx, name, &[last])?.launch().await?);
    }
    let all: Vec<_> = line.iter().collect();
    all_up(&all).await?;
    net::happen(all[0], 20).await?;
    net::happen(all[4], 20).await?;
    net::same_everywhere(&all).await.map(drop)
}
