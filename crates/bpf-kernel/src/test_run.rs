//! Running a program on made-up input, with `BPF_PROG_TEST_RUN`.

use std::{os::fd::AsFd as _, time::Duration};

use crate::{
    Error,
    program::Program,
    sys::{self, Command},
};

/// What to run a program on.
#[derive(Clone, Copy, Debug)]
pub struct TestRun<'a> {
    /// The packet (an Ethernet frame for classifiers and XDP).
    pub data: &'a [u8],
    /// The start of the context: `struct __sk_buff` or `struct xdp_md`, or nothing.
    pub context: &'a [u8],
    /// How often to run it; the duration is the mean.
    pub repeat: u32,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestRunResult {
    /// What the program returned: an action.
    pub action: u32,
    /// The packet after the last run.
    pub data: Vec<u8>,
    /// The context after the last run, as long as the one given.
    pub context: Vec<u8>,
    /// Mean of one run.
    pub duration: Duration,
}

/// What a program may add to a packet: a page is all the kernel gives it.
const HEADROOM: usize = 4096;

impl Program {
    /// Runs the program without sending anything.
    pub fn test_run(&self, input: TestRun<'_>) -> Result<TestRunResult, Error> {
        let mut data = vec![0; input.data.len() + HEADROOM];
        let mut context = input.context.to_vec();
        let mut attr = sys::TestRun {
            prog_fd: sys::raw(self.as_fd()),
            repeat: input.repeat.max(1),
            ..Default::default()
        };
        if !input.data.is_empty() {
            attr.data_in = sys::address(input.data);
            attr.data_size_in = input.data.len() as u32;
            attr.data_out = sys::address_mut(data.as_mut_slice());
            attr.data_size_out = data.len() as u32;
        }
        if !input.context.is_empty() {
            attr.ctx_in = sys::address(input.context);
            attr.ctx_size_in = input.context.len() as u32;
            attr.ctx_out = sys::address_mut(context.as_mut_slice());
            attr.ctx_size_out = context.len() as u32;
        }
        // SAFETY: all pointers are to buffers of the given sizes that outlive the call.
        unsafe { sys::bpf(Command::ProgTestRun, &mut attr) }
            .map_err(|source| Error::TestRun { program: self.name().to_owned(), source })?;
        data.truncate(attr.data_size_out as usize);
        context.truncate(attr.ctx_size_out as usize);
        Ok(TestRunResult {
            action: attr.retval,
            data,
            context,
            duration: Duration::from_nanos(attr.duration.into()),
        })
    }

    /// Runs an XDP program so often on copies of `data` as if they came in by interface `ifindex`,
    /// and does with them what the program says: what it sends really goes out. Needs Linux 5.18.
    /// Gives the mean of one run, sending included.
    pub fn test_run_live(&self, data: &[u8], ifindex: u32, repeat: u32) -> Result<Duration, Error> {
        const LIVE_FRAMES: u32 = 1 << 1;
        /// `struct xdp_md`: `data_end` and the interface, by their offsets.
        const DATA_END: usize = 4;
        const IFINDEX: usize = 12;
        let mut context = [0u8; 24];
        context[DATA_END..DATA_END + 4].copy_from_slice(&(data.len() as u32).to_ne_bytes());
        context[IFINDEX..IFINDEX + 4].copy_from_slice(&ifindex.to_ne_bytes());
        let mut attr = sys::TestRunLive {
            prog_fd: sys::raw(self.as_fd()),
            data_in: sys::address(data),
            data_size_in: data.len() as u32,
            ctx_in: sys::address(&context),
            ctx_size_in: context.len() as u32,
            repeat,
            flags: LIVE_FRAMES,
            ..Default::default()
        };
        // SAFETY: both buffers have the given sizes and outlive the call, which only reads them.
        unsafe { sys::bpf(Command::ProgTestRun, &mut attr) }
            .map_err(|source| Error::TestRun { program: self.name().to_owned(), source })?;
        Ok(Duration::from_nanos(attr.duration.into()))
    }
}
