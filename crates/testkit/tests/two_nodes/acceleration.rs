//! Node ports with a backend on the other node, where packets of known flows are sent on by XDP.

use super::*;
use std::time::Instant;
use testkit::offload;

/// The agent looks every few seconds; other tests load the machine meanwhile.
const NOTICED: Duration = Duration::from_secs(60);

/// Rounds until one falls into no second in which all goes by the stack.
const ROUNDS: usize = 20;

/// Makes the links of the first node what wires are: both to XDP, or only as to checksums.
fn wire(world: &World, takes_frames: bool) {
    let ends =
        [(&world.machine.machine.place.netns, "eth0"), (&world.second.place().netns, "out2")];
    for (netns, interface) in ends {
        let features = [("tx-checksum-ip-generic", false), ("rx-gro", takes_frames)];
        offload::set(netns, interface, &features).unwrap();
    }
}

impl World {
    /// Packets that the first node has sent on by XDP.
    fn shortcuts(&self) -> u64 {
        let status = self.first.skep().json(&["status"]).unwrap();
        status["traffic"]["shortcut_packets"].as_u64().unwrap_or(0)
    }

    /// What a node says of its XDP programs: attached, wanted, and how.
    fn accelerated(node: &Node) -> (u64, u64, String) {
        let status = node.skep().json(&["status"]).unwrap();
        let programs = status["programs"].as_array().unwrap();
        let shortcut = programs.iter().find(|program| program["name"] == "shortcut").unwrap();
        let number = |field: &str| shortcut[field].as_u64().unwrap_or(0);
        let message = shortcut["message"].as_str().unwrap_or_default().to_owned();
        (number("attached"), number("wanted"), message)
    }

    /// Asks at the first node's node port of one family, by flows that are known and new ones.
    fn ask(&mut self, transport: Transport, address: IpAddr) {
        let target = Target::new(transport, address, NODE_PORT);
        match transport {
            Transport::Udp => {
                let target = Target { source_port: 4000, ..target };
                for _ in 0..ASKED {
                    self.check(std::slice::from_ref(&target), &["shop/away"]);
                }
            }
            _ => self.check(&vec![target; ASKED], &["shop/away"]),
        }
    }

    /// The same until nearly all of it was sent on by XDP: a request and an answer of each connection,
    /// and all of a known flow of UDP.
    #[track_caller]
    fn ask_by_xdp(&mut self, transport: Transport, address: IpAddr) {
        let mut counts = Vec::new();
        for _ in 0..ROUNDS {
            let before = self.shortcuts();
            self.ask(transport, address);
            let count = self.shortcuts() - before;
            if count >= 2 * ASKED as u64 {
                return;
            }
            counts.push(count);
        }
        panic!("{transport:?} to {address}: {counts:?} packets by XDP");
    }
}

const TRANSPORTS: [Transport; 2] = [Transport::Tcp, Transport::Udp];

#[test]
fn without_acceleration() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    let mut world = world(&[]);
    wire(&world, true);
    world.apply(false, |_| {});
    let at = world.machine.router;
    for (transport, address) in TRANSPORTS.into_iter().flat_map(|it| at.map(|at| (it, at))) {
        world.ask(transport, address);
    }
    assert_eq!(world.shortcuts(), 0);
    assert_eq!(World::accelerated(&world.first).1, 0);
}

