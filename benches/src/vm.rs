//! Our own programs in user space and in the kernel: the same objects with the same tables, the
//! same packets, in turns. They must answer alike and leave the same bytes.
//!
//! `cargo xtask bench vm` measures small programs first (`crates/bpf-vm/benches/engines.rs`), whose
//! ratios stand in a file; the geometric mean at the end is over all of them.

mod balancer;
mod endpoint;

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bpf_kernel::TestRun;
use bpf_vm::{Engine, Instance, Packet, Runs, Runtime};

use crate::figures::print;

/// The quickest of so many rounds counts, since whatever else runs only adds.
const ROUNDS: usize = 60;

/// A program's cost for one kind of packet, in nanoseconds.
struct Row {
    name: &'static str,
    ours: f64,
    kernel: f64,
}

pub fn run(ratios: Option<&Path>) -> Result<()> {
    let mut ratios: Vec<f64> = match ratios {
        Some(file) => std::fs::read_to_string(file)
            .with_context(|| format!("cannot read {}", file.display()))?
            .lines()
            .map(str::parse)
            .collect::<Result<_, _>>()?,
        None => Vec::new(),
    };
    let others = ratios.len();
    let mut table = vec![["ns a packet", "ours", "kernel", "/kernel"].map(str::to_owned).to_vec()];
    let mut rows = endpoint::rows()?;
    // What was measured is printed also if the rest can't be.
    let balanced = balancer::rows().map(|balanced| rows.extend(balanced));
    for row in rows {
        let ratio = row.ours / row.kernel;
        table.push(vec![
            format!("  {}", row.name),
            format!("{:.0}", row.ours),
            format!("{:.0}", row.kernel),
            format!("{ratio:.2}"),
        ]);
        ratios.push(ratio);
    }
    print(&table);
    println!("minima of {ROUNDS} rounds; verified and compiled without checks");
    let own = &ratios[others..];
    println!(
        "geometric means over the kernel: these {:.2}, all {} programs {:.2}",
        mean(own),
        ratios.len(),
        mean(&ratios)
    );
    balanced.context("without the balancer")
}

fn mean(values: &[f64]) -> f64 {
    (values.iter().map(|value| value.ln()).sum::<f64>() / values.len() as f64).exp()
}

/// A runtime as programs for packets are best run.
fn runtime() -> Runtime {
    let cpus = thread::available_parallelism().map_or(1, |cpus| cpus.get() as u32);
    Runtime::builder().engine(Engine::VerifiedJit).cpus(cpus).build()
}

/// A program that runs without checks.
fn program(instance: &Instance, name: &str) -> Result<bpf_vm::ProgramHandle> {
    let program = instance.program(name)?;
    ensure!(program.is_unchecked(), "{name} isn't verified, so it would be measured with checks");
    Ok(program)
}

/// What a program makes of one packet.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    action: u32,
    bytes: Vec<u8>,
}

fn answer(runs: &mut Runs, frame: &[u8]) -> Result<Answer> {
    let mut packet = Packet::new(frame)?;
    let action = runs.run(&mut packet)? as u32;
    Ok(Answer { action, bytes: packet.bytes() })
}

fn kernels_answer(program: &bpf_kernel::Program, run: TestRun<'_>) -> Result<Answer> {
    let result = program.test_run(TestRun { repeat: 1, ..run })?;
    Ok(Answer { action: result.action, bytes: result.data })
}

/// Nanoseconds of each of so many runs on one packet, as the kernel's test runs repeat them.
fn repeated(runs: &mut Runs, packet: &mut Packet, frame: &[u8], times: u32) -> Result<f64> {
    packet.set(frame)?;
    let start = Instant::now();
    for _ in 0..times {
        runs.run(packet)?;
    }
    Ok(nanoseconds(start.elapsed(), times))
}

/// As [`repeated`], with a new packet each time.
fn renewed(runs: &mut Runs, packet: &mut Packet, frame: &[u8], times: u32) -> Result<f64> {
    let start = Instant::now();
    for _ in 0..times {
        packet.set(frame)?;
        runs.run(packet)?;
    }
    Ok(nanoseconds(start.elapsed(), times))
}

fn nanoseconds(time: Duration, times: u32) -> f64 {
    time.as_secs_f64() * 1e9 / f64::from(times)
}
