//! Where the cached `bpf-linker` lies.
//!
//! Shared by two builds that must agree: `cargo xtask setup`, which fills the cache, and the build
//! script of `crates/objects`, which includes this file by its path and runs the linker. Hence only
//! the standard library here.
//!
//! The key holds both versions, since the linker links against the very LLVM of one rustc.

use std::env;
use std::path::PathBuf;

/// The version that `cargo xtask setup` builds. Bitcode changes with LLVM, so it is pinned together
/// with the toolchain.
pub const BPF_LINKER_VERSION: &str = "0.13.0";

/// The folder for tools and downloads that outlive `cargo clean`: `$SKEP_CACHE`, else
/// `~/.cache/skep`. `None` without a home.
pub fn cache_root() -> Option<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty());
    set("SKEP_CACHE")
        .map(PathBuf::from)
        .or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".cache/skep")))
}

/// The folder of the linker built for this rustc ("1.95.0"); the program is `bin/bpf-linker` in it.
pub fn bpf_linker_root(rustc_version: &str) -> Option<PathBuf> {
    let key = format!("bpf-linker-{BPF_LINKER_VERSION}-rustc-{rustc_version}");
    Some(cache_root()?.join("tools").join(key))
}

/// The version in the output of `rustc --version`, which begins "rustc 1.95.0 (59807616e ...".
pub fn rustc_version(output: &str) -> Option<&str> {
    output.strip_prefix("rustc ")?.split_whitespace().next()
}
