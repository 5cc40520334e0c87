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

    /// The name of what the program returned, as `linux/bpf.h` and `linux/pkt_cls.h` call it.
    pub fn verdict(self, action: u32) -> String {
        const XDP: [&str; 5] = ["XDP_ABORTED", "XDP_DROP", "XDP_PASS", "XDP_TX", "XDP_REDIRECT"];
        const TC: [&str; 8] = [
            "TC_ACT_OK",
            "TC_ACT_RECLASSIFY",
            "TC_ACT_SHOT",
            "TC_ACT_PIPE",
            "TC_ACT_STOLEN",
            "TC_ACT_QUEUED",
            "TC_ACT_REPEAT",
            "TC_ACT_REDIRECT",
        ];
        let names: &[&str] = if self.is_xdp() { &XDP } else { &TC };
        match names.get(action as usize) {
            Some(name) => (*name).to_owned(),
            None if !self.is_xdp() && action == u32::MAX => "TC_ACT_UNSPEC".to_owned(),
            None => action.to_string(),
        }
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
    pub verdict: String,
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
        Ok(Outcome { verdict: program.verdict(run.action), frame: run.data })
    }
}
