//! The balancer of the edge, with the tables that its compiler writes.
//!
//! A test run of the kernel can't begin with a new packet each time, so it is measured as `skep-bench
//! lb` does: behind a program that makes the packet, whose own cost is taken off. In user space a
//! packet is simply set anew, and what that costs with a program that does nothing is taken off.

use std::sync::Arc;

use anyhow::{Result, ensure};
use bpf_kernel::TestRun;
use bpf_object::{Object, object_of_code};
use bpf_vm::Packet;
use bpf_vm::context::Xdp;
use model::load_balancer::{DeliveryMode, Keep};
use sim::VmMaps;
use tables::balancer::Configuration;

use super::{ROUNDS, Row, answer, kernels_answer, program, renewed, runtime};
use crate::lb::{self, Traffic, Wrapper};

const REPEAT: u32 = 20_000;
const FLOWS: u32 = 100_000;

/// `r0 = 2; exit`: XDP_PASS.
const PASS: [u8; 16] = [0xb7, 0, 0, 0, 2, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];

pub fn rows() -> Result<Vec<Row>> {
    let cases = [
        ("balance, TCP to a VIP, IPIP", Traffic::tcp(1, 1), Keep::Moved),
        ("balance, flows kept", Traffic::tcp(1, 1), Keep::All),
        ("balance, IPv6", Traffic { v6: true, ..Traffic::tcp(1, 1) }, Keep::Moved),
        ("balance, not a VIP", Traffic { elsewhere: true, ..Traffic::tcp(1, 1) }, Keep::Moved),
    ];
    cases.into_iter().map(|(name, traffic, keep)| row(name, traffic, keep)).collect()
}

fn row(name: &'static str, traffic: Traffic, keep: Keep) -> Result<Row> {
    let bench = lb::bench(keep, DeliveryMode::Ipip, Some(FLOWS))?;
    let ours = runtime();
    // As large as the object has them: a program is verified with such maps.
    let instance = ours.load(&Object::parse(objects::BALANCER)?)?;
    Configuration::default()
        .apply([Arc::new(lb::balancer(keep, DeliveryMode::Ipip)?)], 0, &VmMaps(&instance))
        .map_err(anyhow::Error::msg)?;
    let context = Xdp::default();
    let mut runs = program(&instance, bench.program()?.name())?.xdp_runs(&context)?;
    let frame = traffic.frame()?;
    let run = TestRun { data: &frame, context: &[], repeat: 1 };
    let (theirs, answer) = (kernels_answer(bench.program()?, run)?, answer(&mut runs, &frame)?);
    ensure!(theirs == answer, "{name}: {answer:?}, the kernel {theirs:?}");

    let nothing = runtime().load(&Object::parse(&object_of_code("main", "xdp", "GPL", &PASS))?)?;
    let mut nothing = program(&nothing, "main")?.xdp_runs(&context)?;
    let with = Wrapper::make(&traffic, Some(bench.program()?))?;
    let without = Wrapper::make(&traffic, None)?;
    let mut packet = Packet::new(&frame)?;
    let (mut ours, mut bare, mut theirs, mut theirs_bare) =
        (f64::MAX, f64::MAX, f64::MAX, f64::MAX);
    for _ in 0..ROUNDS {
        ours = ours.min(renewed(&mut runs, &mut packet, &frame, REPEAT)?);
        bare = bare.min(renewed(&mut nothing, &mut packet, &frame, REPEAT)?);
        theirs = theirs.min(with.run(REPEAT)?);
        theirs_bare = theirs_bare.min(without.run(REPEAT)?);
    }
    Ok(Row { name, ours: ours - bare, kernel: theirs - theirs_bare })
}
