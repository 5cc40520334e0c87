//! BPF file systems, where pins live.

use std::{fs, io, path::Path};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

use crate::Error;

/// Whether a BPF file system is mounted at (or above) `path`.
pub fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC)
}

/// Mounts a BPF file system at `path`, making the directory, unless there is one already. Returns
/// whether it was mounted now.
pub fn ensure_bpffs(path: &Path) -> Result<bool, Error> {
    let failed = |source| Error::Mount { operation: "mount", path: path.to_owned(), source };
    // A path below a BPF file system already is one: make the directory and look.
    fs::create_dir_all(path).map_err(failed)?;
    if is_bpffs(path) {
        return Ok(false);
    }
    mount(
        Some("bpf"),
        path,
        Some("bpf"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some("mode=0700"),
    )
    .map_err(|error| failed(error.into()))?;
    Ok(true)
}

/// Unmounts it again, and with it every pin; none there is fine.
pub fn unmount_bpffs(path: &Path) -> Result<(), Error> {
    if !is_bpffs(path) {
        return Ok(());
    }
    umount2(path, MntFlags::MNT_DETACH).map_err(|error| Error::Mount {
        operation: "unmount",
        path: path.to_owned(),
        source: io::Error::from(error),
    })
}
