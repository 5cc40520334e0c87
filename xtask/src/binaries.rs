//! Skep's programs, built by cargo and called by what shows and tests them.

use anyhow::{Context as _, Result};
use testkit::Binaries;

use crate::report::Step;
use crate::workspace;

/// Builds `skepd`, `skep` and the test's own `skep-probe`, in the development profile.
pub fn build() -> Result<Binaries> {
    let step = Step::start("build");
    let packages = ["-p", "agent", "-p", "cli", "-p", "testkit", "--bins"];
    let built = workspace::build(&packages)?;
    let find = |name: &str| {
        let found = built.executables.iter().find(|(executable, _)| executable == name);
        let found = found.with_context(|| format!("cargo built no {name}"))?;
        Ok::<_, anyhow::Error>(found.1.clone())
    };
    let binaries =
        Binaries { skepd: find("skepd")?, skep: find("skep")?, probe: find("skep-probe")? };
    step.done("skepd, skep");
    Ok(binaries)
}
