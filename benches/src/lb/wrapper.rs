//! The program that makes each run's packet, written as instructions.

use std::net::IpAddr;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use bpf_kernel::attach::XdpMode;
use bpf_kernel::{Map, MapKind, MapLayout, Program, ProgramKind, TestRun};
use host::NetNamespace;
use wire::build::Frame;
use wire::transport::tcp_flags::{ACK, SYN};

/// What the packets are.
#[derive(Clone, Copy)]
pub struct Traffic {
    pub flows: u32,
    pub vips: u32,
    pub v6: bool,
    pub syn: bool,
    /// For an address that is no VIP.
    pub elsewhere: bool,
}

impl Traffic {
    pub const fn tcp(flows: u32, vips: u32) -> Self {
        Traffic { flows, vips, v6: false, syn: false, elsewhere: false }
    }

    pub fn frame(&self) -> Result<Vec<u8>> {
        let flags = if self.syn { SYN } else { ACK };
        let (client, vip) = match (self.v6, self.elsewhere) {
            (true, _) => ("fd03::1", "fd01::1"),
            (false, false) => ("192.0.2.1", "10.200.1.1"),
            (false, true) => ("192.0.2.1", "10.201.1.1"),
        };
        let address = |text: &str| -> Result<IpAddr> { Ok(text.parse()?) };
        let frame = Frame::between(address(client)?, address(vip)?).tcp(31_337, 80, flags);
        Ok(frame.payload(b"bench").build())
    }
}

pub struct Wrapper {
    program: Program,
    frame: Vec<u8>,
    /// Holds the program under test.
    _targets: Map,
    _bare: Program,
}

/// Registers.
const R0: u8 = 0;
const R1: u8 = 1;
const R2: u8 = 2;
const R3: u8 = 3;
const R6: u8 = 6;
const R7: u8 = 7;
const R8: u8 = 8;

const XDP_DROP: i32 = 1;
const XDP_TX: i32 = 3;

