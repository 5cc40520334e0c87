//! Packets that are no plain ones of a flow: echo, errors, too large ones, fragments.

use std::io::{ErrorKind, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use serde_json::json;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use testkit::gate::Feature;
use testkit::probe::{Target, Transport, Verdict};
use testkit::{Place, require_kernel, require_root};
use wire::build::Frame;
use wire::checksum::Sum;

use super::world::{PATIENCE, PORT, World, name, vips};

const BACKENDS: usize = 4;
const ETHERNET: usize = 14;

fn world() -> World {
    let mut world = World::new(1, BACKENDS);
    world.have_vips();
    for backend in &mut world.backends {
        for vip in vips() {
            backend.probe.as_mut().unwrap().serve_at(SocketAddr::new(vip, PORT)).unwrap();
        }
    }
    let mut manifest = world.manifest(|_| json!({}));
    let both: Vec<_> = manifest["spec"]["vips"].as_array().unwrap().clone();
    for mut vip in both {
        vip["protocol"] = json!("UDP");
        manifest["spec"]["vips"].as_array_mut().unwrap().push(vip);
    }
    world.apply(&manifest);
    world
}

/// A raw ICMP socket in a place, which gets all ICMP that comes there.
fn icmp(place: &Place, v6: bool) -> Socket {
    let opened = place.netns.run(move || {
        let (domain, protocol) = match v6 {
            false => (Domain::IPV4, Protocol::ICMPV4),
            true => (Domain::IPV6, Protocol::ICMPV6),
        };
        let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        std::io::Result::Ok(socket)
    });
    opened.unwrap().unwrap()
}

/// Sends ICMP with a checksum; the kernel makes that of IPv6.
fn send(socket: &Socket, to: IpAddr, mut message: Vec<u8>) {
    if to.is_ipv4() {
        let sum = Sum::ZERO.bytes(&message).finish();
        message[2..4].copy_from_slice(&sum.to_ne_bytes());
    }
    let to = SockAddr::from(SocketAddr::new(to, 0));
    assert_eq!(socket.send_to(&message, &to).unwrap(), message.len());
}

/// Whether a message that ends with these bytes comes within the patience.
fn comes(socket: &mut Socket, is_it: impl Fn(&[u8]) -> bool, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    let mut buffer = [0; 2048];
    loop {
        match socket.read(&mut buffer) {
            Ok(length) if is_it(&buffer[..length]) => return true,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => panic!("{error}"),
        }
        if Instant::now() > deadline {
            return false;
        }
    }
}

#[test]
fn echo_is_answered_for_vips() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    let world = world();
    for vip in vips() {
        let (request, reply) = if vip.is_ipv4() { (8, 0) } else { (128, 129) };
        let mut socket = icmp(&world.client.0.machine.place, vip.is_ipv6());
        let body = b"a number of bytes that is odd";
        let message = [&[request, 0, 0, 0, 0x12, 0x34, 0, 1], &body[..]].concat();
        send(&socket, vip, message);
        // A wrong checksum would not come this far; raw sockets of IPv4 give the header as well.
        let start = if vip.is_ipv4() { 20 } else { 0 };
        let is_it = |bytes: &[u8]| {
            bytes.get(start) == Some(&reply)
                && bytes.ends_with(body)
                && (vip.is_ipv6() || Sum::ZERO.bytes(&bytes[start..]).finish() == 0)
        };
        assert!(comes(&mut socket, is_it, PATIENCE), "{vip}");
    }
}

/// An error speaks of a packet from the VIP to the client; it goes to whom that packet came from.
#[test]
fn errors_go_to_the_backend_of_their_flow() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    let mut world = world();
    for vip in vips() {
        let targets = vec![Target::new(Transport::Tcp, vip, PORT); 8];
        let outcomes = world.client.1.probe(&targets, PATIENCE).unwrap();
        let mut sockets: Vec<Socket> = world
            .backends
            .iter()
            .map(|backend| icmp(&backend.neighbour.machine.place, vip.is_ipv6()))
            .collect();
        let client = icmp(&world.client.0.machine.place, vip.is_ipv6());
        for outcome in outcomes {
            let Verdict::Answered(backend) = &outcome.verdict else { panic!("{outcome:?}") };
            let local = outcome.local.unwrap();
            let quoted = Frame::between(vip, local.ip()).tcp(PORT, local.port(), 0x10).build();
            // Fragmentation needed, packet too big: 1300 bytes would fit.
            let header: [u8; 8] = match vip.is_ipv4() {
                true => [3, 4, 0, 0, 0, 0, 0x05, 0x14],
                false => [2, 0, 0, 0, 0, 0, 0x05, 0x14],
            };
            let message = [&header, &quoted[ETHERNET..]].concat();
            send(&client, vip, message);
            let port = local.port().to_be_bytes();
            let is_it = |bytes: &[u8]| bytes.windows(2).any(|window| window == port);
            let number = (0..BACKENDS).find(|number| name(*number) == *backend).unwrap();
            assert!(comes(&mut sockets[number], is_it, PATIENCE), "{vip}: not to {backend}");
            for (other, socket) in sockets.iter_mut().enumerate() {
                if other != number {
                    let wrong = comes(socket, is_it, Duration::ZERO);
                    assert!(!wrong, "{vip}: to {} rather than {backend}", name(other));
                }
            }
        }
    }
}

/// A datagram as large as the client's link is too large with an outer header. The client is told,
/// and sends fragments, all of which come to one backend.
#[test]
fn too_large_ones_are_answered_and_fragments_stay_together() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    let mut world = world();
    for vip in vips() {
        let headers = if vip.is_ipv4() { 20 + 8 } else { 40 + 8 };
        let mut target = Target::new(Transport::Udp, vip, PORT);
        // 16 bytes are sent anyway.
        target.extra_bytes = 1500 - headers - 16;
        let asked = world.client.1.probe_one(&target, Duration::from_millis(300)).unwrap();
        assert!(!matches!(asked.verdict, Verdict::Answered(_)), "{vip}: {asked:?}");
        // Now the client knows what fits, for every flow to the VIP.
        for outcome in world.client.1.probe(&vec![target; 16], PATIENCE).unwrap() {
            let answered =
                matches!(&outcome.verdict, Verdict::Answered(who) if who.starts_with("backend-"));
            assert!(answered, "{vip}: {}", outcome.verdict);
        }
    }
    let metrics = world.balancers[0].node.skep().run(["lb", "metrics"]).unwrap();
    for vip in vips() {
        let vip = SocketAddr::new(vip, PORT);
        let line = format!("skep_lb_vip_too_big_total{{vip=\"udp {vip}\"}} ");
        let count = metrics.lines().find_map(|it| it.strip_prefix(&line)).unwrap_or_else(|| {
            panic!("no {line}: {metrics}");
        });
        assert!(count.parse::<u64>().unwrap() >= 1, "{line}{count}");
    }
}
