//! The walk over all paths: one at a time, the others wait.

use std::collections::BTreeMap;
use std::rc::Rc;

use bpf_interface::caller::{Caller, Privilege};
use bpf_interface::typed::Signature;
use bpf_isa::Instruction;
use bpf_object::btf::Btf;

use crate::change::Change;
use crate::code::Code;
use crate::global_function::GlobalArgument;
use crate::maps::MapInfo;
use crate::register::{Flags, Kind, Register};
use crate::request::Request;
use crate::rule::Rule;
use crate::state::{CheckpointId, Jump, Linked, State};
use crate::stop::{Check, refuse};
use crate::verdict::Touched;

/// As many branches may wait (`BPF_COMPLEXITY_LIMIT_JMP_SEQ`).
const MAX_PENDING: usize = 8192;

/// A state that later paths are held against.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    pub state: State,
    pub slot: usize,
    /// Paths through it that aren't at their end yet.
    pub branches: u32,
    /// Stack slots that were read after it, by frame.
    pub read: [u64; crate::state::MAX_FRAMES],
    /// Registers and stack slots whose exact bounds were needed after it, by frame.
    pub precise_registers: [u16; crate::state::MAX_FRAMES],
    pub precise_stack: [u64; crate::state::MAX_FRAMES],
    pub hits: u32,
    pub misses: u32,
    /// Paths have come back to it.
    pub is_header: bool,
}

/// A path that ended where it came back into a loop.
#[derive(Debug)]
pub(crate) struct Return {
    pub state: State,
    pub slot: usize,
}

/// A path that waits for its turn.
#[derive(Debug)]
pub(crate) struct Pending {
    pub state: State,
    pub slot: usize,
    pub previous: usize,
}

pub(crate) enum Next {
    /// The instruction behind this one.
    Through,
    To(usize),
    /// The path is at its end.
    End,
}

pub(crate) struct Engine<'a> {
    pub request: &'a Request<'a>,
    pub caller: Caller<'a>,
    pub kernel: Option<&'a Btf>,
    /// The program's own types.
    pub types: Option<&'a Btf>,
    pub code: Code,
    pub maps: Vec<MapInfo>,
    pub state: State,
    pub slot: usize,
    pub previous: usize,
    pub checkpoints: Vec<Checkpoint>,
    /// Checkpoints by slot, the newest last.
    pub at: Vec<Vec<CheckpointId>>,
    /// Of all checkpoints those that paths still go through, and some of the others; by slot.
    pub open_at: Vec<Vec<CheckpointId>>,
    pub pending: Vec<Pending>,
    /// By the checkpoint that they came back to.
    pub returns: BTreeMap<CheckpointId, Vec<Return>>,
    /// How many marks have been set, of what is read and needed.
    pub marks: u64,
    /// The last number that was given to a reference or group.
    pub last_id: u32,
    /// What the step has put into the history already.
    pub in_history: bool,
    /// Stack memory that a helper fills: frame, offset, size.
    pub filled: Option<(u8, i32, u32)>,
    pub processed: u32,
    pub jumps: u32,
    pub processed_before: u32,
    pub jumps_before: u32,
    /// By function, and without the spills around fast calls.
    pub stack_depth: Vec<i32>,
    pub depth_without_spills: Vec<i32>,
    pub visits: Vec<u32>,
    pub touched: Vec<Touched>,
    /// By slot: the first kind of pointer through which memory was reached there.
    pub pointers: Vec<Option<(Kind, Flags)>>,
    pub states: u32,
    pub states_at_one: u32,
    pub bounded: bool,
    /// Global functions that were called and are to be verified, in the order of calls.
    pub called: Vec<bool>,
    /// What global functions take, once it was asked.
    pub signatures: Vec<Option<Rc<[GlobalArgument]>>>,
    /// The target's arguments, once they were asked.
    pub target: Option<Rc<Signature>>,
    pub log: Vec<String>,
    /// By slot: how the kernel would mask what is added there, for programs without privilege.
    pub masks: Vec<Option<crate::step::Mask>>,
    /// Unknown numbers were added to pointers: states with other bounds aren't the same then.
    pub masks_unknowns: bool,
}

impl<'a> Engine<'a> {
    pub fn privileged(&self) -> bool {
        self.request.options.privileged
    }

    /// Whether the kernel that is asked for has that rule.
    pub fn has(&self, change: Change) -> bool {
        self.request.options.rules.has(change)
    }

    /// Walks all paths from the present state on.
    pub fn walk(&mut self) -> Check {
        loop {
            match self.advance()? {
                Next::Through => {
                    let slots = self.code.at(self.slot).map_or(1, |i| i.slots());
                    self.previous = self.slot;
                    self.slot += slots;
                }
                Next::To(slot) => {
                    self.previous = self.slot;
                    self.slot = slot;
                }
                Next::End => {
                    self.end_path();
                    let Some(pending) = self.pending.pop() else { return Ok(()) };
                    self.state = pending.state;
                    self.slot = pending.slot;
                    self.previous = pending.previous;
                }
            }
        }
    }

