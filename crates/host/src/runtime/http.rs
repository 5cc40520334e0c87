//! The one HTTP request this crate needs: GET over a Unix socket. HTTP/1.0, so that the answer is
//! neither chunked nor kept open.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Far above a list of thousands of containers.
const MOST_BYTES: u64 = 64 << 20;
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// Errors of kind `NotFound` and `ConnectionRefused` mean that nobody listens at the socket.
pub(super) async fn fetch(socket: &Path, target: &str) -> io::Result<Answer> {
    let exchange = async {
        let mut stream = UnixStream::connect(socket).await?;
        let request = format!("GET {target} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut bytes = Vec::new();
        stream.take(MOST_BYTES).read_to_end(&mut bytes).await?;
        Ok::<_, io::Error>(bytes)
    };
    let bytes = tokio::time::timeout(PATIENCE, exchange)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    parse(&bytes).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not an HTTP answer"))
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let chunked = lines.any(|line| {
        let line = line.to_ascii_lowercase();
        line.starts_with("transfer-encoding:") && line.contains("chunked")
    });
    let body = &bytes[end + 4..];
    let body = if chunked { joined(body)? } else { body.to_vec() };
    Some(Answer { status, body })
}

/// Some servers send chunks even to HTTP/1.0.
fn joined(mut chunks: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = chunks.windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(&chunks[..end]).ok()?.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        let start = end + 2;
        body.extend_from_slice(chunks.get(start..start.checked_add(size)?)?);
        chunks = chunks.get(start + size + 2..)?;
    }
}

/// Percent-encodes what isn't unreserved (RFC 3986).
pub(super) fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expect: Option<(u16, &str)>) {
        let parsed = parse(bytes).map(|a| (a.status, String::from_utf8(a.body).unwrap()));
        assert_eq!(parsed, expect.map(|(status, body)| (status, body.to_owned())));
    }

    #[test]
    fn answers() {
        check(b"HTTP/1.0 200 OK\r\nServer: x\r\n\r\n[]", Some((200, "[]")));
        check(b"HTTP/1.1 404 Not Found\r\n\r\n", Some((404, "")));
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        check(&[chunked, &b"2\r\nab\r\n1;x\r\nc\r\n0\r\n\r\n"[..]].concat(), Some((200, "abc")));
        check(&[chunked, &b"ffffffffffffffff\r\nab"[..]].concat(), None);
        check(&[chunked, &b"5\r\nab"[..]].concat(), None);
        check(b"HTTP/1.0 200 OK\r\n", None);
        check(b"SSH-2.0-OpenSSH\r\n\r\n", None);
        check(b"", None);
    }

    #[test]
    fn encoding() {
        assert_eq!(encoded("a-b/{\"é"), "a-b%2F%7B%22%C3%A9");
    }
}
