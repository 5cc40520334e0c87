//! Engines that carry programs out: ours, and the kernel's by its test runs.

use super::object_file::ObjectFile;
use crate::failure::Failure;
use bpf_interface::program::action_name;
use bpf_kernel::TestRun;
use bpf_kernel::linked::{Load, Maps};
use bpf_object::btf::Btf;
use bpf_object::{MapType, ProgramKind, ProgramType};
use bpf_vm::context::{Skb, Xdp};
use bpf_vm::{Instance, Packet, ProgramHandle, Redirect, Runtime};
use std::fmt;
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Engine {
    /// Instruction by instruction
    Interp,
    /// Compiled to the machine's code, without checks where the verifier has proved them needless
    Jit,
    /// The running kernel, by a test run; needs root
    Kernel,
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interp => "interp",
            Self::Jit => "jit",
            Self::Kernel => "kernel",
        })
    }
}

/// What a program is run on.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// An Ethernet frame, for programs that take packets.
    pub packet: Vec<u8>,
    /// The context's bytes, for all others.
    pub context: Vec<u8>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Answer {
    pub value: u64,
    pub packet: Vec<u8>,
    /// The context's bytes after the run; none of packets.
    pub context: Vec<u8>,
    /// The kernel doesn't tell.
    pub redirect: Option<Redirect>,
    /// Lines of `bpf_trace_printk`; the kernel writes them elsewhere.
    pub trace: Vec<String>,
    /// Mean of one run.
    pub time: Duration,
}

/// Key and value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// A program with its maps in an engine.
pub enum Machine {
    Ours { instance: Instance, program: ProgramHandle, kind: ProgramKind },
    Kernel { maps: Maps, program: Box<bpf_kernel::Program>, kind: ProgramKind },
}

impl Machine {
    pub fn new(
        engine: Engine,
        file: &ObjectFile,
        program: &str,
        kind: &ProgramKind,
        seed: u64,
        trace: Option<usize>,
    ) -> Result<Self, Failure> {
        let kind = kind.clone();
        let ours = match engine {
            Engine::Interp => bpf_vm::Engine::Interpreter,
            Engine::Jit => bpf_vm::Engine::VerifiedJit,
            Engine::Kernel => return Self::kernel(file, program, kind),
        };
        let mut builder = Runtime::builder().engine(ours).seed(seed);
        if let Some(instructions) = trace {
            builder = builder.trace(instructions);
        }
        let runtime = builder.build();
        let loader = runtime.loader();
        let loader = match &file.kernel {
            Some(types) => loader.kernel(types),
            None => loader,
        };
        let instance = loader.load(&file.object).map_err(failed)?;
        let program = instance.program(program).map_err(failed)?;
        Ok(Self::Ours { instance, program, kind })
    }

    fn kernel(file: &ObjectFile, program: &str, kind: ProgramKind) -> Result<Self, Failure> {
        let refused = |error: bpf_kernel::Error| Failure::Usage(error.to_string());
        let linked = file.link(program).map_err(|error| file.cannot_link(program, &error))?;
        let maps = Maps::create(&file.object).map_err(refused)?;
        let none = Btf::new();
        let types = file.kernel.as_ref().unwrap_or(&none);
        let load = Load { kind: &kind, flags: 0, log_level: 0, kernel: types };
        let verdict = maps.load(&file.object, &linked, &load);
        let loaded = match verdict.program {
            Ok(loaded) => loaded,
            Err(error) => {
                let load = Load { log_level: 1, ..load };
                let log = maps.load(&file.object, &linked, &load).log;
                let last: Vec<&str> = log.lines().rev().take(6).collect();
                let last: Vec<&str> = last.into_iter().rev().collect();
                return Err(Failure::Usage(format!(
                    "the kernel refuses program `{program}`: {error}\n{}",
                    last.join("\n")
                )));
            }
        };
        let program = Box::new(loaded.into_program(&kind));
        Ok(Self::Kernel { maps, program, kind })
    }

