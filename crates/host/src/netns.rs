//! Network namespaces as values: opened by path, name or process, entered only by threads made
//! for it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, getsockopt, socket};
use nix::sys::statfs::fstatfs;

use crate::netlink::loopback_up;
use crate::{Error, Result};

mod named;

pub use named::{DIRECTORY, names};

/// An open network namespace. It stays alive while a value of it does, even with its last process
/// and its name gone.
#[derive(Clone, Debug)]
pub struct NetNamespace {
    file: Arc<File>,
    path: PathBuf,
    identity: Identity,
}

/// What tells two network namespaces apart, for as long as either is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    pub device: u64,
    pub inode: u64,
}

impl NetNamespace {
    /// Opens a namespace by path, or by bare name under `/run/netns`.
    pub fn open(path_or_name: impl AsRef<Path>) -> Result<Self> {
        let path = path_of(path_or_name.as_ref());
        let file = File::open(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::NamespaceMissing { path: path.clone() },
            _ => Error::file("open network namespace", &path, source),
        })?;
        Self::of_file(file, path)
    }

    /// The namespace process `pid` is in.
    pub fn of_process(pid: u32) -> Result<Self> {
        match Self::open(format!("/proc/{pid}/ns/net")) {
            Err(Error::NamespaceMissing { .. }) => Err(Error::ProcessMissing { pid }),
            other => other,
        }
    }

    /// The namespace of the calling thread.
    pub fn current() -> Result<Self> {
        Self::open("/proc/thread-self/ns/net")
    }

    /// A new namespace without a name, its `lo` up. It ends with its last user.
    pub fn unnamed() -> Result<Self> {
        let namespace = on_own_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)
                .map_err(|source| Error::system("make a network namespace", source))?;
            loopback_up()?;
            Self::current()
        })?;
        Ok(Self { path: PathBuf::from(format!("net:[{}]", namespace.identity.inode)), ..namespace })
    }

    /// Makes the namespace `/run/netns/NAME`, as `ip netns add` does.
    pub fn create(name: &str) -> Result<Self> {
        named::create(name)
    }

    /// Removes the name `/run/netns/NAME`, as `ip netns delete` does; false if there was none. The
    /// namespace itself ends with its last user.
    pub fn delete(name: &str) -> Result<bool> {
        named::delete(name)
    }

    fn of_file(file: File, path: PathBuf) -> Result<Self> {
        // A bind mount whose namespace is gone leaves a plain file behind.
        let kind = fstatfs(&file).map_err(|source| Error::file("inspect", &path, source))?;
        if kind.filesystem_type() != nix::sys::statfs::NSFS_MAGIC {
            return Err(Error::NotANamespace { path });
        }
        let metadata = file.metadata().map_err(|source| Error::file("inspect", &path, source))?;
        let identity = Identity { device: metadata.dev(), inode: metadata.ino() };
        Ok(Self { file: Arc::new(file), path, identity })
    }

    /// How it was found; for messages to people.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// The kernel's own number for it, as `bpf_get_netns_cookie` returns it in programs. `None`
    /// below Linux 5.14, which has no `SO_NETNS_COOKIE`.
    pub fn cookie(&self) -> Result<Option<u64>> {
        let asked = self.run(|| {
            let any =
                socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
            getsockopt(&any, NetnsCookie)
        })?;
        match asked {
            Ok(cookie) => Ok(Some(cookie)),
            Err(Errno::ENOPROTOOPT) => Ok(None),
            Err(source) => Err(Error::system("read the network namespace's cookie", source)),
        }
    }

    /// Runs `inside` in the namespace, on a thread made for it; the caller's own thread (which may
    /// be an async worker) never changes namespace. Child processes started by `inside` are in the
    /// namespace too. Blocks until `inside` returns.
    pub fn run<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> Result<T> {
        on_own_thread(|| {
            setns(&self.file, CloneFlags::CLONE_NEWNET).map_err(|errno| match errno {
                Errno::EINVAL => Error::NotANamespace { path: self.path.clone() },
                source => Error::file("enter network namespace", &self.path, source),
            })?;
            Ok(inside())
        })
    }
}

impl AsFd for NetNamespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl PartialEq for NetNamespace {
    fn eq(&self, other: &Self) -> bool {
        self.identity == other.identity
    }
}

impl Eq for NetNamespace {}

// nix 0.31 has no name for this option.
#[derive(Clone, Copy, Debug)]
struct NetnsCookie;
nix::getsockopt_impl!(
    NetnsCookie,
    libc::SOL_SOCKET,
    libc::SO_NETNS_COOKIE,
    u64,
    nix::sys::socket::sockopt::GetStruct<u64>
);

/// A thread that has changed namespace ends instead of going back to a pool.
fn on_own_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("skep-netns".into())
            .spawn_scoped(scope, work)
            .map_err(|source| Error::system("start a thread", source))?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn path_of(path_or_name: &Path) -> PathBuf {
    if path_or_name.components().count() == 1 && path_or_name.is_relative() {
        Path::new(DIRECTORY).join(path_or_name)
    } else {
        path_or_name.to_owned()
    }
}

#[cfg(test)]
mod tests;
