//! Peers that misbehave: what they do is theirs, is shown as theirs, and nothing else suffers.

use super::liar::{EPOCH, Liar, event, line, told};
use super::net::{LIMIT, all_up, happen, id, lines, log, named, same_everywhere, until_peer, until_state};
use crate::support::{Cx, Server, cases, wait_for};
use anyhow::{Context as _, Result, ensure};
use muster_protocol::event::kind;
use muster_protocol::peer::{AddPeer, PeerState};
use serde_json::json;
use uuid::Uuid;

cases! {
    [] =>
        a_peer_that_says_what_cannot_be_is_shown_with_its_fault_and_nothing_else_suffers,
        events_out_of_order_twice_and_missing_are_put_right,
        an_answer_that_fails_is_no_reason_to_give_events_up,
        a_peer_that_claims_to_be_another_is_not_believed,
        peers_that_are_not_there_do_not_take_the_place_of_others;
}

/// Two honest servers, and the epoch in which the first of them is.
async fn honest(cx: &Cx) -> Result<(Server, Server)> {
    let a = named(cx, "A")?.launch().await?;
    let c = super::net::joining(cx, "C", &[&a])?.launch().await?;
    all_up(&[&a, &c]).await?;
    Ok((a, c))
}

async fn epoch(server: &Server) -> Result<String> {
    let started = server.client().events(&[("type", kind::SERVER_STARTED), ("limit", "1")]).await?;
    Ok(started.first().context("its log is empty")?.epoch.clone())
}

async fn add(server: &Server, liar: &Liar) -> Result<()> {
    server.client().add_peer(&AddPeer { url: liar.url.clone() }).await?;
    Ok(())
}

async fn a_peer_that_says_what_cannot_be_is_shown_with_its_fault_and_nothing_else_suffers(cx: &Cx) -> Result<()> {
    let (a, c) = honest(cx).await?;
    let (a_id, a_epoch, c_id, c_epoch) = (id(&a).await?, epoch(&a).await?, id(&c).await?, epoch(&c).await?);
    let mut malformed = event(a_id, EPOCH, 1, 1);
    malformed["subject"] = json!("");
    let own = |lines: Vec<String>| move |_| Some(lines);
    let agents: Vec<_> = (0..3_000).map(|n| json!({ "name": format!("a{n}"), "kind": "own", "description": "", "up": true })).collect();
    let crowd = json!({ "state": { "name": "crowd", "url": "", "version": "0", "agents": agents } });
    let wide = json!({ "state": { "name": "wide", "url": "", "version": "v".repeat(100_000), "agents": agents[..1000] } });
    let liars = [
        (Liar::start("of-the-reader", own(vec![line(a_id, &a_epoch, 9_999, 1)])).await?, "did not write"),
        (Liar::start("of-a-live-one", own(vec![line(c_id, &c_epoch, 9_999, 1)])).await?, "itself has not told"),
        (Liar::start("no-json", own(vec!["{\"event\": \n".to_owned()])).await?, "cannot be read"),
        (Liar::start("a-page", own(vec!["<html>\n<body>\n".to_owned()])).await?, "cannot be read"),
        (Liar::start("without-subject", own(vec![format!("{}\n", json!({ "event": malformed }))])).await?, "cannot be"),
        (Liar::start("number-0", |id| Some(vec![line(id, EPOCH, 0, 1)])).await?, "no number"),
        (Liar::start("nowhere", own(vec![json!({ "told": { "epoch": "\0", "sequence": 1 } }).to_string() + "\n"])).await?, "a place"),
        (Liar::start("endless-line", own(vec!["x".repeat(5 << 20)])).await?, "more than 4 MiB"),
        (Liar::start("crowd", own(vec![format!("{crowd}\n")])).await?, "3000 agents"),
        (Liar::start("wide", own(vec![format!("{wide}\n")])).await?, "cannot be"),
        (Liar::start("silent", |_| None).await?, ""),
    ];
    for (liar, _) in &liars {
        add(&a, liar).await?;
    }
    for (liar, fault) in &liars {
        if fault.is_empty() {
            until_peer(&a, &liar.name, LIMIT, |peer| peer.reason.as_ref().is_some_and(|why| why.contains("said nothing"))).await?;
        } else {
            until_peer(&a, &liar.name, LIMIT, |peer| peer.fault.as_ref().is_some_and(|said| said.contains(fault))).await?;
        }
    }
    // The honest ones are as they were.
    all_up(&[&a, &c]).await?;
    happen(&a, 20).await?;
    happen(&c, 20).await?;
    let events = log(&a).await?;
    lines("A", &events)?;
    ensure!(events.iter().all(|event| event.kind != "server.lied"), "a lie was kept");
    wait_for("C to know what A did", LIMIT, async || {
        let (here, there) = (lines("A", &log(&a).await?)?, lines("C", &log(&c).await?)?);
        let of = [(a_id, a_epoch.clone()), (c_id, c_epoch.clone())];
        Ok(of.iter().all(|line| here.get(line) == there.get(line)).then_some(()))
    })
    .await?;
    // Who lies is not asked all the time, and is no news each time.
    for (liar, _) in liars.iter().filter(|(_, fault)| !fault.is_empty()) {
        ensure!(liar.readings() <= 12, "{} was read {} times", liar.name, liar.readings());
        let subject = format!("peers/{}", liar.id);
        let told = a.client().events(&[("subject", &subject), ("origin", &a_id.to_string())]).await?;
        ensure!(told.len() <= 25, "{} events are about {}", told.len(), liar.name);
        let shown = until_peer(&a, &liar.name, LIMIT, |peer| peer.fault.is_some()).await?;
        ensure!(!matches!(shown.state, PeerState::OutboundOnly), "{shown:?}");
    }
    Ok(())
}

