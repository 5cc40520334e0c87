//! Where a program goes: what can be reached, which function an instruction belongs to, where
//! values begin to be needed.

use bpf_isa::Register;

use super::Mode;
use super::ir::{Index, Inst, Set};
use crate::program::Program;

/// A function of the program: the main one, or one that is called or whose address is taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Function {
    pub entry: u32,
    /// Which of `r6` to `r9` it writes.
    pub kept: Set,
    pub has_calls: bool,
}

#[derive(Debug)]
pub(crate) struct Flow {
    /// The main one comes first, the others in the order of their entries.
    pub functions: Vec<Function>,
    /// For each instruction its function, or [`UNREACHED`].
    pub owners: Vec<u16>,
    /// Whether some instruction belongs to several functions, or the main one is called, too.
    pub entangled: bool,
    /// Where jumps go.
    pub is_target: Vec<bool>,
    /// Whose next instruction may be one before it.
    pub is_loop: Vec<bool>,
}

pub(crate) const UNREACHED: u16 = u16::MAX;

impl Flow {
    pub fn new(program: &Program, code: &[Inst]) -> Self {
        let mut entries: Vec<u32> = program.functions.values().copied().collect();
        entries.sort_unstable();
        let mut flow = Self {
            entangled: entries.first() == Some(&0) || entries.len() > 1000,
            functions: Vec::with_capacity(entries.len() + 1),
            owners: vec![UNREACHED; code.len()],
            is_target: vec![false; code.len()],
            is_loop: vec![false; code.len()],
        };
        entries.retain(|entry| *entry != 0);
        entries.insert(0, 0);
        let mut open = Vec::new();
        for (index, &entry) in entries.iter().enumerate() {
            let owner = index.min(usize::from(UNREACHED - 1)) as u16;
            let mut function = Function { entry, kept: Set::NONE, has_calls: false };
            open.push(entry as usize);
            while let Some(mut position) = open.pop() {
                loop {
                    let seen = flow.owners[position];
                    if seen != UNREACHED {
                        flow.entangled |= seen != owner;
                        if seen == owner {
                            break;
                        }
                        // What it writes counts for this function as well, but one visit is enough
                        // to know that they are entangled.
                        break;
                    }
                    flow.owners[position] = owner;
                    let inst = &code[position];
                    if let Some(register) = inst.written() {
                        function.kept = function.kept.with(Set::of(register).and(Set::KEPT));
                    }
                    function.has_calls |= inst.is_call();
                    if let Some(target) = inst.target() {
                        let target = target as usize;
                        flow.is_target[target] = true;
                        flow.is_loop[target] |= target <= position;
                        open.push(target);
                    }
                    if !inst.goes_on() {
                        break;
                    }
                    position += 1;
                }
            }
            flow.functions.push(function);
        }
        flow
    }

    pub fn is_reached(&self, position: usize) -> bool {
        self.owners[position] != UNREACHED
    }
}

/// Which registers are needed later: wholly, and only their lower halves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Live {
    pub any: Set,
    /// A subset of `any`.
    pub upper: Set,
}

impl Live {
    fn join(self, other: Self) -> Self {
        Self { any: self.any.with(other.any), upper: self.upper.with(other.upper) }
    }
}

/// For each instruction, what is needed behind it; and what is needed at the program's begin.
pub(crate) struct Liveness {
    pub behind: Vec<Live>,
    pub at_entry: Live,
}

