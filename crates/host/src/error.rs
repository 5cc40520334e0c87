use std::io;
use std::path::{Path, PathBuf};

/// What can go wrong between Skep and the node, one variant per thing a caller can act on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("there is no network namespace {}: `ip netns list` shows those that exist", path.display())]
    NamespaceMissing { path: PathBuf },

    #[error(
        "{} is not a network namespace; if it is left over from a deleted one, remove the file",
        path.display()
    )]
    NotANamespace { path: PathBuf },

    #[error("`{name}` can't name a network namespace: it has to be a plain file name")]
    NamespaceName { name: String },

    #[error("there already is a network namespace {}", path.display())]
    NamespaceExists { path: PathBuf },

    #[error("there is no process {pid}")]
    ProcessMissing { pid: u32 },

    #[error("{} is the node's own network namespace; a workload in it has no interface to attach to", path.display())]
    NodeNamespace { path: PathBuf },

    #[error("interface `{interface}` in {} is a {kind}, not a veth: Skep can't find its host side", namespace.display())]
    NotVeth { interface: String, namespace: PathBuf, kind: String },

    #[error(
        "the other side of `{interface}` in {} is not in the node's network namespace",
        namespace.display()
    )]
    PeerElsewhere { interface: String, namespace: PathBuf },

    #[error("there is no interface `{interface}` in {} and no address to make it with", namespace.display())]
    NoAddress { interface: String, namespace: PathBuf },

    #[error("`{name}` can't name an interface: 1 to 15 characters without `/`, `:` and spaces")]
    InterfaceName { name: String },

    #[error(
        "`{name}` can't name the host side of an attachment: it has to be made by `endpoint_link::host_name`"
    )]
    HostName { name: String },

    #[error("{} can't have an IPv6 address: this kernel has no IPv6; give the workload IPv4 addresses only", namespace.display())]
    NoIpv6 { namespace: PathBuf },

    #[error("there is no interface `{interface}` in {}", namespace.display())]
    LinkMissing { interface: String, namespace: PathBuf },

    #[error(
        "an interface `{name}` already exists on the node and is not one of Skep's; rename or delete it"
    )]
    LinkTaken { name: String },

    /// The kernel refused a netlink request.
    #[error("could not {what}: {source}")]
    Netlink { what: String, source: io::Error },

    #[error("could not {what}: the kernel gave no answer within {seconds} s")]
    NetlinkSilent { what: String, seconds: u64 },

    #[error("could not {what} {}: {source}", path.display())]
    File { what: &'static str, path: PathBuf, source: io::Error },

    /// A system call that isn't about a file failed.
    #[error("could not {what}: {source}")]
    System { what: String, source: io::Error },

    #[error("{} is not what it should be: {reason}", path.display())]
    Malformed { path: PathBuf, reason: String },

    #[error(
        "no cgroup v2 is mounted: /proc/self/mounts has no cgroup2 line; mount one (`mount -t cgroup2 none DIR`) or name it with --cgroup-root"
    )]
    NoCgroup2,

    #[error("there is no cgroup {}", path.display())]
    CgroupMissing { path: PathBuf },

    #[error("{runtime} is not there: tried {}; {hint}", joined(tried))]
    RuntimeMissing { runtime: &'static str, tried: Vec<PathBuf>, hint: String },

    #[error("{runtime} at {} gave no usable answer: {reason}", socket.display())]
    RuntimeAnswer { runtime: &'static str, socket: PathBuf, reason: String },

    #[error("{runtime} has no running container {wanted}")]
    ContainerMissing { runtime: &'static str, wanted: String },

    #[error("{} containers of {runtime} match {wanted}: {}; name one of them", names.len(), names.join(", "))]
    ContainerAmbiguous { runtime: &'static str, wanted: String, names: Vec<String> },

    #[error("systemd unit `{unit}` has no cgroup: {reason}")]
    UnitMissing { unit: String, reason: String },

    #[error("systemd doesn't tell the cgroup of unit `{unit}`: {reason}")]
    UnitUnknown { unit: String, reason: String },
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

fn joined(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

impl Error {
    pub(crate) fn file(
        what: &'static str,
        path: impl AsRef<Path>,
        source: impl Into<io::Error>,
    ) -> Self {
        Error::File { what, path: path.as_ref().to_owned(), source: source.into() }
    }

    pub(crate) fn system(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Error::System { what: what.into(), source: source.into() }
    }

    /// Whether what was looked for surely isn't there. Any other error leaves that open: a runtime
    /// that is being restarted tells nothing about its containers.
    pub fn is_absence(&self) -> bool {
        match self {
            Error::NamespaceMissing { .. }
            | Error::NotANamespace { .. }
            | Error::ProcessMissing { .. }
            | Error::CgroupMissing { .. }
            | Error::ContainerMissing { .. }
            | Error::UnitMissing { .. } => true,
            error => error.errno() == Some(libc::ESRCH),
        }
    }

    /// The kernel's errno, where the error is one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Error::Netlink { source, .. }
            | Error::File { source, .. }
            | Error::System { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}