async fn events_out_of_order_twice_and_missing_are_put_right(cx: &Cx) -> Result<()> {
    let (a, c) = honest(cx).await?;
    let disordered = Liar::start("disordered", |id| {
        let mut lines: Vec<_> =
            [1, 2, 2, 1, 3, 6, 5, 4, 6, 7, 7].iter().enumerate().map(|(n, number)| line(id, EPOCH, *number, n as u64 + 1)).collect();
        lines.push(told(11));
        Some(lines)
    })
    .await?;
    disordered.answer_missing(Some(json!([4, 5, 6].map(|number| event(disordered.id, EPOCH, number, number)))));
    let forgetful = Liar::start("forgetful", |id| Some(vec![line(id, EPOCH, 1, 1), line(id, EPOCH, 6, 2), line(id, EPOCH, 7, 3)])).await?;
    add(&a, &disordered).await?;
    add(&a, &forgetful).await?;
    for server in [&a, &c] {
        let events = wait_for("all that the two have to tell", LIMIT, async || {
            let events = log(server).await?;
            let count = |liar: &Liar| events.iter().filter(|event| event.origin == liar.id).count();
            Ok((count(&disordered) >= 7 && count(&forgetful) >= 4).then_some(events))
        })
        .await?;
        let of = |liar: &Liar| -> Vec<_> {
            events
                .iter()
                .filter(|event| event.origin == liar.id)
                .map(|event| (event.kind.clone(), event.originseq.unwrap_or_default()))
                .collect()
        };
        let lied = |number| ("server.lied".to_owned(), number);
        ensure!(of(&disordered) == (1..=7).map(lied).collect::<Vec<_>>(), "{} has {:?}", server.name(), of(&disordered));
        let with_gap = vec![lied(1), (kind::LOG_GAP.to_owned(), 5), lied(6), lied(7)];
        ensure!(of(&forgetful) == with_gap, "{} has {:?}", server.name(), of(&forgetful));
        let gap = events.iter().find(|event| event.kind == kind::LOG_GAP).context("a gap")?;
        ensure!(gap.data == json!({ "from": 2, "to": 5 }), "{gap:?}");
    }
    until_state(&a, "disordered", PeerState::Up, LIMIT).await.map(drop)
}

async fn an_answer_that_fails_is_no_reason_to_give_events_up(cx: &Cx) -> Result<()> {
    let (a, _c) = honest(cx).await?;
    let flaky = Liar::start("flaky", |id| Some(vec![line(id, EPOCH, 1, 1), line(id, EPOCH, 3, 2)])).await?;
    flaky.answer_missing(None);
    add(&a, &flaky).await?;
    wait_for("it to be asked again", LIMIT, async || Ok((flaky.readings() >= 3).then_some(()))).await?;
    flaky.answer_missing(Some(json!([event(flaky.id, EPOCH, 2, 5)])));
    let events = wait_for("all that it has to tell", LIMIT, async || {
        let events = log(&a).await?;
        Ok(events.iter().any(|event| event.origin == flaky.id && event.originseq == Some(3)).then_some(events))
    })
    .await?;
    lines("A", &events).map(drop)
}

async fn a_peer_that_claims_to_be_another_is_not_believed(cx: &Cx) -> Result<()> {
    let (a, c) = honest(cx).await?;
    let (a_id, c_id) = (id(&a).await?, id(&c).await?);
    let as_reader = Liar::start_as(a_id, "as-reader", |_| Some(Vec::new())).await?;
    let as_other = Liar::start_as(c_id, "as-other", |id| Some(vec![line(id, EPOCH, 1, 1)])).await?;
    add(&a, &as_reader).await?;
    add(&a, &as_other).await?;
    let shown = until_peer(&a, &as_reader.url, LIMIT, |peer| peer.state == PeerState::Refused).await?;
    ensure!(shown.reason.as_ref().is_some_and(|reason| reason.contains("identity of this server")), "{shown:?}");
    happen(&c, 20).await?;
    happen(&a, 20).await?;
    same_everywhere(&[&a, &c]).await?;
    let shown = until_state(&a, "C", PeerState::Up, LIMIT).await?;
    ensure!(shown.url.ends_with(&format!(":{}", c.port())), "C is thought to be at {}", shown.url);
    ensure!(as_other.readings() == 0, "it was followed in place of C");
    Ok(())
}

async fn peers_that_are_not_there_do_not_take_the_place_of_others(cx: &Cx) -> Result<()> {
    let a = named(cx, "A")?.launch().await?;
    // Ports of this machine at which nobody listens.
    let peers: Vec<_> = (0..400)
        .map(|n| json!({ "server_id": Uuid::new_v4(), "name": format!("ghost{n}"), "url": format!("http://127.0.0.1:{}", 1 + n % 9) }))
        .collect();
    let state = json!({ "state": { "name": "gossip", "url": "", "version": "0", "agents": [], "peers": peers } });
    let gossip = Liar::start("gossip", |_| Some(vec![format!("{state}\n")])).await?;
    add(&a, &gossip).await?;
    until_peer(&a, "ghost0", LIMIT, |peer| peer.state == PeerState::Down).await?;
    let c = super::net::joining(cx, "C", &[&a])?.launch().await?;
    all_up(&[&a, &c]).await?;
    let ghosts = a.client().peers().await?.into_iter().filter(|peer| peer.name.starts_with("ghost")).count();
    ensure!(ghosts <= 50, "{ghosts} servers are tried that nobody has met");
    Ok(())
}
