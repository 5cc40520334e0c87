//! Helpers that read and change packets, against the kernel's: random sequences of calls give the
//! same results and leave the same bytes.
//!
//! Needs root, to load programs; without it the tests say that they skip.

#![cfg(target_os = "linux")]

use bpf_isa::text::{Syntax, assemble};
use bpf_isa::{encode, place};
use bpf_vm::context::{Skb, Xdp};
use bpf_vm::{Engine, Packet, Runtime};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

#[path = "kernel/bpf.rs"]
#[allow(dead_code, reason = "the maps' tests use the rest of it")]
mod bpf;

use bpf::KernelProgram;

const CLASSIFIER: u32 = 3;
const XDP: u32 = 6;

/// A call: its number and arguments two to five, as instructions. Stack memory at r10 - 32 holds
/// what is written and read.
#[derive(Clone, Debug)]
struct Call {
    id: u32,
    arguments: Vec<Argument>,
    /// What was read counts, too.
    reads: bool,
}

#[derive(Clone, Copy, Debug)]
enum Argument {
    Number(i64),
    Buffer,
}

use Argument::{Buffer, Number};

fn source(calls: &[Call], fields: &[u32]) -> String {
    let mut text = String::from("r6 = r1\nr8 = 0\n");
    for at in [8, 16, 24, 32] {
        text += &format!("r1 = {} ll\n*(u64 *)(r10 - {at}) = r1\n", 0x0102_0304_a5b6_c7d8u64 * at);
    }
    for call in calls {
        text += "r1 = r6\n";
        for (number, argument) in call.arguments.iter().enumerate() {
            let register = number + 2;
            text += &match argument {
                Number(value) => format!("r{register} = {value} ll\n"),
                Buffer => format!("r{register} = r10\nr{register} += -32\n"),
            };
        }
        text += &format!("call {}\nr8 *= 31\nr8 += r0\n", call.id);
        if call.reads {
            text += "r1 = *(u64 *)(r10 - 32)\nr8 *= 31\nr8 += r1\n";
        }
    }
    for field in fields {
        text += &format!("r1 = *(u32 *)(r6 + {field})\nr8 *= 31\nr8 += r1\n");
    }
    text + "r0 = r8\nexit"
}

fn call(id: u32, arguments: Vec<Argument>) -> Call {
    Call { id, arguments, reads: false }
}

fn reading(id: u32, arguments: Vec<Argument>) -> Call {
    Call { id, arguments, reads: true }
}

fn offset() -> impl Strategy<Value = i64> {
    prop_oneof![4 => 0..90i64, 1 => Just(65535), 1 => Just(0xffff_fff0)]
}

fn skb_call() -> BoxedStrategy<Call> {
    let number = |range: std::ops::Range<i64>| range;
    prop_oneof![
        3 => (offset(), 1..=8i64, prop::sample::select(vec![0i64, 1, 2, 4]))
            .prop_map(|(at, length, flags)| call(9, vec![Number(at), Buffer, Number(length), Number(flags)])),
        3 => (offset(), 1..=8i64)
            .prop_map(|(at, length)| reading(26, vec![Number(at), Buffer, Number(length)])),
        2 => (offset(), 1..=8i64, 0..3i64)
            .prop_map(|(at, length, from)| reading(68, vec![Number(at), Buffer, Number(length), Number(from)])),
        2 => (offset(), any::<u16>(), any::<u16>(), prop::sample::select(vec![0i64, 2, 4, 3, 0x12]))
            .prop_map(|(at, from, to, flags)| call(10, vec![Number(at), Number(from.into()), Number(to.into()), Number(flags)])),
        2 => (offset(), any::<u16>(), any::<u16>(), prop::sample::select(vec![0i64, 2, 4, 0x12, 0x14, 0x22, 0x62, 0x100]))
            .prop_map(|(at, from, to, flags)| call(11, vec![Number(at), Number(from.into()), Number(to.into()), Number(flags)])),
        2 => (prop::sample::select(vec![0i64, 4, 8, 2]), prop::sample::select(vec![0i64, 4, 8, 12]), any::<u32>())
            .prop_map(|(from, to, seed)| Call {
                id: 28,
                arguments: vec![Number(from), Buffer, Number(to), Number(seed.into())],
                reads: false,
            }),
        1 => number(0..200).prop_map(|length| call(39, vec![Number(length)])),
        // Headers stay whole: after less, growing a frame shows whatever lies behind its end.
        1 => (prop_oneof![0..14i64, 54..200i64], 0..2i64).prop_map(|(length, flags)| call(38, vec![Number(length), Number(flags)])),
        1 => (number(0..60), 0..2i64).prop_map(|(length, flags)| call(43, vec![Number(length), Number(flags)])),
        1 => (prop::sample::select(vec![0x0081i64, 0xa888, 0x1234]), any::<u16>())
            .prop_map(|(protocol, tci)| call(18, vec![Number(protocol), Number(tci.into())])),
        1 => Just(call(19, vec![])),
        2 => (number(-50..50), 0..3i64, prop::sample::select(vec![0i64, 0, 0, 2, 4, 6, 0x80, 0x100, 0x200]))
            .prop_map(|(difference, mode, flags)| call(50, vec![Number(difference), Number(mode), Number(flags)])),
        1 => prop::sample::select(vec![0x0008i64, 0xdd86, 0x0608])
            .prop_map(|protocol| call(31, vec![Number(protocol), Number(0)])),
        1 => (0..6i64).prop_map(|kind| call(32, vec![Number(kind)])),
    ]
    .boxed()
}