fn instruction(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> [u8; 8] {
    let [o0, o1] = offset.to_le_bytes();
    let [i0, i1, i2, i3] = immediate.to_le_bytes();
    [code, from << 4 | to, o0, o1, i0, i1, i2, i3]
}

/// Builds instructions by name.
struct Code(Vec<[u8; 8]>);

impl Code {
    fn push(&mut self, code: u8, to: u8, from: u8, offset: i16, immediate: i32) {
        self.0.push(instruction(code, to, from, offset, immediate));
    }

    fn copy(&mut self, to: u8, from: u8) {
        self.push(0xbf, to, from, 0, 0);
    }

    fn set(&mut self, to: u8, value: i32) {
        self.push(0xb7, to, 0, 0, value);
    }

    fn call(&mut self, helper: i32) {
        self.push(0x85, 0, 0, 0, helper);
    }

    fn exit(&mut self) {
        self.push(0x95, 0, 0, 0, 0);
    }

    /// A 64-bit constant; `source` 1 means the map with that descriptor.
    fn wide(&mut self, to: u8, source: u8, value: u64) {
        self.push(0x18, to, source, 0, value as u32 as i32);
        self.push(0, 0, 0, 0, (value >> 32) as u32 as i32);
    }

    fn load_word(&mut self, to: u8, from: u8, offset: i16) {
        self.push(0x61, to, from, offset, 0);
    }
}

impl Wrapper {
    /// With `None`, the program under test sends the frame back at once.
    pub fn make(traffic: &Traffic, target: Option<&Program>) -> Result<Self> {
        const PROG_ARRAY: u32 = 3;
        let layout = MapLayout {
            kind: MapKind::Other(PROG_ARRAY),
            key_size: 4,
            value_size: 4,
            max_entries: 1,
            flags: 0,
        };
        let bare = returns("bare", ProgramKind::XDP, XDP_TX)?;
        let targets = Map::create("targets", layout)?;
        targets
            .set_program(0, target.unwrap_or(&bare))
            .context("the program under test can't be tail-called")?;
        let frame = traffic.frame()?;
        let code = code(traffic, &frame, &targets);
        // A tail call wants the same hook on both sides.
        let kind = target.map_or(ProgramKind::XDP, Program::kind);
        let program = Program::from_instructions("wrapper", kind, &code)?;
        Ok(Wrapper { program, frame, _targets: targets, _bare: bare })
    }

    /// Nanoseconds of one run.
    pub fn run(&self, repeat: u32) -> Result<f64> {
        let run = TestRun { data: &self.frame, context: &[], repeat };
        Ok(self.program.test_run(run)?.duration.as_nanos() as f64)
    }
}

fn code(traffic: &Traffic, frame: &[u8], targets: &Map) -> Vec<[u8; 8]> {
    const ADJUST_HEAD: i32 = 44;
    const RANDOM: i32 = 7;
    const TAIL_CALL: i32 = 12;
    let length = frame.len() as i32;
    // Last word of the client's address, last byte of the VIP's.
    let (client, vip) = if traffic.v6 { (14 + 8 + 12, 14 + 24 + 15) } else { (14 + 12, 14 + 19) };
    let mut code = Code(Vec::new());
    code.copy(R6, R1);
    // Off with what the run before put before the packet.
    code.load_word(R2, R6, 4);
    code.load_word(R3, R6, 0);
    code.push(0x1f, R2, R3, 0, 0);
    code.push(0x07, R2, 0, 0, -length);
    code.copy(R1, R6);
    code.call(ADJUST_HEAD);
    code.call(RANDOM);
    code.copy(R7, R0);
    // Which flow, and from that which VIP.
    if traffic.flows != u32::MAX {
        code.push(0x94, R7, 0, 0, traffic.flows as i32);
    }
    code.copy(R8, R7);
    code.push(0x94, R8, 0, 0, traffic.vips as i32);
    code.push(0x07, R8, 0, 0, 1);
    code.push(0x24, R7, 0, 0, 0x9e37_79b1_u32 as i32);
    code.load_word(R2, R6, 0);
    code.load_word(R3, R6, 4);
    code.copy(R1, R2);
    code.push(0x07, R1, 0, 0, length);
    // To the drop, if the frame is not what it should be.
    let drop_at = code.0.len();
    code.push(0x2d, R1, R3, 0, 0);
    let mut head = [0; 16];
    head.copy_from_slice(&frame[..16]);
    let half = |at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&head[at..at + 8]);
        u64::from_le_bytes(word)
    };
    // Only 14 bytes are the Ethernet header's, but the next two never change.
    code.wide(R1, 0, half(0));
    code.push(0x7b, R2, R1, 0, 0);
    code.wide(R1, 0, half(8));
    code.push(0x7b, R2, R1, 8, 0);
    code.push(0x63, R2, R7, client, 0);
    if !traffic.elsewhere {
        code.push(0x73, R2, R8, vip, 0);
    }
    code.copy(R1, R6);
    code.wide(R2, 1, targets.as_fd().as_raw_fd() as u64);
    code.set(R3, 0);
    code.call(TAIL_CALL);
    let end = code.0.len();
    code.set(R0, XDP_DROP);
    code.exit();
    code.0[drop_at] = instruction(0x2d, R1, R3, (end - drop_at - 1) as i16, 0);
    code.0
}

/// A pair of interfaces in a namespace of its own. Frames are put into the first as if it sent them;
/// the program under test has them at the second, and what it sends back is dropped at the first.
pub struct Veth {
    namespace: NetNamespace,
    first: u32,
    second: u32,
    kind: ProgramKind,
    pins: tempfile::TempDir,
    _mount: Unmounted,
}

/// Unmounts when it goes.
struct Unmounted(PathBuf);

impl Drop for Unmounted {
    fn drop(&mut self) {
        // What can't be unmounted goes with the process's last reference to it.
        let _ = bpf_kernel::mount::unmount_bpffs(&self.0);
    }
}

