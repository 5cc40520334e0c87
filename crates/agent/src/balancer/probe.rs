//! One check of one backend.

mod http;
mod icmp;
mod tls;

use model::load_balancer::Probe;
use services::balancer::CheckTarget;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::process::Stdio;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::Command;

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub good: bool,
    /// `connected`, `status 503`, `connection refused`.
    pub message: String,
}

impl Outcome {
    pub fn good(message: impl Into<String>) -> Self {
        Outcome { good: true, message: message.into() }
    }

    pub fn bad(message: impl Into<String>) -> Self {
        Outcome { good: false, message: message.into() }
    }
}

/// Checks once; the caller sees to the timeout. `mark` is for packets that go through the
/// encapsulation.
pub async fn probe(target: &CheckTarget, mark: Option<u32>) -> Outcome {
    let done = match &target.check.probe {
        Probe::Tcp { .. } => connect(target, mark).await.map(|_| Outcome::good("connected")),
        Probe::Http(probe) => match connect(target, mark).await {
            Ok(stream) => http::get(stream, probe, target).await,
            Err(error) => Err(error),
        },
        Probe::Icmp => icmp::echo(destination(target), mark, target.check.timeout).await,
        Probe::Script { command } => script(command, target).await,
    };
    done.unwrap_or_else(|error| Outcome::bad(error.to_string()))
}

/// Where the probe's packets are addressed to.
fn destination(target: &CheckTarget) -> IpAddr {
    match target.vip {
        Some(vip) if target.check.through_encapsulation => vip,
        _ => target.address,
    }
}

async fn connect(target: &CheckTarget, mark: Option<u32>) -> io::Result<TcpStream> {
    let address = destination(target);
    let socket = match address {
        IpAddr::V4(_) => TcpSocket::new_v4()?,
        IpAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if let Some(mark) = mark {
        socket2::SockRef::from(&socket).set_mark(mark)?;
    }
    socket.connect(SocketAddr::new(address, target.port)).await
}

async fn script(command: &[String], target: &CheckTarget) -> io::Result<Outcome> {
    let Some((program, arguments)) = command.split_first() else {
        return Ok(Outcome::bad("the command is empty"));
    };
    let vip = target.vip.map(|vip| vip.to_string()).unwrap_or_default();
    let mut child = Command::new(program)
        .args(arguments)
        .env("SKEP_BACKEND", target.address.to_string())
        .env("SKEP_PORT", target.port.to_string())
        .env("SKEP_VIP", vip)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A check that takes too long is ended.
        .kill_on_drop(true)
        .spawn()?;
    let (output, errors) = (beginning(child.stdout.take()), beginning(child.stderr.take()));
    let (output, errors, status) = tokio::try_join!(output, errors, child.wait())?;
    let said = [output, errors]
        .iter()
        .find_map(|said| {
            let said = String::from_utf8_lossy(said);
            let first = said.lines().map(str::trim).find(|line| !line.is_empty())?;
            Some(format!(": {}", first.chars().take(120).collect::<String>()))
        })
        .unwrap_or_default();
    Ok(Outcome { good: status.success(), message: format!("{status}{said}") })
}

/// What a program says first; it may say as much as it likes.
async fn beginning(stream: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    const KEPT: u64 = 4096;
    let mut said = Vec::new();
    if let Some(mut stream) = stream {
        (&mut stream).take(KEPT).read_to_end(&mut said).await?;
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::load_balancer::{HealthCheck, HttpProbe};
    use std::time::Duration;
    use tokio::io::AsyncWriteExt as _;

    fn target(probe: Probe, port: u16) -> CheckTarget {
        CheckTarget {
            check: HealthCheck {
                probe,
                interval: Duration::from_secs(1),
                timeout: Duration::from_secs(1),
                healthy_after: 1,
                unhealthy_after: 1,
                slow_start: Duration::ZERO,
                through_encapsulation: false,
            },
            address: "127.0.0.1".parse().unwrap(),
            port,
            vip: None,
        }
    }

    /// Answers every connection with these bytes.
    async fn server(answer: &'static str) -> u16 {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut request = [0; 1024];
                    let _ = stream.read(&mut request).await;
                    let _ = stream.write_all(answer.as_bytes()).await;
                });
            }
        });
        port
    }

    fn http(status: (u16, u16)) -> Probe {
        Probe::Http(HttpProbe { tls: false, port: None, path: "/".into(), host: None, status })
    }

    #[tokio::test]
    async fn tcp() {
        let port = server("").await;
        let tcp = Probe::Tcp { port: None };
        assert_eq!(probe(&target(tcp.clone(), port), None).await, Outcome::good("connected"));
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        assert!(!probe(&target(tcp, port), None).await.good);
    }

    #[tokio::test]
    async fn http_statuses() {
        let check = async |answer: &'static str, good: bool, message: &str| {
            let port = server(answer).await;
            let outcome = probe(&target(http((200, 299)), port), None).await;
            assert_eq!((outcome.good, outcome.message.as_str()), (good, message));
        };
        check("HTTP/1.1 204 No Content\r\n\r\n", true, "status 204").await;
        check("HTTP/1.0 503 Busy\r\n\r\n", false, "status 503").await;
        check("SSH-2.0-x\r\n", false, "the answer is not HTTP").await;
        check("", false, "the connection was closed before an answer").await;
    }

    #[tokio::test]
    async fn scripts() {
        let check = async |line: &str, good: bool, message: &str| {
            let command = vec!["/bin/sh".into(), "-c".into(), line.into()];
            let outcome = probe(&target(Probe::Script { command }, 7), None).await;
            assert_eq!((outcome.good, outcome.message.as_str()), (good, message));
        };
        check("echo $SKEP_BACKEND $SKEP_PORT", true, "exit status: 0: 127.0.0.1 7").await;
        check("echo no >&2; exit 3", false, "exit status: 3: no").await;
        check("head -c 1000000 /dev/zero | tr '\\0' '\\n'; echo late", true, "exit status: 0")
            .await;
        let missing = Probe::Script { command: vec!["/nonexistent".into()] };
        assert!(!probe(&target(missing, 7), None).await.good);
    }
}
