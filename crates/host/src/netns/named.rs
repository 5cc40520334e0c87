//! Named namespaces, laid out as iproute2 does: a bind mount of the namespace on `/run/netns/NAME`.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use super::{NetNamespace, on_own_thread};
use crate::netlink::loopback_up;
use crate::{Error, Result};

/// Where named network namespaces live.
pub const DIRECTORY: &str = "/run/netns";

/// The names under `/run/netns`, sorted.
pub fn names() -> Result<Vec<String>> {
    let entries = match fs::read_dir(DIRECTORY) {
        Ok(entries) => entries,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(Error::file("list", DIRECTORY, source)),
    };
    let mut names: Vec<String> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

pub(super) fn create(name: &str) -> Result<NetNamespace> {
    let path = path_of(name)?;
    prepare_directory()?;
    fs::OpenOptions::new().write(true).create_new(true).mode(0o444).open(&path).map_err(
        |source| match source.kind() {
            io::ErrorKind::AlreadyExists => Error::NamespaceExists { path: path.clone() },
            _ => Error::file("create", &path, source),
        },
    )?;
    let made = on_own_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET)
            .map_err(|source| Error::system("make a network namespace", source))?;
        loopback_up()?;
        let bind = MsFlags::MS_BIND;
        mount(Some("/proc/thread-self/ns/net"), &path, None::<&str>, bind, None::<&str>)
            .map_err(|source| Error::file("mount network namespace on", &path, source))
    });
    made.and_then(|()| NetNamespace::open(&path)).inspect_err(|_| {
        // The name must not stay behind without a namespace; the error above is the one to report.
        let _ = umount2(&path, MntFlags::MNT_DETACH);
        let _ = fs::remove_file(&path);
    })
}

pub(super) fn delete(name: &str) -> Result<bool> {
    let path = path_of(name)?;
    match umount2(&path, MntFlags::MNT_DETACH) {
        // EINVAL: a plain file, left over from a namespace that was unmounted elsewhere.
        Ok(()) | Err(Errno::EINVAL) => {}
        Err(Errno::ENOENT) => return Ok(false),
        Err(source) => return Err(Error::file("unmount", &path, source)),
    }
    match fs::remove_file(&path) {
        Ok(()) => Ok(true),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(Error::file("remove", &path, source)),
    }
}

fn path_of(name: &str) -> Result<PathBuf> {
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        return Err(Error::NamespaceName { name: name.to_owned() });
    }
    Ok(Path::new(DIRECTORY).join(name))
}

/// Makes the folder a shared mount, so that names appear and vanish in every mount namespace.
/// Held under the same lock as iproute2 takes, since two that do it at once stack the mount.
fn prepare_directory() -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(DIRECTORY)
        .map_err(|source| Error::file("create", DIRECTORY, source))?;
    let folder = File::open(DIRECTORY).map_err(|source| Error::file("open", DIRECTORY, source))?;
    let _lock = Flock::lock(folder, FlockArg::LockExclusive)
        .map_err(|(_, source)| Error::file("lock", DIRECTORY, source))?;

    let shared = MsFlags::MS_SHARED | MsFlags::MS_REC;
    let share = || mount(None::<&str>, DIRECTORY, None::<&str>, shared, None::<&str>);
    match share() {
        Ok(()) => return Ok(()),
        // Not a mount point yet.
        Err(Errno::EINVAL) => {}
        Err(source) => return Err(Error::file("share mount", DIRECTORY, source)),
    }
    let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(DIRECTORY), DIRECTORY, None::<&str>, bind, None::<&str>)
        .map_err(|source| Error::file("bind mount", DIRECTORY, source))?;
    share().map_err(|source| Error::file("share mount", DIRECTORY, source))
}
