//! The three answers, and what goes with them.

use bpf_isa::Placed;
use bpf_object::{MapType, ProgramType};

use crate::rule::Rule;

#[derive(Clone, Debug)]
pub enum Verdict {
    Accepted(Verified),
    Refused(Refusal),
    NotModelled(NotModelled),
}

impl Verdict {
    pub fn is_accepted(&self) -> bool {
        matches!(self, Self::Accepted(_))
    }
}

/// Proof that a program passed. Only the verifier makes it, and it is good for exactly the
/// instructions, the program type and the map shapes that were verified.
#[derive(Clone, Debug)]
pub struct Verified {
    pub(crate) instructions: Box<[Placed]>,
    pub(crate) program: ProgramType,
    pub(crate) maps: Vec<MapShape>,
    pub(crate) constants: Vec<(usize, Box<[u8]>)>,
    pub(crate) facts: Facts,
}

impl Verified {
    /// Whether these are the very instructions that were verified.
    pub fn covers(&self, instructions: &[Placed]) -> bool {
        *self.instructions == *instructions
    }

    pub fn program_type(&self) -> ProgramType {
        self.program
    }

    /// The maps that the program names, as they were when it was verified. The proof holds only
    /// with maps of these shapes.
    pub fn maps(&self) -> &[MapShape] {
        &self.maps
    }

    /// Values of maps that never change, by the map's index: the proof was found with them.
    pub fn constants(&self) -> impl Iterator<Item = (usize, &[u8])> {
        self.constants.iter().map(|(map, value)| (*map, &**value))
    }

    pub fn facts(&self) -> &Facts {
        &self.facts
    }
}

/// What of a map a proof depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapShape {
    /// Index in the object's list.
    pub index: usize,
    pub kind: MapType,
    pub key_size: u32,
    pub value_size: u32,
    pub max_entries: u32,
    pub flags: u32,
}

/// What the verifier came to know of a program.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Instructions looked at, over all paths.
    pub processed: u32,
    /// States remembered, in total and at most at one instruction.
    pub states: u32,
    pub states_at_one: u32,
    /// In the order of the program's functions.
    pub functions: Vec<FunctionFacts>,
    /// By slot: how often the instruction was looked at. 0: no path leads there.
    pub visits: Vec<u32>,
    /// By slot: which memory the instruction touches on all paths that lead there.
    pub touched: Vec<Touched>,
    /// Every loop ends by itself; `false` if the program relies on `may_goto` or on bounds inside
    /// of helpers that run callbacks.
    pub bounded: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FunctionFacts {
    pub name: String,
    /// Bytes of its own frame.
    pub stack: u32,
    pub processed: u32,
}

/// The memory that an instruction loads from or stores to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Touched {
    /// It touches none, or no path leads there.
    #[default]
    Nothing,
    Context,
    Stack,
    Packet,
    MapValue,
    MapKey,
    /// A field of a socket structure.
    Socket,
    /// Memory that a helper lent: ring-buffer records, dynptr data, buffers.
    Memory,
    /// A kernel structure that is known to be alive.
    Kernel,
    /// A kernel address that may be wrong: to be read with exception handling.
    Untrusted,
    Arena,
    /// On different paths different ones of stack, packet, map values and keys, and lent memory.
    Data,
    /// Different kinds on different paths, not all of them data.
    Several,
}

/// Why a program is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub rule: Rule,
    /// The instruction, unless the program as a whole breaks the rule.
    pub slot: Option<usize>,
    /// What happened, in the kernel's words where it has some.
    pub message: String,
    /// Which registers matter, and what is known about them.
    pub registers: Vec<(String, String)>,
    /// Where the values of the registers come from and which branches led here, oldest first.
    pub path: Vec<Step>,
    /// What usually mends it.
    pub hint: String,
    pub place: Option<RefusedAt>,
    /// How many instructions were looked at until then.
    pub processed: u32,
}

/// Where in the source the refused instruction is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedAt {
    pub function: String,
    /// Empty if the object doesn't say.
    pub file: String,
    pub line: u32,
    pub column: u32,
    /// The line's text, often empty.
    pub text: String,
    /// The instruction, disassembled.
    pub instruction: String,
}

/// A step on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub slot: usize,
    pub line: Option<(String, u32)>,
    /// Such as `r2 = *(u32 *)(r1 + 0x4c)`, or `if r2 > r3 goto +4: taken`.
    pub what: String,
}

/// Something that the verifier has no rule for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotModelled {
    pub slot: Option<usize>,
    pub what: String,
}

impl Touched {
    fn is_data(self) -> bool {
        matches!(
            self,
            Self::Stack | Self::Packet | Self::MapValue | Self::MapKey | Self::Memory | Self::Data
        )
    }

    /// What both paths touch.
    pub(crate) fn join(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, one) | (one, Self::Nothing) => one,
            (one, other) if one == other => one,
            (one, other) if one.is_data() && other.is_data() => Self::Data,
            _ => Self::Several,
        }
    }
}
