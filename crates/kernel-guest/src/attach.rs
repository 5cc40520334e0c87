//! Programs on the loopback interface and on a cgroup of our own, by every way this kernel has.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Result, ensure};
use bpf_kernel::{
    Attached, Direction, Feature, InterfaceHook, Object, Program, ProgramKind,
    attach::{
        XdpMode, attach_cgroup, attach_interface, attach_xdp, detach_interface, detach_link,
        interface_program,
    },
};

use crate::{
    boot::{BPFFS, CGROUPS},
    report::Report,
};

/// The loopback interface is the first of every network namespace.
const LOOPBACK: u32 = 1;

pub fn check(report: &mut Report, objects: &[(&str, Object)]) {
    let mut hooks = vec![InterfaceHook::Clsact];
    if Feature::Tcx.probe() {
        hooks.push(InterfaceHook::Tcx);
    }
    let programs = objects.iter().flat_map(|(name, object)| {
        object.programs().map(move |program| (format!("attach {name}/{}", program.name()), program))
    });
    for (name, program) in programs {
        if program.kind() == ProgramKind::CLASSIFIER {
            for hook in &hooks {
                report.tell(&name, on_interface(program, *hook));
            }
        } else if program.kind().number == ProgramKind::XDP.number {
            report.tell(&name, as_xdp(program));
        } else {
            report.tell(&name, on_cgroup(program));
        }
    }
    for hook in hooks {
        report.tell(&format!("swap by {hook}"), swap(hook));
    }
}

fn pin() -> PathBuf {
    Path::new(BPFFS).join("links/guest")
}

fn on_interface(program: &Program, hook: InterfaceHook) -> Result<String> {
    for direction in [Direction::Ingress, Direction::Egress] {
        let attached = attach_interface(hook, program, LOOPBACK, direction, &pin())?;
        ensure!(attached == Attached::New, "{attached:?}");
        detach_interface(hook, LOOPBACK, direction, &pin())?;
    }
    Ok(format!("by {hook}, both ways"))
}

fn as_xdp(program: &Program) -> Result<String> {
    let attached = attach_xdp(program, LOOPBACK, XdpMode::Generic, &pin())?;
    ensure!(attached == Attached::New, "{attached:?}");
    detach_link(&pin())?;
    Ok("as generic XDP".to_owned())
}

fn on_cgroup(program: &Program) -> Result<String> {
    let cgroup = Path::new(CGROUPS).join("guest");
    fs::create_dir_all(&cgroup)?;
    let attached = attach_cgroup(program, &cgroup, &pin())?;
    ensure!(attached == Attached::New, "{attached:?}");
    detach_link(&pin())?;
    Ok("to a cgroup".to_owned())
}

fn swap(hook: InterfaceHook) -> Result<String> {
    let load = || {
        let pass = [[0xb7, 0, 0, 0, 0, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];
        Program::from_instructions("pass", ProgramKind::CLASSIFIER, &pass)
    };
    let attach =
        |program: &Program| attach_interface(hook, program, LOOPBACK, Direction::Ingress, &pin());
    let (first, second) = (load()?, load()?);
    let steps = [attach(&first)?, attach(&first)?, attach(&second)?];
    ensure!(steps == [Attached::New, Attached::Unchanged, Attached::Swapped], "{steps:?}");
    let there = interface_program(hook, LOOPBACK, Direction::Ingress, &pin())?;
    ensure!(there == Some(second.info()?.id), "program {there:?} is there");
    detach_interface(hook, LOOPBACK, Direction::Ingress, &pin())?;
    let there = interface_program(hook, LOOPBACK, Direction::Ingress, &pin())?;
    ensure!(there.is_none(), "program {there:?} is left");
    Ok("swapped in place, found again, detached".to_owned())
}
