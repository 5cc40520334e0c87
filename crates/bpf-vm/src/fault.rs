//! Why a program can't be loaded, and why it was ended.

use std::sync::Arc;

use bpf_isa::{DecodeError, Wide};

use crate::memory::AccessError;
use crate::program::Program;

/// Why bytes are no program for this engine and platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("the program has no instructions")]
    Empty,
    #[error("the program is too long: it has more than {} slots", u32::MAX / 2)]
    TooLong,
    #[error("instruction {slot} goes to {target}, where no instruction begins")]
    NoSuchTarget { slot: usize, target: i64 },
    #[error("instruction {slot} calls helper {id}, which this platform doesn't have")]
    UnknownHelper { slot: usize, id: i32 },
    #[error("instruction {slot} calls function {btf_id} of the kernel, which isn't here")]
    UnknownKernelFunction { slot: usize, btf_id: i32, module: i16 },
    #[error("instruction {slot} needs an address that this platform doesn't have: {what:?}")]
    UnknownAddress { slot: usize, what: Wide },
    #[error("instruction {slot} casts between address spaces, but there is no arena")]
    NoArena { slot: usize },
}

/// Why a running program was ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("instruction {slot}: {reason}")]
pub struct Fault {
    /// The slot where the instruction begins.
    pub slot: usize,
    pub reason: Reason,
}

impl Fault {
    /// What the host lacked.
    pub(crate) fn of_host(error: &crate::errno::Errno) -> Self {
        Self { slot: 0, reason: Reason::Helper(error.to_string()) }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error("the program ran for too long")]
    OutOfFuel,
    #[error("more than {} nested calls", crate::FRAMES)]
    TooManyFrames,
    #[error("{target:#x} is the address of no function and the number of no helper")]
    NoSuchFunction { target: u64 },
    #[error("the program went past its last instruction")]
    PastTheEnd,
    #[error("the program writes r10, which can only be read")]
    WritesFramePointer,
    #[error("helper: {0}")]
    Helper(String),
    #[error("a helper needs a {wanted} as the state of the run")]
    NoState { wanted: &'static str },
}

/// What a helper returns instead of a result.
#[derive(Clone, Debug)]
pub enum Stop {
    /// End the whole program with this result.
    Exit(u64),
    /// End it with a fault in the instruction that called the helper.
    Failed(Reason),
    /// A function of the program that the helper called was ended so.
    Fault(Fault),
    /// Go on with this program instead of the function that called the helper, in the same frame;
    /// its result becomes that function's. After [`crate::TAIL_CALLS`] of them the helper returns
    /// `-EPERM` instead.
    TailCall(Arc<Program>),
}

impl From<Reason> for Stop {
    fn from(reason: Reason) -> Self {
        Self::Failed(reason)
    }
}

impl From<AccessError> for Stop {
    fn from(error: AccessError) -> Self {
        Self::Failed(error.into())
    }
}
