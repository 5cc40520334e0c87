//! The agent's own process, by the names that Prometheus' client libraries use.

use super::text::{Kind, Text};
use std::fs;

pub fn write(text: &mut Text) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kibibytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>().ok()
    };
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the command's name, which may have spaces: field 3 and following (proc(5)).
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace().collect())
        .unwrap_or_default();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten();
    let ticks = ticks.unwrap_or(100) as f64;
    if let (Some(user), Some(system)) = (field(14), field(15)) {
        let name = "process_cpu_seconds_total";
        let seconds = (user + system) as f64 / ticks;
        text.single(name, Kind::Counter, "User and system CPU time of skepd.", seconds);
    }
    if let (Some(started), Some(boot)) = (field(22), boot_seconds()) {
        let name = "process_start_time_seconds";
        let started = boot as f64 + started as f64 / ticks;
        text.single(name, Kind::Gauge, "When skepd was started, since the Unix epoch.", started);
    }
    for (metric, field, help) in [
        ("process_resident_memory_bytes", "VmRSS", "Resident memory of skepd."),
        ("process_virtual_memory_bytes", "VmSize", "Virtual memory of skepd."),
    ] {
        if let Some(kibibytes) = kibibytes(field) {
            text.single(metric, Kind::Gauge, help, kibibytes * 1024);
        }
    }
    if let Some(threads) = field(20) {
        text.single("process_threads", Kind::Gauge, "Threads of skepd.", threads);
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        let name = "process_open_fds";
        // The folder itself is open while it is read.
        text.single(name, Kind::Gauge, "Open files of skepd.", open.count().saturating_sub(1));
    }
    if let Ok((soft, _)) =
        nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)
    {
        text.single("process_max_fds", Kind::Gauge, "Files that skepd may open.", soft);
    }
}

fn boot_seconds() -> Option<u64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}
