//! Opening: statements, migrations, identity, and the lock that keeps a second server away.

use super::bench::{Bench, on_both};
use anyhow::{Context, Result, ensure};
use muster::store::{OpenError, statements};
use sqlx::{AnyConnection, Connection, Executor};

on_both! {
    every_statement_can_be_prepared,
    opening_twice_migrates_once_keeps_the_identity_and_begins_another_epoch,
    a_second_server_on_one_database_is_refused_with_the_name_of_the_first,
    a_database_that_is_not_there_is_said_so,
}

async fn every_statement_can_be_prepared(bench: &Bench) -> Result<()> {
    let mut connection = AnyConnection::connect(&bench.url).await?;
    let (mut prepared, mut wrong) = (0, Vec::new());
    for (name, sql) in statements() {
        let text = sql.of(bench.store.dialect());
        if text.is_empty() {
            continue;
        }
        prepared += 1;
        if let Err(error) = (&mut connection).prepare(sqlx::SqlSafeStr::into_sql_str(text)).await {
            wrong.push(format!("{name}: {error}\n{text}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    ensure!(prepared > 60, "only {prepared} statements are listed");
    Ok(())
}

async fn opening_twice_migrates_once_keeps_the_identity_and_begins_another_epoch(bench: &Bench) -> Result<()> {
    let first = bench.store.identity().clone();
    bench.store.close().await;
    let again = bench.open_again("Server-B").await?;
    let second = again.identity().clone();
    ensure!(first.server_id == second.server_id && first.epoch != second.epoch, "{first:?} became {second:?}");
    let epochs: Vec<_> = again.epochs().await?.into_iter().map(|start| start.epoch).collect();
    ensure!(epochs == [first.epoch.clone(), second.epoch.clone()], "{epochs:?}");
    ensure!(second.name == "Server-B", "the name is {}", second.name);
    ensure!(first.epoch != first.server_id.to_string(), "the epoch is the server's id");
    let mut connection = AnyConnection::connect(&bench.url).await?;
    let row = sqlx::query("SELECT COUNT(*) AS n FROM _sqlx_migrations").fetch_one(&mut connection).await?;
    let written = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations"))?.count();
    let applied = sqlx::Row::try_get::<i64, _>(&row, "n")?;
    ensure!(usize::try_from(applied)? == written, "of {written} migrations {applied} were applied");
    again.close().await;
    Ok(())
}

/// On SQLite the lock is a file in the data directory, which is not the store's.
async fn a_second_server_on_one_database_is_refused_with_the_name_of_the_first(bench: &Bench) -> Result<()> {
    if !bench.is_postgres() {
        return Ok(());
    }
    let refused = bench.open_again("Server-B").await.err().context("two servers use one database")?;
    ensure!(matches!(&refused, OpenError::Locked { holder } if holder.contains("Server-A")), "{refused}");
    bench.submit(bench.task("the first server goes on")).await?;
    bench.store.close().await;
    let second = bench.open_again("it's \"quoted\"").await?;
    let refused = bench.open_again("Server-C").await.err().context("two servers use one database")?;
    ensure!(refused.to_string().contains("it's \"quoted\""), "{refused}");
    second.close().await;
    Ok(())
}

async fn a_database_that_is_not_there_is_said_so(bench: &Bench) -> Result<()> {
    let url = if bench.is_postgres() {
        let mut url: url::Url = bench.url.parse()?;
        url.set_path("there_is_none");
        url.into()
    } else {
        "sqlite:///there/is/no/such/directory/muster.db".to_owned()
    };
    let error = Bench::at(url, 8).await.err().context("it opened")?;
    ensure!(matches!(error.downcast_ref(), Some(OpenError::Connect { .. })), "{error:#}");
    let error = Bench::at("mysql://localhost/muster".to_owned(), 8).await.err().context("it opened")?;
    ensure!(matches!(error.downcast_ref(), Some(OpenError::Url)), "{error:#}");
    Ok(())
}
