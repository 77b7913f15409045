//! What a person sees when the server has started.

use crate::app::App;
use crate::network::shown;
use muster_protocol::peer::{Peer, PeerState};
use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// How long servers that are to be joined may take to be shown as connected.
const FIRST_MOMENTS: Duration = Duration::from_secs(2);

/// Prints it to standard output. That nobody reads it is no reason to stop.
pub(super) async fn print(app: &App, addresses: &[SocketAddr]) {
    wait_for_peers(app).await;
    let mut out = std::io::stdout().lock();
    drop(out.write_all(text(app, addresses).as_bytes()).and_then(|()| out.flush()));
}

/// Waits a moment for the servers that are to be joined.
async fn wait_for_peers(app: &App) {
    let mut changes = app.network.changes();
    let all_there = async {
        loop {
            changes.mark_unchanged();
            let there = shown(app).iter().all(|peer| peer.state != PeerState::Connecting);
            if there || changes.changed().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        _ = tokio::time::timeout(FIRST_MOMENTS, all_there) => {}
        () = app.life.stopping() => {}
    }
}

/// An agent of this server a line, with what it is.
fn agents(app: &App) -> String {
    let lines = app.own_specialties().into_iter().map(|(name, what)| if what.is_empty() { name } else { format!("{name} ({what})") });
    lines.collect::<Vec<_>>().join("\n             ")
}

/// The servers that are known.
fn peers(app: &App) -> String {
    let line = |peer: Peer| match peer.state {
        PeerState::Up => format!("{} at {}", peer.name, peer.url),
        state => format!("{} is {state}{}", peer.name, peer.reason.map(|why| format!(" ({why})")).unwrap_or_default()),
    };
    let lines: Vec<_> = shown(app).into_iter().map(line).collect();
    if lines.is_empty() { "none".to_owned() } else { lines.join("\n             ") }
}

fn text(app: &App, addresses: &[SocketAddr]) -> String {
    let config = &app.config;
    let listening: Vec<_> = addresses.iter().map(|address| format!("http://{address}")).collect();
    let address = address_to_type(app, addresses);
    format!(
        "Muster {version}, server {name}\n  \
         listening  {listening}\n  \
         database   {database}\n  \
         data       {data}\n  \
         agents     {agents}\n  \
         peers      {peers}\n\n\
         On each machine that is to work, type:\n  \
         muster-worker --server {address}\n",
        version = env!("CARGO_PKG_VERSION"),
        name = config.name,
        listening = listening.join(", "),
        database = config.database,
        data = config.data_dir.display(),
        agents = agents(app),
        peers = peers(app),
    )
}

/// The address for others to type.
fn address_to_type(app: &App, addresses: &[SocketAddr]) -> String {
    if let Some(url) = &app.config.public_url {
        return url.as_str().trim_end_matches('/').to_owned();
    }
    let reachable = |address: &SocketAddr| match address {
        // Everywhere is no address to go to.
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => SocketAddr::from((Ipv4Addr::LOCALHOST, v4.port())),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => SocketAddr::from((Ipv6Addr::LOCALHOST, v6.port())),
        address => *address,
    };
    addresses.first().map(|address| format!("http://{}", reachable(address))).unwrap_or_default()
}
