//! `cargo xtask bench`: the figures of SPECIFICATION.md, in the release profile.
//!
//! What measures is `skep-bench` (and `cargo bench` for the policy compiler); this builds it and
//! the programs that it measures, and passes its tables on.

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use testkit::gate;

use crate::report::Step;
use crate::{setup, workspace};

#[derive(Subcommand)]
pub enum Bench {
    /// Pod to pod on one node: Skep, a bare veth pair and nftables in turns, and what each program
    /// costs per packet (needs root)
    Datapath {
        /// How often everything is measured
        #[arg(long, value_name = "N", default_value_t = 9)]
        rounds: usize,
        /// How long each measurement takes
        #[arg(long, value_name = "MS", default_value_t = 500)]
        milliseconds: u64,
    },
    /// What each program costs per packet, by test runs (needs root)
    Programs,
    /// Memory of the agent and the time of changes with 10,000 services and 1,000 policies (needs
    /// root)
    Agent,
    /// What the load balancer of the edge costs per packet, and how many it sends (needs root)
    Lb,
    /// A packet of a known masqueraded flow, by tc and by XDP (needs root)
    Acceleration,
    /// 5,000 identities and 250 policies
    Policy,
    /// The engines for eBPF in user space beside rbpf's and the kernel's compiler (the last needs
    /// root, and is skipped without)
    Vm,
}

pub fn run(bench: &Bench) -> Result<()> {
    let arguments: Vec<String> = match bench {
        Bench::Datapath { rounds, milliseconds } => {
            vec!["datapath".into(), rounds.to_string(), milliseconds.to_string()]
        }
        Bench::Programs => vec!["programs".into()],
        Bench::Agent => vec!["agent".into()],
        Bench::Acceleration => vec!["acceleration".into()],
        Bench::Lb => return lb(),
        Bench::Policy => {
            return workspace::run(workspace::cargo().args(["bench", "-p", "policy"]));
        }
        Bench::Vm => return vm(),
    };
    if let Some(reason) = gate::missing_privilege() {
        bail!("this can't be measured here: {reason}; try `sudo -E cargo xtask bench …`");
    }
    setup::toolchain()?;
    setup::packages_if_possible(&[setup::Group::Tests])?;
    let step = Step::start("build");
    step.doing("skepd, skep and skep-bench in the release profile");
    let packages = ["-p", "agent", "-p", "cli", "-p", "testkit", "-p", "benches", "--bins"];
    let built = workspace::build(&[&["--release"], &packages[..]].concat())?;
    let find = |name: &str| {
        let found = built.executables.iter().find(|(built, _)| built == name);
        found.map(|(_, path)| path).with_context(|| format!("cargo built no {name}"))
    };
    let mut command = std::process::Command::new(find("skep-bench")?);
    command
        .args(arguments)
        .env("SKEPD", find("skepd")?)
        .env("SKEP", find("skep")?)
        .env("SKEP_PROBE", find("skep-probe")?);
    step.done("skepd, skep, skep-bench");
    workspace::run(&mut command)
}

/// Small programs first, then our own, which need the kernel: the last line is over all of them.
fn vm() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let ratios = folder.path().join("ratios");
    let mut small = workspace::cargo();
    small.args(["bench", "-p", "bpf-vm", "--bench", "engines"]).env("SKEP_BENCH_RATIOS", &ratios);
    workspace::run(&mut small)?;
    if let Some(reason) = gate::missing_privilege() {
        println!("our own programs beside the kernel: skipped, {reason}");
        return Ok(());
    }
    setup::toolchain()?;
    let step = Step::start("build");
    let built = workspace::build(&["--release", "-p", "benches", "--bins"])?;
    let bench = built.executables.iter().find(|(name, _)| name == "skep-bench");
    let (_, bench) = bench.context("cargo built no skep-bench")?;
    step.done("skep-bench");
    workspace::run(std::process::Command::new(bench).arg("vm").arg(&ratios))
}

/// Needs neither agent nor CLI, and what it measures runs in the kernel: no release build.
fn lb() -> Result<()> {
    if let Some(reason) = gate::missing_privilege() {
        bail!("this can't be measured here: {reason}; try `sudo -E cargo xtask bench lb`");
    }
    setup::toolchain()?;
    let step = Step::start("build");
    let built = workspace::build(&["-p", "benches", "--bins"])?;
    let bench = built.executables.iter().find(|(name, _)| name == "skep-bench");
    let (_, bench) = bench.context("cargo built no skep-bench")?;
    step.done("skep-bench");
    workspace::run(std::process::Command::new(bench).arg("lb"))
}
