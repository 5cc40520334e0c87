//! The kernel's compiler, by test runs. The bench loads bare instructions, which no object loader
//! takes, so it makes the two calls itself.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

const PROG_LOAD: libc::c_long = 5;
const PROG_TEST_RUN: libc::c_long = 10;
const XDP: u32 = 6;

/// As in `union bpf_attr` (`include/uapi/linux/bpf.h`, Linux 6.12).
#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    rest: [u64; 12],
}

#[repr(C)]
#[derive(Default)]
struct TestRun {
    program: u32,
    result: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    rest: [u64; 4],
}

pub struct Program(OwnedFd);

fn bpf<T>(command: libc::c_long, attributes: &mut T) -> io::Result<i32> {
    let size = size_of::<T>();
    // SAFETY: the attributes are as long as said; what they point to outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

impl Program {
    pub fn load(code: &[u8]) -> io::Result<Self> {
        let mut attributes = Load {
            kind: XDP,
            count: (code.len() / 8) as u32,
            instructions: code.as_ptr().addr() as u64,
            license: c"GPL".as_ptr().addr() as u64,
            ..Load::default()
        };
        let fd = bpf(PROG_LOAD, &mut attributes)?;
        // SAFETY: the kernel has just made it for us.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The result, and the mean of so many runs in nanoseconds.
    pub fn run(&self, data: &[u8], repeat: u32) -> io::Result<(u32, f64)> {
        let mut attributes = TestRun {
            program: self.0.as_raw_fd().cast_unsigned(),
            data_size_in: data.len() as u32,
            data_in: data.as_ptr().addr() as u64,
            repeat,
            ..TestRun::default()
        };
        bpf(PROG_TEST_RUN, &mut attributes)?;
        Ok((attributes.result, attributes.duration.into()))
    }
}
