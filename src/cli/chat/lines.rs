//! Reading messages from a pipe or a file, or at a terminal that can do nothing but lines: a line is a message.

use super::editor::Input;
use crate::cli::exit::Failure;
use crate::cli::signal::Interrupts;
use std::io::{self, BufRead};
use tokio::sync::mpsc;

/// Standard input, line by line. The thread that waits for it is not waited for at the end.
pub(super) struct Lines(mpsc::Receiver<io::Result<String>>);

impl Lines {
    pub(super) fn new() -> Self {
        let (tell, told) = mpsc::channel(1);
        std::thread::spawn(move || {
            for line in io::stdin().lock().lines() {
                let is_last = line.is_err();
                if tell.blocking_send(line).is_err() || is_last {
                    break;
                }
            }
        });
        Self(told)
    }

    /// The next message. Ctrl-C ends the input.
    pub(super) async fn next(&mut self) -> Result<Input, Failure> {
        let mut interrupts = Interrupts::new().map_err(|error| Failure::Other(format!("cannot listen for Ctrl-C: {error}")))?;
        tokio::select! {
            input = self.read() => input,
            () = interrupts.next() => Ok(Input::End),
        }
    }

    /// A line that ends with a backslash goes on with the next one.
    async fn read(&mut self) -> Result<Input, Failure> {
        let mut text: Option<String> = None;
        while let Some(line) = self.0.recv().await {
            let line = line.map_err(|error| Failure::Usage(format!("cannot read standard input: {error}")))?;
            let before = text.take().map_or(String::new(), |text| text + "\n");
            match line.strip_suffix('\\') {
                Some(beginning) => text = Some(before + beginning),
                None => return Ok(Input::Text(before + &line)),
            }
        }
        Ok(text.map_or(Input::End, Input::Text))
    }
}

#[cfg(test)]
mod tests {
    use super::{Input, Lines};
    use tokio::sync::mpsc;

    async fn read(lines: &[&str]) -> Vec<Input> {
        let (tell, told) = mpsc::channel(lines.len());
        for line in lines {
            tell.send(Ok((*line).to_owned())).await.unwrap();
        }
        drop(tell);
        let (mut lines, mut all) = (Lines(told), Vec::new());
        while all.last() != Some(&Input::End) {
            all.push(lines.next().await.unwrap());
        }
        all
    }

    #[tokio::test]
    async fn a_line_is_a_message_unless_it_ends_with_a_backslash() {
        let text = |text: &str| Input::Text(text.to_owned());
        assert_eq!(read(&["one", "two \\", "  more", ""]).await, [text("one"), text("two \n  more"), text(""), Input::End]);
        assert_eq!(read(&["cut off\\"]).await, [text("cut off"), Input::End]);
    }
}
