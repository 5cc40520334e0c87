//! What a packet of a known masqueraded flow costs by XDP and by tc, over links between namespaces.
//!
//! A program makes frames at the client's end, all on one CPU; the node sends them on to the server's end,
//! where a program drops them. Making, both links and dropping cost the same each way: what they cost
//! alone is measured beside it, by frames that are dropped where the node would take them in.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use bpf_kernel::attach::{XdpMode, attach_xdp};
use bpf_kernel::{Program, ProgramKind};
use host::{NetNamespace, Netlink};
use serde_json::{Value, json};
use testkit::manifest::{labels, service};
use testkit::{Binaries, Neighbour, Node, offload};
use wire::build::Frame;

use crate::figures::{median, print, ratio};
use crate::lb::{load, program, returns};

const FRAMES: u32 = 500_000;
const ROUNDS: usize = 15;
/// All of a frame is made anew each time, in words of eight bytes.
const LENGTH: usize = 64;
const PORT: u16 = 4_000;
const NODE_PORT: u16 = 30_080;
const BACKEND: u16 = 8_080;

const XDP_DROP: i32 = 1;
const XDP_TX: i32 = 3;

/// A node between a client and a server.
struct Arm {
    node: Node,
    client: Neighbour,
    server: Neighbour,
    /// By family.
    makers: [(Program, Vec<u8>); 2],
    mode: &'static str,
}

pub fn run() -> Result<()> {
    let binaries = Binaries::built()?;
    let floor = Arm::make(binaries, "disabled")?;
    floor.drop_at(&floor.node.place().netns, "out1")?;
    let arms = ["disabled", "generic", "native"].map(|mode| Arm::serving(binaries, mode));
    let arms = arms.into_iter().collect::<Result<Vec<Arm>>>()?;
    let heading =
        ["ns a packet", "links alone", "tc", "generic XDP", "XDP", "tc / XDP", "less links"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for (family, name) in ["  IPv4", "  IPv6"].into_iter().enumerate() {
        let mut costs = vec![Vec::new(); 1 + arms.len()];
        for _ in 0..ROUNDS {
            costs[0].push(floor.send(family)?);
            for (arm, costs) in arms.iter().zip(&mut costs[1..]) {
                costs.push(arm.send_on(family)?);
            }
        }
        let less = |arm: usize| -> Vec<f64> {
            costs[arm].iter().zip(&costs[0]).map(|(cost, links)| cost - links).collect()
        };
        let mut row = vec![name.to_owned()];
        row.extend(costs.iter().map(|costs| format!("{:.0}", median(costs))));
        row.push(format!("{:.2}", ratio(&costs[1], &costs[3])));
        row.push(format!("{:.2}", ratio(&less(1), &less(3))));
        rows.push(row);
    }
    print(&rows);
    println!("UDP; medians of {ROUNDS} rounds of {FRAMES} packets on one CPU; {}", load());
    Ok(())
}

impl Arm {
    fn make(binaries: &Binaries, mode: &'static str) -> Result<Self> {
        let arguments = ["--devices", "out1,out2", "--lb-acceleration", mode];
        let node = Node::start_with(binaries, &arguments)?;
        let names = ["client", "server"].map(str::to_owned);
        let mut ends = Neighbour::connect_all(&node, &names, 1)?.into_iter();
        let (client, server) =
            (ends.next().context("no client")?, ends.next().context("no server")?);
        let mac = mac(&node.place().netns, &client.interface)?;
        let maker = |family: usize| maker(&client, family, mac);
        let makers = [maker(0)?, maker(1)?];
        // Frames that programs send are received only so.
        let near = node.place().netns.clone();
        for (netns, interface) in [
            (&near, client.interface.as_str()),
            (&near, server.interface.as_str()),
            (&client.machine.place.netns, "eth0"),
        ] {
            offload::set(netns, interface, &[("rx-gro", true)])?;
        }
        Ok(Arm { node, client, server, makers, mode })
    }

    fn serving(binaries: &Binaries, mode: &'static str) -> Result<Self> {
        let arm = Self::make(binaries, mode)?;
        arm.drop_at(&arm.server.machine.place.netns, "eth0")?;
        let cluster = ["10.96.0.10", "fd00:96::10"].map(|address| address.parse().ok());
        let cluster: Vec<IpAddr> = cluster.into_iter().flatten().collect();
        let ports = [("udp", "UDP", 80, BACKEND)];
        let mut web = service(("shop", "web"), &labels([]), &cluster, &ports);
        web["spec"]["type"] = json!("NodePort");
        web["spec"]["ports"][0]["nodePort"] = json!(NODE_PORT);
        let slice = |family: usize, kind: &str| -> Value {
            json!({
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "namespace": "shop",
                    "name": format!("web-{family}"),
                    "labels": {"kubernetes.io/service-name": "web"},
                },
                "addressType": kind,
                "endpoints": [{"addresses": [arm.server.addresses[family]], "nodeName": "server"}],
                "ports": [{"name": "udp", "protocol": "UDP", "port": BACKEND}],
            })
        };
        arm.node.skep().apply(&[web, slice(0, "IPv4"), slice(1, "IPv6")])?;
        // The flows begin.
        for family in [0, 1] {
            arm.send(family)?;
        }
        Ok(arm)
    }

    fn drop_at(&self, netns: &NetNamespace, interface: &str) -> Result<()> {
        let drops = returns("drops", ProgramKind::XDP, XDP_DROP)?;
        let index = index(netns, interface)?;
        let pin: PathBuf = self.node.bpffs().join(format!("drops-{index}"));
        netns.run(|| attach_xdp(&drops, index, XdpMode::Native, &pin).map(drop))??;
        Ok(())
    }

    /// Nanoseconds of one packet.
    fn send(&self, family: usize) -> Result<f64> {
        let netns = &self.client.machine.place.netns;
        let index = index(netns, "eth0")?;
        let (maker, frame) = &self.makers[family];
        netns.run(|| -> Result<f64> {
            let mut cpu = nix::sched::CpuSet::new();
            cpu.set(0)?;
            nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &cpu)?;
            Ok(maker.test_run_live(frame, index, FRAMES)?.as_nanos() as f64)
        })?
    }

    /// The same, if the packets were sent on in the way that is measured.
    fn send_on(&self, family: usize) -> Result<f64> {
        let before = self.counted()?;
        let cost = self.send(family)?;
        let after = self.counted()?;
        let [all, by_xdp] = [0, 1].map(|which| (after[which] - before[which]) as f64);
        let share = by_xdp / all;
        let wanted = f64::from(u8::from(self.mode != "disabled"));
        ensure!(
            all > 0.95 * f64::from(FRAMES),
            "{}: of {FRAMES} packets {all} have been sent on",
            self.mode
        );
        // For one second in 64 all goes by tc.
        match (share - wanted).abs() < 0.05 {
            true => Ok(cost),
            false => self.send_on(family),
        }
    }

    /// Packets sent on, and those of them by XDP.
    fn counted(&self) -> Result<[u64; 2]> {
        let status = self.node.skep().json(&["status"])?;
        let of = |name: &str| status["traffic"][name].as_u64().unwrap_or(0);
        Ok([of("forwarded_packets"), of("shortcut_packets")])
    }
}

