//! Asking: one attempt per target, all at once.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::{TcpSocket, UdpSocket};
use tokio::time::timeout;

use super::protocol::{Outcome, Target, Transport, Verdict};
use crate::sctp::{self, Init};

/// Source ports of SCTP packets: as many different ones as there are.
const SCTP_PORTS: std::ops::Range<u16> = 16_384..60_000;

pub async fn all(targets: Vec<Target>, window_ms: u64) -> Vec<Outcome> {
    let window = Duration::from_millis(window_ms);
    let tasks: Vec<_> =
        targets.into_iter().map(|target| tokio::spawn(one(target, window))).collect();
    let mut outcomes = Vec::with_capacity(tasks.len());
    for task in tasks {
        outcomes.push(task.await.unwrap_or_else(|panic| Outcome {
            verdict: Verdict::Failed(panic.to_string()),
            local: None,
            peer: None,
            microseconds: 0,
        }));
    }
    outcomes
}

async fn one(target: Target, window: Duration) -> Outcome {
    let started = Instant::now();
    let mut ends = Ends::default();
    let attempt = async {
        match target.transport {
            Transport::Tcp => tcp(&target, &mut ends).await.map(Verdict::Answered),
            Transport::Udp => udp(&target, &mut ends).await.map(Verdict::Answered),
            Transport::Sctp => send_init(&target).map(|()| Verdict::Sent),
        }
    };
    let verdict = match timeout(window, attempt).await {
        Err(_) => Verdict::Silent,
        Ok(Ok(verdict)) => verdict,
        Ok(Err(error)) => match error.kind() {
            io::ErrorKind::ConnectionRefused => Verdict::Refused,
            io::ErrorKind::TimedOut => Verdict::Silent,
            _ => Verdict::Failed(error.to_string()),
        },
    };
    let microseconds = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    Outcome { verdict, local: ends.local, peer: ends.peer, microseconds }
}

#[derive(Default)]
struct Ends {
    local: Option<SocketAddr>,
    peer: Option<SocketAddr>,
}

/// Connects and reads the name of whoever answers.
async fn tcp(target: &Target, ends: &mut Ends) -> io::Result<String> {
    let socket = match target.address {
        IpAddr::V4(_) => TcpSocket::new_v4()?,
        IpAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if target.source_port != 0 {
        // Several connections may be made from it at once.
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::new(any(target.address), target.source_port))?;
    }
    let stream = socket.connect(target.socket_address()).await?;
    *ends = Ends { local: stream.local_addr().ok(), peer: stream.peer_addr().ok() };
    let mut name = String::new();
    BufReader::new(stream).read_line(&mut name).await?;
    if !name.ends_with('\n') {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed without an answer"));
    }
    Ok(name.trim_end().to_owned())
}

/// Sends a datagram and expects it back behind the name of whoever answers.
async fn udp(target: &Target, ends: &mut Ends) -> io::Result<String> {
    let socket = udp_socket(target)?;
    let question: Vec<u8> = (0..16 + target.extra_bytes).map(|byte| byte as u8).collect();
    let mut answer = vec![0; question.len() + 1024];
    let length = if target.unconnected {
        socket.send_to(&question, target.socket_address()).await?;
        let (length, from) = socket.recv_from(&mut answer).await?;
        if from != target.socket_address() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("answer of {from}")));
        }
        length
    } else {
        socket.connect(target.socket_address()).await?;
        *ends = Ends { local: socket.local_addr().ok(), peer: socket.peer_addr().ok() };
        socket.send(&question).await?;
        socket.recv(&mut answer).await?
    };
    answer.truncate(length);
    let name_len = length.checked_sub(question.len()).filter(|at| answer[*at..] == question);
    let name = name_len.map(|len| String::from_utf8_lossy(&answer[..len]).trim_end().to_owned());
    name.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "another answer than asked for"))
}

fn udp_socket(target: &Target) -> io::Result<UdpSocket> {
    let domain = Domain::for_address(target.socket_address());
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if target.source_port != 0 {
        // Several questions may be asked from it at once.
        socket.set_reuse_address(true)?;
    }
    socket.bind(&SocketAddr::new(any(target.address), target.source_port).into())?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket.into())
}

/// All addresses of the family.
fn any(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

fn send_init(target: &Target) -> io::Result<()> {
    let ports = u32::from(SCTP_PORTS.end - SCTP_PORTS.start);
    let init = Init {
        source_port: SCTP_PORTS.start + (target.tag % ports) as u16,
        destination_port: target.port,
        tag: target.tag,
    };
    let domain = Domain::for_address(target.socket_address());
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(sctp::PROTOCOL)))?;
    // A raw socket's port must be 0: IPv6 takes it for a protocol.
    let to = SockAddr::from(SocketAddr::new(target.address, 0));
    let packet = init.packet();
    if socket.send_to(&packet, &to)? != packet.len() {
        return Err(io::Error::other("sent in part"));
    }
    Ok(())
}
