//! Helpers: what they take, and who may call them.

mod availability;
mod map_use;
mod table;

pub use availability::{Denied, for_program};
pub use map_use::takes_map;

use crate::prototype::Prototype;

/// The helper of that number, in its most common form. [`for_program`] gives the one that a
/// program of a certain type calls.
pub fn by_id(id: u32) -> Option<&'static Prototype> {
    table::HELPERS.get(usize::try_from(id).ok()?.checked_sub(1)?)
}

/// With or without the prefix `bpf_`.
pub fn by_name(name: &str) -> Option<&'static Prototype> {
    let bare = name.strip_prefix("bpf_").unwrap_or(name);
    all().find(|helper| helper.name.strip_prefix("bpf_") == Some(bare))
}

pub fn all() -> impl Iterator<Item = &'static Prototype> {
    table::HELPERS.iter()
}

#[cfg(test)]
mod tests;
