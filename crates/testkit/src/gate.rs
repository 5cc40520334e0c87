//! What a test needs of the machine. A test that can't have it says so and ends.

use std::path::Path;

use nix::unistd::geteuid;

/// Why tests with a [`crate::Node`] can't run here, if they can't.
pub fn missing_privilege() -> Option<String> {
    if !geteuid().is_root() {
        return Some("it needs root: network namespaces, cgroups and eBPF".into());
    }
    if let Err(error) = host::cgroup::mount_point() {
        return Some(error.to_string());
    }
    Feature::KernelTypes.missing()
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
