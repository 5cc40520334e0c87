//! What the kernel saw, with names: from the ring buffer to whoever asks.

pub mod history;
pub mod names;
pub mod reader;
pub mod record;
