//! A GET request, and the status of its answer.

use super::Outcome;
use model::load_balancer::HttpProbe;
use services::balancer::CheckTarget;
use std::io;
use std::net::IpAddr;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A status line is much shorter.
const LONGEST: usize = 1024;

pub async fn get(
    stream: TcpStream,
    probe: &HttpProbe,
    target: &CheckTarget,
) -> io::Result<Outcome> {
    match probe.tls {
        true => {
            let name = probe.host.clone().unwrap_or_else(|| target.address.to_string());
            request(super::tls::connect(stream, &name).await?, probe, target).await
        }
        false => request(stream, probe, target).await,
    }
}

async fn request(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    probe: &HttpProbe,
    target: &CheckTarget,
) -> io::Result<Outcome> {
    let host = match (&probe.host, target.address) {
        (Some(host), _) => host.clone(),
        (None, IpAddr::V4(v4)) => format!("{v4}:{}", target.port),
        (None, IpAddr::V6(v6)) => format!("[{v6}]:{}", target.port),
    };
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: skep\r\nConnection: close\r\n\r\n",
        probe.path
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.contains(&b'\n') && answer.len() < LONGEST {
        if stream.read_buf(&mut answer).await? == 0 {
            break;
        }
    }
    if answer.is_empty() {
        return Ok(Outcome::bad("the connection was closed before an answer"));
    }
    let Some(status) = status(&answer) else {
        return Ok(Outcome::bad("the answer is not HTTP"));
    };
    let (first, last) = probe.status;
    Ok(Outcome { good: (first..=last).contains(&status), message: format!("status {status}") })
}

/// `HTTP/1.1 200 ...`
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\n').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    words.next().filter(|version| version.starts_with("HTTP/"))?;
    words.next()?.trim().parse().ok()
}
