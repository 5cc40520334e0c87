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
    packages(&[Group::Demo, Group::Tests])
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
