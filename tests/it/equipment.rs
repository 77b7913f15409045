//! The test equipment itself: a case that fails must fail because of the product.

use crate::support::{CutProxy, Cx, FakeLlm, Need, Postgres, cases};
use anyhow::{Context, Result, ensure};
use sqlx::Connection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

cases! {
    [Postgres] => each_database_is_fresh;
    [Python] => the_fake_language_model_counts_its_requests;
    [] => what_must_be_here_is_here, the_proxy_loses_one_answer_after_the_request_has_arrived;
}

/// `MUSTER_REQUIRE` is to be believed: a word that means nothing would require nothing.
async fn what_must_be_here_is_here(_: &Cx) -> Result<()> {
    for word in Need::required() {
        let need = Need::ALL.into_iter().find(|need| need.word() == word);
        let need = need.with_context(|| format!("MUSTER_REQUIRE names {word:?}, which nothing can need"))?;
        ensure!(need.missing().is_none(), "{:?}, and MUSTER_REQUIRE names it", need.missing());
    }
    Ok(())
}

async fn each_database_is_fresh(_: &Cx) -> Result<()> {
    let (one, other) = (Postgres::fresh_database().await?, Postgres::fresh_database().await?);
    ensure!(one != other, "both cases got {one}");
    let mut connection = sqlx::PgConnection::connect(&one).await?;
    sqlx::raw_sql("CREATE TABLE t (n BIGINT)").execute(&mut connection).await?;
    let mut connection = sqlx::PgConnection::connect(&other).await?;
    ensure!(sqlx::raw_sql("SELECT n FROM t").execute(&mut connection).await.is_err(), "a table of another database is seen");
    Ok(())
}

async fn the_fake_language_model_counts_its_requests(cx: &Cx) -> Result<()> {
    let llm = FakeLlm::start(cx).await?;
    ensure!(llm.stats().await?.requests == 0, "it counts before it is asked");
    let body = serde_json::json!({ "model": "echo", "messages": [{ "role": "user", "content": "hello" }] });
    let answer = reqwest::Client::new().post(format!("{}/v1/chat/completions", llm.url())).json(&body).send().await?.text().await?;
    ensure!(answer.contains("echo: hello"), "it answered {answer}");
    ensure!(llm.stats().await?.requests == 1, "it did not count");
    Ok(())
}

async fn the_proxy_loses_one_answer_after_the_request_has_arrived(_: &Cx) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let proxy = CutProxy::start(listener.local_addr()?.port()).await?;
    proxy.cut_answer_with("secret");
    let mut arrived = 0;
    for (answer, expected) in [("secret", ""), ("secret", "secret")] {
        let mut client = tokio::net::TcpStream::connect(proxy.url().trim_start_matches("http://")).await?;
        client.write_all(b"ask").await?;
        let (mut server, _) = listener.accept().await?;
        let mut request = [0; 3];
        arrived += server.read_exact(&mut request).await?;
        server.write_all(answer.as_bytes()).await?;
        drop(server);
        let mut got = String::new();
        let _ = client.read_to_string(&mut got).await;
        ensure!(got == expected, "the client got {got:?}, not {expected:?}");
    }
    ensure!(arrived == 6 && proxy.cuts() == 1, "{arrived} bytes arrived, {} answers were lost", proxy.cuts());
    Ok(())
}
