//! Where a process runs: a network namespace and a cgroup.

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result};
use host::NetNamespace;

#[derive(Clone, Debug)]
pub struct Place {
    pub netns: NetNamespace,
    pub cgroup: PathBuf,
}

impl Place {
    /// A command that moves itself into the cgroup before it becomes `program`, so that no socket
    /// is ever opened outside. To be started by [`spawn`](Self::spawn) or
    /// [`output`](Self::output), which see to the namespace.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", "echo $$ > \"$0/cgroup.procs\" && exec \"$@\""])
            .arg(&self.cgroup)
            .arg(program);
        command
    }

    /// Starts it and waits until it is in its cgroup, where whoever cleans up will look for it.
    pub fn spawn(&self, command: &mut Command) -> Result<Child> {
        let spawned = self.netns.run(|| command.spawn())?;
        let mut child = spawned.with_context(|| format!("cannot start {command:?}"))?;
        let list = self.cgroup.join("cgroup.procs");
        let pid = child.id().to_string();
        while child.try_wait()?.is_none() {
            let pids = fs::read_to_string(&list).with_context(|| list.display().to_string())?;
            if pids.lines().any(|line| line == pid) {
                break;
            }
            sleep(Duration::from_micros(200));
        }
        Ok(child)
    }

    pub fn output(&self, command: &mut Command) -> Result<Output> {
        self.netns.run(|| command.output())?.with_context(|| format!("cannot run {command:?}"))
    }
}
