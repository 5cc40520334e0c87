//! The stack of a run, all frames of it.

use std::mem::MaybeUninit;

use super::{FRAME, FRAMES};

const STACK: usize = FRAME * FRAMES;

/// What lies at the same place in a page as what was just stored, a processor takes for the same
/// until it has looked closer, and waits. So the first frame, which is the last, is half a page from
/// where [`Run`](super::Run) lies, which comes before the stack.
#[repr(C, align(64))]
pub(super) struct Stack {
    frames: [MaybeUninit<u8>; STACK],
    distance: [MaybeUninit<u8>; 2048],
}

impl Stack {
    #[inline(always)]
    pub fn new() -> Self {
        let (frames, distance) = ([MaybeUninit::uninit(); _], [MaybeUninit::uninit(); _]);
        Self { frames, distance }
    }

    /// The address behind the first frame.
    #[inline(always)]
    pub fn end(&mut self) -> u64 {
        self.frames.as_mut_ptr().expose_provenance() as u64 + STACK as u64
    }
}

/// For programs that need no run: a stack of which the first frame is clear.
#[inline(never)]
pub(crate) fn with_stack<R>(enter: impl FnOnce(u64) -> R) -> R {
    let mut stack = Stack::new();
    stack.frames[STACK - FRAME..].fill(MaybeUninit::new(0));
    enter(stack.end())
}
