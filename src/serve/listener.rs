//! Addresses to listen on, and the connections that come in there.

use crate::auth::local::Connection;
use crate::config::Listen;
use crate::lifecycle::Lifecycle;
use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt;

/// How long a connection may be silent between requests, or take to send the head of one.
const IDLE: Duration = Duration::from_secs(75);
/// How often the other end of an HTTP/2 connection is asked whether it is there, and how long it may take to say so.
const PING: Duration = Duration::from_secs(30);
/// How long to wait when the system refuses to accept, for example because too many files are open.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

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

impl Listener {
    /// Serves connections until the server stops: then nothing new is accepted, and open connections finish what they are at.
    pub(super) async fn serve(self, life: Lifecycle, router: Router) {
        loop {
            let accepted = tokio::select! {
                accepted = self.tcp.accept() => accepted,
                () = life.stopping() => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let connection = Connection { peer, listener: self.address };
                    life.spawn_isolated("connection", serve_connection(life.clone(), stream, connection, router.clone()));
                }
                Err(error) if is_the_peers(&error) => {}
                Err(error) => {
                    tracing::error!("cannot accept connections on {}: {error}; trying again", self.address);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Whether only that one connection failed.
fn is_the_peers(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset)
}

/// Serves one connection, HTTP/1 or HTTP/2.
async fn serve_connection(life: Lifecycle, stream: TcpStream, connection: Connection, router: Router) {
    // Small answers are not to wait for more.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!("a connection cannot be set to send at once: {error}");
    }
    let silent = tokio::time::timeout(IDLE, stream.readable());
    let spoke = tokio::select! {
        readable = silent => matches!(readable, Ok(Ok(()))),
        () = life.stopping() => false,
    };
    if !spoke {
        return;
    }
    let service = router.into_service().map_request(move |mut request: Request<_>| {
        request.extensions_mut().insert(ConnectInfo(connection));
        request.map(Body::new)
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(IDLE);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(PING).keep_alive_timeout(PING);
    let mut served = pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)));
    let ended = tokio::select! {
        ended = &mut served => ended,
        () = life.stopping() => {
            served.as_mut().graceful_shutdown();
            tokio::select! {
                ended = &mut served => ended,
                () = life.hard().cancelled() => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(peer = %connection.peer, "a connection broke: {error}");
    }
}
