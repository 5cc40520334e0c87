//! The probe's own process: its ports, and the loop that answers requests.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};

use super::arrivals::Arrivals;
use super::hold::Hold;
use super::protocol::{Request, Response, Transport};
use super::steady::Steady;
use super::{ask, change, decapsulate, fetch};

/// As many as any test opens at once.
const BACKLOG: u32 = 1024;
const LARGEST_DATAGRAM: usize = 65_536;

/// Answers requests from standard input until it ends. To whoever asks on a served port it gives
/// its name first and then echoes.
pub async fn run(name: String) -> io::Result<()> {
    let arrivals = Arrivals::start();
    let mut steady: Option<Steady> = None;
    let mut hold = Hold::default();
    let mut requests = BufReader::new(tokio::io::stdin()).lines();
    let mut responses = tokio::io::stdout();
    while let Some(line) = requests.next_line().await? {
        let response = match serde_json::from_str(&line)? {
            Request::Serve { transport, port } => match serve(&name, transport, port) {
                Ok(()) => Response::Done,
                Err(error) => Response::Failed(format!("cannot serve {transport}/{port}: {error}")),
            },
            Request::ServeAt { address } => {
                match std::net::UdpSocket::bind(address).and_then(udp) {
                    Ok(socket) => {
                        tokio::spawn(serve_udp(socket, format!("{name}\n")));
                        Response::Done
                    }
                    Err(error) => Response::Failed(format!("cannot serve {address}: {error}")),
                }
            }
            Request::Decapsulate => match decapsulate::start() {
                Ok(()) => Response::Done,
                Err(error) => Response::Failed(format!("cannot decapsulate: {error}")),
            },
            Request::Probe { targets, window_ms } => {
                Response::Outcomes(ask::all(targets, window_ms).await)
            }
            Request::Arrivals => Response::Arrivals(arrivals.take()),
            Request::BeginSteady { target, interval_ms } => {
                steady = Some(Steady::begin(target, interval_ms));
                Response::Done
            }
            Request::Steady => match &steady {
                Some(steady) => Response::Steady(steady.report()),
                None => Response::Failed("no steady traffic was begun".into()),
            },
            Request::BeginHold { targets, interval_ms } => {
                hold = Hold::open(targets, interval_ms).await;
                Response::Held(hold.report())
            }
            Request::Held => Response::Held(hold.report()),
            Request::Fetch { target, times } => {
                Response::Fetched(fetch::times(&target, times).await)
            }
            Request::Await { target, answers, limit_ms } => {
                let limit = Duration::from_millis(limit_ms);
                match change::observe(target, answers, limit).await {
                    Some(time) => Response::Since(time),
                    None => Response::Failed(format!("not within {limit:?}")),
                }
            }
        };
        let mut line = serde_json::to_vec(&response)?;
        line.push(b'\n');
        responses.write_all(&line).await?;
        responses.flush().await?;
    }
    Ok(())
}

fn serve(name: &str, transport: Transport, port: u16) -> io::Result<()> {
    match transport {
        Transport::Tcp => {
            let listener = listen(port)?;
            tokio::spawn(serve_tcp(listener, format!("{name}\n")));
        }
        Transport::Udp => {
            let socket = bind(port)?;
            tokio::spawn(serve_udp(socket, format!("{name}\n")));
        }
        // Every INIT that comes in is noted, on any port.
        Transport::Sctp => {}
    }
    Ok(())
}

/// On IPv6 and IPv4 alike, or on IPv4 alone where there is no IPv6.
fn listen(port: u16) -> io::Result<TcpListener> {
    let on = |socket: TcpSocket, address: IpAddr| {
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::new(address, port))?;
        socket.listen(BACKLOG)
    };
    match TcpSocket::new_v6() {
        Ok(socket) => on(socket, Ipv6Addr::UNSPECIFIED.into()),
        Err(_) => on(TcpSocket::new_v4()?, Ipv4Addr::UNSPECIFIED.into()),
    }
}

fn bind(port: u16) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port))
        .or_else(|_| std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)))?;
    udp(socket)
}

fn udp(socket: std::net::UdpSocket) -> io::Result<UdpSocket> {
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

async fn serve_tcp(listener: TcpListener, greeting: String) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(echo(stream, greeting.clone()));
            }
            // Of a connection that ended before it was accepted; the next may be well.
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

async fn echo(mut stream: TcpStream, greeting: String) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(greeting.as_bytes()).await?;
    let mut buffer = [0; 4096];
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..length]).await?;
    }
}

async fn serve_udp(socket: UdpSocket, greeting: String) {
    let mut buffer = vec![0; LARGEST_DATAGRAM];
    loop {
        // Errors here are ICMP messages about earlier answers.
        if let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let answer = [greeting.as_bytes(), &buffer[..length]].concat();
            let _ = socket.send_to(&answer, from).await;
        }
    }
}