    pub fn run(&self, input: &Input, repeat: u32) -> Result<Answer, Failure> {
        match self {
            Self::Ours { program, kind, .. } => run_ours(program, kind, input, repeat),
            Self::Kernel { program, kind, .. } => {
                let takes_packet = takes_packet(kind.program);
                let run = TestRun {
                    data: if takes_packet { &input.packet } else { &[] },
                    context: if takes_packet { &[] } else { &input.context },
                    repeat,
                };
                let result = program.test_run(run).map_err(|error| {
                    Failure::Usage(format!(
                        "{error}: the kernel can try {} programs only on certain input, or not at \
                         all",
                        kind.program
                    ))
                })?;
                Ok(Answer {
                    value: result.action.into(),
                    packet: if takes_packet { result.data } else { Vec::new() },
                    context: result.context,
                    redirect: None,
                    trace: Vec::new(),
                    time: result.duration,
                })
            }
        }
    }

    /// What the last run did, if that was to be noted down.
    pub fn steps(&self) -> bpf_vm::Trace {
        match self {
            Self::Ours { instance, .. } => instance.runtime().last_trace(),
            Self::Kernel { .. } => bpf_vm::Trace::default(),
        }
    }

    /// Sets an entry of a map of the object.
    pub fn set(
        &self,
        file: &ObjectFile,
        name: &str,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), Failure> {
        match self {
            Self::Ours { instance, .. } => {
                let map = instance.map(name).ok_or_else(|| no_map(file, name))?;
                let mut value = value.to_vec();
                if map.definition().is_per_cpu() {
                    value.resize(value.len().next_multiple_of(8), 0);
                    value = value.repeat(map.cpus() as usize);
                }
                map.update(key, &value, 0)
                    .map_err(|error| Failure::Usage(format!("map {name}: {error}")))
            }
            Self::Kernel { maps, .. } => {
                let index = file.object.maps.iter().position(|map| map.name == name);
                let map = match index.map(|index| maps.handle(index)) {
                    Some(Ok(Some(map))) => map,
                    Some(Err(error)) => return Err(Failure::Usage(error.to_string())),
                    _ => return Err(no_map(file, name)),
                };
                map.set(key, value).map_err(|error| Failure::Usage(error.to_string()))
            }
        }
    }

    /// What a map holds, sorted; per-CPU values without those of CPUs that hold nothing. `None` for
    /// maps that can't be listed.
    pub fn entries(&self, file: &ObjectFile, index: usize) -> Result<Option<Vec<Entry>>, Failure> {
        let Some(map) = file.object.maps.get(index).filter(|map| can_be_listed(map.kind)) else {
            return Ok(None);
        };
        let mut entries = match self {
            Self::Ours { instance, .. } => match instance.map(&map.name) {
                Some(made) => made
                    .entries()
                    .map_err(|error| Failure::Usage(format!("map {}: {error}", map.name)))?,
                None => return Ok(None),
            },
            Self::Kernel { maps, .. } => {
                match maps.handle(index).map_err(|error| Failure::Usage(error.to_string()))? {
                    Some(made) => made
                        .entries(usize::MAX)
                        .map_err(|error| Failure::Usage(error.to_string()))?,
                    None => return Ok(None),
                }
            }
        };
        if is_per_cpu(map.kind) {
            let size = (map.value_size as usize).next_multiple_of(8).max(8);
            for (_, value) in &mut entries {
                let used: Vec<&[u8]> = value
                    .chunks(size)
                    .filter(|value| value.iter().any(|byte| *byte != 0))
                    .collect();
                *value = used.concat();
            }
        }
        if is_array(map.kind) {
            entries.retain(|(_, value)| value.iter().any(|byte| *byte != 0));
        }
        entries.sort();
        Ok(Some(entries))
    }

    /// Records that the program has put into a ring buffer; the kernel's are not looked at.
    pub fn records(&self, name: &str) -> Vec<Vec<u8>> {
        match self {
            Self::Ours { instance, .. } => {
                instance.map(name).map(|map| map.records()).unwrap_or_default()
            }
            Self::Kernel { .. } => Vec::new(),
        }
    }
}

