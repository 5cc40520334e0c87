//! What each program costs per packet, by the kernel's test runs on the maps of a running node.
//!
//! A packet that the program changes (a translated one), or that makes an entry, can be run once
//! only: such cases are many runs of one, and what a run of one costs by itself is measured with a
//! packet that the program lets pass at its first look, and taken off. Others are means of
//! [`REPEAT`] runs, fewer than the packet's time to live.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use bpf_kernel::{Program, Table, TestRun};
use testkit::Binaries;
use wire::build::Frame;
use wire::transport::tcp_flags::{ACK, PSH, SYN};

use super::arm::{ADDRESSES, Arm};
use crate::figures::{median, print};
use crate::rules::VIP;
use crate::traffic;

const REPEAT: u32 = 200;
const SAMPLES: u16 = 2_000;
const TTL: u8 = 255;
/// Of the connections that stay; those that are made take ports from [`FIRST_PORT`] on.
const PORT: u16 = 3_000;
const FIRST_PORT: u16 = 20_000;
/// A port that no policy allows.
const DENIED: u16 = 9;

/// `TC_ACT_UNSPEC`: what comes behind decides.
const PASS: u32 = u32::MAX;
const SHOT: u32 = 2;
const REDIRECT: u32 = 7;

/// `struct __sk_buff` (include/uapi/linux/bpf.h) with what a test run takes of it: the mark and
/// the interface.
fn context(mark: u32, ifindex: u32) -> [u8; 192] {
    let mut context = [0; 192];
    context[8..12].copy_from_slice(&mark.to_ne_bytes());
    context[40..44].copy_from_slice(&ifindex.to_ne_bytes());
    context
}

pub fn run() -> Result<()> {
    let binaries = Binaries::built()?;
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (column, count) in [1, 10_000].into_iter().enumerate() {
        let arm = Arm::skep(binaries, count)?;
        let costs = arm.node().place().netns.run(|| Costs::of(&arm.node().bpffs()))??;
        for (row, (case, nanoseconds)) in costs.0.into_iter().enumerate() {
            if column == 0 {
                rows.push(vec![format!("  {case}")]);
            }
            rows[row].push(format!("{nanoseconds:.0}"));
        }
    }
    let header = ["ns a packet", "1 rule", "10,000 rules"].map(str::to_owned).to_vec();
    rows.insert(0, header);
    print(&rows);
    println!("medians of test runs; {}", super::load());
    Ok(())
}

/// Nanoseconds by case.
struct Costs(Vec<(&'static str, f64)>);

impl Costs {
    fn of(bpffs: &Path) -> Result<Self> {
        let open = |name| Program::open(&bpffs.join("programs").join(name));
        let from = open("from_endpoint")?;
        let to = open("to_endpoint")?;
        let endpoints: Table<abi::Address, abi::endpoint::Endpoint> =
            Table::open(&bpffs.join("maps").join(abi::maps::ENDPOINTS))?;
        let interface = |address: Ipv4Addr| -> Result<u32> {
            let row = endpoints.get(&abi::Address::from_v4(address.octets()))?;
            Ok(row.with_context(|| format!("no endpoint has {address}"))?.ifindex)
        };
        let [(_, server), (_, client), _] = ADDRESSES;
        let (at_server, at_client) =
            (context(0, interface(server)?), context(0, interface(client)?));
        let decided = context(abi::state::MARK_DECIDED, interface(server)?);
        let tcp = |from: Ipv4Addr, source, to: Ipv4Addr, destination, flags| {
            let frame = Frame::between(IpAddr::V4(from), IpAddr::V4(to)).ttl(TTL);
            frame.tcp(source, destination, flags).payload(&[0x55; 64]).build()
        };
        let port = traffic::EXCHANGE;
        let data = ACK | PSH;
        let (there, back) =
            (tcp(client, PORT, server, port, data), tcp(server, port, client, PORT, data));
        once(&from, &tcp(client, PORT, server, port, SYN), &at_client, REDIRECT)?;
        once(&from, &tcp(server, port, client, PORT, SYN | ACK), &at_server, REDIRECT)?;

        let single = overhead(&to, &there, &decided)?;
        let each = |program: &Program, context: &[u8], action, frame: &dyn Fn(u16) -> Vec<u8>| {
            let mut samples = Vec::new();
            for number in 0..SAMPLES {
                samples.push(once(program, &frame(number), context, action)?);
            }
            anyhow::Ok(median(&samples) - single)
        };
        let syn = |destination: Ipv4Addr, port| {
            move |number| tcp(client, FIRST_PORT + number, destination, port, SYN)
        };
        once(&from, &tcp(client, PORT + 1, VIP, port, SYN), &at_client, REDIRECT)?;
        let from_service = |_| tcp(server, port, client, PORT + 1, data);
        let to_service = |_| tcp(client, PORT + 1, VIP, port, data);
        Ok(Self(vec![
            ("to_endpoint, decided before", many(&to, &there, &decided, PASS)?),
            ("from_endpoint, known flow", many(&from, &there, &at_client, REDIRECT)?),
            ("from_endpoint, reply of a known flow", many(&from, &back, &at_server, REDIRECT)?),
            (
                "from_endpoint, known flow to a service",
                each(&from, &at_client, REDIRECT, &to_service)?,
            ),
            (
                "from_endpoint, reply from a service's backend",
                each(&from, &at_server, REDIRECT, &from_service)?,
            ),
            ("from_endpoint, new flow", each(&from, &at_client, REDIRECT, &syn(server, port))?),
            (
                "from_endpoint, new flow to a service",
                each(&from, &at_client, REDIRECT, &|number| {
                    tcp(client, FIRST_PORT + SAMPLES + number, VIP, port, SYN)
                })?,
            ),
            (
                "from_endpoint, denied by policy",
                each(&from, &at_client, SHOT, &syn(server, DENIED))?,
            ),
        ]))
    }
}

/// The mean of [`REPEAT`] runs, the median of several such.
fn many(program: &Program, frame: &[u8], context: &[u8], action: u32) -> Result<f64> {
    let mut samples = Vec::new();
    for _ in 0..SAMPLES / 10 {
        samples.push(test(program, frame, context, action, REPEAT)?);
    }
    Ok(median(&samples))
}

fn once(program: &Program, frame: &[u8], context: &[u8], action: u32) -> Result<f64> {
    test(program, frame, context, action, 1)
}

/// What a run of one costs more than one of many.
fn overhead(program: &Program, frame: &[u8], context: &[u8]) -> Result<f64> {
    let mut samples = Vec::new();
    for _ in 0..SAMPLES {
        samples.push(once(program, frame, context, PASS)?);
    }
    Ok(median(&samples) - many(program, frame, context, PASS)?)
}

fn test(program: &Program, data: &[u8], context: &[u8], action: u32, repeat: u32) -> Result<f64> {
    let result = program.test_run(TestRun { data, context, repeat })?;
    if result.action != action {
        bail!("{} gave {} and not {action}", program.name(), result.action);
    }
    Ok(result.duration.as_nanos() as f64)
}
