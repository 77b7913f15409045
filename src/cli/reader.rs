//! Whether somebody still reads standard output.

use super::console::Console;
use super::exit::Failure;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io;
use tokio::sync::watch;

/// How often it is looked whether anybody still wants to know.
const ROUND: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// The reader of standard output, where that is a pipe or a socket. Writing would tell that it has gone, but there may be nothing to write for hours.
pub(crate) struct Reader(Option<watch::Receiver<bool>>);

impl Reader {
    pub(crate) fn of(console: &Console) -> Self {
        let is_watched = console.out.is_of_process() && !console.out.is_terminal;
        Self(is_watched.then(|| {
            let (tell, told) = watch::channel(false);
            // Asynchronous readiness would need standard output not to block, for all that share it.
            std::thread::spawn(move || look(&tell));
            told
        }))
    }

    /// Waits until it has gone; for ever where that cannot happen.
    pub(crate) async fn gone(&self) {
        if let Some(told) = &self.0
            && told.clone().wait_for(|is_gone| *is_gone).await.is_ok()
        {
            return;
        }
        std::future::pending::<()>().await;
    }

    /// What ends the command then: the same as a write that fails.
    pub(crate) fn failure() -> Failure {
        Failure::from(io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

/// Tells when the other end of standard output is closed. A file has none, and is watched in vain.
fn look(tell: &watch::Sender<bool>) {
    let output = io::stdout();
    while !tell.is_closed() {
        // Errors and hang-ups are told unasked.
        let mut polled = [PollFd::new(&output, PollFlags::empty())];
        match poll(&mut polled, Some(&ROUND)) {
            Ok(0) | Err(Errno::INTR) => (),
            Ok(_) if polled[0].revents().intersects(PollFlags::ERR | PollFlags::HUP) => {
                let _ = tell.send(true);
                return;
            }
            // Nothing can be learned.
            _ => return,
        }
    }
}
