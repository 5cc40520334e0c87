//! One instruction after the other.

use std::mem::offset_of;

use bpf_isa::{Register, Source, Width};

use super::super::bound::Bound;
use super::super::flow::{Flow, Live, Liveness};
use super::super::ir::{Inst, Set};
use super::super::keys::Keys;
use super::super::needs::Needs;
use super::super::service::Service;
use super::super::{Emitted, Mode};
use super::Features;
use super::assembler::{Arith, Assembler};
use super::branch::Reach;
use super::register::{RUN, Reg, THIRD, of};
use super::slow::{Slow, run_field};
use crate::run::Run;

/// What is to be emitted, and what is known of it as a whole.
pub(super) struct Job<'a> {
    pub code: &'a [Inst],
    pub flow: &'a Flow,
    pub liveness: &'a Liveness,
    pub bound: &'a Bound<'a>,
    pub mode: Mode,
    pub features: Features,
    pub uses_run: bool,
    pub uses_frame: bool,
    /// What the program changes of what its caller wants back.
    pub saved: Vec<Reg>,
}

impl<'a> Job<'a> {
    pub fn new(
        code: &'a [Inst],
        flow: &'a Flow,
        liveness: &'a Liveness,
        bound: &'a Bound<'a>,
        mode: Mode,
        features: Features,
    ) -> Self {
        let Needs { uses_run, uses_frame, used } = Needs::new(code, flow, bound, mode);
        let is_used =
            |reg: &Reg| *reg == RUN && uses_run || used.iter().any(|register| of(register) == *reg);
        let saved = Reg::SAVED.into_iter().filter(is_used).collect();
        Self { code, flow, liveness, bound, mode, features, uses_run, uses_frame, saved }
    }

    pub fn is_checked(&self) -> bool {
        self.mode == Mode::Checked
    }
}

pub(super) struct Emitter<'a> {
    pub job: &'a Job<'a>,
    pub asm: Assembler,
    pub keys: Option<Keys>,
    pub reach: Reach,
    /// Where each instruction's code begins.
    labels: Vec<u32>,
    /// Jumps that lead to an instruction.
    pub jumps: Vec<(usize, u32)>,
    /// Calls that lead to the entry of a function.
    pub calls: Vec<(usize, u32)>,
    /// Calls that lead to a function of the runtime.
    pub services: Vec<(usize, Service)>,
    pub slow: Vec<(usize, Slow)>,
    /// Calls of a routine around such a function, which keeps all registers.
    pub checks: Vec<(usize, Service)>,
    /// Jumps to where code is left early.
    pub unwinds: Vec<usize>,
    /// Entries of functions, in order.
    entries: Vec<(u32, u32)>,
    pub enter: usize,
    pub enter_function: usize,
    /// Of the current instruction.
    pub position: usize,
}

impl<'a> Emitter<'a> {
    pub fn new(job: &'a Job<'a>, keys: Option<Keys>, reach: Reach) -> Self {
        let count = job.code.len();
        let mut asm = Assembler::default();
        asm.words.reserve(count * 3 + 64);
        Self {
            job,
            asm,
            keys,
            reach,
            labels: Vec::with_capacity(count),
            jumps: Vec::new(),
            calls: Vec::new(),
            services: Vec::new(),
            slow: Vec::new(),
            checks: Vec::new(),
            unwinds: Vec::new(),
            entries: Vec::new(),
            enter: 0,
            enter_function: 0,
            position: 0,
        }
    }

    pub fn emit(mut self) -> Self {
        if self.job.flow.functions.len() > 1 || self.job.flow.entangled {
            self.enter_function();
        }
        self.enter_main();
        let job = self.job;
        let mut functions = job.flow.functions.iter().skip(usize::from(!job.flow.entangled));
        let mut next_function = functions.next();
        let mut falls_through = false;
        for (position, inst) in job.code.iter().enumerate() {
            if let Some(function) = next_function
                && function.entry as usize == position
            {
                let over = falls_through.then(|| self.asm.jump());
                self.entries.push((function.entry, self.asm.position() as u32));
                self.begin_function(function);
                if let Some(over) = over {
                    self.land(over);
                }
                next_function = functions.next();
            }
            self.labels.push(self.asm.position() as u32);
            if job.flow.is_reached(position) {
                self.position = position;
                self.inst(inst);
                falls_through = inst.goes_on();
            }
        }
        self.slow_paths();
        self
    }

    /// Of what isn't longer than jumps reach.
    pub fn finish(mut self) -> Emitted {
        for (at, target) in std::mem::take(&mut self.jumps) {
            self.asm.link(at, self.labels[target as usize] as usize);
        }
        for (at, target) in std::mem::take(&mut self.calls) {
            let found = self.entries.binary_search_by_key(&target, |(entry, _)| *entry);
            let offset = found.map_or(0, |index| self.entries[index].1);
            self.asm.link(at, offset as usize);
        }
        self.link_services();
        let bytes = |words: usize| 4 * words;
        let functions = self.entries.iter().map(|(entry, at)| (*entry, 4 * *at)).collect();
        Emitted {
            bytes: self.asm.words.iter().flat_map(|word| word.to_le_bytes()).collect(),
            enter: bytes(self.enter),
            enter_function: bytes(self.enter_function),
            functions,
            uses_frame: self.job.uses_frame,
            uses_run: self.job.uses_run,
        }
    }

