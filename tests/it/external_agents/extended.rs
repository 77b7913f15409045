//! The extended cards of agents of others: asked for there, and told as this server speaks for the agent. With them two rows of the table of errors
//! come from outside.

use super::cards::{CardServer, card_at};
use super::{add, near};
use crate::a2a::caller::{BINDINGS, Binding, Caller};
use crate::support::{Cx, Http, cases, text};
use anyhow::{Result, ensure};
use serde_json::{Value, json};

cases! {
    [] =>
        the_extended_card_of_an_agent_is_asked_for_there,
        an_agent_that_answers_with_no_card_or_a_refusal_is_told_apart_on_each_binding;
}

const DIALECTS: [(&str, &str); 3] = [("JSONRPC", "1.0"), ("HTTP+JSON", "1.0"), ("JSONRPC", "0.3")];

/// The card of an agent that says that it has another one.
fn declaring(cards: &CardServer, name: &str, (binding, version): (&str, &str)) -> Value {
    let mut card = cards.card(name, binding, version);
    if version == "0.3" {
        card["supportsAuthenticatedExtendedCard"] = json!(true);
    } else {
        card["capabilities"]["extendedAgentCard"] = json!(true);
    }
    card
}

/// What 0.3 answers.
async fn asked_by_old(http: &Http, agent: &str) -> Result<Value> {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "agent/getAuthenticatedExtendedCard" });
    http.post(&format!("/agents/{agent}"), &body).await?.ok()
}

async fn the_extended_card_of_an_agent_is_asked_for_there(cx: &Cx) -> Result<()> {
    let (near, cards) = (near(cx).await?, CardServer::start().await?);
    let http = Http::new(&near);
    for (n, dialect) in DIALECTS.into_iter().enumerate() {
        let name = format!("planner-{n}");
        cards.put(declaring(&cards, &name, dialect));
        // It may say that it is elsewhere, and more than in public: of that it is the second that is told.
        let mut whole = card_at("http://192.0.2.1/", "Another name", dialect.0, dialect.1);
        (whole["description"], whole["skills"][0]["name"]) = (json!("Plans for those who are known"), json!("Plan in secret"));
        cards.extend(Ok(whole));
        cards.demand("opensesame");
        add(&near, json!({ "url": format!("{}/{name}", cards.url()), "token": "opensesame" })).await?;
        let public = near.get(&format!("/agents/{name}/.well-known/agent-card.json")).await?;
        ensure!(public["capabilities"]["extendedAgentCard"] == true && public["description"] == "Plans", "{public}");
        ensure!(public["supportsAuthenticatedExtendedCard"] == true, "{public}");
        for binding in BINDINGS {
            let card = Caller::new(&http, binding)?.at(&name).call("GetExtendedAgentCard", json!({})).await?;
            ensure!(card["name"] == name && card["description"] == "Plans for those who are known", "{card}");
            ensure!(card["skills"][0]["name"] == "Plan in secret" && card["capabilities"]["extendedAgentCard"] == true, "{card}");
            let addresses: Vec<_> = card["supportedInterfaces"].as_array().into_iter().flatten().map(|one| &one["url"]).collect();
            ensure!(addresses.len() == 4 && !card.to_string().contains("192.0.2.1"), "{card}");
        }
        let old = asked_by_old(&http, &name).await?;
        ensure!(old["result"]["name"] == name && text(&old["result"], "url")?.starts_with(&near.url()), "{old}");
    }
    Ok(())
}

/// gRPC's numbers of `FAILED_PRECONDITION` and `INTERNAL`.
const FAILED_PRECONDITION: i64 = 9;
const INTERNAL: i64 = 13;

async fn an_agent_that_answers_with_no_card_or_a_refusal_is_told_apart_on_each_binding(cx: &Cx) -> Result<()> {
    let (near, cards) = (near(cx).await?, CardServer::start().await?);
    let http = Http::new(&near);
    let nonsense = ("INVALID_AGENT_RESPONSE", [-32006, 500, INTERNAL]);
    let unset = ("EXTENDED_AGENT_CARD_NOT_CONFIGURED", [-32007, 400, FAILED_PRECONDITION]);
    let undeclared = ("UNSUPPORTED_OPERATION", [-32004, 400, FAILED_PRECONDITION]);
    for (n, dialect) in DIALECTS.into_iter().enumerate() {
        let name = format!("planner-{n}");
        for (answer, declares, (reason, codes)) in [
            (Ok(json!({ "name": "half a card" })), true, nonsense),
            (Ok(json!("a card")), true, nonsense),
            (Ok(json!(null)), true, nonsense),
            (Err(-32603), true, nonsense),
            (Err(-32007), true, unset),
            (Err(-32004), true, undeclared),
            (Ok(cards.card(&name, dialect.0, dialect.1)), false, undeclared),
        ] {
            cards.put(if declares { declaring(&cards, &name, dialect) } else { cards.card(&name, dialect.0, dialect.1) });
            cards.extend(answer.clone());
            add(&near, json!({ "url": format!("{}/{name}", cards.url()) })).await?;
            let public = near.get(&format!("/agents/{name}/.well-known/agent-card.json")).await?;
            ensure!(public["capabilities"]["extendedAgentCard"] == declares, "{public}");
            for (binding, code) in [Binding::Rpc, Binding::Rest, Binding::Grpc].into_iter().zip(codes) {
                let fault = Caller::new(&http, binding)?.at(&name).fault("GetExtendedAgentCard", json!({})).await?;
                ensure!(fault.code == code && fault.reason == reason, "{dialect:?} {answer:?} {binding:?}: {fault:?}");
            }
            let old = asked_by_old(&http, &name).await?;
            ensure!(old["error"]["code"] == codes[0], "{dialect:?} {answer:?}: {old}");
        }
    }
    Ok(())
}
