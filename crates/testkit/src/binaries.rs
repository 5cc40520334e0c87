//! The programs under test, built from this workspace.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

#[derive(Clone, Debug)]
pub struct Binaries {
    pub skepd: PathBuf,
    pub skep: PathBuf,
    pub probe: PathBuf,
}

impl Binaries {
    /// Builds them (which is quick when nothing changed), once per process. `SKEPD`, `SKEP` and
    /// `SKEP_PROBE` name others to use instead.
    pub fn built() -> Result<&'static Self> {
        static BUILT: OnceLock<Result<Binaries, String>> = OnceLock::new();
        let built = BUILT.get_or_init(|| Self::build().map_err(|error| format!("{error:#}")));
        built.as_ref().map_err(|error| anyhow::anyhow!("{error}"))
    }

    fn build() -> Result<Self> {
        let named = |name| env::var_os(name).map(PathBuf::from);
        let (skepd, skep, probe) = (named("SKEPD"), named("SKEP"), named("SKEP_PROBE"));
        if let (Some(skepd), Some(skep), Some(probe)) = (&skepd, &skep, &probe) {
            return Ok(Self { skepd: skepd.clone(), skep: skep.clone(), probe: probe.clone() });
        }
        let built = cargo_build()?;
        let find = |name: &str| {
            let path = built.iter().find(|path| path.file_name().is_some_and(|file| file == name));
            path.cloned().with_context(|| format!("cargo built no {name}"))
        };
        Ok(Self {
            skepd: skepd.map_or_else(|| find("skepd"), Ok)?,
            skep: skep.map_or_else(|| find("skep"), Ok)?,
            probe: probe.map_or_else(|| find("skep-probe"), Ok)?,
        })
    }
}

/// Runs `cargo build` on the packages with our programs and returns the executables.
fn cargo_build() -> Result<Vec<PathBuf>> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(workspace)
        .args(["build", "-p", "agent", "-p", "cli", "-p", "testkit", "--bins"])
        .args(["--message-format", "json-render-diagnostics"])
        .env_remove("LD_LIBRARY_PATH")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    // What cargo set for the test that calls us would make build scripts run again.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    let output = cargo.output().context("cannot run cargo")?;
    if !output.status.success() {
        bail!("building skepd, skep and skep-probe failed: {}", output.status);
    }
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let mut executables = Vec::new();
    for line in lines {
        let message: Value = serde_json::from_slice(line).context("reading cargo's messages")?;
        executables.extend(message["executable"].as_str().map(PathBuf::from));
    }
    Ok(executables)
}
