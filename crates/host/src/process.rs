//! Processes and clocks, from `/proc`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::time::{ClockId, clock_gettime};
use nix::unistd::{SysconfVar, sysconf};

use crate::{Error, Result};

/// One process as `/proc` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    pub parent: u32,
    /// The real user id.
    pub uid: u32,
    /// The kernel's short name of the main thread, at most 15 bytes.
    pub comm: String,
    /// The binary; `None` for kernel threads and where it can't be read.
    pub exe: Option<PathBuf>,
    /// Empty for kernel threads, and for the moment in which a process becomes another program.
    pub arguments: Vec<String>,
    pub start: Start,
}

/// When a process started, since the node's boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Start {
    ticks: u64,
}

/// Linux has counted in hundredths of a second towards user space on every architecture since 2.6.
const FALLBACK_TICKS_PER_SECOND: u64 = 100;

impl Start {
    /// Nanoseconds since boot, rounded down to the clock tick `/proc` counts in (10 ms).
    pub fn nanoseconds(self) -> u64 {
        self.ticks.saturating_mul(1_000_000_000 / ticks_per_second())
    }

    /// Whether this is the start of the process whose exact start (`start_boottime` in the
    /// kernel) is `boot_nanoseconds`.
    pub fn is(self, boot_nanoseconds: u64) -> bool {
        self.ticks == boot_nanoseconds / (1_000_000_000 / ticks_per_second())
    }
}

fn ticks_per_second() -> u64 {
    match sysconf(SysconfVar::CLK_TCK) {
        Ok(Some(ticks)) if ticks > 0 => ticks.unsigned_abs().min(1_000_000_000),
        _ => FALLBACK_TICKS_PER_SECOND,
    }
}

impl Process {
    pub fn read(pid: u32) -> Result<Self> {
        let folder = PathBuf::from(format!("/proc/{pid}"));
        let stat = folder.join("stat");
        let text = read(pid, &stat)?;
        let malformed = |path: &Path| Error::Malformed {
            path: path.to_owned(),
            reason: "the kernel wrote it in a form Skep doesn't know".into(),
        };
        let parsed = Stat::parse(&text).ok_or_else(|| malformed(&stat))?;
        let status = folder.join("status");
        let uid = uid_in(&read(pid, &status)?).ok_or_else(|| malformed(&status))?;
        let command_line = read(pid, &folder.join("cmdline"))?;
        let arguments = command_line.strip_suffix('\0').unwrap_or(&command_line);
        Ok(Process {
            pid,
            parent: parsed.parent,
            uid,
            comm: parsed.comm,
            exe: fs::read_link(folder.join("exe")).ok(),
            arguments: match arguments {
                "" => Vec::new(),
                arguments => arguments.split('\0').map(str::to_owned).collect(),
            },
            start: parsed.start,
        })
    }
}

/// A process's start alone: one file to read instead of four.
pub fn start_of(pid: u32) -> Result<Start> {
    let stat = PathBuf::from(format!("/proc/{pid}/stat"));
    let malformed = || Error::Malformed {
        path: stat.clone(),
        reason: "the kernel wrote it in a form Skep doesn't know".into(),
    };
    Stat::parse(&read(pid, &stat)?).map(|parsed| parsed.start).ok_or_else(malformed)
}

/// The processes there are, sorted.
pub fn pids() -> Result<Vec<u32>> {
    let entries = fs::read_dir("/proc").map_err(|source| Error::file("list", "/proc", source))?;
    let mut pids: Vec<u32> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse().ok()))
        .collect();
    pids.sort_unstable();
    Ok(pids)
}

/// The kernel's name for this boot of the node.
pub fn boot_id() -> Result<String> {
    const PATH: &str = "/proc/sys/kernel/random/boot_id";
    let id = fs::read_to_string(PATH).map_err(|source| Error::file("read", PATH, source))?;
    Ok(id.trim_end().to_owned())
}

/// The wall clock against the time since boot, at one moment. Taken anew now and then, since the
/// wall clock is set and slewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootClock {
    boot: SystemTime,
}

impl BootClock {
    pub fn now() -> Result<Self> {
        let since_boot = boot_time()?;
        let boot = SystemTime::now().checked_sub(since_boot).unwrap_or(SystemTime::UNIX_EPOCH);
        Ok(BootClock { boot })
    }

    /// When the node booted.
    pub fn boot(self) -> SystemTime {
        self.boot
    }

    /// The wall-clock time of nanoseconds since boot, as programs stamp events
    /// (`bpf_ktime_get_boot_ns`).
    pub fn wall(self, boot_nanoseconds: u64) -> SystemTime {
        self.boot + Duration::from_nanos(boot_nanoseconds)
    }
}

/// Time since boot, suspended time included: what `bpf_ktime_get_boot_ns` returns.
pub fn boot_time() -> Result<Duration> {
    clock_gettime(ClockId::CLOCK_BOOTTIME)
        .map(Duration::from)
        .map_err(|source| Error::system("read the boot-time clock", source))
}

struct Stat {
    comm: String,
    parent: u32,
    start: Start,
}

impl Stat {
    /// The second field is in parentheses and may itself hold spaces and parentheses.
    fn parse(text: &str) -> Option<Self> {
        let (head, tail) = text.rsplit_once(')')?;
        let (_pid, comm) = head.split_once('(')?;
        // proc(5): what follows the name begins with field 3; the parent is 4, the start 22.
        let mut fields = tail.split_ascii_whitespace();
        let parent = fields.nth(1)?.parse().ok()?;
        let ticks = fields.nth(17)?.parse().ok()?;
        Some(Stat { comm: comm.to_owned(), parent, start: Start { ticks } })
    }
}

fn uid_in(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

fn read(pid: u32, path: &Path) -> Result<String> {
    let bytes = fs::read(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::ProcessMissing { pid },
        _ if source.raw_os_error() == Some(libc::ESRCH) => Error::ProcessMissing { pid },
        _ => Error::file("read", path, source),
    })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests;
