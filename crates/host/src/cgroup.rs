//! Control groups, version 2.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use crate::{Error, Result};

const MOUNTS: &str = "/proc/self/mounts";

/// Where cgroup v2 is mounted. On a machine with version 1 it is beside it (`unified`), so it has
/// to be found in the mount table.
pub fn mount_point() -> Result<PathBuf> {
    let table = fs::read_to_string(MOUNTS)
        .map_err(|source| Error::file("read mount table", MOUNTS, source))?;
    mount_point_in(&table).ok_or(Error::NoCgroup2)
}

/// The tree of cgroups below a mount of cgroup v2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root(PathBuf);

impl Root {
    /// The machine's, from the mount table.
    pub fn find() -> Result<Self> {
        mount_point().map(Root)
    }

    /// A given folder of a cgroup v2 mount.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Root(path.into())
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The folder of a cgroup named by an absolute path below the mount, by the kernel's own name
    /// for it (`/system.slice/x.service`), or relative to the mount.
    pub fn resolve(&self, cgroup: impl AsRef<Path>) -> PathBuf {
        let cgroup = cgroup.as_ref();
        if cgroup.starts_with(&self.0) {
            return cgroup.to_owned();
        }
        let parts = cgroup.components().filter(|part| matches!(part, Component::Normal(_)));
        self.0.join(parts.collect::<PathBuf>())
    }

    /// The cgroup, if it is there.
    pub fn open(&self, cgroup: impl AsRef<Path>) -> Result<Cgroup> {
        Cgroup::at(self.resolve(cgroup))
    }

    /// Makes a cgroup and those above it; one that is there is fine.
    pub fn create(&self, cgroup: impl AsRef<Path>) -> Result<Cgroup> {
        let path = self.resolve(cgroup);
        fs::create_dir_all(&path).map_err(|source| Error::file("create cgroup", &path, source))?;
        Cgroup::at(path)
    }

    /// The cgroup of a process.
    pub fn of_process(&self, pid: u32) -> Result<Cgroup> {
        let path = PathBuf::from(format!("/proc/{pid}/cgroup"));
        let table = fs::read_to_string(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::ProcessMissing { pid },
            _ if source.raw_os_error() == Some(libc::ESRCH) => Error::ProcessMissing { pid },
            _ => Error::file("read", &path, source),
        })?;
        let unified = unified_in(&table).ok_or(Error::NoCgroup2)?;
        self.open(unified)
    }
}

/// One cgroup that was there when it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    path: PathBuf,
    id: u64,
}

impl Cgroup {
    fn at(path: PathBuf) -> Result<Self> {
        let metadata = fs::metadata(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::CgroupMissing { path: path.clone() },
            _ => Error::file("inspect cgroup", &path, source),
        })?;
        if !path.join("cgroup.procs").exists() {
            let reason = "it is not a folder of a cgroup v2 mount".into();
            return Err(Error::Malformed { path, reason });
        }
        // kernfs: the id that `bpf_get_current_cgroup_id` returns is the folder's inode number.
        Ok(Cgroup { id: metadata.ino(), path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The number programs know the cgroup by.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The processes in it (not those of cgroups below), sorted.
    pub fn pids(&self) -> Result<Vec<u32>> {
        let path = self.path.join("cgroup.procs");
        let list =
            fs::read_to_string(&path).map_err(|source| Error::file("read", &path, source))?;
        let mut pids: Vec<u32> = list.lines().filter_map(|line| line.parse().ok()).collect();
        pids.sort_unstable();
        Ok(pids)
    }

    /// Moves a process into it.
    pub fn add(&self, pid: u32) -> Result<()> {
        let path = self.path.join("cgroup.procs");
        fs::write(&path, pid.to_string()).map_err(|source| match source.raw_os_error() {
            Some(libc::ESRCH) => Error::ProcessMissing { pid },
            _ => Error::file("move a process into", &path, source),
        })
    }

    /// Removes it; false if it was gone. It must have no processes and no cgroups below.
    pub fn delete(&self) -> Result<bool> {
        match fs::remove_dir(&self.path) {
            Ok(()) => Ok(true),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(Error::file("remove cgroup", &self.path, source)),
        }
    }
}

fn mount_point_in(table: &str) -> Option<PathBuf> {
    table.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let (_device, target, kind) = (fields.next()?, fields.next()?, fields.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(unescaped(target)))
    })
}

/// The mount table writes space, tab, newline and backslash as `\` and three octal digits.
fn unescaped(field: &str) -> String {
    let mut text = String::with_capacity(field.len());
    let mut rest = field;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        match rest.get(at + 1..at + 4).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                text.push(char::from(byte));
                rest = &rest[at + 4..];
            }
            None => {
                text.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    text + rest
}

fn unified_in(table: &str) -> Option<&str> {
    table.lines().find_map(|line| line.strip_prefix("0::"))
}

#[cfg(test)]
mod tests;
