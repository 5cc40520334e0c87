//! Traffic between two workloads: a server, and clients that print one figure.
//!
//! - `bulk`: bytes per second of one TCP connection, counted by the receiver.
//! - `exchange N`: one-byte requests and answers per second over N connections.
//! - `connect`: connections per second, one after the other: open, a byte each way, reset. The
//!   reset leaves no TIME_WAIT behind, so that ports don't run out.
//!
//! A scheduler that puts both ends on one CPU in one run and on two in the next makes a difference
//! far above any that is looked for. So both ends of a single exchange and of connections are on
//! the first CPU, where each other's work adds up; the receiver of bulk is on the last and its
//! sender on the first; many exchanges at once have all CPUs.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use socket2::SockRef;

pub const BULK: u16 = 5001;
pub const EXCHANGE: u16 = 5002;
pub const CONNECT: u16 = 5003;
/// For many exchanges at once.
pub const EXCHANGES: u16 = 5004;
pub const PORTS: [u16; 4] = [BULK, EXCHANGE, CONNECT, EXCHANGES];

/// A connection that takes longer is a failure of what is measured, not a figure.
const PATIENCE: Duration = Duration::from_secs(10);
const CHUNK: usize = 128 * 1024;

/// `serve`, or `bulk|exchange|connect ADDRESS MILLISECONDS CONNECTIONS`.
pub fn run(arguments: &[&str]) -> Result<()> {
    let [what, rest @ ..] = arguments else { bail!("no kind of traffic") };
    if *what == "serve" {
        return serve();
    }
    let [address, milliseconds, connections] = rest else { bail!("an address and two numbers") };
    let address: SocketAddr = address.parse()?;
    let window = Duration::from_millis(milliseconds.parse()?);
    if !(*what == "exchange" && address.port() == EXCHANGES) {
        pin(0);
    }
    let figure = match *what {
        "bulk" => bulk(address, window)?,
        "exchange" => exchange(address, window, connections.parse()?)?,
        "connect" => connect(address, window)?,
        other => bail!("no traffic `{other}`"),
    };
    println!("{figure}");
    Ok(())
}

/// Ends when its input does: when the one that started it is gone.
fn serve() -> Result<()> {
    let listen = |port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port));
    let (bulk, connect) = (listen(BULK)?, listen(CONNECT)?);
    let (exchange, exchanges) = (listen(EXCHANGE)?, listen(EXCHANGES)?);
    thread::spawn(move || {
        pin(last_cpu());
        for stream in bulk.incoming().flatten() {
            thread::spawn(move || swallow(stream));
        }
    });
    thread::spawn(move || {
        pin(0);
        for stream in exchange.incoming().flatten() {
            thread::spawn(move || echo(stream));
        }
    });
    thread::spawn(move || {
        for stream in exchanges.incoming().flatten() {
            thread::spawn(move || echo(stream));
        }
    });
    thread::spawn(move || {
        pin(0);
        // One at a time: what is measured is the path and not a scheduler.
        for stream in connect.incoming().flatten() {
            echo(stream);
        }
    });
    println!("ready");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn last_cpu() -> usize {
    thread::available_parallelism().map_or(0, |cpus| cpus.get() - 1)
}

/// Keeps the thread, and those that it starts, to one CPU. Where it can't be, figures vary more.
fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    if set.set(cpu).is_ok() {
        let _ = sched_setaffinity(Pid::from_raw(0), &set);
    }
}

/// Reads all there is and answers with how much it was.
fn swallow(mut stream: TcpStream) {
    let mut buffer = vec![0; CHUNK];
    let mut total: u64 = 0;
    while let Ok(length) = stream.read(&mut buffer) {
        if length == 0 {
            // A client that has gone meanwhile doesn't want it.
            let _ = stream.write_all(&total.to_be_bytes());
            return;
        }
        total += length as u64;
    }
}

fn echo(mut stream: TcpStream) {
    let mut byte = [0];
    let _ = stream.set_nodelay(true);
    while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
}

fn open(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)
        .with_context(|| format!("cannot connect to {address}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn bulk(address: SocketAddr, window: Duration) -> Result<f64> {
    let mut stream = open(address)?;
    let chunk = vec![0x55; CHUNK];
    let started = Instant::now();
    while started.elapsed() < window {
        stream.write_all(&chunk)?;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut total = [0; 8];
    stream.read_exact(&mut total)?;
    Ok(u64::from_be_bytes(total) as f64 / started.elapsed().as_secs_f64())
}

fn exchange(address: SocketAddr, window: Duration, connections: usize) -> Result<f64> {
    let streams = (0..connections).map(|_| open(address)).collect::<Result<Vec<_>>>()?;
    let over = AtomicBool::new(false);
    let started = Instant::now();
    thread::scope(|scope| {
        let over = &over;
        let threads: Vec<_> = streams
            .into_iter()
            .map(|mut stream| {
                scope.spawn(move || -> std::io::Result<u64> {
                    let mut byte = [0x55];
                    let mut count = 0;
                    while !over.load(Ordering::Relaxed) {
                        stream.write_all(&byte)?;
                        stream.read_exact(&mut byte)?;
                        count += 1;
                    }
                    Ok(count)
                })
            })
            .collect();
        thread::sleep(window);
        over.store(true, Ordering::Relaxed);
        let ended = started.elapsed();
        let counts = threads.into_iter().map(|thread| match thread.join() {
            Ok(count) => count.context("an exchange failed"),
            Err(_) => bail!("a thread panicked"),
        });
        counts.sum::<Result<u64>>().map(|sum| sum as f64 / ended.as_secs_f64())
    })
}

fn connect(address: SocketAddr, window: Duration) -> Result<f64> {
    let started = Instant::now();
    let mut count = 0;
    while started.elapsed() < window {
        let mut stream = open(address)?;
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        let mut byte = [0x55];
        stream.write_all(&byte)?;
        match stream.read_exact(&mut byte) {
            Ok(()) => count += 1,
            Err(error) if error.kind() == ErrorKind::WouldBlock => bail!("no answer"),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(f64::from(count) / started.elapsed().as_secs_f64())
}