impl Liveness {
    pub fn new(flow: &Flow, code: &[Inst], mode: Mode) -> Self {
        let mut behind = vec![Live::default(); code.len()];
        let mut at_target: Vec<Live> = vec![Live::default(); code.len()];
        let mut at_entry = Live::default();
        loop {
            let mut changed = false;
            let mut next = Live::default();
            for position in (0..code.len()).rev() {
                if !flow.is_reached(position) {
                    next = Live::default();
                    continue;
                }
                let inst = &code[position];
                let mut live = if inst.goes_on() { next } else { Live::default() };
                if let Some(target) = inst.target() {
                    live = live.join(at_target[target as usize]);
                }
                if matches!(inst, Inst::Exit) {
                    let local = flow.entangled || flow.owners[position] != 0;
                    live = at_exit(local, mode);
                }
                behind[position] = live;
                next = before(inst, live, mode);
                if flow.is_target[position] && at_target[position] != next {
                    // Only loops are seen before they are known.
                    changed |= flow.is_loop[position];
                    at_target[position] = next;
                }
            }
            at_entry = at_entry.join(next);
            if !changed {
                return Self { behind, at_entry };
            }
        }
    }
}

fn at_exit(local: bool, mode: Mode) -> Live {
    // A function that nobody has verified may look at what another left in the registers.
    let any = match (local, mode) {
        (true, Mode::Checked) => Set::R0.with(Set::ARGUMENTS),
        _ => Set::R0,
    };
    Live { any, upper: any }
}

/// What is needed before an instruction, if `live` is needed behind it.
pub(crate) fn before(inst: &Inst, live: Live, mode: Mode) -> Live {
    let written = match (inst, mode) {
        (
            Inst::CallHelper { .. }
            | Inst::CallDirect { .. }
            | Inst::CallLocal { .. }
            | Inst::CallRegister { .. },
            Mode::Verified,
        ) => Set::R0.with(Set::ARGUMENTS),
        (Inst::CallLocal { .. } | Inst::CallRegister { .. }, Mode::Checked) => Set::NONE,
        _ => inst.written().map_or(Set::NONE, Set::of),
    };
    let mut read = inst.read();
    if mode == Mode::Checked && matches!(inst, Inst::CallLocal { .. } | Inst::CallRegister { .. }) {
        read = Set::ALL;
    }
    let narrow = narrow_reads(inst, live);
    Live {
        any: live.any.without(written).with(read),
        upper: live.upper.without(written).with(read.without(narrow)),
    }
}

/// Which of the registers that an instruction reads it needs only the lower halves of.
fn narrow_reads(inst: &Inst, live: Live) -> Set {
    use bpf_isa::{AluOp, Extension, Size, Source, Span, Width};
    let unless_upper = |dst: Register, set: Set| if live.upper.has(dst) { Set::NONE } else { set };
    match *inst {
        Inst::Alu { width: Width::W32, .. }
        | Inst::Move { width: Width::W32, .. }
        | Inst::Negate { width: Width::W32, .. }
        | Inst::Rotate { width: Width::W32, .. }
        | Inst::JumpIf { width: Width::W32, .. } => inst.read(),
        Inst::Alu { op: AluOp::And, right: Source::Immediate(0..), .. } => inst.read(),
        Inst::Alu {
            op: AluOp::Add | AluOp::Sub | AluOp::Mul | AluOp::And | AluOp::Or | AluOp::Xor,
            dst,
            ..
        } => unless_upper(dst, inst.read()),
        Inst::Move { dst, .. } | Inst::Negate { dst, .. } => unless_upper(dst, inst.read()),
        Inst::Extend { extension, .. } => match extension {
            Extension::ByteTo32
            | Extension::HalfTo32
            | Extension::ByteTo64
            | Extension::HalfTo64
            | Extension::WordTo64 => inst.read(),
        },
        Inst::Swap { span: Span::Half | Span::Word, .. } => inst.read(),
        Inst::LookUpArray { index: Index::Register(_), .. } => inst.read(),
        Inst::Store { size: Size::Byte | Size::Half | Size::Word, address, value } => {
            let addresses = Inst::LoadAcquire { size: Size::Byte, dst: Register::R0, address };
            match value {
                Source::Register(src) => Set::of(src).without(addresses.read()),
                Source::Immediate(_) => Set::NONE,
            }
        }
        _ => Set::NONE,
    }
}
