//! The crate against the running kernel, in namespaces, cgroups and mounts of its own.

mod attach;
mod host;
mod kernel_facts;
mod maps;
mod object;
mod ring;
