//! The compiler against other opinions: a direct reading of the objects, and published tables.

mod fixtures;
mod incremental;
mod kernel;
mod naive;
mod properties;
mod semantics;
mod together;
