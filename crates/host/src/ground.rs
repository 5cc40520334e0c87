//! What the tests stand on: namespaces of their own, and real sockets in them.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use crate::{NetNamespace, Netlink};

/// Whether tests that change network namespaces can run; says why not.
pub(crate) fn privileged(test: &str) -> bool {
    let root = nix::unistd::geteuid().is_root() && NetNamespace::unnamed().is_ok();
    if !root {
        println!("{test}: skipped, making network namespaces needs root with CAP_SYS_ADMIN");
    }
    root
}

/// A namespace without a name, gone with the value, and a connection into it.
pub(crate) fn node() -> Netlink {
    Netlink::connect(&NetNamespace::unnamed().unwrap()).unwrap()
}

/// What a command prints inside a namespace.
pub(crate) fn output(namespace: &NetNamespace, command: &str) -> String {
    let mut words = command.split(' ');
    let output = namespace
        .run(|| Command::new(words.next().unwrap()).args(words).output())
        .unwrap()
        .unwrap_or_else(|error| panic!("{command}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// One TCP connection from one namespace to an address in another, and an answer to its question;
/// the peer's address as the server saw it.
pub(crate) fn exchange(
    client: &NetNamespace,
    server: &NetNamespace,
    address: IpAddr,
) -> std::io::Result<IpAddr> {
    let listener = server.run(|| TcpListener::bind(SocketAddr::new(address, 0))).unwrap()?;
    let to = listener.local_addr()?;
    std::thread::scope(|scope| {
        let serving = scope.spawn(move || -> std::io::Result<IpAddr> {
            listener.set_nonblocking(true)?;
            for _ in 0..300 {
                match listener.accept() {
                    Ok((mut stream, peer)) => {
                        stream.set_nonblocking(false)?;
                        let mut question = [0; 4];
                        stream.read_exact(&mut question)?;
                        stream.write_all(&question)?;
                        return Ok(peer.ip());
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                        std::thread::sleep(Duration::from_millis(10));
                    }
                    Err(error) => return Err(error),
                }
            }
            Err(std::io::ErrorKind::TimedOut.into())
        });
        let asked = client
            .run(|| {
                let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(2))?;
                stream.set_read_timeout(Some(Duration::from_secs(2)))?;
                stream.write_all(b"ping")?;
                let mut answer = [0; 4];
                stream.read_exact(&mut answer)?;
                assert_eq!(&answer, b"ping");
                std::io::Result::Ok(())
            })
            .unwrap();
        asked.and_then(|()| serving.join().unwrap())
    })
}
