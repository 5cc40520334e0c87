//! Services for the node's own processes: socket programs on a cgroup that the operator names.
//!
//! They are loaded anew with the number of the node's network namespace, and leave sockets of all
//! others alone: of workloads, whose own programs run before these, and of whoever else has a
//! network of his own.

use crate::programs::{self, SOCKET};
use crate::{Config, Result};
use bpf_kernel::attach::{self, Attached};
use bpf_kernel::{KernelOffsets, Program};
use host::NetNamespace;
use host::cgroup::Root;
use std::path::{Path, PathBuf};

/// How pins of its links begin; no workload's key does so.
pub(crate) const KEY: &str = "hostcgroup";

#[derive(Debug)]
pub struct HostCgroup {
    cgroup: PathBuf,
    links: PathBuf,
    programs: Vec<Program>,
    /// By program: put back after somebody else took it away.
    taken_away: Vec<u64>,
}

impl HostCgroup {
    /// Loads the programs. They use the maps that are pinned.
    pub fn load(config: &Config, cgroups: &Root, cgroup: &Path) -> Result<Self> {
        let cgroup = cgroups.open(cgroup)?.path().to_owned();
        let cookie = NetNamespace::current()?.cookie()?;
        if cookie.is_none() {
            tracing::warn!(
                cgroup = %cgroup.display(),
                "this kernel doesn't tell its network namespaces apart (Linux 5.14 does): all \
                 processes in the cgroup reach services"
            );
        }
        let offsets = KernelOffsets::of_this_kernel()?;
        let mut sock = programs::loader("sock", config, &offsets)
            .global("ONLY_NETNS", &cookie.unwrap_or(0))
            .load(objects::SOCK)?;
        let programs: Vec<Program> =
            SOCKET.iter().map(|name| Ok(sock.take_program(name)?)).collect::<Result<_>>()?;
        let taken_away = vec![0; programs.len()];
        Ok(HostCgroup { cgroup, links: config.bpffs.join("links"), programs, taken_away })
    }

    /// Puts the programs there, in the place of an earlier agent's.
    pub fn attach(&self) -> Result<()> {
        for program in &self.programs {
            if attach::attach_cgroup(program, &self.cgroup, &self.pin(program))?
                != Attached::Unchanged
            {
                tracing::debug!(program = program.name(), cgroup = %self.cgroup.display(), "attached");
            }
        }
        Ok(())
    }

    /// Puts programs back that somebody else has taken away.
    pub fn restore(&mut self) {
        for at in 0..self.programs.len() {
            let program = &self.programs[at];
            if self.is_there(program) {
                continue;
            }
            let (name, cgroup) = (program.name(), &self.cgroup);
            tracing::warn!(program = name, cgroup = %cgroup.display(), "a program was taken away");
            match attach::attach_cgroup(program, cgroup, &self.pin(program)) {
                Ok(_) => self.taken_away[at] += 1,
                Err(error) => tracing::error!(program = name, %error, "it can't be put back"),
            }
        }
    }

    fn is_there(&self, program: &Program) -> bool {
        match attach::cgroup_program(&self.pin(program), &self.cgroup) {
            Ok(there) => there.is_some(),
            Err(error) => {
                tracing::warn!(program = program.name(), %error, "cannot see whether it is attached");
                false
            }
        }
    }

    /// Whether the program of this name is there, and how often it was found to be gone.
    pub fn program(&self, name: &str) -> Option<(bool, u64)> {
        let at = self.programs.iter().position(|program| program.name() == name)?;
        Some((self.is_there(&self.programs[at]), self.taken_away[at]))
    }

    fn pin(&self, program: &Program) -> PathBuf {
        self.links.join(format!("{KEY}-{}", program.name()))
    }
}
