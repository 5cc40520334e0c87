//! The workspace from outside: its root, and the cargo that works on it.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// The root of the workspace this xtask was built in.
pub fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// The cargo that runs us, in the workspace, without what `cargo run` put into the environment for
/// the package `xtask`: build scripts that watch such variables would run again and again.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root()).env_remove("LD_LIBRARY_PATH");
    for (name, _) in env::vars_os().filter(|(name, _)| is_of_cargo_run(name)) {
        cargo.env_remove(name);
    }
    cargo
}

fn is_of_cargo_run(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") || name == "CARGO"
}

/// Runs a command whose output the user sees.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {}", name_of(command)))?;
    if !status.success() {
        bail!("{} failed: {status}", name_of(command));
    }
    Ok(())
}

/// Runs a command and returns what it prints; what it complains of goes into the error.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", name_of(command)))?;
    if !output.status.success() {
        bail!(
            "{} failed: {}\n{}",
            name_of(command),
            output.status,
            last_lines(&String::from_utf8_lossy(&output.stderr), 20)
        );
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("{} printed something other than UTF-8", name_of(command)))
}

fn name_of(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let arguments = command.get_args().map(OsStr::to_string_lossy);
    let program = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy();
    format!("`{}`", [program].into_iter().chain(arguments).collect::<Vec<_>>().join(" "))
}

pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// What `cargo build` reports: the executables it made, by name, and the `OUT_DIR` of a package's
/// build script. Progress and diagnostics go to the user.
#[derive(Debug, Default)]
pub struct Built {
    pub executables: Vec<(String, PathBuf)>,
    pub out_dirs: Vec<(String, PathBuf)>,
}

pub fn build(arguments: &[&str]) -> Result<Built> {
    build_with(cargo(), arguments)
}

/// As [`build`], by a cargo that was told more.
pub fn build_with(mut cargo: Command, arguments: &[&str]) -> Result<Built> {
    cargo
        .arg("build")
        .args(arguments)
        .args(["--message-format", "json-render-diagnostics"])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    let output = cargo.output().with_context(|| format!("cannot run {}", name_of(&cargo)))?;
    if !output.status.success() {
        bail!("{} failed: {}", name_of(&cargo), output.status);
    }
    let mut built = Built::default();
    for line in output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let message: Value = serde_json::from_slice(line).context("reading cargo's messages")?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        if let (Some(name), Some(path)) =
            (text(&message["target"]["name"]), text(&message["executable"]))
        {
            built.executables.push((name, path.into()));
        }
        if let (Some(package), Some(path)) =
            (text(&message["package_id"]), text(&message["out_dir"]))
        {
            built.out_dirs.push((package, path.into()));
        }
    }
    Ok(built)
}

/// What rustc calls this machine, e.g. "x86_64-unknown-linux-gnu".
pub fn host_triple() -> Result<String> {
    let version = output(Command::new("rustc").current_dir(root()).arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).with_context(|| format!("rustc names no host in {version:?}"))
}

/// Finds a program as the shell would, and also where only root's shell looks.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(system).map(|folder| folder.join(name)).find(|p| p.is_file())
}
