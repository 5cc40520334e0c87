//! What tests return when they are run, on 64 bytes of zeroes as the kernel's own runner does it.

use std::collections::BTreeMap;
use std::fmt;

use bpf_kernel::linked::{Load, Loaded, Maps};
use bpf_object::btf::Btf;
use bpf_object::{Object, PointerTarget, Program, ProgramType};
use bpf_vm::context::{Skb, Xdp};
use bpf_vm::{Engine, Packet, Runtime};

use super::engine;
use super::expectation::{Expectation, ReturnValue};

const PACKET: [u8; 64] = [0; 64];

/// A map that the runner fills before tests of a file run, and the places of its first value that
/// aren't zero (prog_tests/verifier.c): the first word is an offset, the seventh of `foo` a value.
const FILLED: &[(&str, &str)] =
    &[("verifier_array_access", "map_array_ro"), ("verifier_value_ptr_arith", "map_array_48b")];

fn filling(file: &str, map: &bpf_object::Map) -> Option<Vec<u8>> {
    FILLED.iter().find(|(of, name)| *of == file && *name == map.name)?;
    let mut value = vec![0; map.value_size as usize];
    value.get_mut(0..4)?.copy_from_slice(&28u32.to_le_bytes());
    value.get_mut(28..32)?.copy_from_slice(&0xabcd_ef12u32.to_le_bytes());
    Some(value)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Interpreter,
    Jit,
    Kernel,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interpreter => "interpreter",
            Self::Jit => "JIT",
            Self::Kernel => "kernel",
        })
    }
}

/// How many results were as expected.
#[derive(Debug, Default)]
pub struct Results {
    counts: BTreeMap<Place, (usize, usize)>,
    pub lines: Vec<String>,
}

impl Results {
    pub fn add(
        &mut self,
        test: &str,
        place: Place,
        expected: ReturnValue,
        result: Result<i32, String>,
    ) {
        let (right, all) = self.counts.entry(place).or_default();
        *all += 1;
        match (expected, result) {
            (ReturnValue::Pointer, Ok(_)) => *right += 1,
            (ReturnValue::Number(number), Ok(result)) if number == result => *right += 1,
            (ReturnValue::Pointer, Err(problem)) => {
                self.lines.push(format!("{test}: {place}: {problem}"));
            }
            (ReturnValue::Number(number), Ok(result)) => {
                self.lines.push(format!("{test}: {place}: returned {result}, not {number}"));
            }
            (ReturnValue::Number(number), Err(problem)) => {
                self.lines.push(format!("{test}: {place}: should return {number}: {problem}"));
            }
        }
    }
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (right, all)) in &self.counts {
            let share = 100.0 * *right as f64 / (*all).max(1) as f64;
            writeln!(f, "return values, {place}: {right} of {all} as expected ({share:.1}%)")?;
        }
        Ok(())
    }
}

/// Runs a program in our runtime.
pub fn in_runtime(
    engine: Engine,
    file: &str,
    object: &Object,
    name: &str,
    kernel: &Btf,
) -> Result<i32, String> {
    // Every test has maps of its own, as in the kernel's runner.
    let runtime = Runtime::builder().engine(engine).build();
    let instance = runtime.load_for(object, kernel).map_err(|error| error.to_string())?;
    for map in &object.maps {
        if let (Some(value), Some(made)) = (filling(file, map), instance.map(&map.name)) {
            made.update(&0u32.to_le_bytes(), &value, 0).map_err(|error| error.to_string())?;
        }
    }
    let program = instance.program(name).map_err(|error| error.to_string())?;
    let kind = program.kind().map_or(ProgramType::UNSPECIFIED, |kind| kind.program);
    let outcome = match kind {
        ProgramType::XDP => {
            let mut packet = Packet::new(&PACKET).map_err(|error| error.to_string())?;
            program.run_xdp(&mut packet, &Xdp::default())
        }
        ProgramType::CLASSIFIER | ProgramType::ACTION => {
            let mut packet = Packet::new(&PACKET).map_err(|error| error.to_string())?;
            program.run_skb(&mut packet, &Skb::default())
        }
        ProgramType::SOCKET_FILTER
        | ProgramType::CGROUP_SKB
        | ProgramType::LWT_IN
        | ProgramType::LWT_OUT
        | ProgramType::LWT_XMIT => {
            // net/bpf/test_run.c (6.12), bpf_prog_test_run_skb: these see no Ethernet header.
            let mut packet = Packet::new(&PACKET[14..]).map_err(|error| error.to_string())?;
            program.run_skb(&mut packet, &Skb { ethernet: false, ..Skb::default() })
        }
        ProgramType::SYSCALL => program.run_raw(&[]),
        other => return Err(format!("the kernel has no test run for programs of type {other}")),
    };
    outcome.map(|outcome| outcome.action()).map_err(|error| error.to_string())
}

/// Runs a program in the kernel, on maps of its own.
pub fn in_kernel(
    file: &str,
    object: &Object,
    program: &Program,
    types: &Btf,
    expectation: &Expectation,
) -> Result<i32, String> {
    let maps = Maps::create(object).map_err(|error| error.to_string())?;
    for (index, map) in object.maps.iter().enumerate() {
        if let Some(value) = filling(file, map) {
            maps.set(object, index, 0, &value).map_err(|error| error.to_string())?;
        }
    }
    let load = |program: &Program| -> Result<Loaded, String> {
        let kind = engine::kind(program, expectation).ok_or("of no known type")?;
        let load = Load { kind: &kind, flags: expectation.flags, log_level: 0, kernel: types };
        maps.load(object, program, &load).program.map_err(|error| error.to_string())
    };
    let loaded = load(program)?;
    // Programs that others go on to.
    let mut others = Vec::new();
    for (index, map) in object.maps.iter().enumerate() {
        for value in &map.values {
            let PointerTarget::Function(name) = &value.target else { continue };
            let linked = object.link(name, Some(types)).map_err(|error| error.to_string())?;
            let other = load(&linked)?;
            maps.set_program(object, index, value.index, &other)
                .map_err(|error| error.to_string())?;
            others.push(other);
        }
    }
    let syscall = program.kind.as_ref().is_some_and(|kind| kind.program == ProgramType::SYSCALL);
    let packet: &[u8] = if syscall { &[] } else { &PACKET };
    let repeat = u32::from(!syscall);
    loaded.run(packet, repeat).map(u32::cast_signed).map_err(|error| error.to_string())
}
