//! The `skep` command line, as a user calls it.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::manifest;

/// `skep` with the socket of one agent.
#[derive(Clone, Debug)]
pub struct Skep {
    pub binary: PathBuf,
    pub socket: PathBuf,
}

impl Skep {
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("--socket").arg(&self.socket).stdin(Stdio::null());
        command
    }

    /// Runs `skep` and returns what it prints; a failure with what it complains of.
    pub fn run<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, arguments: I) -> Result<String> {
        let mut command = self.command();
        command.args(arguments);
        let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
        printed(&command, output)
    }

    /// Runs a command that can answer in JSON.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.run(arguments.iter().chain(&["-o", "json"]))?;
        let command = || format!("`skep {}` printed: {text}", arguments.join(" "));
        serde_json::from_str(&text).with_context(command)
    }

    /// Applies the documents; when it returns they are in force.
    pub fn apply(&self, documents: &[Value]) -> Result<String> {
        self.with_stream("apply", &manifest::stream(documents))
    }

    /// Waits until the edge balancer is on all its interfaces.
    pub fn wait_for_balancer(&self) -> Result<()> {
        const PATIENCE: Duration = Duration::from_secs(20);
        let started = Instant::now();
        loop {
            let status = self.json(&["lb", "status"]);
            let attached = status.as_ref().is_ok_and(|status| {
                let interfaces = status[0]["interfaces"].as_array();
                interfaces.is_some_and(|all| {
                    !all.is_empty() && all.iter().all(|one| one["attachment"].is_string())
                })
            });
            if attached {
                return Ok(());
            }
            ensure!(started.elapsed() < PATIENCE, "the balancer is on no interface: {status:?}");
            sleep(Duration::from_millis(20));
        }
    }

    /// Deletes what the documents name; when it returns it is no longer in force.
    pub fn delete(&self, documents: &[Value]) -> Result<String> {
        self.with_stream("delete", &manifest::stream(documents))
    }

    /// `skep VERB -f -` with a stream of manifests.
    pub fn with_stream(&self, verb: &str, stream: &str) -> Result<String> {
        let mut command = self.command();
        command.args([verb, "-f", "-"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
        if let Some(mut stdin) = child.stdin.take() {
            // If it ends without reading, its own words below say why.
            let _ = stdin.write_all(stream.as_bytes());
        }
        printed(&command, child.wait_with_output()?)
    }

    /// What `skep policy explain` says of a connection between two workloads (`namespace/name`),
    /// or why it says nothing.
    pub fn explain(&self, from: &str, to: &str, protocol: &str, port: u16) -> String {
        let port = port.to_string();
        let arguments = ["policy", "explain", "--from", from, "--to", to, "--port", &port];
        let mut command = self.command();
        command.args(arguments).args(["--protocol", &protocol.to_lowercase()]);
        match command.output() {
            // Its exit code is the verdict; an error prints nothing here.
            Ok(output) if !output.stdout.is_empty() => {
                String::from_utf8_lossy(&output.stdout).into_owned()
            }
            Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
            Err(error) => format!("cannot run {command:?}: {error}"),
        }
    }
}

fn printed(command: &Command, output: Output) -> Result<String> {
    let stdout = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?}: {}\n{stdout}{stderr}", output.status);
    }
    Ok(stdout.into_owned())
}
