use bpf_isa::Reason;

use crate::btf::BtfError;
use crate::core_relocation::CoreError;

/// Why an object can't be read or linked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("this is no ELF object for little-endian eBPF: {0}")]
    Elf(String),
    #[error("section `{section}`: {source}")]
    Btf { section: &'static str, source: BtfError },
    #[error("section `{section}` at offset {offset:#x}: {problem}")]
    At { section: String, offset: u64, problem: Problem },
    #[error("map `{map}`: {problem}")]
    Map { map: String, problem: Problem },
    #[error("there is no {what} `{name}` in the object")]
    Absent { what: &'static str, name: String },
    #[error("variable `{name}` has {size} bytes, not {given}")]
    VariableSize { name: String, size: u64, given: u64 },
}

/// What is wrong at a place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("function `{0}` is not wholly inside its section, or is no list of instructions")]
    FunctionBounds(String),
    #[error("a relocation of type {0} is not known here")]
    RelocationType(u32),
    #[error("a relocation names a symbol that does not exist")]
    NoSymbol,
    #[error("a relocation lies outside of the code, or not on an instruction that can have one")]
    Misplaced,
    #[error("a relocation against `{0}`, which is neither map, variable, function nor extern")]
    Target(String),
    #[error("a call to offset {offset:#x} of `{section}`, where no function begins")]
    NoFunction { section: String, offset: i64 },
    #[error("a call that reaches further than 2^31 instructions")]
    TooFar,
    #[error("an instruction is damaged: {0}")]
    Instruction(Reason),
    #[error("a CO-RE relocation against `{kind}`: {source}")]
    Core { kind: String, source: CoreError },
    #[error("a CO-RE relocation against `{0}` needs the target's types, which were not given")]
    NoTarget(String),
    #[error("extern `{0}` is not in the target's types")]
    Unresolved(String),
    #[error("its definition `{0}` is not understood")]
    Definition(String),
    #[error("the section of map definitions cannot be divided by its number of symbols")]
    LegacySize,
    #[error("the object has no type information, which says what its maps are")]
    NoBtf,
    #[error("its value is larger than 4 GiB")]
    ValueSize,
}
