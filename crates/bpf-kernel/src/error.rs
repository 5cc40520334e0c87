//! What can go wrong, in words the user can act on.

use std::{fmt, io, path::PathBuf};

use crate::{map::MapLayout, privilege::Unprivileged, verifier::LoadFailure};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("eBPF object `{object}` is damaged: {reason}")]
    Object { object: String, reason: String },

    #[error("eBPF object `{object}` has no {what} named `{name}`")]
    NotInObject { object: String, what: &'static str, name: String },

    #[error(transparent)]
    Load(Box<LoadFailure>),

    #[error("the kernel refused the type information (BTF) of object `{object}`: {source}")]
    Btf {
        object: String,
        source: io::Error,
        /// The last lines of the kernel's log.
        log: String,
    },

    #[error("cannot make map `{map}` ({layout}): {source}{}", advice(source))]
    MapCreate { map: String, layout: MapLayout, source: io::Error },

    #[error(
        "map `{map}` pinned at {} has another layout: it is {pinned}, this version needs {wanted}",
        pin.display()
    )]
    MapMismatch { map: String, pin: PathBuf, pinned: MapLayout, wanted: MapLayout },

    #[error("map `{map}` holds {actual}, not {expected}")]
    MapTypes { map: String, actual: String, expected: String },

    #[error("map `{map}` is full ({} entries)", thousands(u64::from(*max_entries)))]
    MapFull { map: String, max_entries: u32 },

    #[error("{operation} in map `{map}`: {}", meaning(source))]
    Map { map: String, operation: &'static str, source: io::Error },

    #[error("cannot pin at {}: {source}{}", path.display(), advice(source))]
    Pin { path: PathBuf, source: io::Error },

    #[error(
        "cannot pin at {}: that is not in a BPF file system; mount one there with `mount -t bpf`",
        path.display()
    )]
    NotBpffs { path: PathBuf },

    #[error("cannot open the pin {}: {source}{}", path.display(), advice(source))]
    OpenPin { path: PathBuf, source: io::Error },

    #[error("nothing is pinned at {}", path.display())]
    NotPinned { path: PathBuf },

    #[error("{} is not {expected}", path.display())]
    WrongPin { path: PathBuf, expected: &'static str },

    #[error("cannot attach program `{program}` to {target}: {source}{}", attach_advice(source))]
    Attach { program: String, target: String, source: io::Error },

    #[error("cannot {operation} {target}: {source}")]
    Link { operation: &'static str, target: String, source: io::Error },

    #[error("ring buffer `{map}`: {source}")]
    Ring { map: String, source: io::Error },

    #[error("test run of program `{program}`: {source}")]
    TestRun { program: String, source: io::Error },

    #[error("cannot {operation} a BPF file system at {}: {source}", path.display())]
    Mount { operation: &'static str, path: PathBuf, source: io::Error },

    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },

    #[error("the kernel's type information (BTF) is damaged: {0}")]
    KernelBtf(&'static str),

    #[error(transparent)]
    Unprivileged(Box<Unprivileged>),

    #[error("the kernel's type information (BTF) is damaged: {0}")]
    KernelTypes(bpf_object::btf::BtfError),
}

impl Error {
    /// The number of the system error behind it, if there is one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Load(failure) => failure.source.raw_os_error(),
            Self::Btf { source, .. }
            | Self::MapCreate { source, .. }
            | Self::Map { source, .. }
            | Self::Pin { source, .. }
            | Self::OpenPin { source, .. }
            | Self::Attach { source, .. }
            | Self::Link { source, .. }
            | Self::Ring { source, .. }
            | Self::TestRun { source, .. }
            | Self::Mount { source, .. }
            | Self::Read { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}

/// What a refusal of the kernel usually comes from.
pub(crate) fn advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "; run as root or with CAP_BPF and CAP_NET_ADMIN (before Linux 5.11 also check \
             `ulimit -l`)"
        }
        Some(libc::ENOMEM) => "; the kernel is out of memory or the memory cgroup is at its limit",
        _ => "",
    }
}

fn attach_advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ENODEV) => "; the interface is gone",
        Some(libc::ENOENT) => "; the target is gone",
        Some(libc::EBADF) => "; it is not a cgroup of version 2",
        Some(libc::E2BIG) => "; 64 programs are attached there already",
        _ => advice(error),
    }
}

fn meaning(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM) => format!("the map is frozen or CAP_BPF is missing ({error})"),
        Some(libc::EBUSY) => format!("the entry is being changed by a program ({error})"),
        Some(libc::E2BIG) => format!("the index is beyond the last entry ({error})"),
        _ => error.to_string(),
    }
}

/// 65536 as `65,536`.
pub(crate) fn thousands(number: u64) -> impl fmt::Display {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
