//! `cargo xtask conformance`: published truth tables, against the real kernel on an isolated node
//! or our own engines.

use std::path::PathBuf;
use std::process;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use testkit::network_policy::{self, case};
use testkit::{Node, gate, remains};

use crate::report::{Step, duration};
use crate::{binaries, setup};

mod isa;
mod l4lb;
mod verifier;

#[derive(Subcommand)]
pub enum Table {
    /// Vectors for the instruction set, in our user-space engines
    Isa(isa::Isa),
    /// The kernel's own tests of its verifier, put to ours
    Verifier(verifier::Verifier),
    /// Packets for the L4 load balancer, byte for byte
    L4lb(l4lb::L4lb),
    /// Steps of NetworkPolicy cases as cyclonus makes them, one JSON object a line
    Networkpolicy(NetworkPolicy),
}

#[derive(Args)]
pub struct NetworkPolicy {
    /// FILE.jsonl or FILE.jsonl.gz
    file: PathBuf,
    /// Run only the first of every N steps
    #[arg(long, value_name = "N")]
    every: Option<usize>,
    /// Run only the steps of this case
    #[arg(long, value_name = "CASE")]
    case: Option<u32>,
}

pub fn run(table: &Table) -> Result<()> {
    match table {
        Table::Isa(options) => isa::run(options),
        Table::Verifier(options) => verifier::run(options),
        Table::L4lb(options) => l4lb::run(options),
        Table::Networkpolicy(options) => run_network_policy(options),
    }
}

fn run_network_policy(options: &NetworkPolicy) -> Result<()> {
    if let Some(reason) = gate::missing_privilege() {
        bail!("the truth tables can't be tried here: {reason}");
    }
    let steps = case::read(&options.file)?;
    setup::toolchain()?;
    let binaries = binaries::build()?;
    remains::remove_on_interrupt()?;
    let node = Node::start(&binaries)?;

    let step = Step::start("probes");
    let chosen = network_policy::Options { every: options.every, case: options.case };
    let outcome = network_policy::run(&node, &steps, &chosen, &mut |disagreement| {
        println!("{disagreement}");
    })?;
    let network_policy::Outcome { passed, failed, late, .. } = outcome;
    let applying = duration(outcome.applying);
    step.done(format!("{} steps, {late} late answers, applying {applying}", outcome.steps));
    drop(node);
    println!("{passed} passed, {failed} failed");
    if outcome.steps == 0 {
        bail!("no step was chosen");
    }
    if failed > 0 {
        // The line above is the last: no error message follows it.
        process::exit(1);
    }
    Ok(())
}
