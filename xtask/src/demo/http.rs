//! Just enough of HTTP/1.1 for the demo: heads, bodies in their three framings, one-shot requests.
//!
//! Rule: it shares nothing with the code that it measures, so that an error there cannot hide
//! here. It is no general client: plain text, loopback, one request per connection.

use anyhow::{Context, Result, bail, ensure};
use std::io;
use std::time::Duration;
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader,
};
use tokio::net::TcpStream;

/// Longest head: requests and responses here have a few hundred bytes.
const HEAD_BYTES_MAX: usize = 32 * 1024;

/// Longest body that a one-shot request takes: the largest object that the server holds.
const BODY_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Start line and headers of a message.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    /// Request line or status line.
    pub(crate) start: String,
    /// Headers as they came.
    pub(crate) headers: Vec<(String, String)>,
}

impl Head {
    /// The first header of that name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Status of a response, 0 where there is none.
    pub(crate) fn status(&self) -> u16 {
        self.word(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    /// The n-th word of the start line.
    pub(crate) fn word(&self, n: usize) -> Option<&str> {
        self.start.split_ascii_whitespace().nth(n)
    }

    /// Whether the connection ends after this message.
    pub(crate) fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
            || self.start.contains("HTTP/1.0")
    }

    /// The head as bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut text = format!("{}\r\n", self.start);
        for (name, value) in &self.headers {
            text += &format!("{name}: {value}\r\n");
        }
        (text + "\r\n").into_bytes()
    }

    /// How the body of this response to `method` is delimited.
    pub(crate) fn response_framing(&self, method: &str) -> Framing {
        if method == "HEAD" || matches!(self.status(), 100..200 | 204 | 304) {
            return Framing::Length(0);
        }
        self.request_framing(Framing::UntilClose)
    }

    /// How the body of this request is delimited; `otherwise` if nothing says so.
    pub(crate) fn request_framing(&self, otherwise: Framing) -> Framing {
        if self.header("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
            return Framing::Chunked;
        }
        let length = self.header("content-length").and_then(|value| value.parse().ok());
        length.map_or(otherwise, Framing::Length)
    }
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// After that many bytes.
    Length(u64),
    /// With the last chunk.
    Chunked,
    /// With the connection.
    UntilClose,
}

