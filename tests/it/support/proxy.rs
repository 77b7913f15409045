//! A TCP proxy that breaks connections where a case wants it.

use anyhow::Result;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A proxy in front of a server on this machine. It ends when it is dropped.
pub(crate) struct CutProxy {
    address: SocketAddr,
    rules: Arc<Rules>,
    _running: DropGuard,
}

#[derive(Default)]
struct Rules {
    /// Cut once, before the answer that contains this.
    needle: Mutex<Option<Vec<u8>>>,
    cuts: AtomicU64,
    refuses: AtomicBool,
    broken: Notify,
}

impl CutProxy {
    /// Listens on a free port in front of the server at `port`.
    pub(crate) async fn start(port: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let rules = Arc::new(Rules::default());
        let token = CancellationToken::new();
        let end = token.clone();
        let shared = Arc::clone(&rules);
        tokio::spawn(async move {
            let serving = async {
                while let Ok((client, _)) = listener.accept().await {
                    let (rules, end) = (Arc::clone(&shared), end.clone());
                    tokio::spawn(async move {
                        tokio::select! {
                            () = end.cancelled() => (),
                            () = relay(client, port, &rules) => (),
                        }
                    });
                }
            };
            tokio::select! {
                () = end.cancelled() => (),
                () = serving => (),
            }
        });
        Ok(Self { address, rules, _running: token.drop_guard() })
    }

    /// Its address as a URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Loses the next answer that contains `text`: the request has reached the server, its answer does not come back.
    pub(crate) fn cut_answer_with(&self, text: &str) {
        *self.rules.needle.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.as_bytes().to_vec());
    }

    /// How many answers were lost.
    pub(crate) fn cuts(&self) -> u64 {
        self.rules.cuts.load(Ordering::SeqCst)
    }

    /// Breaks all connections and closes each new one at once, or no longer does.
    pub(crate) fn refuse(&self, refuses: bool) {
        self.rules.refuses.store(refuses, Ordering::SeqCst);
        if refuses {
            self.rules.broken.notify_waiters();
        }
    }
}

/// Passes bytes both ways until one side ends or a rule cuts.
async fn relay(client: TcpStream, port: u16, rules: &Rules) {
    if rules.refuses.load(Ordering::SeqCst) {
        return;
    }
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let requests = async {
        let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
    };
    let answers = async {
        let mut seen = Vec::new();
        let mut chunk = vec![0; 16 * 1024];
        while let Ok(n @ 1..) = from_server.read(&mut chunk).await {
            seen.extend_from_slice(&chunk[..n]);
            if rules.cuts_at(&seen) || to_client.write_all(&chunk[..n]).await.is_err() {
                return;
            }
            rules.forget(&mut seen);
        }
    };
    tokio::select! {
        () = requests => (),
        () = answers => (),
        () = rules.broken.notified() => (),
    }
}

impl Rules {
    fn cuts_at(&self, seen: &[u8]) -> bool {
        let mut needle = self.needle.lock().unwrap_or_else(PoisonError::into_inner);
        let found = needle.as_ref().is_some_and(|needle| seen.windows(needle.len()).any(|window| window == needle));
        if found {
            *needle = None;
            self.cuts.fetch_add(1, Ordering::SeqCst);
        }
        found
    }

    /// Keeps of what was passed only what may be the beginning of the text that is looked for.
    fn forget(&self, seen: &mut Vec<u8>) {
        let needle = self.needle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = needle.as_ref().map_or(0, |needle| needle.len() - 1);
        seen.drain(..seen.len().saturating_sub(kept));
    }
}
