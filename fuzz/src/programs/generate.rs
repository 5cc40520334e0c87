//! Programs at random that a verifier may well accept: pointers are checked before they are used,
//! loops have bounds, helpers get what they take. Some steps are wild on purpose.
//!
//! The writer keeps a rough idea of what each register holds, just enough for most programs to make
//! sense. Whether one is safe is for the verifier under test to say.

use bpf_isa::{
    Access, AluOp, AtomicOp, Callee, Condition, Distance, Extension, Instruction, Narrow, Order,
    Register, Size, Source, Span, Wide, Width,
};

use std::collections::BTreeSet;

use super::world::{
    ARRAY, ENTRIES, FUNCTIONS, HASH, LOCKED, MAPS, PER_CPU, PROGRAMS, QUEUE, RING, Setting, TRIE,
    VALUE_SIZE, VARIABLES,
};
use crate::Random;

mod bounds;
mod calls;
mod context;
mod flow;
mod maps;
mod memory;

/// A program, and what may be expected of its runs.
#[derive(Clone, Debug)]
pub struct Generated {
    pub instructions: Vec<Instruction>,
    /// Slots at which functions begin, the main one first.
    pub functions: Vec<usize>,
    /// Results may depend on addresses, which differ between runs.
    pub depends_on_addresses: bool,
    /// The maps that it uses, by index.
    pub maps: Vec<usize>,
    /// What it does, for the statistics.
    pub marks: BTreeSet<&'static str>,
}

/// What a register holds, as far as the writer knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Nothing,
    Number,
    /// A number from 0 to this.
    Bounded(u32),
    Context,
    Frame,
    /// The start of the packet, of which so many bytes are known to be there.
    Packet(u8),
    PacketEnd,
    /// The value of a map.
    Value,
}
use Holds::{Bounded, Context, Frame, Nothing, Number, Packet, PacketEnd, Value};

impl Holds {
    fn is_number(self) -> bool {
        matches!(self, Number | Bounded(_))
    }
}

/// The part of the frame that every function writes first, in bytes below its end.
const CLEARED: i16 = 64;

type Registers = [Holds; 10];

type Step = fn(&mut Writer<'_>);

/// The steps, and how often each is taken in comparison.
const STEPS: &[(usize, Step)] = &[
    (14, |writer| writer.arithmetic()),
    (4, |writer| writer.constant()),
    (3, |writer| writer.copy()),
    (7, |writer| writer.stack()),
    (6, |writer| writer.branch()),
    (7, |writer| writer.packet()),
    (9, |writer| writer.map_value()),
    (2, |writer| writer.map_change()),
    (2, |writer| writer.queue()),
    (2, |writer| writer.ring_record()),
    (2, |writer| writer.locked_value()),
    (3, |writer| writer.counted_loop()),
    (3, |writer| writer.local_call()),
    (2, |writer| writer.repeated_call()),
    (1, |writer| writer.each_entry()),
    (1, |writer| writer.tail_call()),
    (3, |writer| writer.packet_change()),
    (3, |writer| writer.packet_bytes()),
    (5, |writer| writer.context()),
    (2, |writer| writer.dead_code()),
    (6, |writer| writer.narrow()),
];

/// A jump whose target isn't written yet.
struct Open {
    at: usize,
    registers: Registers,
    /// How many steps it skips.
    steps: usize,
}

struct Writer<'r> {
    random: &'r mut Random,
    instructions: Vec<Instruction>,
    registers: Registers,
    open: Vec<Open>,
    /// In a loop or behind a call nothing may be forgotten, so that steps there are simpler.
    depth: usize,
    /// Calls of functions that aren't written yet: instruction and function.
    calls: Vec<(usize, usize)>,
    /// For each function whether a helper calls it. The main function is the first.
    functions: Vec<Role>,
    wild: bool,
    role: Role,
    /// The number of the function that is being written.
    function: usize,
    setting: Setting,
    marks: BTreeSet<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Main,
    /// Called with two numbers.
    Local,
    /// Called with a pointer into the caller's frame and a number.
    Borrower,
    /// Called by `bpf_loop`, with a number and a pointer into the caller's frame.
    Callback,
    /// Called by `bpf_for_each_map_elem`, with a map, a key, a value and a pointer into the frame.
    MapCallback,
}

