//! Where the command line meets the server: `muster serve`.

/// Options of `muster serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct ServeArgs {}

/// Runs the server until it is told to stop.
#[expect(clippy::unused_async, reason = "the server is not here yet")]
pub(crate) async fn run(_args: ServeArgs) -> anyhow::Result<()> {
    anyhow::bail!("this build has no server")
}
