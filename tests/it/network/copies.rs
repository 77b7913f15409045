//! Data directories that are copied, put back and wiped: nobody is two, nothing of others is lost, and no identity is used again.

use super::net::{LIMIT, all_up, copy, count_of, happen, id, joining, named, same_everywhere, star, until_peer, until_state};
use crate::support::{Cx, Server, cases, wait_for};
use anyhow::{Context as _, Result, ensure};
use muster_protocol::event::kind;
use muster_protocol::peer::PeerState;
use std::fs;

cases! {
    [] =>
        a_cloned_directory_is_refused_and_both_sides_say_it,
        a_directory_from_before_that_is_put_back_loses_nothing,
        a_wiped_directory_is_another_server_that_learns_everything;
}

async fn a_cloned_directory_is_refused_and_both_sides_say_it(cx: &Cx) -> Result<()> {
    let a = named(cx, "A")?.launch().await?;
    let mut b = joining(cx, "B", &[&a])?.launch().await?;
    all_up(&[&a, &b]).await?;
    b.stop().await?;
    let copied = cx.dir().join("copied");
    copy(b.data_dir(), &copied)?;
    b.restart().await?;
    all_up(&[&a, &b]).await?;
    let mut clone = Server::new(cx.dir(), "clone")?.with_args(["--name", "B"]).with_data_dir(copied).launch().await?;
    let says = |text: &Option<String>| text.as_ref().is_some_and(|text| text.contains("copy of the other"));
    until_peer(&clone, "A", LIMIT, |peer| peer.state == PeerState::Refused && says(&peer.reason)).await?;
    until_peer(&b, "A", LIMIT, |peer| peer.state == PeerState::Up && says(&peer.fault)).await?;
    ensure!(clone.log().contains("copy of the other") && b.log().contains("copy of the other"), "a log says nothing");
    // It knocks on; that is one fact, not one each time.
    happen(&b, 5).await?;
    same_everywhere(&[&a, &b]).await?;
    wait_for("the clone to knock again", LIMIT, async || Ok((clone.log().matches("copy of the other").count() > 0).then_some(()))).await?;
    let noted = a.client().events(&[("type", kind::PEER_DUPLICATE)]).await?;
    ensure!(noted.len() == 1, "A noted it {} times", noted.len());
    clone.kill().await?;
    // Whoever is left is not accused for ever.
    until_peer(&b, "A", LIMIT, |peer| peer.state == PeerState::Up && peer.fault.is_none()).await?;
    same_everywhere(&[&a, &b]).await.map(drop)
}

async fn a_directory_from_before_that_is_put_back_loses_nothing(cx: &Cx) -> Result<()> {
    let mut servers = star(cx, &["A", "B", "C"]).await?;
    let (mut c, b, a) = (servers.pop().context("three")?, servers.pop().context("two")?, servers.pop().context("one")?);
    happen(&c, 20).await?;
    c.kill().await?;
    let backup = cx.dir().join("backup");
    copy(c.data_dir(), &backup)?;
    c.restart().await?;
    all_up(&[&a, &b, &c]).await?;
    happen(&c, 30).await?;
    happen(&a, 30).await?;
    let before = same_everywhere(&[&a, &b, &c]).await?;
    c.kill().await?;
    happen(&b, 30).await?;
    fs::remove_dir_all(c.data_dir())?;
    copy(&backup, c.data_dir())?;
    c.restart().await?;
    all_up(&[&a, &b, &c]).await?;
    happen(&c, 10).await?;
    let after = same_everywhere(&[&a, &b, &c]).await?;
    for (line, events) in &before {
        let now = after.get(line).with_context(|| format!("{line:?} is lost"))?;
        ensure!(now.starts_with(events), "{line:?} is another one now");
    }
    let c_id = id(&c).await?;
    ensure!(count_of(&after, c_id) >= 60, "C has {} events", count_of(&after, c_id));
    ensure!(after.keys().filter(|(origin, _)| *origin == c_id).count() == 3, "C was started three times: {:?}", after.keys());
    Ok(())
}

async fn a_wiped_directory_is_another_server_that_learns_everything(cx: &Cx) -> Result<()> {
    let mut servers = star(cx, &["A", "B"]).await?;
    let (mut b, a) = (servers.pop().context("two")?, servers.pop().context("one")?);
    happen(&b, 10).await?;
    same_everywhere(&[&a, &b]).await?;
    let former = id(&b).await?;
    b.kill().await?;
    until_state(&a, "B", PeerState::Down, LIMIT).await?;
    fs::remove_dir_all(b.data_dir())?;
    b.restart().await?;
    until_peer(&a, "B", LIMIT, |peer| peer.state == PeerState::Up && peer.server_id != Some(former)).await?;
    until_state(&b, "A", PeerState::Up, LIMIT).await?;
    let lines = same_everywhere(&[&a, &b]).await?;
    ensure!(count_of(&lines, former) >= 10, "what the former B did is lost: {:?}", lines.keys());
    Ok(())
}
