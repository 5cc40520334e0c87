//! Iterators on the stack.

/// States of an iterator, in [`crate::register::Register::size`].
pub(crate) const ACTIVE: u32 = 1;
pub(crate) const DRAINED: u32 = 2;
