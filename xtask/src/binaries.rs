//! Skep's programs, built and called by what shows and tests them.

use anyhow::Result;
use testkit::Binaries;

use crate::report::Step;

/// Builds `skepd`, `skep` and the tests' own `skep-probe`, in the development profile.
pub fn build() -> Result<Binaries> {
    let step = Step::start("build");
    let binaries = Binaries::built()?.clone();
    step.done("skepd, skep");
    Ok(binaries)
}
