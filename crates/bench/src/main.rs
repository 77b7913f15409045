//! `make bench`: measures the release server on both databases, beside the raw limits of the machine, in one run and one table.

mod database;
mod http;
mod load;
mod machine;
mod measure;
mod opencode;
mod process;
mod raw;
mod results;
mod server;
mod stats;
mod worker;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use database::Databases;
use load::Plan;
use machine::{Machine, said};
use measure::{Bench, NAMES};
use raw::http::Bare;
use results::Run;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Measures Muster on this machine. `make bench` starts what it needs and calls it.
#[derive(Debug, Parser)]
struct Options {
    /// Where databases and files of the run go: a directory on a disk, not in memory
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Measure only these
    #[arg(long, value_delimiter = ',', value_name = "NAME,..")]
    only: Vec<String>,
    /// A PostgreSQL with fsync in which databases can be made; without it only SQLite is measured
    #[arg(long, value_name = "URL")]
    postgres: Option<String>,
    /// The OpenCode program; without it the time to the first token is left out
    #[arg(long, value_name = "PATH")]
    opencode: Option<PathBuf>,
    /// How many rounds each throughput is measured
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How many seconds a round takes
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// How much of the large measures is made: 1 is ten thousand workers and a hundred thousand tasks
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Keep the results as JSON in this file
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Show the change from the results in this file
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
}

/// The load generator is one thread: it is to leave the machine to what it measures.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    // The bare handler that everything is compared with is a process of its own, with all cores, as the server is.
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("bare") {
        let address: SocketAddr = arguments.next().context("an address")?.parse()?;
        return std::thread::spawn(move || tokio::runtime::Runtime::new()?.block_on(raw::http::serve(address)))
            .join()
            .unwrap_or_else(|_| anyhow::bail!("the bare server broke"));
    }
    let options = Options::parse();
    let earlier = options.compare.as_deref().map(Run::read).transpose()?;
    let run = measure(&options).await?;
    println!("{}", run.table(earlier.as_ref()));
    if let Some(file) = &options.save {
        std::fs::write(file, serde_json::to_string_pretty(&run)?).with_context(|| format!("writing {}", file.display()))?;
        println!("kept in {}", file.display());
    }
    run.check()
}

async fn measure(options: &Options) -> Result<Run> {
    for name in &options.only {
        ensure!(NAMES.contains(&name.as_str()), "there is no measure `{name}`; known: {}", NAMES.join(", "));
    }
    sqlx::any::install_default_drivers();
    open_files();
    let round = Duration::from_secs_f64(options.seconds);
    let date = jiff::Zoned::now().strftime("%Y-%m-%d %H:%M:%S %Z").to_string();
    let settings = format!("{} rounds of {} s, scale {}", options.rounds, options.seconds, options.scale);
    let machine = Machine::look(&options.dir, &versions(options))?;
    let mut run = Run { date, options: settings, machine, ..Run::default() };
    let bench = Bench {
        databases: Databases { dir: options.dir.clone(), postgres: options.postgres.clone() },
        plan: Plan { warm_up: round.min(Duration::from_secs(2)), rounds: options.rounds, round },
        sampling: round * 3,
        scale: options.scale,
        bare: Bare::start(&options.dir).await?,
        opencode: options.opencode.clone(),
        dir: options.dir.clone(),
    };
    for name in NAMES {
        let is_wanted = options.only.is_empty() || options.only.iter().any(|only| only == name);
        if is_wanted && let Err(error) = bench.run(name, &mut run).await {
            eprintln!("{error:#}");
            run.broken.push(format!("{error:#}"));
        }
    }
    Ok(run)
}

fn versions(options: &Options) -> BTreeMap<String, String> {
    let mut versions = BTreeMap::new();
    if let Some(opencode) = &options.opencode {
        versions.insert("OpenCode".to_owned(), said(&opencode.to_string_lossy(), &["--version"]));
    }
    if options.postgres.is_some() {
        let program = said("scripts/postgres.sh", &["find"]);
        versions.insert("PostgreSQL".to_owned(), said(&format!("{program}/postgres"), &["--version"]));
    }
    versions
}

/// Five thousand workers that wait are as many connections.
fn open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // What the system does not allow, the measure that needs it will say.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
