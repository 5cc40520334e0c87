//! One program that the kernel is asked to load.

use std::os::fd::OwnedFd;

use crate::sys::{self, Command, MapCreate, ProgLoad};

pub type Slot = [u8; 8];

pub const EXIT: Slot = [0x95, 0, 0, 0, 0, 0, 0, 0];
/// r0 = 0
pub const ZERO: Slot = [0xb7, 0, 0, 0, 0, 0, 0, 0];

const LOG_SIZE: usize = 1 << 16;
/// What the verifier writes of an instruction.
const LOG_LINE: usize = 80;
/// A license that all helpers are content with.
const LICENSE: &std::ffi::CStr = c"GPL";

#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    pub program: u32,
    pub attach: u32,
    pub flags: u32,
    /// The type of the kernel that it attaches to.
    pub target: u32,
    pub instructions: &'a [Slot],
}

#[derive(Debug)]
pub enum Answer {
    Loaded,
    /// The verifier looked at it and said why not.
    Refused(String),
    /// Before the verifier saw it.
    Failed,
}

impl Answer {
    pub fn is_loaded(&self) -> bool {
        matches!(self, Self::Loaded)
    }
}

impl Attempt<'_> {
    pub fn load(&self) -> Answer {
        let mut log = vec![0u8; LOG_SIZE + LOG_LINE * self.instructions.len()];
        let mut attr = ProgLoad {
            prog_type: self.program,
            expected_attach_type: self.attach,
            prog_flags: self.flags,
            attach_btf_id: self.target,
            insn_cnt: self.instructions.len() as u32,
            insns: sys::address(self.instructions),
            license: sys::address(LICENSE),
            log_level: 1,
            log_size: log.len() as u32,
            log_buf: sys::address_mut(log.as_mut_slice()),
            prog_name: sys::object_name("probe"),
            ..Default::default()
        };
        // SAFETY: instructions, licence and log are as long as `attr` says and outlive the call.
        match unsafe { sys::bpf_fd(Command::ProgLoad, &mut attr) } {
            // It is gone with its descriptor.
            Ok(_) => Answer::Loaded,
            Err(_) => {
                let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
                if end == 0 {
                    Answer::Failed
                } else {
                    Answer::Refused(String::from_utf8_lossy(&log[..end]).into_owned())
                }
            }
        }
    }
}

/// Makes a map that is gone with its descriptor.
pub fn map(layout: MapCreate) -> Option<OwnedFd> {
    let mut attr = MapCreate { map_name: sys::object_name("probe"), ..layout };
    // SAFETY: there are no pointers in `attr`.
    unsafe { sys::bpf_fd(Command::MapCreate, &mut attr) }.ok()
}

/// Gives type information to the kernel, if it takes it.
pub fn types(bytes: &[u8]) -> Option<OwnedFd> {
    let mut attr = sys::BtfLoad {
        btf: sys::address(bytes),
        btf_size: bytes.len() as u32,
        ..Default::default()
    };
    // SAFETY: `bytes` has the given size and outlives the call; there is no log.
    unsafe { sys::bpf_fd(Command::BtfLoad, &mut attr) }.ok()
}