    fn advance(&mut self) -> Check<Next> {
        let slot = self.slot;
        let Some(instruction) = self.code.at(slot) else {
            return refuse(
                Rule::JumpOutOfRange,
                format!("invalid insn idx {slot} insn_cnt {}", self.code.len()),
            );
        };
        self.processed += 1;
        if self.processed > self.request.options.instruction_limit {
            let processed = self.processed;
            return refuse(
                Rule::TooComplex,
                format!("BPF program is too large. Processed {processed} insn"),
            );
        }
        self.state.last = self.previous;
        self.in_history = false;
        let point = self.code.points[slot];
        if point.prune && self.is_visited()? {
            return Ok(Next::End);
        }
        if point.jump {
            self.remember_step(None, Linked::default());
        }
        self.visits[slot] += 1;
        if self.request.options.log {
            self.log_step(&instruction);
        }
        self.step(instruction)
    }

    /// Notes the instruction in the path's history, with what one has to know of it later.
    pub fn remember_step(&mut self, stack: Option<(u8, u8)>, linked: Linked) {
        if self.in_history
            && let Some(last) = self.state.history.last_mut()
        {
            last.stack = last.stack.or(stack);
            if linked.count > 0 {
                last.linked = linked;
            }
            return;
        }
        self.in_history = true;
        let jump = Jump { slot: self.slot as u32, previous: self.previous as u32, stack, linked };
        self.state.history.push(jump);
    }

    /// Lets a copy of the present state wait, to go on at `slot`.
    pub fn push(&mut self, slot: usize) -> Check<&mut State> {
        self.push_from(slot, self.slot)
    }

    pub fn push_from(&mut self, slot: usize, previous: usize) -> Check<&mut State> {
        let state = self.state.clone();
        self.push_state(state, slot, previous)
    }

    pub fn push_state(&mut self, state: State, slot: usize, previous: usize) -> Check<&mut State> {
        if self.pending.len() >= MAX_PENDING {
            return refuse(
                Rule::TooManyBranches,
                format!("The sequence of {} jumps is too complex.", self.pending.len() + 1),
            );
        }
        if let Some(parent) = state.parent {
            self.checkpoints[parent as usize].branches += 1;
        }
        self.pending.push(Pending { state, slot, previous });
        let last = self.pending.len() - 1;
        Ok(&mut self.pending[last].state)
    }

    /// The path is at its end: checkpoints through which no path goes any more are complete.
    fn end_path(&mut self) {
        let mut parent = self.state.parent;
        if let (Some(parent), Some(entry)) = (parent, self.state.loop_entry) {
            self.update_loop_entry_of_checkpoint(parent, entry);
        }
        // Only when a loop is done can returns into it be.
        let mut is_loop_done = false;
        while let Some(id) = parent {
            let checkpoint = &mut self.checkpoints[id as usize];
            checkpoint.branches = checkpoint.branches.saturating_sub(1);
            if checkpoint.branches > 0 {
                break;
            }
            is_loop_done |= checkpoint.is_header;
            parent = checkpoint.state.parent;
            if let (Some(parent), Some(entry)) = (parent, checkpoint.state.loop_entry) {
                self.update_loop_entry_of_checkpoint(parent, entry);
            }
        }
        if is_loop_done {
            self.finish_loops();
        }
    }

    /// A number that nothing else has.
    pub fn new_id(&mut self) -> u32 {
        self.last_id += 1;
        self.last_id
    }

    pub fn register(&self, number: u8) -> &Register {
        &self.state.frame().registers[usize::from(number)]
    }

    pub fn register_mut(&mut self, number: u8) -> &mut Register {
        &mut self.state.frame_mut().registers[usize::from(number)]
    }

    /// A register that an instruction reads.
    pub fn read(&self, number: u8) -> Check<Register> {
        let register = *self.register(number);
        if register.kind == crate::register::Kind::Uninitialised {
            return refuse(Rule::Uninitialised, format!("R{number} !read_ok"));
        }
        Ok(register)
    }

    /// Sets a register that an instruction writes.
    pub fn write(&mut self, number: u8, value: Register) -> Check {
        if number == 10 {
            return refuse(Rule::FramePointer, "frame pointer is read only");
        }
        *self.register_mut(number) = value;
        Ok(())
    }

    /// Whether the register's content must not get out (`is_pointer_value`).
    pub fn is_secret(&self, register: &Register) -> bool {
        !self.privileged() && register.is_pointer()
    }

    /// Notes which memory the present instruction touches.
    pub fn touch(&mut self, what: Touched) {
        let touched = &mut self.touched[self.slot];
        *touched = touched.join(what);
    }

    pub fn licence_is_gpl_compatible(&self) -> bool {
        let licence = self.request.object.map_or("", |object| object.license.as_str());
        matches!(
            licence,
            "GPL"
                | "GPL v2"
                | "GPL and additional rights"
                | "Dual BSD/GPL"
                | "Dual MIT/GPL"
                | "Dual MPL/GPL"
        )
    }

    fn log_step(&mut self, instruction: &Instruction) {
        let text = bpf_isa::text::disassemble_one(instruction, bpf_isa::text::Syntax::Llvm);
        let registers = crate::explain::registers(self.state.frame(), u16::MAX);
        let registers: Vec<String> =
            registers.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        self.log.push(format!("{}: {text} ; {}", self.slot, registers.join(" ")));
    }
}

/// The caller with the privilege that the options say.
pub(crate) fn caller<'a>(request: &'a Request<'_>) -> Caller<'a> {
    let privilege = if request.options.privileged { Privilege::Perfmon } else { Privilege::None };
    Caller { privilege, ..Caller::of(&request.kind) }
}
