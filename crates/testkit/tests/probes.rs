//! The measuring instrument itself, without an agent.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use testkit::probe::{Arrival, Probe, Target, Transport, Verdict};
use testkit::{Binaries, Node, remains, require_root};

const WINDOW: Duration = Duration::from_secs(2);
const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

fn node() -> Node {
    let none = PathBuf::from("/nonexistent");
    let probe = PathBuf::from(env!("CARGO_BIN_EXE_skep-probe"));
    Node::prepare(&Binaries { skepd: none.clone(), skep: none, probe }).unwrap()
}

#[test]
fn probes_answer_by_name() {
    require_root!();
    let node = node();
    let web = node.workload("shop", "web").unwrap();
    let mut probe = Probe::start(&node.binaries().probe, &web.place, "shop/web").unwrap();
    probe.serve(Transport::Tcp, 80).unwrap();
    probe.serve(Transport::Udp, 80).unwrap();

    for address in LOOPBACK {
        let mut check = |transport, port, expect: Verdict| {
            let target = Target::new(transport, address, port);
            let outcome = probe.probe_one(&target, WINDOW).unwrap();
            assert_eq!(outcome.verdict, expect, "{transport} {address} {port}");
        };
        for transport in [Transport::Tcp, Transport::Udp] {
            check(transport, 80, Verdict::Answered("shop/web".into()));
            check(transport, 81, Verdict::Refused);
        }
    }
    // Larger than the loopback's MTU would let through in one packet.
    let large = Target { extra_bytes: 65_000, ..Target::new(Transport::Udp, LOOPBACK[0], 80) };
    let outcome = probe.probe_one(&large, WINDOW).unwrap();
    assert_eq!(outcome.verdict, Verdict::Answered("shop/web".into()));
    assert_eq!(outcome.peer, Some(large.socket_address()));
}

#[test]
fn sctp_arrives_without_sctp() {
    require_root!();
    let node = node();
    let web = node.workload("shop", "web").unwrap();
    let mut probe = Probe::start(&node.binaries().probe, &web.place, "shop/web").unwrap();
    for (address, tag) in LOOPBACK.into_iter().zip([7, 8]) {
        let target = Target { tag, ..Target::new(Transport::Sctp, address, 80) };
        assert_eq!(probe.probe_one(&target, WINDOW).unwrap().verdict, Verdict::Sent);
        let arrived = (0..200).find_map(|_| {
            std::thread::sleep(Duration::from_millis(10));
            Some(probe.arrivals().unwrap()).filter(|arrivals| !arrivals.is_empty())
        });
        assert_eq!(arrived, Some(vec![Arrival { port: 80, tag }]), "{address}");
    }
}

#[test]
fn commands_run_in_their_place() {
    require_root!();
    let node = node();
    let web = node.workload("shop", "web").unwrap();
    let mut command = web.place.command("cat");
    let output = web.place.output(command.args(["/proc/self/cgroup", "/proc/net/dev"])).unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let cgroup = format!("0::/{}/shop.web\n", node.name());
    assert!(text.contains(&cgroup), "{text}");
    let interfaces = text.lines().filter(|line| line.contains(':') && !line.contains("::"));
    let other = interfaces.filter(|line| line.split('/').count() == 1 && !line.contains("lo:"));
    assert_eq!(other.count(), 0, "an interface of another namespace in {text}");
}

#[test]
fn nothing_remains() {
    require_root!();
    let node = node();
    let name = node.name().to_owned();
    let web = node.workload("shop", "web").unwrap();
    let place = web.place.clone();
    let mut left = place.spawn(place.command("sleep").arg("1000")).unwrap();
    drop(node);
    assert!(!left.wait().unwrap().success(), "killed");
    assert!(!place.cgroup.exists());
    assert!(!remains::folder(&name).exists());
    assert!(!Path::new("/run/netns").join(format!("{name}-node")).exists());
    assert!(!Path::new("/run/netns").join(format!("{name}-shop.web")).exists());
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(&name), "{mounts}");
}