fn failed(error: bpf_vm::RuntimeError) -> Failure {
    Failure::Usage(error.to_string())
}

fn no_map(file: &ObjectFile, name: &str) -> Failure {
    let names: Vec<&str> = file.object.maps.iter().map(|map| map.name.as_str()).collect();
    let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    Failure::NotFound(format!("there is no map `{name}` in {}; it has {names}", file.path))
}

fn is_per_cpu(kind: MapType) -> bool {
    matches!(kind, MapType::PER_CPU_ARRAY | MapType::PER_CPU_HASH | MapType::LRU_PER_CPU_HASH)
}

fn is_array(kind: MapType) -> bool {
    matches!(kind, MapType::ARRAY | MapType::PER_CPU_ARRAY)
}

fn can_be_listed(kind: MapType) -> bool {
    matches!(
        kind,
        MapType::HASH
            | MapType::ARRAY
            | MapType::PER_CPU_HASH
            | MapType::PER_CPU_ARRAY
            | MapType::LRU_HASH
            | MapType::LRU_PER_CPU_HASH
            | MapType::LPM_TRIE
    )
}

/// Programs that are run on packets; all others on a context.
pub fn takes_packet(kind: ProgramType) -> bool {
    kind == ProgramType::XDP || has_skb(kind)
}

fn has_skb(kind: ProgramType) -> bool {
    matches!(
        kind,
        ProgramType::CLASSIFIER
            | ProgramType::ACTION
            | ProgramType::CGROUP_SKB
            | ProgramType::SOCKET_FILTER
            | ProgramType::LWT_IN
            | ProgramType::LWT_OUT
            | ProgramType::LWT_XMIT
            | ProgramType::SK_SKB
    )
}

/// Ethernet's header, which others than classifiers don't see.
const LINK: usize = 14;

fn run_ours(
    program: &ProgramHandle,
    kind: &ProgramKind,
    input: &Input,
    repeat: u32,
) -> Result<Answer, Failure> {
    let is_xdp = kind.program == ProgramType::XDP;
    let ethernet = is_xdp || matches!(kind.program, ProgramType::CLASSIFIER | ProgramType::ACTION);
    let (link, rest) = match ethernet {
        true => (&[][..], input.packet.as_slice()),
        false => input.packet.split_at(LINK.min(input.packet.len())),
    };
    let protocol = input.packet.get(12..14);
    let protocol = protocol.map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
    let skb = Skb { ethernet, protocol, ..Skb::default() };
    let packet_error = |error: bpf_vm::PacketError| failed(error.into());
    let takes_packet = takes_packet(kind.program);
    let mut packet = match takes_packet {
        true => Some(Packet::new(rest).map_err(packet_error)?),
        false => None,
    };
    let mut outcome = bpf_vm::Outcome::default();
    let start = Instant::now();
    for _ in 0..repeat.max(1) {
        outcome = match &mut packet {
            None => program.run_raw(&input.context).map_err(failed)?,
            Some(packet) => {
                packet.set(rest).map_err(packet_error)?;
                let run = match is_xdp {
                    true => program.run_xdp(packet, &Xdp::default()),
                    false => program.run_skb(packet, &skb),
                };
                run.map_err(failed)?
            }
        };
    }
    let time = start.elapsed() / repeat.max(1);
    let packet = packet.map(|packet| [link, &packet.bytes()].concat());
    Ok(Answer {
        // Actions are the lower half; the kernel's test runs give no more, either.
        value: outcome.value & 0xffff_ffff,
        packet: packet.unwrap_or_default(),
        context: if takes_packet { Vec::new() } else { outcome.context },
        redirect: outcome.redirect,
        trace: outcome.trace,
        time,
    })
}

/// A result with its name, if its program type has names for them.
pub fn action(kind: ProgramType, value: u64) -> String {
    let number = value as u32 as i32;
    match action_name(kind, value as u32) {
        Some(name) => format!("{name} ({number})"),
        None => number.to_string(),
    }
}
