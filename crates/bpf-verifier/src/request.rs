//! What is to be judged, and by which rules.

use bpf_object::btf::Btf;
use bpf_object::{Object, Program, ProgramKind};

use crate::change::Rules;

/// A program and what it is for.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    pub program: &'a Program,
    /// Its maps, types and licence.
    pub object: Option<&'a Object>,
    pub kind: ProgramKind,
    /// The types of the kernel it is for. Without them, what needs them is not modelled.
    pub kernel: Option<&'a Btf>,
    pub options: Options,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whose kernel's.
    pub rules: Rules,
    /// The loader has `CAP_BPF` and `CAP_PERFMON`: pointers may leak, loops are allowed.
    pub privileged: bool,
    /// `BPF_F_STRICT_ALIGNMENT`: accesses must be aligned even where the processor doesn't care.
    pub strict_alignment: bool,
    /// `BPF_F_ANY_ALIGNMENT`: nothing need be aligned, whatever the processor wants.
    pub any_alignment: bool,
    /// `BPF_F_TEST_STATE_FREQ`: remember a state at every point where paths may meet.
    pub test_state_frequency: bool,
    /// `BPF_F_TEST_REG_INVARIANTS`: a range that contradicts itself is an error.
    pub test_invariants: bool,
    /// How many instructions may be looked at, over all paths (`BPF_COMPLEXITY_LIMIT_INSNS`).
    pub instruction_limit: u32,
    /// Write down every step with the registers that it changes.
    pub log: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rules: Rules::default(),
            privileged: true,
            strict_alignment: false,
            any_alignment: false,
            test_state_frequency: false,
            test_invariants: false,
            instruction_limit: 1_000_000,
            log: false,
        }
    }
}

impl<'a> Request<'a> {
    /// A program of the kind that its section's name says. `None` if the name says nothing: then
    /// set [`Request::kind`] yourself with [`Request::of_kind`].
    pub fn new(program: &'a Program) -> Option<Self> {
        Some(Self::of_kind(program, program.kind.clone()?))
    }

    pub fn of_kind(program: &'a Program, kind: ProgramKind) -> Self {
        Self { program, object: None, kind, kernel: None, options: Options::default() }
    }

    pub fn object(self, object: &'a Object) -> Self {
        Self { object: Some(object), ..self }
    }

    pub fn kernel(self, kernel: &'a Btf) -> Self {
        Self { kernel: Some(kernel), ..self }
    }

    pub fn options(self, options: Options) -> Self {
        Self { options, ..self }
    }
}
