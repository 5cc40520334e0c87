//! The agent's API: gRPC over a Unix socket.
//!
//! The contract is `proto/skep/v1/*.proto`; [`v1`] is generated from it and committed, so that a
//! build needs no protoc (`tests/generated.rs` compares, and regenerates with SKEP_REGENERATE=1).
//! Around it stand what the agent and its clients must understand alike:
//!
//! - [`selector`]: label selectors as users type them;
//! - [`filter`]: which flows a filter lets through;
//! - [`flow`]: what messages mean in the datapath's terms, and how a flow's parts are called;
//! - [`summary`] and [`explain`]: events and explanations in words; [`text`]: amounts in words;
//! - [`json`]: the documented JSON form of every message.
//!
//! The crate opens no socket and holds no state.

#![forbid(unsafe_code)]

pub mod explain;
pub mod filter;
pub mod flow;
pub mod json;
pub mod selector;
pub mod summary;
pub mod text;

/// Generated from `proto/skep/v1`: messages, the client and the server trait of the service.
#[allow(
    clippy::all,
    clippy::allow_attributes_without_reason,
    missing_debug_implementations,
    reason = "generated code"
)]
pub mod v1 {
    include!("generated/skep.v1.rs");
}

/// Descriptors of [`v1`], as a serialised `google.protobuf.FileDescriptorSet` without comments.
pub const DESCRIPTORS: &[u8] = include_bytes!("generated/descriptors.bin");

/// Where skepd listens, unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/skep/skepd.sock";

/// Largest message that client and server take: thousands of manifests in one request.
pub const MAX_MESSAGE_BYTES: usize = 256 << 20;
