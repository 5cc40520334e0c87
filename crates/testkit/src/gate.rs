//! What a test needs of the machine. A test that can't have it says so and ends.

use std::fs;
use std::path::Path;

use nix::unistd::geteuid;

/// Why tests with a [`crate::Node`] can't run here, if they can't.
pub fn missing_privilege() -> Option<String> {
    if !geteuid().is_root() {
        return Some("it needs root: network namespaces, cgroups and eBPF".into());
    }
    if let Some(reason) = missing_capability() {
        return Some(reason);
    }
    if let Err(error) = host::cgroup::mount_point() {
        return Some(error.to_string());
    }
    Feature::KernelTypes.missing()
}

/// Root of a user namespace, or root without its capabilities, may do less than its number says.
fn missing_capability() -> Option<String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    capability(&read("/proc/self/uid_map"), &read("/proc/self/status"))
}

/// By what `/proc` says of the process.
fn capability(uid_map: &str, status: &str) -> Option<String> {
    /// From include/uapi/linux/capability.h.
    const NEEDED: [(&str, u32); 2] = [("CAP_NET_ADMIN", 12), ("CAP_SYS_ADMIN", 21)];
    let everybody = ["0", "0", "4294967295"];
    if !uid_map.is_empty() && !uid_map.split_whitespace().eq(everybody) {
        return Some("it needs root of the machine; this is root of a user namespace".into());
    }
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = u64::from_str_radix(effective?.trim(), 16).ok()?;
    let missing = NEEDED.iter().find(|(_, bit)| effective & 1 << bit == 0);
    missing.map(|(name, _)| format!("it needs {name}, which this process doesn't have"))
}

/// What not every kernel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// The kernel's own types in `/sys/kernel/btf/vmlinux`.
    KernelTypes,
    Ipv6,
}

impl Feature {
    pub fn missing(self) -> Option<String> {
        let (path, what) = match self {
            Feature::KernelTypes => ("/sys/kernel/btf/vmlinux", "CONFIG_DEBUG_INFO_BTF"),
            Feature::Ipv6 => ("/proc/sys/net/ipv6", "CONFIG_IPV6"),
        };
        (!Path::new(path).exists()).then(|| format!("the kernel lacks {what} ({path})"))
    }
}

/// Ends the test, with a printed reason, unless it runs as root on a machine with cgroup v2.
#[macro_export]
macro_rules! require_root {
    () => {
        if let Some(reason) = $crate::gate::missing_privilege() {
            eprintln!("skipped: {reason}");
            return;
        }
    };
}

/// Ends the test, with a printed reason, unless the kernel has the [`Feature`](gate::Feature).
#[macro_export]
macro_rules! require_kernel {
    ($feature:expr) => {
        if let Some(reason) = $feature.missing() {
            eprintln!("skipped: {reason}");
            return;
        }
    };
}

/// Ends the test, with a printed reason, unless the fixture is there; else its path.
#[macro_export]
macro_rules! require_fixture {
    ($name:expr) => {
        match $crate::fixtures::find($name) {
            Some(path) => path,
            None => {
                eprintln!("skipped: no fixture {} (set SKEP_FIXTURES to their folder)", $name);
                return;
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::capability;

    #[test]
    fn root_is_not_always_root() {
        let all = "CapPrm:\t000001ffffffffff\nCapEff:\t000001ffffffffff\n";
        let check = |uid_map: &str, status: &str, expected: Option<&str>| {
            let reason = capability(uid_map, status);
            match expected {
                None => assert_eq!(reason, None),
                Some(part) => assert!(reason.is_some_and(|reason| reason.contains(part))),
            }
        };
        check("         0          0 4294967295\n", all, None);
        check("         0       1000          1\n", all, Some("user namespace"));
        check("0 0 4294967295\n", "CapEff:\t0000000000001000\n", Some("CAP_SYS_ADMIN"));
        check("0 0 4294967295\n", "CapEff:\t0000000000000000\n", Some("CAP_NET_ADMIN"));
        check("", "", None);
    }
}
