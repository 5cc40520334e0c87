//! The program as the engine walks it: by slot, with what is known before any path is taken.

use std::collections::BTreeMap;

use bpf_isa::{AluOp, Callee, Instruction, Placed, Register as R, Source, Wide};
use bpf_object::Program;
use bpf_object::btf::{Btf, Kind, Linkage, TypeId};

use crate::rule::Rule;
use crate::stop::{Check, refuse};

mod fastcall;
mod flow;
mod live;

/// What is special about a slot.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Point {
    /// Paths may meet here: states are compared.
    pub prune: bool,
    /// A path may come from elsewhere than the instruction before.
    pub jump: bool,
    /// A state is remembered whenever a path comes by.
    pub checkpoint: bool,
    /// The call may run a callback any number of times.
    pub calls_callback: bool,
    /// The call advances an iterator.
    pub advances_iterator: bool,
    pub reachable: bool,
    /// A spill or fill around a call that leaves the register alone.
    pub fastcall: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Function {
    pub name: String,
    pub start: usize,
    pub end: usize,
    /// Verified on its own, by its signature.
    pub is_global: bool,
    /// Its type in the object's types.
    pub kind: Option<TypeId>,
    /// It, or something that it calls, makes tail calls, changes the packet, may sleep.
    pub tail_calls: bool,
    pub changes_packet: bool,
    pub might_sleep: bool,
    pub is_callback: bool,
    pub has_packet_loads: bool,
    /// How deep its stack is without the spills around fast calls, if it has any.
    pub depth_without_spills: Option<i32>,
}

#[derive(Debug)]
pub(crate) struct Code {
    pub slots: Vec<Option<Instruction>>,
    pub points: Vec<Point>,
    /// Registers that may be read from here on before they are written.
    pub live: Vec<u16>,
    pub functions: Vec<Function>,
}

/// Which functions of the kernel run callbacks, by slot of the call.
pub(crate) trait Calls {
    /// Whether the call may run a callback before it returns.
    fn runs_callback(&self, slot: usize, callee: Callee) -> bool;
    /// Whether the call leaves a callback that runs later.
    fn leaves_callback(&self, slot: usize, callee: Callee) -> bool;
    /// Whether the call advances an iterator.
    fn advances_iterator(&self, slot: usize, callee: Callee) -> bool;
    fn changes_packet(&self, slot: usize, callee: Callee) -> bool;
    fn might_sleep(&self, slot: usize, callee: Callee) -> bool;
    /// How many arguments it takes.
    fn arguments(&self, callee: Callee) -> u8;
}

