//! The crate against the running kernel, in namespaces, cgroups and mounts of its own.

mod attach;
mod host;
mod maps;
mod object;
mod ring;
