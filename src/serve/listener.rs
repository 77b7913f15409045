//! Addresses to listen on.

use crate::auth::local::Connection;
use crate::config::Listen;
use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpStream};

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {}", explain(reason))]
pub struct ListenError {
    /// The address.
    pub address: SocketAddr,
    /// What the system said.
    pub reason: io::Error,
}

fn explain(reason: &io::Error) -> String {
    match reason.kind() {
        ErrorKind::AddrInUse => {
            "the port is in use by another program (another muster serve?); stop it, or choose another port with --port".to_owned()
        }
        ErrorKind::PermissionDenied => "this user may not use the port; choose one above 1023 with --port".to_owned(),
        ErrorKind::AddrNotAvailable => "this machine has no such address; check --listen".to_owned(),
        _ => format!("{reason}; check --listen"),
    }
}

/// A listener that tells each connection where it came in.
pub(super) struct Listener {
    tcp: TcpListener,
    address: SocketAddr,
}

impl Listener {
    async fn bind(address: SocketAddr) -> Result<Self, ListenError> {
        let failed = |reason| ListenError { address, reason };
        let tcp = TcpListener::bind(address).await.map_err(failed)?;
        let address = tcp.local_addr().map_err(failed)?;
        Ok(Self { tcp, address })
    }

    /// The address; with port 0, the port that was taken.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Binds all addresses, or none. Of the default ones, those that this machine does not have are left out.
pub(super) async fn bind(listen: &Listen) -> Result<Vec<Listener>, ListenError> {
    let mut listeners: Vec<Listener> = Vec::new();
    for wanted in &listen.addresses {
        let mut address = *wanted;
        // The default addresses have one port, also if any will do.
        if let Some(first) = listeners.first().filter(|_| listen.is_default) {
            address.set_port(first.address.port());
        }
        match Listener::bind(address).await {
            Ok(listener) => listeners.push(listener),
            Err(error) if listen.is_default && address.is_ipv6() && may_be_left_out(&error.reason, wanted.port()) => {
                tracing::info!("not listening on {address}: {}", error.reason);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(listeners)
}

/// A port in use is a mistake to be told, except if nobody asked for that very port.
fn may_be_left_out(reason: &io::Error, wanted_port: u16) -> bool {
    reason.kind() != ErrorKind::AddrInUse || wanted_port == 0
}

impl axum::serve::Listener for Listener {
    type Io = TcpStream;
    type Addr = Connection;

    async fn accept(&mut self) -> (TcpStream, Connection) {
        let (stream, peer) = axum::serve::Listener::accept(&mut self.tcp).await;
        // Small answers are not to wait for more.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!("a connection cannot be set to send at once: {error}");
        }
        (stream, Connection { peer, listener: self.address })
    }

    fn local_addr(&self) -> io::Result<Connection> {
        Ok(Connection { peer: self.address, listener: self.address })
    }
}

impl Connected<IncomingStream<'_, Listener>> for Connection {
    fn connect_info(stream: IncomingStream<'_, Listener>) -> Self {
        *stream.remote_addr()
    }
}
