//! One agent per node: locks on the run folder and on the folder of pins, held for the life of the
//! process.

use nix::fcntl::{Flock, FlockArg};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Holds the lock until dropped; the kernel releases it if the process is killed.
#[derive(Debug)]
pub struct NodeLock {
    _file: Flock<File>,
}

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error(
        "another skepd (pid {pid}) holds this node: it has locked {path}; stop it first, or give \
         this one its own --run-dir, --state-dir and --bpffs"
    )]
    Held { path: PathBuf, pid: String },
    #[error(
        "another skepd holds the maps and programs under {path}: stop it first, or give this one \
         its own --bpffs"
    )]
    PinsHeld { path: PathBuf },
    #[error("cannot lock {path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
}

impl NodeLock {
    /// Locks `dir`, which is made if it is missing.
    pub fn acquire(dir: &Path) -> Result<Self, LockError> {
        let path = dir.join("skepd.lock");
        let io = |source| LockError::Io { path: path.clone(), source };
        std::fs::create_dir_all(dir).map_err(io)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut file) => {
                file.set_len(0).and_then(|()| file.rewind()).map_err(io)?;
                write!(file, "{}", std::process::id()).map_err(io)?;
                Ok(NodeLock { _file: file })
            }
            Err((mut file, nix::errno::Errno::EWOULDBLOCK)) => {
                let mut pid = String::new();
                file.read_to_string(&mut pid).map_err(io)?;
                Err(LockError::Held { path, pid })
            }
            Err((_, errno)) => Err(io(errno.into())),
        }
    }
}

/// Holds the folder of pins until dropped. Agents with different run folders could share it by
/// mistake, and undo each other's work.
#[derive(Debug)]
pub struct PinsLock {
    _folder: Flock<File>,
}

impl PinsLock {
    pub fn acquire(folder: &Path) -> Result<Self, LockError> {
        let path = folder.to_owned();
        let io = |source| LockError::Io { path: path.clone(), source };
        match Flock::lock(File::open(folder).map_err(io)?, FlockArg::LockExclusiveNonblock) {
            Ok(folder) => Ok(PinsLock { _folder: folder }),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(LockError::PinsHeld { path }),
            Err((_, errno)) => Err(io(errno.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_agent_is_told_who_holds_the_node() {
        let dir = tempfile::tempdir().unwrap();
        let first = NodeLock::acquire(dir.path()).unwrap();
        let error = NodeLock::acquire(dir.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
        drop(first);
        NodeLock::acquire(dir.path()).unwrap();
    }

    #[test]
    fn pins_have_one_agent() {
        let dir = tempfile::tempdir().unwrap();
        let first = PinsLock::acquire(dir.path()).unwrap();
        let error = PinsLock::acquire(dir.path()).unwrap_err();
        assert!(matches!(error, LockError::PinsHeld { .. }), "{error}");
        drop(first);
        PinsLock::acquire(dir.path()).unwrap();
    }
}