impl Code {
    pub fn new(program: &Program, types: Option<&Btf>, calls: &impl Calls) -> Check<Self> {
        let length = program.instructions.last().map_or(0, |p| p.slot + p.instruction.slots());
        if length == 0 {
            return refuse(Rule::Empty, "the program has no instructions");
        }
        let mut slots = vec![None; length];
        for Placed { slot, instruction } in &program.instructions {
            slots[*slot] = Some(*instruction);
        }
        let functions = functions(program, &slots, types);
        let mut code = Self {
            points: vec![Point::default(); length],
            live: vec![0; length],
            slots,
            functions,
        };
        code.check_functions()?;
        code.mark_points(calls);
        code.check_reachable()?;
        code.summarise(calls);
        code.find_live(calls);
        code.find_fastcalls();
        Ok(code)
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn at(&self, slot: usize) -> Option<Instruction> {
        self.slots.get(slot).copied().flatten()
    }

    /// The index of the function that begins at the slot.
    pub fn function_at(&self, slot: usize) -> Option<usize> {
        self.functions.binary_search_by_key(&slot, |function| function.start).ok()
    }

    pub fn function_of(&self, slot: usize) -> usize {
        self.functions.partition_point(|function| function.start <= slot).saturating_sub(1)
    }

    /// Where a call or an address of code leads.
    pub fn target(slot: usize, distance: i32) -> Option<usize> {
        usize::try_from(slot as i64 + 1 + i64::from(distance)).ok()
    }

    /// The function whose address an instruction takes, if it does.
    pub fn callback_at(&self, slot: usize) -> Option<usize> {
        match self.at(slot)? {
            Instruction::LoadWide { value: Wide::Code(distance), .. } => {
                self.function_at(Self::target(slot, distance)?)
            }
            _ => None,
        }
    }

    pub fn callee_at(&self, slot: usize) -> Option<usize> {
        match self.at(slot)? {
            Instruction::Call { callee: Callee::Local(distance) } => {
                self.function_at(Self::target(slot, distance)?)
            }
            _ => None,
        }
    }
}

/// The functions by their first slot: those that the linker knows, and whatever is called besides.
fn functions(
    program: &Program,
    slots: &[Option<Instruction>],
    types: Option<&Btf>,
) -> Vec<Function> {
    let mut starts: BTreeMap<usize, Function> = BTreeMap::new();
    let blank = |start: usize| Function {
        name: format!("function at {start}"),
        start,
        end: 0,
        is_global: false,
        kind: None,
        tail_calls: false,
        changes_packet: false,
        might_sleep: false,
        is_callback: false,
        has_packet_loads: false,
        depth_without_spills: None,
    };
    starts.insert(0, Function { name: program.name.clone(), ..blank(0) });
    for linked in &program.functions {
        let kind = linked.kind.and_then(|id| types?.kind(id));
        let is_global = matches!(kind, Some(Kind::Function { linkage: Linkage::Global, .. }));
        let function = Function {
            name: linked.name.clone(),
            is_global: is_global && linked.slot != 0,
            kind: linked.kind,
            ..blank(linked.slot)
        };
        starts.insert(linked.slot, function);
    }
    for (slot, instruction) in slots.iter().enumerate() {
        let (distance, is_callback) = match instruction {
            Some(Instruction::Call { callee: Callee::Local(distance) }) => (*distance, false),
            Some(Instruction::LoadWide { value: Wide::Code(distance), .. }) => (*distance, true),
            _ => continue,
        };
        if let Some(target) = Code::target(slot, distance).filter(|target| *target < slots.len()) {
            let function = starts.entry(target).or_insert_with(|| blank(target));
            function.is_callback |= is_callback;
        }
    }
    let mut functions: Vec<Function> = starts.into_values().collect();
    let ends: Vec<usize> = functions.iter().skip(1).map(|f| f.start).chain([slots.len()]).collect();
    for (function, end) in functions.iter_mut().zip(ends) {
        function.end = end;
    }
    functions
}

/// The registers that an instruction reads and writes.
pub(crate) fn reads_and_writes(
    instruction: &Instruction,
    arguments: impl Fn(Callee) -> u8,
) -> (u16, u16) {
    let bit = |register: R| 1u16 << register.number();
    let source = |source: Source| match source {
        Source::Register(register) => bit(register),
        Source::Immediate(_) => 0,
    };
    match *instruction {
        Instruction::Alu { op: AluOp::Mov, dst, src, .. } => (source(src), bit(dst)),
        Instruction::Alu { dst, src, .. } => (bit(dst) | source(src), bit(dst)),
        Instruction::Negate { dst, .. } | Instruction::ByteOrder { dst, .. } => {
            (bit(dst), bit(dst))
        }
        Instruction::MoveSigned { dst, src, .. } | Instruction::CastAddress { dst, src, .. } => {
            (bit(src), bit(dst))
        }
        Instruction::LoadWide { dst, .. } => (0, bit(dst)),
        // It reads the context from r6 and loses r0 to r5.
        Instruction::LoadPacket { index, .. } => (bit(R::R6) | index.map_or(0, bit), 0x3f),
        Instruction::Load { dst, base, .. } | Instruction::LoadAcquire { dst, base, .. } => {
            (bit(base), bit(dst))
        }
        Instruction::Store { base, value, .. } => (bit(base) | source(value), 0),
        Instruction::StoreRelease { base, src, .. } => (bit(base) | bit(src), 0),
        Instruction::Atomic { op, base, src, .. } => {
            use bpf_isa::AtomicOp::*;
            let (reads, writes) = match op {
                Add | Or | And | Xor => (0, 0),
                CompareExchange => (bit(R::R0), bit(R::R0)),
                FetchAdd | FetchOr | FetchAnd | FetchXor | Exchange => (0, bit(src)),
            };
            (reads | bit(base) | bit(src), writes)
        }
        Instruction::Jump { .. } | Instruction::MayGoto { .. } => (0, 0),
        Instruction::JumpIf { left, right, .. } => (bit(left) | source(right), 0),
        Instruction::Call { callee } => {
            let count = u32::from(arguments(callee).min(5));
            ((((1u32 << count) - 1) << 1) as u16, 0x3f)
        }
        Instruction::CallRegister { target } => (bit(target) | 0x3e, 0x3f),
        Instruction::Exit {} => (1, 0),
    }
}
