//! Selectors to identities to verdicts: policies compiled into the tables that the kernel reads,
//! and every verdict explained by the rule, file and line it came from.
//!
//! Pure: no I/O, no clock, no kernel. Objects go into a [`Compiler`] one at a time, and what has
//! to change in the kernel's tables comes out of [`Compiler::take_changes`]. The same objects give
//! the same tables on a node, in a test and after a restart: ids are hashes of content, or are
//! numbers kept in [`Record`]s that the agent stores.
//!
//! The crate knows policies only in one general form ([`rule`]); each kind that users write is
//! lowered to it ([`lower`]). It refuses to know how packets are parsed and how maps are written.
//!
//! **Invariants**
//! - A rule set's id says its content: which rules, not which peers. What a (rule set, peer) pair
//!   allows never changes; only addresses and endpoints flip from one id to another.
//! - Additions are complete before the flip, removals come after: old and new ids work side by
//!   side in between, in any order.

#![forbid(unsafe_code)]

pub mod identity;
pub mod lower;
pub mod rule;

mod blocks;
mod changes;
mod compiler;
mod label_index;
mod lookup;
mod peer;
mod port_set;
mod record;
mod selector_cache;

pub use changes::{Capacity, Changes, EndpointPolicy, Sizes, Tables};
pub use compiler::explain;
pub use compiler::{Change, Compiler, EndpointInput, PolicyError, RuleRef};
pub use explain::{ExplainError, Explanation, Party};
pub use identity::{Identity, IdentityLabels};
pub use lookup::Verdict;
pub use record::Record;
pub use rule::Direction;
