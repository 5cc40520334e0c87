//! Desired state: what users wrote, in files and through the API, as `model` objects.
//!
//! The crate reads manifests (YAML, JSON), says precisely what is wrong with them, watches a folder
//! of them, and keeps those applied through the API in an embedded database. It doesn't know what
//! the objects are for: no kernel, no compiling, no merging of what they mean together.
//!
//! - [`manifest::parse`]: text to objects and diagnostics; [`emit`] is the way back.
//! - [`diagnostic`]: what is wrong, and [`diagnostic::render`] to show it.
//! - [`files::Watch`]: a folder as a stream of [`Change`]s.
//! - [`Desired`]: both sources together; [`Desired::apply`] and [`Desired::delete`] for the API.
//! - [`database::Database`]: what lasts, also for the agent's own tables.

#![forbid(unsafe_code)]

pub mod database;
pub mod desired;
pub mod diagnostic;
pub mod emit;
pub mod files;
pub mod manifest;

pub use database::{Database, DatabaseError};
pub use desired::{Change, DeleteError, Desired};
pub use diagnostic::{Diagnostic, Severity};