/// Both ways in the driver, also while the agent is away and after it has come back.
#[test]
fn native() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    let mut world = world(&["--lb-acceleration", "native"]);
    wire(&world, true);
    world.apply(false, |_| {});
    let (attached, wanted, how) = World::accelerated(&world.first);
    assert_eq!((attached, wanted), (2, 2), "{how}");
    assert!(how.contains("out1 native XDP") && how.contains("out2 native XDP"), "{how}");
    // The client doesn't take frames of the second node, whose packets to it go by tc.
    let (attached, wanted, how) = World::accelerated(&world.second);
    assert_eq!((attached, wanted), (1, 2), "{how}");
    assert!(how.contains("out3 tc only, no native XDP: its other end would lose frames"), "{how}");

    let at = world.machine.router;
    for (transport, address) in TRANSPORTS.into_iter().flat_map(|it| at.map(|at| (it, at))) {
        world.ask_by_xdp(transport, address);
    }
    let targets = at.map(|address| Target::new(Transport::Tcp, address, NODE_PORT));
    let held = world.client.begin_hold(&targets, Duration::from_millis(5)).unwrap();
    assert!(held.iter().all(|held| held.broken.is_none()), "{held:?}");
    let go_on = |world: &mut World, exchanges: u64| {
        let of = |held: &[Held]| held.iter().map(|held| held.exchanges).min().unwrap();
        let mut held = world.client.held().unwrap();
        let goal = of(&held) + exchanges;
        while of(&held) < goal {
            held = world.client.held().unwrap();
            let broken = held.iter().find_map(|held| held.broken.clone());
            assert_eq!(broken, None);
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    go_on(&mut world, 20);
    let before = world.shortcuts();
    world.first.kill_agent().unwrap();
    // More than one of those seconds.
    go_on(&mut world, 400);
    world.first.start_agent().unwrap();
    let meanwhile = world.shortcuts() - before;
    assert!(meanwhile > 400, "{meanwhile} packets by XDP while the agent was away");
    assert_eq!(World::accelerated(&world.first).0, 2);
    go_on(&mut world, 20);
    for (transport, address) in TRANSPORTS.into_iter().flat_map(|it| at.map(|at| (it, at))) {
        world.ask_by_xdp(transport, address);
    }
    // An agent that is not to accelerate any more takes the programs off.
    world.first.stop_agent().unwrap();
    world.first.change_argument("--lb-acceleration", "disabled");
    world.first.start_agent().unwrap();
    let (attached, wanted, how) = World::accelerated(&world.first);
    assert_eq!((attached, wanted), (0, 0), "{how}");
    let before = world.shortcuts();
    go_on(&mut world, 20);
    assert_eq!(world.shortcuts(), before);
    // Where frames don't arrive any more there is another way.
    world.first.stop_agent().unwrap();
    world.first.change_argument("--lb-acceleration", "best-effort");
    world.first.start_agent().unwrap();
    let (_, _, how) = World::accelerated(&world.first);
    assert!(how.contains("out1 native XDP"), "{how}");
    wire(&world, false);
    let began = Instant::now();
    loop {
        let (_, _, how) = World::accelerated(&world.first);
        if how.contains("out1 generic XDP, no native XDP: its other end") {
            break;
        }
        assert!(began.elapsed() < NOTICED, "{how}");
        std::thread::sleep(Duration::from_millis(50));
    }
    for (transport, address) in TRANSPORTS.into_iter().flat_map(|it| at.map(|at| (it, at))) {
        world.ask_by_xdp(transport, address);
    }
}

/// A link that doesn't take frames has the program in generic mode.
#[test]
fn best_effort() {
    require_root!();
    require_kernel!(Feature::Ipv6);
    let mut world = world(&["--lb-acceleration", "best-effort"]);
    // Checksums are not computed on the way from here: all goes by tc, and arrives.
    offload::set(&world.machine.machine.place.netns, "eth0", &[("rx-gro", false)]).unwrap();
    world.apply(false, |_| {});
    let (attached, wanted, how) = World::accelerated(&world.first);
    assert_eq!((attached, wanted), (2, 2), "{how}");
    assert!(how.contains("out1 generic XDP, no native XDP: its other end"), "{how}");
    let at = world.machine.router;
    let cases = TRANSPORTS.into_iter().flat_map(|it| at.map(|at| (it, at)));
    for (transport, address) in cases.clone() {
        world.ask(transport, address);
    }
    assert_eq!(world.shortcuts(), 0);
    wire(&world, false);
    for (transport, address) in cases {
        world.ask_by_xdp(transport, address);
    }
}
