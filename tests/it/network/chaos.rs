//! Random schedules of what happens to servers, each from a seed: whatever happened, at the end every event is exactly once everywhere.

mod plan;
mod world;

use crate::support::{Case, Cx, cases};
use anyhow::{Context as _, Result, ensure};
use futures_util::{StreamExt as _, stream};
use plan::{Act, plan};
use std::time::Instant;
use world::World;

cases! {
    [] => seed_1 within 240, seed_2 within 240, seed_3 within 240;
}

/// Which seeds to run besides: how many, from 1 on.
const SEEDS: &str = "NETWORK_CHAOS_SEEDS";
/// The first of them.
const FIRST: &str = "NETWORK_CHAOS_FIRST";

pub(super) fn all() -> Vec<Case> {
    let mut all = cases();
    if std::env::var_os(SEEDS).is_some() {
        all.push(Case::new("it::network::chaos::all_seeds", &[], |cx| Box::pin(all_seeds(cx))).within(4 * 3_600));
    }
    all
}

async fn seed_1(cx: &Cx) -> Result<()> {
    run(cx, 1).await
}

async fn seed_2(cx: &Cx) -> Result<()> {
    run(cx, 2).await
}

async fn seed_3(cx: &Cx) -> Result<()> {
    run(cx, 3).await
}

/// Two at a time; all of them, also after one has failed.
async fn all_seeds(cx: &Cx) -> Result<()> {
    let number = |name: &str, default: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let first = number(FIRST, 1);
    let seeds = first..first + number(SEEDS, 50);
    let failed = stream::iter(seeds).map(|seed| async move { (seed, run(cx, seed).await) }).buffer_unordered(2);
    let failed: Vec<_> = failed.filter_map(async |(seed, outcome)| Some((seed, outcome.err()?))).collect().await;
    ensure!(failed.is_empty(), "{} seeds failed: {failed:#?}", failed.len());
    Ok(())
}

async fn run(cx: &Cx, seed: u64) -> Result<()> {
    let (plan, began) = (plan(seed), Instant::now());
    let outcome = run_plan(cx, seed, &plan).await;
    eprintln!("seed {seed}: {} acts, {:?}, {}", plan.len(), began.elapsed(), if outcome.is_ok() { "ok" } else { "FAILED" });
    outcome.with_context(|| format!("seed {seed}: {plan:?}"))
}

async fn run_plan(cx: &Cx, seed: u64, plan: &[Act]) -> Result<()> {
    let mut world = World::begin(cx, seed).await?;
    for act in plan {
        world.act(act).await.with_context(|| format!("{act:?}"))?;
    }
    world.heal().await?;
    world.check().await
}