/// Makes a program for that hook.
pub fn generate(random: &mut Random, setting: Setting) -> Generated {
    let mut writer = Writer {
        random,
        instructions: Vec::new(),
        registers: [Nothing; 10],
        open: Vec::new(),
        depth: 0,
        calls: Vec::new(),
        functions: vec![Role::Main],
        wild: false,
        role: Role::Main,
        function: 0,
        setting,
        marks: BTreeSet::new(),
    };
    let mut starts = vec![0];
    writer.registers[1] = Context;
    let steps = 2 + writer.random.below(24);
    writer.function(steps);
    while let Some(&role) = writer.functions.get(starts.len()) {
        writer.function = starts.len();
        starts.push(writer.instructions.len());
        writer.role = role;
        writer.registers = [Nothing; 10];
        // What is lent of a frame is as large as a value, and as free to be written.
        let arguments: &[Holds] = match role {
            Role::Main => &[Context],
            Role::Local => &[Number, Number],
            Role::Borrower => &[Value, Number],
            Role::Callback => &[Number, Value],
            Role::MapCallback => &[Nothing, Nothing, Value, Value],
        };
        writer.registers[1..=arguments.len()].copy_from_slice(arguments);
        let steps = 1 + writer.random.below(8);
        writer.function(steps);
    }
    let calls = std::mem::take(&mut writer.calls);
    for (at, function) in calls {
        let distance = writer.slots(at + 1, starts[function]);
        match &mut writer.instructions[at] {
            Instruction::Call { callee } => *callee = Callee::Local(distance),
            Instruction::LoadWide { value, .. } => {
                // Counted from the second of its two slots.
                *value = Wide::Code(distance + 1);
            }
            _ => {}
        }
    }
    let functions = starts.iter().map(|start| writer.slots(0, *start) as usize).collect();
    let Writer { instructions, wild, marks, .. } = writer;
    let map_of = |instruction: &Instruction| match instruction {
        Instruction::LoadWide {
            value: Wide::MapByIndex(map) | Wide::MapValueByIndex { map, .. },
            ..
        } => Some(*map as usize),
        _ => None,
    };
    let maps: BTreeSet<usize> = instructions.iter().filter_map(map_of).collect();
    let maps = maps.into_iter().filter(|map| *map < MAPS).collect();
    Generated { instructions, functions, depends_on_addresses: wild, maps, marks }
}

