//! Ctrl-C while a task is followed.

use super::console::Console;
use super::style::Style;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// What to do with the task that is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    Cancel,
    Leave,
    Wait,
}

/// Every Ctrl-C from now on. While it lives, Ctrl-C does not end the process by itself.
pub(crate) struct Interrupts(Signal);

impl Interrupts {
    pub(crate) fn new() -> io::Result<Self> {
        signal(SignalKind::interrupt()).map(Self)
    }

    /// The next Ctrl-C.
    pub(crate) async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

/// Asks what to do. Without a terminal the task is left running; so it is at a second Ctrl-C and at the end of input.
pub(crate) async fn ask(console: &mut Console, interrupts: &mut Interrupts) -> Choice {
    if !console.err.is_terminal {
        return Choice::Leave;
    }
    loop {
        let question = "The task is running: [c]ancel it, [l]eave it running, [w]ait on? ";
        let _ = console.err.write(&format!("\n{}", Style::Warn.paint(question, console.err.is_coloured)));
        let answer = tokio::select! {
            answer = line_of_terminal() => answer,
            () = interrupts.next() => {
                let _ = console.err.write("\n");
                return Choice::Leave;
            }
        };
        match answer {
            Some(answer) => {
                if let Some(choice) = understand(&answer) {
                    return choice;
                }
            }
            None => return Choice::Leave,
        }
    }
}

fn understand(answer: &str) -> Option<Choice> {
    match answer.trim().to_ascii_lowercase().as_str() {
        "c" | "cancel" => Some(Choice::Cancel),
        "l" | "leave" => Some(Choice::Leave),
        "w" | "wait" => Some(Choice::Wait),
        _ => None,
    }
}

/// A line typed at the terminal, also where standard input is something else. The thread that waits for it is of no more use once the question is
/// settled otherwise; the runtime does not wait for it.
async fn line_of_terminal() -> Option<String> {
    let (tell, told) = oneshot::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = File::open("/dev/tty").and_then(|tty| BufReader::new(tty).read_line(&mut line));
        let _ = tell.send(read.ok().filter(|n| *n > 0).map(|_| line));
    });
    told.await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::{Choice, understand};

    #[test]
    fn an_answer_is_a_letter_or_a_word() {
        assert_eq!(understand("C\n"), Some(Choice::Cancel));
        assert_eq!(understand(" leave \n"), Some(Choice::Leave));
        assert_eq!(understand("w"), Some(Choice::Wait));
        assert_eq!(understand("\n"), None, "nothing is done by accident");
    }
}