/// What IPIP costs at the least: room for the outer header is made, it and the Ethernet header are
/// written as constants, the frame is sent back. Nothing is looked up, summed or counted.
pub fn floor(kind: ProgramKind) -> Result<Program> {
    const ADJUST_HEAD: i32 = 44;
    const OUTER: i32 = 20;
    const WRITTEN: i32 = 14 + OUTER;
    let mut code = Code(Vec::new());
    code.copy(R6, R1);
    code.set(R2, -OUTER);
    code.call(ADJUST_HEAD);
    code.load_word(R2, R6, 0);
    code.load_word(R3, R6, 4);
    code.copy(R1, R2);
    code.push(0x07, R1, 0, 0, WRITTEN);
    let drop_at = code.0.len();
    code.push(0x2d, R1, R3, 0, 0);
    code.wide(R1, 0, 0x4242_4242_4242_4242);
    for offset in [0, 8, 16, 24] {
        code.push(0x7b, R2, R1, offset, 0);
    }
    code.push(0x6b, R2, R1, 32, 0);
    code.set(R0, XDP_TX);
    code.exit();
    let end = code.0.len();
    code.set(R0, XDP_DROP);
    code.exit();
    code.0[drop_at] = instruction(0x2d, R1, R3, (end - drop_at - 1) as i16, 0);
    Ok(Program::from_instructions("floor", kind, &code.0)?)
}

/// A program that only returns.
fn returns(name: &str, kind: ProgramKind, action: i32) -> Result<Program> {
    let mut code = Code(Vec::new());
    code.set(R0, action);
    code.exit();
    Ok(Program::from_instructions(name, kind, &code.0)?)
}

impl Veth {
    /// For programs of this kind: a link takes no other than its first's.
    pub fn make(kind: ProgramKind) -> Result<Self> {
        let namespace = NetNamespace::unnamed()?;
        let pins = tempfile::tempdir()?;
        bpf_kernel::mount::ensure_bpffs(pins.path())?;
        let mount = Unmounted(pins.path().to_owned());
        let (first, second) = namespace.run(|| -> Result<(u32, u32)> {
            let ip = |arguments: &[&str]| -> Result<()> {
                let status = Command::new("ip").args(arguments).status()?;
                anyhow::ensure!(status.success(), "ip {arguments:?}: {status}");
                Ok(())
            };
            ip(&["link", "add", "lb0", "type", "veth", "peer", "name", "lb1"])?;
            ip(&["link", "set", "lb0", "up"])?;
            ip(&["link", "set", "lb1", "up"])?;
            let index = |name: &str| nix::net::if_::if_nametoindex(name);
            Ok((index("lb0")?, index("lb1")?))
        })??;
        let veth = Veth { namespace, first, second, kind, pins, _mount: mount };
        veth.attach(&returns("drops", ProgramKind::XDP, XDP_DROP)?, veth.first, "drops")?;
        Ok(veth)
    }

    fn attach(&self, program: &Program, ifindex: u32, pin: &str) -> Result<()> {
        let pin = self.pins.path().join(pin);
        self.namespace.run(|| {
            bpf_kernel::attach::attach_xdp(program, ifindex, XdpMode::Native, &pin).map(drop)
        })??;
        Ok(())
    }

    /// Nanoseconds of one frame, all on one CPU: made, received, worked on, sent back, dropped. With
    /// `None`, sent back at once.
    pub fn run(&self, traffic: &Traffic, target: Option<&Program>, frames: u32) -> Result<f64> {
        let bare = returns("bare", self.kind, XDP_TX)?;
        self.attach(target.unwrap_or(&bare), self.second, "under_test")?;
        let wrapper = Wrapper::make(traffic, None)?;
        self.namespace.run(|| -> Result<f64> {
            let mut cpu = nix::sched::CpuSet::new();
            cpu.set(0)?;
            nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &cpu)?;
            let run = wrapper.program.test_run_live(&wrapper.frame, self.first, frames)?;
            Ok(run.as_nanos() as f64)
        })?
    }
}