impl Writer<'_> {
    /// Slots between two instructions.
    fn slots(&self, from: usize, to: usize) -> i32 {
        let count = |range: std::ops::Range<usize>| -> i32 {
            self.instructions[range].iter().map(|one| one.slots() as i32).sum()
        };
        if from <= to { count(from..to) } else { -count(to..from) }
    }

    fn is_main(&self) -> bool {
        self.role == Role::Main
    }

    fn put(&mut self, instruction: Instruction) {
        self.instructions.push(instruction);
    }

    fn function(&mut self, steps: usize) {
        // The context, or arguments, survive calls.
        match self.role {
            Role::Main => self.moves(6, 1),
            Role::MapCallback => {
                self.moves(6, 3);
                self.moves(7, 4);
            }
            Role::Local | Role::Borrower | Role::Callback => {
                self.moves(6, 1);
                self.moves(7, 2);
            }
        }
        for slot in 1..=CLEARED / 8 {
            let value = Source::Immediate(if slot == 3 { 7 } else { 0 });
            self.put(Instruction::Store {
                size: Size::Double,
                base: Register::R10,
                offset: -8 * slot,
                value,
            });
        }
        for register in [0, 8] {
            let value = self.random.interesting() as i32;
            self.number(register, value);
        }
        for _ in 0..steps {
            self.close(false);
            self.step();
        }
        self.close(true);
        self.end();
    }

    /// Writes the targets of jumps that end here.
    fn close(&mut self, all: bool) {
        let mut open = std::mem::take(&mut self.open);
        open.retain_mut(|jump| {
            if jump.steps > 0 && !all {
                jump.steps -= 1;
                return true;
            }
            let here = self.instructions.len();
            let distance = self.slots(jump.at + 1, here) as i16;
            match &mut self.instructions[jump.at] {
                Instruction::JumpIf { offset, .. } | Instruction::MayGoto { offset } => {
                    *offset = distance;
                }
                Instruction::Jump { distance: way } => *way = Distance::Near(distance),
                _ => {}
            }
            for (mine, theirs) in self.registers.iter_mut().zip(jump.registers) {
                *mine = meet(*mine, theirs);
            }
            false
        });
        self.open.append(&mut open);
    }

    /// The result depends on all that is known to be a number.
    fn end(&mut self) {
        if !self.registers[0].is_number() {
            self.number(0, 3);
        }
        for register in 1..10u8 {
            if self.registers[usize::from(register)].is_number() {
                let op = self.random.pick(&[AluOp::Add, AluOp::Xor]);
                self.alu(op, Width::W64, 0, Source::Register(of(register)));
            }
        }
        match self.role {
            // To go on or to stop.
            Role::Callback | Role::MapCallback => {
                self.alu(AluOp::And, Width::W64, 0, Source::Immediate(1));
            }
            // What may be returned is little, so the result goes elsewhere.
            Role::Main if self.setting == Setting::CgroupFilter => {
                if self.registers[6] == Context {
                    self.put(Instruction::Store {
                        size: Size::Word,
                        base: Register::R6,
                        offset: context::MARK,
                        value: Source::Register(Register::R0),
                    });
                }
                self.alu(AluOp::And, Width::W64, 0, Source::Immediate(1));
            }
            Role::Main | Role::Local | Role::Borrower => {}
        }
        self.put(Instruction::Exit {});
    }

    fn step(&mut self) {
        if self.random.one_in(150) {
            return self.wild_step();
        }
        let all: usize = STEPS.iter().map(|(weight, _)| weight).sum();
        let mut chosen = self.random.below(all);
        for (weight, step) in STEPS {
            if chosen < *weight {
                return step(self);
            }
            chosen -= weight;
        }
    }

    fn mark(&mut self, what: &'static str) {
        self.marks.insert(what);
    }

    fn alu(&mut self, op: AluOp, width: Width, dst: u8, src: Source) {
        self.put(Instruction::Alu { op, width, dst: of(dst), src });
    }

    fn number(&mut self, register: u8, value: i32) {
        self.alu(AluOp::Mov, Width::W64, register, Source::Immediate(value));
        self.set(register, u32::try_from(value).map_or(Number, Bounded));
    }

    fn moves(&mut self, to: u8, from: u8) {
        self.alu(AluOp::Mov, Width::W64, to, Source::Register(of(from)));
        self.set(to, self.registers[usize::from(from)]);
    }

    fn set(&mut self, register: u8, holds: Holds) {
        self.registers[usize::from(register)] = holds;
    }

    /// A register of which `filter` is true.
    fn with(&mut self, filter: impl Fn(Holds) -> bool) -> Option<u8> {
        let start = self.random.below(10) as u8;
        let all = (0..10).map(|step| (start + step) % 10);
        all.into_iter().find(|register| filter(self.registers[usize::from(*register)]))
    }

    /// A register that may be overwritten: not the context, and seldom something dear.
    fn free(&mut self) -> u8 {
        loop {
            let register = self.random.pick(&[0, 1, 2, 3, 4, 5, 7, 8, 9]);
            let dear = !self.registers[usize::from(register)].is_number()
                && self.registers[usize::from(register)] != Nothing;
            if !dear || self.random.one_in(6) {
                return register;
            }
        }
    }

    fn width(&mut self) -> Width {
        self.random.pick(&[Width::W32, Width::W64, Width::W64])
    }

    fn source(&mut self) -> Source {
        if self.random.one_in(2)
            && let Some(register) = self.with(Holds::is_number)
        {
            return Source::Register(of(register));
        }
        Source::Immediate(self.random.interesting() as i32)
    }

    fn arithmetic(&mut self) {
        let Some(dst) = self.with(Holds::is_number) else { return self.constant() };
        match self.random.below(12) {
            0 => {
                let width = self.width();
                self.put(Instruction::Negate { width, dst: of(dst) });
            }
            1 => {
                let order = self.random.pick(&[Order::ToBig, Order::ToLittle, Order::Swap]);
                let span = self.random.pick(&[Span::Half, Span::Word, Span::Double]);
                self.put(Instruction::ByteOrder { order, span, dst: of(dst) });
            }
            2 => {
                let extension = self.random.pick(&[
                    Extension::ByteTo32,
                    Extension::HalfTo32,
                    Extension::ByteTo64,
                    Extension::HalfTo64,
                    Extension::WordTo64,
                ]);
                let src = self.with(Holds::is_number).unwrap_or(dst);
                self.put(Instruction::MoveSigned { extension, dst: of(dst), src: of(src) });
            }
            _ => {
                let op = self.random.pick(&[
                    AluOp::Add,
                    AluOp::Sub,
                    AluOp::Mul,
                    AluOp::Div,
                    AluOp::SignedDiv,
                    AluOp::Or,
                    AluOp::And,
                    AluOp::Lsh,
                    AluOp::Rsh,
                    AluOp::Mod,
                    AluOp::SignedMod,
                    AluOp::Xor,
                    AluOp::Mov,
                    AluOp::Arsh,
                ]);
                let width = self.width();
                let mut src = self.source();
                if let Source::Immediate(value) = &mut src {
                    match op {
                        AluOp::Lsh | AluOp::Rsh | AluOp::Arsh => {
                            *value &= if width == Width::W32 { 31 } else { 63 };
                        }
                        AluOp::Div | AluOp::SignedDiv | AluOp::Mod | AluOp::SignedMod => {
                            *value |= i32::from(*value == 0);
                        }
                        _ => {}
                    }
                }
                self.alu(op, width, dst, src);
            }
        }
        self.set(dst, Number);
    }

    fn constant(&mut self) {
        let register = self.free();
        if self.random.one_in(3) {
            let value = Wide::Value(self.random.interesting());
            self.put(Instruction::LoadWide { dst: of(register), value });
            self.set(register, Number);
        } else {
            let value = self.random.interesting() as i32;
            self.number(register, value);
        }
    }

    fn copy(&mut self) {
        let Some(from) = self.with(|holds| holds != Nothing) else { return };
        let to = self.free();
        if to != from {
            self.moves(to, from);
        }
    }

    /// Anything at all.
    fn wild_step(&mut self) {
        self.wild = true;
        self.mark("wild");
        // Not to r10, which our runtime refuses even where the program never gets.
        let (dst, src) = (of(self.random.below(10) as u8), of(self.random.below(11) as u8));
        let offset = self.random.between(-80, 80) as i16;
        let instruction = match self.random.below(6) {
            0 => Instruction::Alu {
                op: self.random.pick(&[AluOp::Add, AluOp::Sub, AluOp::Mov, AluOp::And]),
                width: self.width(),
                dst,
                src: Source::Register(src),
            },
            1 => Instruction::Load { access: self.access(), dst, base: src, offset },
            2 => {
                let value = Source::Register(src);
                Instruction::Store { size: self.size(), base: dst, offset, value }
            }
            3 => Instruction::Alu {
                op: AluOp::Add,
                width: Width::W64,
                dst,
                src: Source::Immediate(self.random.interesting() as i32),
            },
            4 => Instruction::Call {
                callee: Callee::Helper(self.random.pick(&[1, 2, 3, 5, 7, 28, 44, 54, 65, 189])),
            },
            _ => Instruction::JumpIf {
                condition: self.condition(),
                width: self.width(),
                left: dst,
                right: Source::Register(src),
                offset: 0,
            },
        };
        self.put(instruction);
    }
}

fn of(register: u8) -> Register {
    Register::ALL[usize::from(register)]
}

fn meet(one: Holds, other: Holds) -> Holds {
    match (one, other) {
        _ if one == other => one,
        (Bounded(one), Bounded(other)) => Bounded(one.max(other)),
        (Packet(one), Packet(other)) => Packet(one.min(other)),
        _ if one.is_number() && other.is_number() => Number,
        _ => Nothing,
    }
}
