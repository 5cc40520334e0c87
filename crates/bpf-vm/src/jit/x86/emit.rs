//! One instruction after the other.

use std::mem::offset_of;

use bpf_isa::{Condition, Source, Width};

use super::super::bound::Bound;
use super::super::flow::{Flow, Live, Liveness};
use super::super::ir::Inst;
use super::super::keys::Keys;
use super::super::native::cost;
use super::super::needs::Needs;
use super::super::service::Service;
use super::super::{Emitted, Mode};
use super::Features;
use super::assembler::{Arith, Assembler, Cond};
use super::register::{FUEL, Reg, SCRATCH, of};
use super::slow::{Slow, run_field};
use crate::run::Run;

/// Where loops begin: whole lines of what the processor fetches at a time.
const ALIGNMENT: usize = 16;

/// What is to be emitted, and what is known of it as a whole.
pub(super) struct Job<'a> {
    pub code: &'a [Inst],
    pub flow: &'a Flow,
    pub liveness: &'a Liveness,
    pub bound: &'a Bound<'a>,
    pub mode: Mode,
    pub features: Features,
    /// Whether code needs the run.
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
        let is_used = |reg: &Reg| {
            *reg == Reg::R12 && uses_run || used.iter().any(|register| of(register) == *reg)
        };
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
    /// Where each instruction's code begins.
    pub labels: Vec<u32>,
    /// Bounds for `labels`, from the first time.
    estimates: &'a [u32],
    /// Four bytes each that lead to an instruction.
    pub jumps: Vec<(usize, u32)>,
    /// Four bytes each that lead to the entry of a function.
    pub calls: Vec<(usize, u32)>,
    /// Four bytes each that lead to the address of a function of the runtime.
    pub services: Vec<(usize, Service)>,
    pub slow: Vec<(usize, Slow)>,
    /// Calls of a routine around such a function, which keeps all registers.
    pub checks: Vec<(usize, Service)>,
    /// Jumps to where code is left early.
    pub unwinds: Vec<usize>,
    /// Entries of functions, in order.
    pub entries: Vec<(u32, u32)>,
    pub enter: usize,
    pub enter_function: usize,
    /// The register of which the last instruction's flags tell whether it is zero.
    pub flags: Option<(Reg, Width)>,
    /// Of the current instruction.
    pub position: usize,
}

