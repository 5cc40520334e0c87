//! A guest under QEMU's software emulation, and what it tells on its console.
//!
//! The other half is `crates/kernel-guest/src/report.rs`.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

const MARK: &str = "skep-guest: ";
/// How much of a console is shown when the guest did not get to its end.
const LAST_LINES: usize = 25;

/// What a guest told.
#[derive(Debug, Default)]
pub struct Outcome {
    checks: Vec<Check>,
    ended: bool,
    console: Vec<String>,
}

/// One thing a guest tried.
#[derive(Debug, PartialEq, Eq)]
pub struct Check {
    pub passed: bool,
    pub what: String,
    pub detail: Vec<String>,
}

/// Boots `kernel`, whose first process gets `task` as its argument, and listens until it ends or the
/// time is up.
pub fn run(kernel: &Path, initramfs: &Path, task: &str, limit: Duration) -> Result<Outcome> {
    let options = "console=ttyS0 quiet loglevel=3 panic=-1 no_timer_check rdinit=/init";
    let mut qemu = Command::new("qemu-system-x86_64")
        // One thread: with several, guests crash now and then.
        .args(["-accel", "tcg,thread=single", "-cpu", "max", "-smp", "1", "-m", "1024"])
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio"])
        .arg("-no-reboot")
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(initramfs)
        .args(["-append", &format!("{options} -- {task}")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .context("cannot run qemu-system-x86_64")?;
    let output = qemu.stdout.take().context("QEMU has no output")?;
    let (send, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            if send.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                break;
            }
        }
    });
    let deadline = Instant::now() + limit;
    let mut outcome = Outcome::default();
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => outcome.read(line),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                outcome.console.push(format!("(no end within {} s)", limit.as_secs()));
                break;
            }
        }
    }
    // Ended already, unless the time was up.
    let _ = qemu.kill();
    qemu.wait().context("waiting for QEMU")?;
    Ok(outcome)
}

impl Outcome {
    fn read(&mut self, line: String) {
        // The kernel may have written the beginning of the line.
        if let Some((_, told)) = line.split_once(MARK) {
            let mut parts = told.splitn(3, '\t');
            let mut next = || parts.next().unwrap_or_default().to_owned();
            match next().as_str() {
                verdict @ ("ok" | "failed") => {
                    let check =
                        Check { passed: verdict == "ok", what: next(), detail: vec![next()] };
                    self.checks.push(check);
                }
                "more" => {
                    if let Some(check) = self.checks.last_mut() {
                        check.detail.push(told["more\t".len().min(told.len())..].to_owned());
                    }
                }
                end if end.starts_with("end") => self.ended = true,
                _ => {}
            }
        }
        self.console.push(line);
    }

    pub fn is_success(&self) -> bool {
        self.ended && self.checks.iter().all(|check| check.passed)
    }

    /// What was told of a check, if it passed.
    pub fn detail(&self, what: &str) -> Option<&[String]> {
        let check = self.checks.iter().find(|check| check.what == what && check.passed);
        check.map(|check| check.detail.as_slice())
    }

    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    pub fn ended(&self) -> bool {
        self.ended
    }

    pub fn passed(&self) -> usize {
        self.checks.iter().filter(|check| check.passed).count()
    }

    pub fn failures(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| !check.passed)
    }

    /// Prints what failed, the programs, and with `all` everything.
    pub fn print(&self, all: bool) {
        for check in &self.checks {
            if !check.passed || all || check.what.starts_with("program ") {
                let mark = if check.passed { '✓' } else { '✗' };
                println!("    {mark} {:<40} {}", check.what, check.detail.join("\n          "));
            }
        }
        if !self.ended {
            println!("    the guest did not get to its end; its console:");
            for line in &self.console[self.console.len().saturating_sub(LAST_LINES)..] {
                println!("      {line}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(console: &[&str]) -> Outcome {
        let mut outcome = Outcome::default();
        for line in console {
            outcome.read((*line).to_owned());
        }
        outcome
    }

    #[test]
    fn checks_are_read_among_the_kernels_own_lines() {
        let outcome = outcome(&[
            "[    0.1] Linux version 5.10",
            "skep-guest: begin",
            "[    1.0] skep-guest: ok\tkernel\t5.10.0",
            "skep-guest: failed\tprogram a/b\trefused",
            "skep-guest: more\t  | R1\tinvalid",
            "skep-guest: end 1",
        ]);
        assert_eq!(outcome.passed(), 1);
        let failures: Vec<_> = outcome.failures().collect();
        assert_eq!(failures.len(), 1);
        assert_eq!(failures[0].what, "program a/b");
        assert_eq!(failures[0].detail, ["refused", "  | R1\tinvalid"]);
        assert!(outcome.ended && !outcome.is_success());
    }

    #[test]
    fn a_guest_without_an_end_has_failed() {
        assert!(!outcome(&["skep-guest: ok\tkernel\t6.1"]).is_success());
        assert!(outcome(&["skep-guest: ok\tkernel\t6.1", "skep-guest: end 0"]).is_success());
        assert!(!outcome(&["skep-guest: more\tnothing before", "skep-guest: more"]).is_success());
    }
}
