//! What the kernel tells of a program, whoever loaded it.

use std::time::Duration;

use super::*;

/// A program's numbers in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramDetails {
    pub id: u32,
    /// Up to 15 bytes.
    pub name: String,
    /// `bpf_prog_type`.
    pub kind: u32,
    pub tag: [u8; 8],
    /// Since boot.
    pub loaded: Duration,
    pub user: u32,
    pub gpl: bool,
    /// Bytes of the verified program and of machine code.
    pub translated: u32,
    pub machine_code: u32,
    pub maps: Vec<u32>,
    /// Number of its types in the kernel; 0 without.
    pub types: u32,
    /// Counted while `kernel.bpf_stats_enabled` is set.
    pub runs: u64,
    pub run_time: Duration,
    /// Since Linux 5.16.
    pub verified_instructions: Option<u32>,
}

/// Places in [`KernelProgramInfo::tables`].
const TYPES: usize = 3;
const RUN_TIME: usize = 11;
const RUNS: usize = 12;

impl Program {
    /// The programs in the kernel, by their numbers.
    pub fn ids() -> Result<Vec<u32>, Error> {
        sys::ids(Command::ProgNextId).map_err(|source| Error::Link {
            operation: "list",
            target: "the programs in the kernel".to_owned(),
            source,
        })
    }

    pub fn details(&self) -> Result<ProgramDetails, Error> {
        let info = kernel_info(self.fd.as_fd()).map_err(|source| self.unreadable(source))?;
        Ok(ProgramDetails {
            id: info.id,
            name: info.name(),
            kind: info.kind,
            tag: info.tag,
            loaded: Duration::from_nanos(info.load_time),
            user: info.created_by_uid,
            gpl: info.gpl_compatible & 1 != 0,
            translated: info.xlated_prog_len,
            machine_code: info.jited_prog_len,
            maps: self.map_ids()?,
            types: info.tables[TYPES] as u32,
            runs: info.tables[RUNS],
            run_time: Duration::from_nanos(info.tables[RUN_TIME]),
            verified_instructions: (info.verified_insns != 0).then_some(info.verified_insns),
        })
    }

    /// The instructions as the kernel runs them: verified and rewritten. Empty if it doesn't show
    /// them (`kernel.kptr_restrict`, lockdown).
    pub fn translated_code(&self) -> Result<Vec<u8>, Error> {
        self.code(|info| (&mut info.xlated_prog_len, &mut info.xlated_prog_insns))
    }

    /// The machine's instructions; empty as above, or without a JIT.
    pub fn machine_code(&self) -> Result<Vec<u8>, Error> {
        self.code(|info| (&mut info.jited_prog_len, &mut info.jited_prog_insns))
    }

    fn code(
        &self,
        fields: impl Fn(&mut KernelProgramInfo) -> (&mut u32, &mut u64),
    ) -> Result<Vec<u8>, Error> {
        let failed = |source| self.unreadable(source);
        let mut known = kernel_info(self.fd.as_fd()).map_err(failed)?;
        let mut bytes = vec![0u8; *fields(&mut known).0 as usize];
        let mut info = KernelProgramInfo::new_zeroed();
        let (length, place) = fields(&mut info);
        (*length, *place) = (bytes.len() as u32, sys::address_mut(bytes.as_mut_slice()));
        sys::object_info(self.fd.as_fd(), &mut info).map_err(failed)?;
        let (length, place) = fields(&mut info);
        // The kernel writes a null pointer where it shows nothing.
        bytes.truncate(if *place == 0 { 0 } else { *length as usize });
        Ok(bytes)
    }

    fn unreadable(&self, source: io::Error) -> Error {
        Error::Link {
            operation: "read the numbers of",
            target: format!("program `{}`", self.name),
            source,
        }
    }
}
