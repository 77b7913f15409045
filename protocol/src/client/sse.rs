//! Reads server-sent events from the bytes of a body, as they come
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>).

use super::StreamMessage;
use std::collections::VecDeque;
use std::time::Duration;

/// The longest message, in bytes. What is longer is no message of Muster's.
const LONGEST: usize = 64 << 20;

/// A message is longer than any that is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message of the stream is longer than {} MiB", LONGEST >> 20)]
pub(super) struct TooLong;

/// Takes bytes, cut anywhere, and gives messages.
#[derive(Debug, Default)]
pub(super) struct Parser {
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    /// The last line ended with a carriage return; a line feed right after it belongs to that.
    after_cr: bool,
    is_begun: bool,
    event: String,
    data: Option<String>,
    id: String,
    retry: Option<Duration>,
    ready: VecDeque<StreamMessage>,
}

impl Parser {
    /// The next message that is whole.
    pub(super) fn next(&mut self) -> Option<StreamMessage> {
        self.ready.pop_front()
    }

    /// How long the server asks to wait before a new connection, if it did since this was asked last.
    pub(super) fn take_retry(&mut self) -> Option<Duration> {
        self.retry.take()
    }

    /// Reads more of the body.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<(), TooLong> {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_cr) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
                self.keep(bytes)?;
                break;
            };
            self.keep(&bytes[..end])?;
            self.after_cr = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            let line = std::mem::take(&mut self.line);
            self.take_line(&String::from_utf8_lossy(&line));
        }
        Ok(())
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        self.line.extend_from_slice(bytes);
        if self.line.len() + self.data.as_ref().map_or(0, String::len) > LONGEST { Err(TooLong) } else { Ok(()) }
    }

    fn take_line(&mut self, line: &str) {
        let line = if std::mem::replace(&mut self.is_begun, true) { line } else { line.trim_start_matches('\u{feff}') };
        if line.is_empty() {
            return self.dispatch();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            "id" if !value.contains('\0') => value.clone_into(&mut self.id),
            "retry" if value.bytes().all(|byte| byte.is_ascii_digit()) => self.retry = value.parse().ok().map(Duration::from_millis),
            // The empty field is a comment; others are ignored.
            _ => {}
        }
    }

    /// An empty line ends a message, if there is any data.
    fn dispatch(&mut self) {
        let event = std::mem::take(&mut self.event);
        if let Some(data) = self.data.take() {
            let event = if event.is_empty() { "message".to_owned() } else { event };
            self.ready.push_back(StreamMessage { event, id: self.id.clone(), data });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, Parser, StreamMessage, TooLong};
    use std::time::Duration;

    fn message(event: &str, id: &str, data: &str) -> StreamMessage {
        StreamMessage { event: event.to_owned(), id: id.to_owned(), data: data.to_owned() }
    }

    fn parse(chunks: &[&[u8]]) -> Vec<StreamMessage> {
        let mut parser = Parser::default();
        for chunk in chunks {
            parser.push(chunk).unwrap();
        }
        std::iter::from_fn(|| parser.next()).collect()
    }

    #[test]
    fn the_examples_of_the_specification_are_read_as_it_says() {
        assert_eq!(parse(&[b"data: YHOO\ndata: +2\ndata: 10\n\n"]), [message("message", "", "YHOO\n+2\n10")]);
        let ids = b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n";
        assert_eq!(
            parse(&[ids]),
            [message("message", "1", "first event"), message("message", "", "second event"), message("message", "", " third event")]
        );
        assert_eq!(parse(&[b"data\n\ndata\ndata\n\ndata:"]), [message("message", "", ""), message("message", "", "\n")]);
        assert_eq!(parse(&[b"data:test\n\ndata: test\n\n"]), [message("message", "", "test"), message("message", "", "test")]);
    }

    #[test]
    fn it_does_not_matter_where_the_bytes_are_cut_or_how_lines_end() {
        let expected = [message("text", "7", "größe 🦀"), message("done", "7", "{}")];
        for end in ["\n", "\r", "\r\n"] {
            let lines = ["\u{feff}: comment", "event: text", "id: 7", "data: größe 🦀", "", "event: done", "data: {}", "", ""];
            let body = lines.join(end);
            for size in 1..body.len() {
                let chunks: Vec<&[u8]> = body.as_bytes().chunks(size).collect();
                assert_eq!(parse(&chunks), expected, "line end {end:?}, chunks of {size}");
            }
        }
    }

    #[test]
    fn fields_that_mean_nothing_are_ignored() {
        assert_eq!(
            parse(&[b"event: lonely\n\nid: a\0b\nretry: soon\nother: x\nnonsense\ndata: \xff\n\n"]),
            [message("message", "", "\u{fffd}")]
        );
    }

    #[test]
    fn the_pause_is_told_once() {
        let mut parser = Parser::default();
        parser.push(b"retry: 2500\n").unwrap();
        assert_eq!((parser.take_retry(), parser.take_retry()), (Some(Duration::from_millis(2_500)), None));
    }

    #[test]
    fn a_message_without_end_does_not_fill_the_memory() {
        let (mut parser, chunk) = (Parser::default(), vec![b'x'; 1 << 20]);
        let outcome: Result<Vec<()>, TooLong> = (0..=LONGEST >> 20).map(|_| parser.push(&chunk)).collect();
        assert_eq!(outcome, Err(TooLong));
    }
}
