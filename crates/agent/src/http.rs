//! Small HTTP servers: every connection is answered by one function, and none may wait for ever.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Connections at a time; more wait for their turn.
const CONNECTIONS: usize = 64;
const BACKLOG: i32 = 128;
/// To send a request, and to wait for the next one.
const PATIENCE: Duration = Duration::from_secs(10);
/// A connection that is longer there is closed.
const LONGEST: Duration = Duration::from_secs(120);

/// What answers: the request and the node's address that it came to.
pub type Answer =
    Arc<dyn Fn(Request<Incoming>, IpAddr) -> BoxFuture<'static, Response<String>> + Send + Sync>;

/// Listens on all addresses of both families, or of IPv4 where there is no IPv6.
pub fn listen_everywhere(port: u16) -> io::Result<TcpListener> {
    match Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP)) {
        Ok(socket) => {
            socket.set_only_v6(false)?;
            bind(&socket, (Ipv6Addr::UNSPECIFIED, port).into())?;
            TcpListener::from_std(socket.into())
        }
        Err(_) => listen((Ipv4Addr::UNSPECIFIED, port).into()),
    }
}

pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    bind(&socket, address)?;
    TcpListener::from_std(socket.into())
}

fn bind(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    // Connections of an agent before this one may still be closing.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)
}

/// Answers for as long as it is polled.
pub async fn serve(listener: TcpListener, answer: Answer) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // The semaphore is never closed.
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let answer = answer.clone();
                tokio::spawn(async move {
                    converse(stream, answer).await;
                    drop(slot);
                });
            }
            Err(error) => {
                // Of one connection, or of too many open files, which pass.
                tracing::debug!(%error, "accepting an HTTP connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, answer: Answer) {
    let Ok(local) = stream.local_addr() else { return };
    let to = local.ip().to_canonical();
    let service = service_fn(move |request| {
        let answered = answer(request, to);
        async move { Ok::<_, Infallible>(answered.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(LONGEST, connection).await {
        Ok(Ok(())) | Err(_) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an HTTP connection"),
    }
}
