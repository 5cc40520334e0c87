//! `cargo xtask setup`: makes a machine able to build, test and show Skep.
//!
//! Idempotent, and quick when there is nothing to do: it looks for files and programs first and
//! calls package managers only for what is missing. Every command that needs something calls the
//! part it needs, so that nobody has to know about this one.

mod packages;
mod toolchain;

use anyhow::{Result, bail};

pub use packages::Group;

/// The command itself: everything that the default commands need.
pub fn run() -> Result<()> {
    toolchain()?;
    packages(&[Group::Demo, Group::Tests])?;
    // For lints only, so nobody needs them who can't have them.
    targets_if_possible(&APPLE)?;
    foreign_if_possible().map(drop)
}

/// The systems of Apple, which the user-space crates compile for.
const APPLE: [&str; 2] = ["aarch64-apple-darwin", "x86_64-apple-darwin"];

/// What the machine code of another processor is tried with. Static executables of this target link
/// with what rustc brings.
pub const AARCH64: &str = "aarch64-unknown-linux-musl";

/// As [`packages_if_possible`]: returns whether programs for AArch64 can be built and run.
pub fn foreign_if_possible() -> Result<bool> {
    let can_build = targets_if_possible(&[AARCH64])?;
    let can_run = packages::ensure(&[Group::Foreign])?.is_empty();
    Ok(can_build && can_run)
}

fn targets_if_possible(targets: &[&'static str]) -> Result<bool> {
    Ok(toolchain::ensure_targets(targets)?.is_empty())
}

/// What compiling needs: rust-src and bpf-linker.
pub fn toolchain() -> Result<()> {
    toolchain::ensure()
}

/// Ensures that the programs of these groups are there; fails with the list of those that are not.
pub fn packages(groups: &[Group]) -> Result<()> {
    let missing = packages::ensure(groups)?;
    if !missing.is_empty() {
        bail!("not installed: {}", missing.join(", "));
    }
    Ok(())
}

/// As [`packages`], for a caller that can do without: tests that need a missing program skip.
pub fn packages_if_possible(groups: &[Group]) -> Result<()> {
    packages::ensure(groups).map(drop)
}