impl<'a> Emitter<'a> {
    pub fn new(job: &'a Job<'a>, keys: Option<Keys>, estimates: &'a [u32]) -> Self {
        let count = job.code.len();
        let mut asm = Assembler::default();
        asm.bytes.reserve(estimates.last().map_or(count * 12 + 256, |end| *end as usize + 256));
        Self {
            job,
            asm,
            keys,
            labels: Vec::with_capacity(count),
            estimates,
            jumps: Vec::new(),
            calls: Vec::new(),
            services: Vec::new(),
            slow: Vec::new(),
            checks: Vec::new(),
            unwinds: Vec::new(),
            entries: Vec::new(),
            enter: 0,
            enter_function: 0,
            flags: None,
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
                let over = falls_through.then(|| self.asm.jump_near());
                self.entries.push((function.entry, self.asm.position() as u32));
                self.begin_function(function);
                if let Some(over) = over {
                    let here = self.asm.position();
                    self.asm.link(over, here);
                }
                next_function = functions.next();
                self.flags = None;
            }
            if job.flow.is_loop[position] {
                self.align();
            }
            if job.flow.is_target[position] {
                self.flags = None;
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

    fn align(&mut self) {
        let rest = self.asm.position().next_multiple_of(ALIGNMENT) - self.asm.position();
        // The first time it must not be shorter than the second time.
        let length = if self.estimates.is_empty() { ALIGNMENT - 1 } else { rest };
        self.asm.fill(length);
    }

    pub fn finish(mut self) -> Emitted {
        for (at, target) in std::mem::take(&mut self.jumps) {
            self.asm.link(at, self.labels[target as usize] as usize);
        }
        for (at, target) in std::mem::take(&mut self.calls) {
            let found = self.entries.binary_search_by_key(&target, |(entry, _)| *entry);
            let offset = found.map_or(0, |index| self.entries[index].1);
            self.asm.link(at, offset as usize);
        }
        let pool = self.asm.position().next_multiple_of(8);
        self.asm.bytes.resize(pool, 0xcc);
        for service in Service::ALL {
            self.asm.bytes.extend_from_slice(&service.address().to_le_bytes());
        }
        for (at, service) in std::mem::take(&mut self.services) {
            self.asm.link(at, pool + 8 * service as usize);
        }
        Emitted {
            bytes: self.asm.bytes,
            enter: self.enter,
            enter_function: self.enter_function,
            functions: self.entries,
            uses_frame: self.job.uses_frame,
            uses_run: self.job.uses_run,
        }
    }

    /// What is needed behind the current instruction.
    pub fn live(&self) -> Live {
        self.job.liveness.behind[self.position]
    }

    fn inst(&mut self, inst: &Inst) {
        let flags = self.flags.take();
        match *inst {
            Inst::Nothing => self.flags = flags,
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
                self.copy(width, of(dst), of(src));
                self.asm.neg(width, of(dst));
                self.flags = Some((of(dst), width));
            }
            Inst::Extend { extension, dst, src } => self.extend(extension, of(dst), of(src)),
            Inst::Swap { span, dst, src, clean } => self.swap(span, of(dst), of(src), clean),
            Inst::Rotate { width, dst, src, distance } => {
                self.rotate(width, of(dst), of(src), distance);
            }
            Inst::Load { access, swap, dst, address } => {
                self.load(access, swap, of(dst), address);
            }
            Inst::Store { size, address, value } => self.store(size, address, value),
            Inst::Atomic { op, width, address, src } => self.atomic(op, width, address, of(src)),
            Inst::LoadAcquire { size, dst, address } => {
                let mem = self.aligned(address, size, false);
                self.asm.load(size.bytes(), of(dst), mem);
            }
            Inst::StoreRelease { size, address, src } => {
                let mem = self.aligned(address, size, true);
                self.asm.store(size.bytes(), mem, of(src));
            }
            Inst::LoadPacket { size, index, offset } => self.load_packet(size, index, offset),
            Inst::Jump { target } => {
                self.pay(target);
                self.jump_back_or_on(target);
            }
            Inst::JumpIf { condition, width, left, right, target } => {
                let cond = self.compare(condition, width, of(left), right, flags);
                self.jump_if(cond, target);
            }
            Inst::MayGoto { target } => self.may_goto(target),
            Inst::Select { condition, width, left, right, dst, value } => {
                self.select(condition, width, of(left), right, of(dst), value);
            }
            Inst::LookUpArray { array, index } => self.look_up_array(array, index),
            Inst::Processor => self.asm.load(4, Reg::RAX, run_field(offset_of!(Run<'_>, cpu))),
            Inst::CallHelper { index } => self.call_helper(index),
            Inst::CallDirect { call, .. } => self.call_direct(call),
            Inst::CallLocal { target } => self.call_local(target),
            Inst::CallRegister { target } => self.call_register(of(target)),
            Inst::Exit => self.exit(),
            Inst::End => self.past_the_end(),
        }
    }

    /// Compares; returns the condition under which it holds.
    pub fn compare(
        &mut self,
        condition: Condition,
        width: Width,
        left: Reg,
        right: Source,
        flags: Option<(Reg, Width)>,
    ) -> Cond {
        let cond = match condition {
            Condition::Equal => Cond::Equal,
            Condition::NotEqual | Condition::Set => Cond::NotEqual,
            Condition::Greater => Cond::Above,
            Condition::GreaterOrEqual => Cond::AboveOrEqual,
            Condition::Less => Cond::Below,
            Condition::LessOrEqual => Cond::BelowOrEqual,
            Condition::SignedGreater => Cond::Greater,
            Condition::SignedGreaterOrEqual => Cond::GreaterOrEqual,
            Condition::SignedLess => Cond::Less,
            Condition::SignedLessOrEqual => Cond::LessOrEqual,
        };
        match (condition, self.operand(right, SCRATCH)) {
            (Condition::Set, Right::Reg(right)) => self.asm.test(width, left, right),
            (Condition::Set, Right::Imm(-1)) => self.asm.test(width, left, left),
            (Condition::Set, Right::Imm(imm)) => self.asm.test_imm(width, left, imm),
            // What was computed last has set the flags.
            (Condition::Equal | Condition::NotEqual, Right::Imm(0))
                if flags.is_some_and(|(reg, set)| {
                    reg == left && (set == width || set == Width::W32)
                }) => {}
            (Condition::SignedLess, Right::Imm(0)) if flags == Some((left, width)) => {
                return Cond::Sign;
            }
            (Condition::SignedGreaterOrEqual, Right::Imm(0)) if flags == Some((left, width)) => {
                return Cond::NotSign;
            }
            (_, Right::Imm(0)) => self.asm.test(width, left, left),
            (_, Right::Imm(imm)) => self.asm.arith_imm(width, Arith::Cmp, left, imm),
            (_, Right::Reg(right)) => self.asm.arith(width, Arith::Cmp, left, right),
        }
        cond
    }

    /// What a jump costs, where fuel is counted.
    fn pay(&mut self, target: u32) {
        let cost = cost(self.position, target);
        if cost > 0 && self.job.is_checked() {
            self.asm.arith_imm(Width::W64, Arith::Sub, FUEL, cost as i32);
            let at = self.asm.jump_if_near(Cond::Below);
            self.slow.push((at, Slow::OutOfFuel { position: self.position, cost }));
        }
    }

    /// Whether a jump from here reaches with one byte.
    fn is_near(&self, target: u32) -> bool {
        if let Some(label) = self.labels.get(target as usize) {
            // The jump takes two bytes itself.
            return self.asm.position() + 2 - *label as usize <= 128;
        }
        match (self.estimates.get(target as usize), self.estimates.get(self.position)) {
            (Some(target), Some(here)) => target - here <= 127,
            _ => false,
        }
    }

    pub fn jump(&mut self, target: u32) {
        let next = self.position + 1;
        let is_entry = |position| {
            self.job.flow.functions.iter().any(|function| function.entry as usize == position)
        };
        let is_next = target as usize >= next
            && (next..target as usize).all(|between| self.is_silent(between))
            && !(next..=target as usize).any(is_entry);
        if is_next {
            return;
        }
        if self.is_near(target) {
            self.short(0xeb, target);
        } else {
            let at = self.asm.jump_near();
            self.jumps.push((at, target));
        }
    }

    /// A loop that begins with its condition asks for it at its end instead: one jump a round. What
    /// is known behind the condition was known before it, so both ways there agree.
    fn jump_back_or_on(&mut self, target: u32) {
        match self.job.code[target as usize] {
            Inst::JumpIf { condition, width, left, right, target: end }
                if (target as usize) < self.position && end > target =>
            {
                let cond = self.compare(condition, width, of(left), right, None);
                self.jump_if_free(cond.negated(), target + 1);
                self.jump(end);
            }
            _ => self.jump(target),
        }
    }

    /// Whether nothing is emitted for an instruction.
    fn is_silent(&self, position: usize) -> bool {
        let flow = self.job.flow;
        !flow.is_reached(position)
            || self.job.code[position] == Inst::Nothing && !flow.is_loop[position]
    }

    /// A jump of two bytes; ahead, its distance is not known yet.
    fn short(&mut self, opcode: u8, target: u32) {
        let at = self.asm.position() + 1;
        self.asm.bytes.extend([opcode, 0]);
        match self.labels.get(target as usize) {
            Some(label) => self.asm.bytes[at] = (*label as i64 - (at as i64 + 1)) as u8,
            None => self.slow.push((at, Slow::Short { target })),
        }
    }

    pub fn jump_if(&mut self, cond: Cond, target: u32) {
        if cost(self.position, target) > 0 && self.job.is_checked() {
            let over = self.asm.jump_if_near(cond.negated());
            self.pay(target);
            self.jump(target);
            let here = self.asm.position();
            self.asm.link(over, here);
        } else {
            self.jump_if_free(cond, target);
        }
    }

    pub fn jump_if_free(&mut self, cond: Cond, target: u32) {
        if self.is_near(target) {
            self.short(0x70 | cond as u8, target);
        } else {
            let at = self.asm.jump_if_near(cond);
            self.jumps.push((at, target));
        }
    }

    /// The operand; an immediate that must not be seen goes to `register`.
    pub fn operand(&mut self, operand: Source, register: Reg) -> Right {
        match (operand, self.keys.as_mut()) {
            (Source::Register(register), _) => Right::Reg(of(register)),
            (Source::Immediate(imm), Some(keys)) if imm != 0 => {
                let key = keys.next() as i32;
                let hidden = (imm ^ key).cast_unsigned();
                self.asm.constant_keeping_flags(register, hidden.into());
                self.asm.arith_imm(Width::W32, Arith::Xor, register, key);
                if imm < 0 {
                    self.asm.sign_extend(4, Width::W64, register, register);
                }
                Right::Reg(register)
            }
            (Source::Immediate(imm), _) => Right::Imm(imm),
        }
    }

    /// Copies unless it is there already.
    pub fn copy(&mut self, width: Width, dst: Reg, src: Reg) {
        if dst != src {
            self.asm.mov(width, dst, src);
        }
    }

    pub fn constant(&mut self, dst: Reg, value: u64) {
        match self.keys.as_mut().map(Keys::next) {
            Some(key) if value != 0 => {
                self.asm.constant_keeping_flags(dst, value ^ key);
                self.asm.constant_keeping_flags(SCRATCH, key);
                self.asm.arith(Width::W64, Arith::Xor, dst, SCRATCH);
            }
            _ => self.asm.constant(dst, value),
        }
    }
}

/// The right operand, where the processor finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    Reg(Reg),
    Imm(i32),
}
