//! Steps that call: functions of the program, and helpers that call them.

use super::*;

impl Writer<'_> {
    /// A function of that sort: a new one, or one that is called already. Only later ones, so that
    /// none calls itself.
    fn callee(&mut self, role: Role) -> Option<usize> {
        let later = self.function + 1..self.functions.len();
        let known: Vec<usize> = later.filter(|at| self.functions[*at] == role).collect();
        if self.functions.len() < FUNCTIONS && (known.is_empty() || self.random.one_in(2)) {
            self.functions.push(role);
            return Some(self.functions.len() - 1);
        }
        (!known.is_empty()).then(|| self.random.pick(&known))
    }

    /// Callbacks call nothing: helpers would have to know.
    fn may_call(&self) -> bool {
        self.depth == 0 && matches!(self.role, Role::Main | Role::Local | Role::Borrower)
    }

    /// `register` gets the address of the part of the frame that is written.
    pub(super) fn frame_in(&mut self, register: u8) {
        self.alu(AluOp::Mov, Width::W64, register, Source::Register(Register::R10));
        self.alu(AluOp::Add, Width::W64, register, Source::Immediate((-CLEARED).into()));
        self.set(register, Nothing);
    }

    fn address_of(&mut self, register: u8, function: usize) {
        self.calls.push((self.instructions.len(), function));
        self.put(Instruction::LoadWide { dst: of(register), value: Wide::Code(0) });
    }

    /// `bpf_loop` with a callback that may write into the frame.
    pub(super) fn repeated_call(&mut self) {
        if !self.may_call() {
            return self.arithmetic();
        }
        let Some(function) = self.callee(Role::Callback) else { return };
        match self.with(|holds| matches!(holds, Bounded(0..=63))) {
            Some(rounds) => self.moves(1, rounds),
            None => {
                let rounds = self.random.below(20) as i32;
                self.number(1, rounds);
            }
        }
        self.address_of(2, function);
        self.frame_in(3);
        self.alu(AluOp::Mov, Width::W64, 4, Source::Immediate(0));
        self.call(181, Number);
        self.mark("callbacks");
    }

    /// `bpf_for_each_map_elem` over an array, whose order is known.
    pub(super) fn each_entry(&mut self) {
        if !self.may_call() {
            return self.arithmetic();
        }
        let Some(function) = self.callee(Role::MapCallback) else { return };
        self.map_in(1, ARRAY);
        self.address_of(2, function);
        self.frame_in(3);
        self.alu(AluOp::Mov, Width::W64, 4, Source::Immediate(0));
        self.call(164, Number);
        self.mark("callbacks");
    }

    pub(super) fn local_call(&mut self) {
        if !self.may_call() {
            return self.arithmetic();
        }
        let role = self.random.pick(&[Role::Local, Role::Borrower]);
        let Some(function) = self.callee(role) else { return };
        for register in [1, 2] {
            match self.with(Holds::is_number) {
                Some(from) => self.moves(register, from),
                None => self.number(register, 1),
            }
        }
        if role == Role::Borrower {
            self.frame_in(1);
        }
        self.calls.push((self.instructions.len(), function));
        self.put(Instruction::Call { callee: Callee::Local(0) });
        for register in 1..=5 {
            self.set(register, Nothing);
        }
        self.set(0, Number);
        self.mark("local calls");
    }

    /// Into another program, for one index; otherwise it goes on.
    pub(super) fn tail_call(&mut self) {
        if !self.has_context() {
            return self.mask();
        }
        match self.with(Holds::is_number) {
            Some(register) if self.random.one_in(2) => self.moves(3, register),
            _ => {
                let index = self.random.below(ENTRIES as usize + 1) as i32;
                self.number(3, index);
            }
        }
        self.moves(1, 6);
        self.map_in(2, PROGRAMS);
        self.call(12, Nothing);
        self.mark("tail calls");
    }

    pub(super) fn call(&mut self, helper: i32, holds: Holds) {
        self.put(Instruction::Call { callee: Callee::Helper(helper) });
        for register in 1..=5 {
            self.set(register, Nothing);
        }
        self.set(0, holds);
        self.mark("helpers");
    }
}
