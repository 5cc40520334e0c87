//! The agent's process.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Node, POOL_V4, POOL_V6, last_lines};

const START: Duration = Duration::from_secs(30);
const STOP: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Daemon {
    child: Child,
}

impl Daemon {
    pub fn start(node: &Node) -> Result<Self> {
        let folder = node.folder();
        let path = node.agent_log_path();
        let log = File::options().create(true).append(true).open(&path);
        let log = log.with_context(|| path.display().to_string())?;
        let mut command = node.place.command(&node.binaries.skepd);
        for (option, pool) in [("--pool-v4", POOL_V4), ("--pool-v6", POOL_V6)] {
            if !node.arguments.iter().any(|argument| argument == option) {
                command.args([option, pool]);
            }
        }
        command
            .arg("--state-dir")
            .arg(folder.join("state"))
            .arg("--run-dir")
            .arg(folder.join("run"))
            .arg("--manifests")
            .arg(node.manifests())
            .arg("--bpffs")
            .arg(node.bpffs())
            .args(["--node-name", &node.name])
            .args(&node.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C is ours to handle: the agent ends when its node does.
            .process_group(0);
        let child = node.place.spawn(&mut command)?;
        let mut daemon = Self { child };
        daemon.wait_for_api(node)?;
        Ok(daemon)
    }

    fn wait_for_api(&mut self, node: &Node) -> Result<()> {
        let socket = node.skep().socket;
        let deadline = Instant::now() + START;
        let log = || last_lines(&node.agent_log(), 40);
        while UnixStream::connect(&socket).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("skepd ended at its start: {status}\n{}", log());
            }
            if Instant::now() > deadline {
                bail!("skepd's API did not answer within {START:?}\n{}", log());
            }
            sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn stop(mut self) -> Result<()> {
        self.signal(Signal::SIGTERM)?;
        let deadline = Instant::now() + STOP;
        while Instant::now() < deadline {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("skepd ended badly: {status}"),
                None => sleep(Duration::from_millis(2)),
            }
        }
        self.child.kill()?;
        self.child.wait()?;
        bail!("skepd did not end within {STOP:?} of SIGTERM, so it was killed");
    }

    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        let _: ExitStatus = self.child.wait()?;
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).context("pid of skepd")?;
        kill(Pid::from_raw(pid), signal).context("cannot signal skepd")
    }
}