    /// What is needed behind the current instruction.
    pub fn live(&self) -> Live {
        self.job.liveness.behind[self.position]
    }

    fn inst(&mut self, inst: &Inst) {
        match *inst {
            Inst::Nothing => {}
            Inst::Alu { op, width, dst, left, right } => {
                self.alu(op, width, of(dst), of(left), right);
            }
            Inst::Move { width, dst, src } => {
                if width == Width::W32 || dst != src {
                    self.asm.mov(width, of(dst), of(src));
                }
            }
            Inst::Constant { dst, value } => self.constant(of(dst), value),
            Inst::Negate { width, dst, src } => {
                self.asm.arith(width, Arith::Sub, of(dst), Reg::ZERO, of(src));
            }
            Inst::Extend { extension, dst, src } => self.extend(extension, of(dst), of(src)),
            Inst::Swap { span, dst, src, clean } => self.swap(span, of(dst), of(src), clean),
            Inst::Rotate { width, dst, src, distance } => {
                let turn = if width == Width::W64 { 64 } else { 32 };
                self.asm.rotate_right(width, of(dst), of(src), turn - u32::from(distance));
            }
            Inst::Load { access, swap, dst, address } => {
                self.load(access, swap, of(dst), address);
            }
            Inst::Store { size, address, value } => self.store(size, address, value),
            Inst::Atomic { op, width, address, src } => self.atomic(op, width, address, of(src)),
            Inst::LoadAcquire { size, dst, address } => {
                let base = self.aligned(address, size, false);
                self.asm.load_acquire(size.bytes(), of(dst), base);
            }
            Inst::StoreRelease { size, address, src } => {
                let base = self.aligned(address, size, true);
                self.asm.store_release(size.bytes(), base, of(src));
            }
            Inst::LoadPacket { size, index, offset } => self.load_packet(size, index, offset),
            Inst::Jump { target } => {
                self.pay(target);
                self.jump_back_or_on(target);
            }
            Inst::JumpIf { condition, width, left, right, target } => {
                let test = self.compare(condition, width, of(left), right);
                self.jump_if(test, target);
            }
            Inst::MayGoto { target } => self.may_goto(target),
            Inst::Select { condition, width, left, right, dst, value } => {
                self.select(condition, width, of(left), right, of(dst), value);
            }
            Inst::LookUpArray { array, index } => self.look_up_array(array, index),
            Inst::Processor => {
                self.asm.load(4, of(Register::R0), run_field(offset_of!(Run<'_>, cpu)));
            }
            Inst::CallHelper { index } => self.call_helper(index),
            Inst::CallDirect { call, .. } => self.call_direct(call),
            Inst::CallLocal { target } => self.call_local(target),
            Inst::CallRegister { target } => self.call_register(of(target)),
            Inst::Exit => self.exit(),
            Inst::End => self.past_the_end(),
        }
    }

    /// The operand; an immediate that must not be seen goes to `register`.
    pub fn operand(&mut self, operand: Source, width: Width, register: Reg) -> Right {
        match (operand, self.keys.as_mut()) {
            (Source::Register(register), _) => Right::Reg(of(register)),
            (Source::Immediate(imm), Some(keys)) if imm != 0 => {
                let key = keys.next() as i32;
                self.asm.constant(register, (imm ^ key).cast_unsigned().into());
                self.asm.constant(THIRD, key.cast_unsigned().into());
                self.asm.arith(Width::W32, Arith::Xor, register, register, THIRD);
                if imm < 0 && width == Width::W64 {
                    self.asm.sign_extend(4, Width::W64, register, register);
                }
                Right::Reg(register)
            }
            (Source::Immediate(imm), _) => Right::Imm(imm),
        }
    }

    /// In a register in any case.
    pub fn in_register(&mut self, right: Right, width: Width, register: Reg) -> Reg {
        match right {
            Right::Reg(reg) => reg,
            Right::Imm(0) => Reg::ZERO,
            Right::Imm(imm) => {
                self.asm.constant(register, Right::value(imm, width));
                register
            }
        }
    }

    fn constant(&mut self, dst: Reg, value: u64) {
        match self.keys.as_mut().map(Keys::next) {
            Some(key) if value != 0 => {
                self.asm.constant(dst, value ^ key);
                self.asm.constant(THIRD, key);
                self.asm.arith(Width::W64, Arith::Xor, dst, dst, THIRD);
            }
            _ => self.asm.constant(dst, value),
        }
    }

    pub fn clear(&mut self, registers: Set) {
        for register in registers.iter() {
            self.asm.constant(of(register), 0);
        }
    }
}

/// The right operand, where the processor finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    Reg(Reg),
    Imm(i32),
}

impl Right {
    /// An immediate as operations of this width see it.
    pub const fn value(imm: i32, width: Width) -> u64 {
        match width {
            Width::W64 => imm as u64,
            Width::W32 => imm as u32 as u64,
        }
    }
}
