//! Whether we may load programs here, and if not, what is missing.

use std::fmt;

use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};

use crate::{
    Error,
    map::{Map, MapKind, MapLayout},
    program::{Program, ProgramKind},
};

/// Why programs cannot be loaded, in one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unprivileged {
    /// Capabilities we need and do not have.
    pub capabilities: Vec<&'static str>,
    /// What the kernel said when we tried.
    pub refusal: String,
}

impl fmt::Display for Unprivileged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("programs cannot be loaded into this kernel")?;
        if !self.capabilities.is_empty() {
            write!(
                f,
                ": missing {}; run as root, or give the service these capabilities",
                self.capabilities.join(", ")
            )?;
        }
        write!(f, "\n  tried: {}", self.refusal)
    }
}

impl std::error::Error for Unprivileged {}

/// From include/uapi/linux/capability.h. CAP_SYS_ADMIN stands for the two that were split off.
const SYS_ADMIN: u64 = 1 << 21;
const NEEDED: [(&str, u64); 3] = [
    ("CAP_BPF", 1 << 39 | SYS_ADMIN),
    ("CAP_PERFMON", 1 << 38 | SYS_ADMIN),
    ("CAP_NET_ADMIN", 1 << 12),
];

/// Raises the limit of locked memory, which maps count against before Linux 5.11, then tries to
/// make a map and load a program.
pub fn check() -> Result<(), Box<Unprivileged>> {
    // Without CAP_SYS_RESOURCE this fails; whether it was needed shows in what follows.
    let _ = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
    let effective = std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| effective_capabilities(&status))
        .unwrap_or(u64::MAX);
    let capabilities = missing(effective);
    match try_loading() {
        Ok(()) if capabilities.is_empty() => Ok(()),
        result => Err(Box::new(Unprivileged {
            capabilities,
            refusal: match result {
                Ok(()) => "loading alone works, attaching and reading processes would not".into(),
                Err(error) => error.to_string(),
            },
        })),
    }
}

fn try_loading() -> Result<(), Error> {
    let layout = MapLayout {
        kind: MapKind::LruHash,
        key_size: 4,
        value_size: 4,
        max_entries: 65_536,
        flags: 0,
    };
    Map::create("privilege", layout)?;
    let pass = [[0xb7, 0, 0, 0, 0, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];
    Program::from_instructions("privilege", ProgramKind::CLASSIFIER, &pass).map(drop)
}

fn effective_capabilities(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn missing(effective: u64) -> Vec<&'static str> {
    NEEDED.iter().filter(|(_, any)| effective & any == 0).map(|(name, _)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_capabilities_are_named() {
        for (effective, expected) in [
            (0, &["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"][..]),
            (SYS_ADMIN, &["CAP_NET_ADMIN"]),
            (1 << 39 | 1 << 12, &["CAP_PERFMON"]),
            (u64::MAX, &[]),
        ] {
            assert_eq!(missing(effective), expected, "{effective:#x}");
        }
        let status = "Name:\tx\nCapEff:\t0000003fffffffff\nCapBnd:\t0\n";
        assert_eq!(effective_capabilities(status), Some(0x3f_ffff_ffff));
    }

    #[test]
    fn the_message_says_what_to_do() {
        let error = Unprivileged {
            capabilities: missing(0),
            refusal: "cannot make map `privilege`: Operation not permitted".to_owned(),
        };
        assert_eq!(
            error.to_string(),
            "programs cannot be loaded into this kernel: missing CAP_BPF, CAP_PERFMON, \
             CAP_NET_ADMIN; run as root, or give the service these capabilities\n  tried: cannot \
             make map `privilege`: Operation not permitted"
        );
    }
}
