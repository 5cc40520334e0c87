//! The program that makes each run's packet, written as instructions.

use std::net::IpAddr;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use bpf_isa::encode;
use bpf_isa::text::{Syntax, assemble};
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

const XDP_DROP: i32 = 1;
const XDP_TX: i32 = 3;

/// A program from its text, which is ours.
pub fn program(name: &str, kind: ProgramKind, text: &str) -> Result<Program> {
    let code = encode(&assemble(text, Syntax::Llvm)?);
    let (instructions, _) = code.as_chunks();
    Ok(Program::from_instructions(name, kind, instructions)?)
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
        let text = text(traffic, &frame, &targets)?;
        // A tail call wants the same hook on both sides.
        let kind = target.map_or(ProgramKind::XDP, Program::kind);
        let program = program("wrapper", kind, &text)?;
        Ok(Wrapper { program, frame, _targets: targets, _bare: bare })
    }

    /// Nanoseconds of one run.
    pub fn run(&self, repeat: u32) -> Result<f64> {
        let run = TestRun { data: &self.frame, context: &[], repeat };
        Ok(self.program.test_run(run)?.duration.as_nanos() as f64)
    }
}

/// Takes off what the run before put before the packet, makes the packet of a random flow and hands it
/// on. Helpers: 44 `bpf_xdp_adjust_head`, 7 `bpf_get_prandom_u32`, 12 `bpf_tail_call`.
fn text(traffic: &Traffic, frame: &[u8], targets: &Map) -> Result<String> {
    let length = frame.len();
    // Last word of the client's address, last byte of the VIP's.
    let (client, vip) = if traffic.v6 { (14 + 8 + 12, 14 + 24 + 15) } else { (14 + 12, 14 + 19) };
    let flow = match traffic.flows {
        u32::MAX => String::new(),
        flows => format!("w7 %= {flows}"),
    };
    let vip = match traffic.elsewhere {
        true => String::new(),
        false => format!("*(u8 *)(r2 + {vip}) = w8"),
    };
    // Only 14 bytes are the Ethernet header's, but the next two never change.
    let (start, _) = frame.as_chunks();
    let [first, second] = [0, 1].map(|at| start.get(at).copied().map(u64::from_le_bytes));
    let first = first.context("the frame has no header")?;
    let second = second.context("the frame has no header")?;
    Ok(format!(
        "r6 = r1
        r2 = *(u32 *)(r6 + 4)
        r3 = *(u32 *)(r6 + 0)
        r2 -= r3
        r2 += -{length}
        r1 = r6
        call 44
        call 7
        r7 = r0
        {flow}
        r8 = r7
        w8 %= {vips}
        r8 += 1
        w7 *= 0x9e3779b1
        r2 = *(u32 *)(r6 + 0)
        r3 = *(u32 *)(r6 + 4)
        r1 = r2
        r1 += {length}
        if r1 > r3 goto drop
        r1 = {first} ll
        *(u64 *)(r2 + 0) = r1
        r1 = {second} ll
        *(u64 *)(r2 + 8) = r1
        *(u32 *)(r2 + {client}) = w7
        {vip}
        r1 = r6
        ld_pseudo r2, 1, {targets}
        r3 = 0
        call 12
        drop:
        r0 = {XDP_DROP}
        exit",
        vips = traffic.vips,
        targets = targets.as_fd().as_raw_fd(),
    ))
}

/// A pair of interfaces in a namespace of its own. Frames are put into the first as if it sent them;
/// the program under test has them at the second, and what it sends back is dropped at the first.
pub struct Veth {
    namespace: NetNamespace,
    first: u32,
    second: u32,
    kind: ProgramKind,
    // Goes before the folder that it is mounted on.
    _mount: Unmounted,
    pins: tempfile::TempDir,
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
    let text = format!(
        "r6 = r1
        r2 = -20
        call 44
        r2 = *(u32 *)(r6 + 0)
        r3 = *(u32 *)(r6 + 4)
        r1 = r2
        r1 += 34
        if r1 > r3 goto drop
        r1 = 0x4242424242424242 ll
        *(u64 *)(r2 + 0) = r1
        *(u64 *)(r2 + 8) = r1
        *(u64 *)(r2 + 16) = r1
        *(u64 *)(r2 + 24) = r1
        *(u16 *)(r2 + 32) = w1
        r0 = {XDP_TX}
        exit
        drop:
        r0 = {XDP_DROP}
        exit"
    );
    program("floor", kind, &text)
}

/// A program that only returns.
pub fn returns(name: &str, kind: ProgramKind, action: i32) -> Result<Program> {
    program(name, kind, &format!("r0 = {action}\nexit"))
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