fn xdp_call() -> BoxedStrategy<Call> {
    prop_oneof![
        2 => (-300..100i64).prop_map(|delta| call(44, vec![Number(delta)])),
        2 => (-100..5000i64).prop_map(|delta| call(65, vec![Number(delta)])),
        2 => (-80..80i64).prop_map(|delta| call(54, vec![Number(delta * 2)])),
        3 => (offset(), 1..=8i64)
            .prop_map(|(at, length)| reading(189, vec![Number(at), Buffer, Number(length)])),
        3 => (offset(), 1..=8i64)
            .prop_map(|(at, length)| call(190, vec![Number(at), Buffer, Number(length)])),
        1 => Just(call(188, vec![])),
    ]
    .boxed()
}

/// Whether a frame is cut after it has outgrown the room that the kernel leaves before it. Its buffer
/// was moved then, and the transport header of a test run, which nobody has set, counts as set ever
/// after (`skb_headers_offset_update` adds to the mark for "not set"): by an accident that no frame
/// from a device meets, it can be cut to nearly nothing.
fn cuts_what_was_moved(calls: &[Call]) -> bool {
    /// `NET_SKB_PAD`.
    const ROOM: i64 = 64;
    let mut grown = 0;
    calls.iter().any(|call| {
        grown += match (call.id, call.arguments.first()) {
            (43 | 50, Some(Number(length))) => *length.max(&0),
            (31, _) => 20,
            (18, _) => 4,
            _ => 0,
        };
        call.id == 38 && grown > ROOM
    })
}

/// `csum_diff` has no context: its arguments begin one register earlier.
fn fix(text: String) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut fixed = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        fixed.push((*line).to_owned());
        if lines.get(at + 1) == Some(&"call 28") {
            // r2 = size, r3 = buffer, r4 = size, r5 = seed.
            fixed.push("r0 = r2\nr1 = r3\nr2 = r0\nr0 = r4\nr3 = r1\nr4 = r0".to_owned());
        }
    }
    fixed.join("\n")
}

fn packets() -> impl Strategy<Value = Vec<u8>> {
    let header = prop::sample::select(vec![
        vec![
            0x08, 0x00, 0x45, 0, 0, 60, 1, 2, 0x40, 0, 64, 17, 0x12, 0x34, 10, 0, 0, 1, 10, 0, 0, 2,
        ],
        vec![
            0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, 6, 64, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            0, 1,
        ],
        vec![0x81, 0x00, 0x01, 0x23, 0x08, 0x00, 0x45, 0, 0, 60],
        vec![0x08, 0x06, 0, 1],
    ]);
    (header, prop::collection::vec(any::<u8>(), 60..120)).prop_map(|(header, rest)| {
        let macs = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        [macs.to_vec(), header, rest].concat()
    })
}

fn check(kind: u32, calls: BoxedStrategy<Call>, fields: &[u32]) {
    let nothing = encode(&assemble("r0 = 0\nexit", Syntax::Llvm).expect("valid"));
    if let Err(error) = KernelProgram::load(kind, &nothing) {
        eprintln!("skipped: this machine's kernel takes no programs from us: {error}");
        return;
    }
    let engines = [Engine::Interpreter, Engine::Jit];
    let engines = if cfg!(target_arch = "x86_64") { &engines[..] } else { &engines[..1] };
    let mut runner =
        TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(400) });
    let calls = prop::collection::vec(calls, 1..8)
        .prop_filter("a moved frame isn't cut", |calls| !cuts_what_was_moved(calls));
    let cases = (calls, packets());
    let result = runner.run(&cases, |(calls, bytes)| {
        let text = fix(source(&calls, fields));
        let instructions = assemble(&text, Syntax::Llvm).expect("it assembles");
        let kernel = KernelProgram::load(kind, &encode(&instructions)).expect("it is accepted");
        let theirs = kernel.run(&bytes).expect("it runs");
        for engine in engines {
            let runtime = Runtime::builder().engine(*engine).build();
            let placed: Vec<_> = place(instructions.clone());
            let program = runtime.bind("calls", &placed, &[]).expect("it binds");
            let mut packet = Packet::new(&bytes).expect("there is low memory");
            let outcome = match kind {
                XDP => program.run_xdp(&mut packet, &Xdp::default()),
                // To another host: the packet's address is not the loopback device's.
                _ => program.run_skb(&mut packet, &Skb { pkt_type: 3, ..Skb::default() }),
            };
            // The kernel's packet begins with the metadata.
            let after = [packet.metadata(), packet.bytes()].concat();
            let ours = (outcome.expect("no fault").value as u32, after);
            prop_assert_eq!(&ours, &theirs, "{:?}: {}", engine, text);
        }
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn classifiers() {
    // len, pkt_type, protocol, vlan_present, vlan_tci, vlan_proto.
    check(CLASSIFIER, skb_call(), &[0, 4, 16, 20, 24, 28]);
}

#[test]
fn xdp() {
    check(XDP, xdp_call(), &[]);
}
