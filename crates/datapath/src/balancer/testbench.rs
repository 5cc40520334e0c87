//! The balancer's real programs on made-up frames: a configuration is compiled and written to maps
//! of their own, and each frame goes through one test run. Nothing is attached, nothing is pinned.

mod compare;
mod line;

pub use compare::differences;
pub use line::{BadLine, Line, read_lines};

use crate::Result;
use crate::kernel_maps::KernelMaps;
use abi::balancer::maps;
use bpf_kernel::{Loader, Object, TestRun};
use model::LoadBalancer;
use std::sync::Arc;
use tables::balancer::Configuration;

/// Which program the frames go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    Balance,
    /// The same as a classifier, for interfaces without XDP.
    BalanceTc,
    Decapsulate,
    Check,
    MatchSource,
}

impl Program {
    pub const ALL: [(&str, Program); 5] = [
        ("balance", Program::Balance),
        ("balance-tc", Program::BalanceTc),
        ("decapsulate", Program::Decapsulate),
        ("check", Program::Check),
        ("match-source", Program::MatchSource),
    ];

    /// The program's name in the object.
    pub const fn symbol(self) -> &'static str {
        match self {
            Program::Balance => "balance",
            Program::BalanceTc => "balance_tc",
            Program::Decapsulate => "decapsulate",
            Program::Check => "check",
            Program::MatchSource => "match_source",
        }
    }

    pub const fn is_xdp(self) -> bool {
        matches!(self, Program::Balance | Program::Decapsulate)
    }
}

#[derive(Debug)]
pub struct TestBench {
    program: Program,
    object: Object,
    configuration: Configuration,
}

/// What came out of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What the program returned.
    pub action: u32,
    pub frame: Vec<u8>,
}

impl TestBench {
    /// Loads a program, with a flow table of so many flows: from this object, or the built-in one.
    pub fn load(program: Program, flows: u32, object: Option<&[u8]>) -> Result<Self> {
        let object = Loader::new("balancer")
            .programs(&[program.symbol()])
            .max_entries(maps::FLOWS, flows)
            .load(object.unwrap_or(objects::BALANCER))?;
        Ok(TestBench { program, object, configuration: Configuration::default() })
    }

    /// Goes over to another configuration, as an agent would. The error says why it can't.
    pub fn apply(
        &mut self,
        balancers: impl IntoIterator<Item = Arc<LoadBalancer>>,
        now_ns: u64,
    ) -> Result<(), String> {
        self.configuration.apply(balancers, now_ns, &KernelMaps(&self.object))
    }

    /// The program that frames go through, for measuring.
    pub fn program(&self) -> Result<&bpf_kernel::Program> {
        Ok(self.object.program(self.program.symbol())?)
    }

    pub fn run(&self, frame: &[u8], mark: u32) -> Result<Outcome> {
        /// Offset of the mark in `struct __sk_buff`.
        const MARK: usize = 8;
        /// Bytes of it, all of which the kernel wants to give back.
        const SIZE: usize = 192;
        let mut context = [0; SIZE];
        context[MARK..MARK + 4].copy_from_slice(&mark.to_ne_bytes());
        let program = self.program;
        let context: &[u8] = if program.is_xdp() { &[] } else { &context };
        let run = self.object.program(program.symbol())?.test_run(TestRun {
            data: frame,
            context,
            repeat: 1,
        })?;
        Ok(Outcome { action: run.action, frame: run.data })
    }
}
