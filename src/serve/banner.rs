//! What a person sees when the server has started.

use crate::app::App;
use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// Prints it to standard output. That nobody reads it is no reason to stop.
pub(super) fn print(app: &App, addresses: &[SocketAddr]) {
    let mut out = std::io::stdout().lock();
    drop(out.write_all(text(app, addresses).as_bytes()).and_then(|()| out.flush()));
}

fn text(app: &App, addresses: &[SocketAddr]) -> String {
    let config = &app.config;
    let listening: Vec<_> = addresses.iter().map(|address| format!("http://{address}")).collect();
    let agents = app.own_agents();
    let address = address_to_type(app, addresses);
    format!(
        "Muster {version}, server {name}\n  \
         listening  {listening}\n  \
         database   {database}\n  \
         data       {data}\n  \
         agents     {agents}\n\n\
         On each machine that is to work, type:\n  \
         muster-worker --server {address}\n",
        version = env!("CARGO_PKG_VERSION"),
        name = config.name,
        listening = listening.join(", "),
        database = config.database,
        data = config.data_dir.display(),
        agents = agents.join(", "),
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
