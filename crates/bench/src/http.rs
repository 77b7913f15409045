//! A lean HTTP/1.1 client: one kept-alive connection, requests as prepared bytes, answers as slices of one buffer. It shares the machine's
//! cores with what it measures, so it must cost little beside it.

use anyhow::{Context as _, Result, bail, ensure};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A request without a body, with more headers, each ending with CR and LF.
#[must_use]
pub(crate) fn request_with(method: &str, address: SocketAddr, path: &str, headers: &str) -> Vec<u8> {
    format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\n{headers}\r\n").into_bytes()
}

/// A request as it goes over the wire.
#[must_use]
pub(crate) fn request(method: &str, address: SocketAddr, path: &str, body: &str) -> Vec<u8> {
    let head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\n");
    let body = match body {
        "" => "\r\n".to_owned(),
        body => format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()),
    };
    (head + &body).into_bytes()
}

/// A connection on which one request follows the other.
pub(crate) struct Connection {
    stream: TcpStream,
    /// What was read; the answer in hand lies at its beginning.
    buffer: Vec<u8>,
    /// How much of `buffer` belongs to answers that were handed out.
    used: usize,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    /// The status code.
    pub(crate) status: u16,
    /// The body.
    pub(crate) body: &'a [u8],
}

impl Answer<'_> {
    /// The body as text, if the status is 2xx.
    ///
    /// # Errors
    /// Names the status and the body otherwise.
    pub(crate) fn text(&self) -> Result<&str> {
        let text = std::str::from_utf8(self.body).context("an answer is not UTF-8")?;
        ensure!((200..300).contains(&self.status), "answered {}: {}", self.status, &text[..text.floor_char_boundary(300)]);
        Ok(text)
    }
}

/// How long the body of an answer is.
enum Length {
    Known(usize),
    Chunked,
}

struct Head {
    status: u16,
    /// Where the body begins in the buffer.
    end: usize,
    length: Length,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// If nobody listens.
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(4096), used: 0 })
    }

    /// Sends a request and waits for its whole answer.
    ///
    /// # Errors
    /// If the connection breaks or the answer is none.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> Result<Answer<'_>> {
        let head = self.begin(request).await?;
        let body = match head.length {
            Length::Known(length) => {
                while self.buffer.len() < head.end + length {
                    self.read().await?;
                }
                head.end..head.end + length
            }
            Length::Chunked => {
                let mut whole = Vec::new();
                self.used = head.end;
                while self.chunk(&mut whole).await? {}
                self.buffer.splice(head.end..self.used, whole.iter().copied());
                head.end..head.end + whole.len()
            }
        };
        self.used = body.end;
        Ok(Answer { status: head.status, body: &self.buffer[body] })
    }

    /// Sends a request whose answer is a stream of events.
    ///
    /// # Errors
    /// If the answer is no stream.
    pub(crate) async fn follow(mut self, request: &[u8]) -> Result<Events> {
        let head = self.begin(request).await?;
        ensure!(head.status == 200 && matches!(head.length, Length::Chunked), "answered {} instead of a stream", head.status);
        self.used = head.end;
        Ok(Events { connection: self, text: Vec::new(), given: 0 })
    }

    /// Sends a request and does not wait for its answer.
    ///
    /// # Errors
    /// If the connection breaks.
    pub(crate) async fn send(&mut self, request: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(request).await?)
    }

    async fn begin(&mut self, request: &[u8]) -> Result<Head> {
        self.buffer.drain(..self.used);
        self.used = 0;
        self.stream.write_all(request).await?;
        loop {
            if let Some(head) = head(&self.buffer)? {
                return Ok(head);
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> Result<()> {
        ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "the connection was closed");
        Ok(())
    }

    /// Appends the next chunk of a body to `to`; false at its end.
    async fn chunk(&mut self, to: &mut Vec<u8>) -> Result<bool> {
        let (size, begin) = loop {
            let rest = &self.buffer[self.used..];
            if let Some(at) = rest.windows(2).position(|pair| pair == b"\r\n") {
                let digits = std::str::from_utf8(&rest[..at])?;
                let digits = digits.split(';').next().unwrap_or_default().trim();
                break (usize::from_str_radix(digits, 16).with_context(|| format!("no size of a chunk: {digits}"))?, self.used + at + 2);
            }
            self.read().await?;
        };
        while self.buffer.len() < begin + size + 2 {
            self.read().await?;
        }
        to.extend_from_slice(&self.buffer[begin..begin + size]);
        self.used = begin + size + 2;
        // The buffer would grow for as long as the stream goes on.
        if self.used > 1 << 16 {
            self.buffer.drain(..self.used);
            self.used = 0;
        }
        Ok(size > 0)
    }
}

/// The head of an answer, once it is there as a whole.
fn head(buffer: &[u8]) -> Result<Option<Head>> {
    let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&buffer[..at])?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
    let Some(status) = status else { bail!("no answer: {text}") };
    let mut length = Length::Known(0);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            length = Length::Known(value.trim().parse()?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            length = Length::Chunked;
        }
    }
    Ok(Some(Head { status, end: at + 4, length }))
}

/// A stream of events.
pub(crate) struct Events {
    connection: Connection,
    text: Vec<u8>,
    given: usize,
}

impl Events {
    /// The next event as it was sent, without its end; `None` when the stream is over.
    ///
    /// # Errors
    /// If the connection breaks.
    pub(crate) async fn next(&mut self) -> Result<Option<&[u8]>> {
        self.text.drain(..self.given);
        self.given = 0;
        let mut seen = 0;
        loop {
            if let Some(at) = self.text[seen..].windows(2).position(|pair| pair == b"\n\n") {
                let end = seen + at;
                self.given = end + 2;
                return Ok(Some(&self.text[..end]));
            }
            seen = self.text.len().saturating_sub(1);
            if !self.connection.chunk(&mut self.text).await? {
                return Ok(None);
            }
        }
    }
}