fn index(netns: &NetNamespace, interface: &str) -> Result<u32> {
    Ok(netns.run(|| nix::net::if_::if_nametoindex(interface))??)
}

fn mac(netns: &NetNamespace, interface: &str) -> Result<[u8; 6]> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let link = runtime.block_on(async { Netlink::connect(netns)?.link_named(interface).await })?;
    Ok(link.and_then(|link| link.mac).context("no such interface")?.0)
}

/// A program that makes a client's frame, and the frame.
fn maker(client: &Neighbour, family: usize, mac: [u8; 6]) -> Result<(Program, Vec<u8>)> {
    let headers = if family == 0 { 14 + 20 + 8 } else { 14 + 40 + 8 };
    let frame = Frame::between(client.addresses[family], client.router[family])
        .macs([2, 0, 0, 0, 0, 1], mac)
        .udp(PORT, NODE_PORT)
        .payload(&[0x55; LENGTH][headers..])
        .build();
    let (words, _) = frame.as_chunks();
    let words = words.iter().enumerate().map(|(number, word)| {
        format!("r5 = {:#x} ll\n*(u64 *)(r2 + {}) = r5\n", u64::from_le_bytes(*word), number * 8)
    });
    let text = format!(
        "r2 = *(u32 *)(r1 + 0)
        r3 = *(u32 *)(r1 + 4)
        r4 = r2
        r4 += {LENGTH}
        if r4 > r3 goto drop
        {}r0 = {XDP_TX}
        exit
        drop:
        r0 = {XDP_DROP}
        exit",
        words.collect::<String>()
    );
    Ok((program("makes", ProgramKind::XDP, &text)?, frame))
}
