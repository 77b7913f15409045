//! Agents of others, and servers, behind TLS.

use super::cards::{CardServer, card_at};
use super::{listed, near, near_with};
use crate::a2a::caller::{BINDINGS, Caller, state, texts};
use crate::support::{Cx, Http, TlsProxy, cases, text};
use anyhow::{Context, Result, ensure};
use serde_json::json;

cases! {
    [A2aSdk] =>
        an_agent_with_https_is_added_and_given_messages,
        a_certificate_that_is_not_trusted_is_refused_with_the_reason,
        the_command_line_reaches_a_server_behind_tls;
}

/// A card server with TLS in front of it.
async fn guarded(cx: &Cx, kind: &str) -> Result<(CardServer, TlsProxy)> {
    let cards = CardServer::start().await?;
    let proxy = TlsProxy::start(cx.dir(), cards.port(), kind).await?;
    cards.put(card_at(&proxy.url(""), "Guarded", "JSONRPC", "1.0"));
    Ok((cards, proxy))
}

async fn an_agent_with_https_is_added_and_given_messages(cx: &Cx) -> Result<()> {
    let (cards, proxy) = guarded(cx, "good").await?;
    let (variable, authority) = proxy.trust();
    let near = near_with(cx, |server| server.with_env(variable, authority)).await?;
    let output = tokio::process::Command::from(near.muster(["agents", "add", &proxy.url("")])).output().await?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(said == format!("added Guarded (JSONRPC 1.0), reached at {}/agents/Guarded\n", near.url()), "{output:?}");
    let agent = listed(&near, "Guarded").await?.context("it is not listed")?;
    ensure!(text(&agent, "home")?.starts_with("https://localhost:"), "{agent}");
    for binding in BINDINGS {
        let task = Caller::new(&Http::new(&near), binding)?.at("Guarded").say("hello", json!({})).await?;
        ensure!(state(&task) == "TASK_STATE_COMPLETED" && texts(&task) == "you said: hello", "{task}");
    }
    // A card that was read over TLS sends nobody elsewhere, least of all to where everybody can listen.
    let plain = card_at(&format!("http://localhost:{}", proxy.port()), "Guarded", "JSONRPC", "1.0");
    cards.put(plain);
    let refused = Http::new(&near).post("/v1/agents", &json!({ "url": proxy.url("") })).await?.refused(422, "invalid")?;
    ensure!(text(&refused, "message")?.contains("another place (http://localhost:"), "{refused}");
    Ok(())
}

async fn a_certificate_that_is_not_trusted_is_refused_with_the_reason(cx: &Cx) -> Result<()> {
    for (kind, trusts, reason) in [
        ("good", false, "invalid peer certificate: UnknownIssuer"),
        ("expired", true, "invalid peer certificate: certificate expired"),
        ("misnamed", true, "invalid peer certificate: certificate not valid for name \"localhost\""),
    ] {
        let (cards, proxy) = guarded(cx, kind).await?;
        let (variable, authority) = proxy.trust();
        let near = near_with(cx, |server| if trusts { server.with_env(variable, authority) } else { server }).await?;
        let refused = Http::new(&near).post("/v1/agents", &json!({ "url": proxy.url("") })).await?.refused(422, "invalid")?;
        ensure!(text(&refused, "message")?.contains(reason), "{kind}: {refused}");
        ensure!(cards.asked() == 0, "{kind}: something was sent");
    }
    Ok(())
}

async fn the_command_line_reaches_a_server_behind_tls(cx: &Cx) -> Result<()> {
    let near = near(cx).await?;
    let (proxy, other) = (TlsProxy::start(cx.dir(), near.port(), "good").await?, TlsProxy::start(cx.dir(), near.port(), "misnamed").await?);
    let run = async |proxy: &TlsProxy| -> Result<(bool, String)> {
        let mut command = near.muster(["status", "--server", &proxy.url("")]);
        let (variable, authority) = proxy.trust();
        command.env(variable, authority);
        let output = tokio::process::Command::from(command).output().await?;
        Ok((output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)))
    };
    let (well, said) = run(&proxy).await?;
    ensure!(well && said.contains("Near"), "{said}");
    let (well, said) = run(&other).await?;
    ensure!(!well && said.contains("certificate not valid for name"), "{said}");
    Ok(())
}
