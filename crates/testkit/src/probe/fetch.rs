//! A plain HTTP client, so that what is measured is the path and not the client.

use std::io;
use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::protocol::{Fetched, Target};

pub async fn times(target: &Target, times: usize) -> Fetched {
    let mut fetched = Fetched::default();
    for _ in 0..times {
        let started = Instant::now();
        match once(target).await {
            Ok(body) => {
                let took = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
                fetched.microseconds.push(took);
                *fetched.bodies.entry(body).or_default() += 1;
            }
            Err(error) => fetched.failures.push(error.to_string()),
        }
    }
    fetched.microseconds.sort_unstable();
    fetched
}

async fn once(target: &Target) -> io::Result<String> {
    let address = target.socket_address();
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "an answer that isn't HTTP");
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(malformed)?;
    let status = head.split(' ').nth(1).ok_or_else(malformed)?;
    if status != "200" {
        return Err(io::Error::other(format!("HTTP status {status}")));
    }
    Ok(body.trim_end().to_owned())
}