/// Reads a head; none at the end of the connection.
pub(crate) async fn read_head<R: AsyncBufRead + Unpin>(reader: &mut R) -> io::Result<Option<Head>> {
    let mut head = Head::default();
    let mut left = HEAD_BYTES_MAX as u64;
    loop {
        let mut line = String::new();
        let count = (&mut *reader).take(left).read_line(&mut line).await?;
        left -= count as u64;
        let Some(text) = line.strip_suffix('\n') else {
            let at_start = head.start.is_empty() && line.is_empty() && left > 0;
            return if at_start { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        };
        let text = text.trim_end();
        if head.start.is_empty() {
            head.start = text.to_owned();
        } else if text.is_empty() {
            return Ok(Some(head));
        } else if let Some((name, value)) = text.split_once(':') {
            head.headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }
}

/// Passes a body on as it comes, byte for byte, and shows to `see` what was passed on of its
/// content. Says whether the body came to its proper end.
pub(crate) async fn relay_body<R, W>(
    reader: &mut R,
    writer: &mut W,
    framing: Framing,
    mut see: impl FnMut(&[u8]),
) -> io::Result<bool>
where
    R: AsyncBufRead + Unpin,
    W: AsyncWrite + Unpin,
{
    match framing {
        Framing::Length(length) => relay_bytes(reader, writer, length, &mut see).await,
        Framing::UntilClose => {
            relay_bytes(reader, writer, u64::MAX, &mut see).await?;
            Ok(true)
        }
        Framing::Chunked => loop {
            let mut line = String::new();
            (&mut *reader).take(1024).read_line(&mut line).await?;
            writer.write_all(line.as_bytes()).await?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let Ok(size) = u64::from_str_radix(digits, 16) else { return Ok(false) };
            if size > 0 && !relay_bytes(reader, writer, size, &mut see).await? {
                return Ok(false);
            }
            // The line end after the data; after the last chunk it may be trailers and is then
            // passed on up to the empty line.
            loop {
                line.clear();
                (&mut *reader).take(1024).read_line(&mut line).await?;
                writer.write_all(line.as_bytes()).await?;
                if line.trim().is_empty() {
                    break;
                }
            }
            if size == 0 {
                return Ok(line.ends_with('\n'));
            }
        },
    }
}

async fn relay_bytes<R, W>(
    reader: &mut R,
    writer: &mut W,
    mut left: u64,
    see: &mut impl FnMut(&[u8]),
) -> io::Result<bool>
where
    R: AsyncBufRead + Unpin,
    W: AsyncWrite + Unpin,
{
    while left > 0 {
        let available = reader.fill_buf().await?;
        if available.is_empty() {
            return Ok(false);
        }
        let count = available.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        writer.write_all(&available[..count]).await?;
        see(&available[..count]);
        reader.consume(count);
        left -= count as u64;
    }
    Ok(true)
}

/// A response with its body.
#[derive(Debug)]
pub(crate) struct Response {
    /// Status and headers.
    pub(crate) head: Head,
    /// The body, content only.
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The body of a 2xx response as text.
    pub(crate) fn into_text(self) -> Result<String> {
        Ok(String::from_utf8(self.into_body()?)?)
    }

    /// The body of a 2xx response.
    pub(crate) fn into_body(self) -> Result<Vec<u8>> {
        ensure!((200..300).contains(&self.head.status()), "answered {}", self.head.start);
        Ok(self.body)
    }
}

/// One GET of `http://ADDRESS/PATH`.
pub(crate) async fn fetch(url: &str, limit: Duration) -> Result<Response> {
    request("GET", url, &[], limit).await
}

/// One request on a connection of its own; an answer later than `limit` is an error.
pub(crate) async fn request(
    method: &str,
    url: &str,
    body: &[u8],
    limit: Duration,
) -> Result<Response> {
    request_with(method, url, &[], body, limit).await
}

/// The same, with headers.
pub(crate) async fn request_with(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    limit: Duration,
) -> Result<Response> {
    let answer = tokio::time::timeout(limit, exchange(method, url, headers, body)).await;
    answer.unwrap_or_else(|_| bail!("no answer within {limit:?}")).with_context(|| url.to_owned())
}

async fn exchange(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Response> {
    let rest = url.strip_prefix("http://").context("only http:// URLs")?;
    let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut stream = BufReader::with_capacity(64 * 1024, stream);
    let mut request = Head { start: format!("{method} /{path} HTTP/1.1"), headers: Vec::new() };
    let mut add = |name: &str, value: String| request.headers.push((name.into(), value));
    add("Host", address.to_owned());
    add("Connection", "close".to_owned());
    for (name, value) in headers {
        add(name, (*value).to_owned());
    }
    if !body.is_empty() {
        add("Content-Length", body.len().to_string());
    }
    let bytes = request.encode();
    let stream_mut = stream.get_mut();
    stream_mut.write_all(&bytes).await?;
    stream_mut.write_all(body).await?;
    let head = read_head(&mut stream).await?.context("connection closed without an answer")?;
    let framing = head.response_framing(method);
    let mut limited = stream.take(BODY_BYTES_MAX);
    let mut content = Vec::new();
    let see = |bytes: &[u8]| content.extend_from_slice(bytes);
    let complete = relay_body(&mut limited, &mut tokio::io::sink(), framing, see).await?;
    ensure!(complete, "body ended early");
    Ok(Response { head, body: content })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn relay(wire: &[u8], framing: Framing) -> (bool, Vec<u8>, Vec<u8>) {
        let (mut passed, mut seen) = (Vec::new(), Vec::new());
        let mut reader = wire;
        let see = |bytes: &[u8]| seen.extend_from_slice(bytes);
        let complete = relay_body(&mut reader, &mut passed, framing, see).await.unwrap();
        (complete, passed, seen)
    }

    #[tokio::test]
    async fn bodies_pass_unchanged() {
        let chunked = b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n";
        assert_eq!(
            relay(chunked, Framing::Chunked).await,
            (true, chunked.to_vec(), b"hello world".to_vec())
        );
        let (complete, _, seen) = relay(b"5\r\nhel", Framing::Chunked).await;
        assert_eq!((complete, seen.as_slice()), (false, b"hel".as_slice()));
        let (complete, _, seen) = relay(b"hello!", Framing::Length(5)).await;
        assert_eq!((complete, seen.as_slice()), (true, b"hello".as_slice()));
        assert!(!relay(b"hell", Framing::Length(5)).await.0);
    }

    #[tokio::test]
    async fn heads() {
        let mut wire: &[u8] = b"HTTP/1.1 206 Partial\r\nContent-Length: 7\r\nX: a:b\r\n\r\nrest";
        let head = read_head(&mut wire).await.unwrap().unwrap();
        assert_eq!((head.status(), head.header("x")), (206, Some("a:b")));
        assert_eq!(head.response_framing("GET"), Framing::Length(7));
        assert_eq!(head.response_framing("HEAD"), Framing::Length(0));
        assert_eq!(wire, b"rest");
        assert!(read_head(&mut &b""[..]).await.unwrap().is_none());
        assert!(read_head(&mut &b"GET / HT"[..]).await.is_err());
    }
}
