//! Processes behind sockets, as the kernel remembers them.

use abi::process::{Process as Entry, ProcessKey};
use bpf_kernel::{Error, Table};
use std::path::Path;

/// Looks processes up by the key that events carry, also after they have ended.
#[derive(Debug)]
pub struct Processes(Table<ProcessKey, Entry>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub parent: ProcessKey,
    pub cgroup_id: u64,
    pub uid: u32,
    pub comm: String,
    /// Path of the executable; begins with `…` if it was longer than the kernel keeps.
    pub binary: String,
}

impl Processes {
    pub fn open(bpffs: &Path) -> Result<Self, Error> {
        Ok(Processes(Table::open(&bpffs.join("maps").join(abi::maps::PROCESSES))?))
    }

    /// `None` if the kernel has forgotten it, too.
    pub fn look_up(&self, key: &ProcessKey) -> Option<Process> {
        match self.0.get(key) {
            Ok(entry) => entry.as_ref().map(decode),
            Err(error) => {
                tracing::warn!(%error, pid = key.pid, "cannot look a process up");
                None
            }
        }
    }
}

fn decode(entry: &Entry) -> Process {
    let length = (entry.binary_len as usize).min(entry.binary.len());
    let path = String::from_utf8_lossy(&entry.binary[entry.binary.len() - length..]).into_owned();
    let cut = length == entry.binary.len() && !path.starts_with('/');
    let comm = entry.comm.split(|byte| *byte == 0).next().unwrap_or_default();
    Process {
        parent: entry.parent,
        cgroup_id: entry.cgroup_id,
        uid: entry.uid,
        comm: String::from_utf8_lossy(comm).into_owned(),
        binary: if cut { format!("…{path}") } else { path },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    #[test]
    fn a_path_is_read_from_the_arrays_end() {
        let mut entry = Entry::new_zeroed();
        entry.comm[..4].copy_from_slice(b"curl");
        entry.binary_len = 13;
        entry.binary[256 - 13..].copy_from_slice(b"/usr/bin/curl");
        let process = decode(&entry);
        assert_eq!((process.comm.as_str(), process.binary.as_str()), ("curl", "/usr/bin/curl"));
    }
}
