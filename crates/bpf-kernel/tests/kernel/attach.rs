use std::fs;

use bpf_kernel::{
    Attached, Direction, Feature, InterfaceHook, Link, LinkTarget, Program, ProgramKind,
    attach::{
        attach_cgroup, attach_interface, cgroup_program, detach_interface, detach_link,
        interface_program,
    },
};

use crate::host::{Host, connect_allowed, packet_arrives, returning, run};

const LO: u32 = 1;
const PASS: i32 = 0;
const SHOT: i32 = 2;
/// BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_CGROUP_INET4_CONNECT.
const CONNECT4: ProgramKind = ProgramKind { number: 18, hook: 10 };

fn classifier(action: i32) -> Program {
    Program::from_instructions("action", ProgramKind::CLASSIFIER, &returning(action)).unwrap()
}

fn check_interface(hook: InterfaceHook) {
    let Some(host) = Host::new() else { return };
    for direction in [Direction::Ingress, Direction::Egress] {
        let pin = host.bpffs().join(format!("links/lo-{direction}"));
        let attach = |program| attach_interface(hook, program, LO, direction, &pin).unwrap();
        let attached = || interface_program(hook, LO, direction, &pin).unwrap();
        let (pass, shot) = (classifier(PASS), classifier(SHOT));
        assert_eq!(attached(), None);

        assert_eq!(attach(&pass), Attached::New);
        assert_eq!(attach(&pass), Attached::Unchanged);
        assert_eq!(attached(), Some(pass.info().unwrap().id));
        assert!(packet_arrives());

        assert_eq!(attach(&shot), Attached::Swapped);
        let id = shot.info().unwrap().id;
        // As after the death of an agent: only the pin or the filter is left.
        drop((pass, shot));
        assert_eq!(attached(), Some(id));
        assert!(!packet_arrives(), "{hook} {direction}");

        detach_interface(hook, LO, direction, &pin).unwrap();
        assert_eq!(attached(), None);
        assert!(packet_arrives());
        detach_interface(hook, LO, direction, &pin).unwrap();
    }
}

fn has_tcx() -> bool {
    let there = Feature::Tcx.probe();
    if !there {
        eprintln!("skipped: this kernel has no TCX, or we may not load programs");
    }
    there
}

#[test]
fn tcx_links_are_found_again_and_swapped() {
    if !has_tcx() {
        return;
    }
    check_interface(InterfaceHook::Tcx);
}

#[test]
fn clsact_filters_are_found_again_and_swapped() {
    check_interface(InterfaceHook::Clsact);
}

#[test]
fn a_link_whose_interface_is_gone_says_so_and_is_made_anew() {
    if !has_tcx() {
        return;
    }
    let Some(host) = Host::new() else { return };
    let pin = host.bpffs().join("links/veth");
    let make = || {
        run("ip link add skeptest0 type veth peer name skeptest1");
        nix::net::if_::if_nametoindex("skeptest0").unwrap()
    };
    let program = classifier(PASS);
    let attach = |ifindex| {
        attach_interface(InterfaceHook::Tcx, &program, ifindex, Direction::Ingress, &pin).unwrap()
    };
    let ifindex = make();
    attach(ifindex);
    assert_eq!(Link::open(&pin).unwrap().info().unwrap().target, LinkTarget::Interface(ifindex));
    run("ip link delete skeptest0");
    assert_eq!(Link::open(&pin).unwrap().info().unwrap().target, LinkTarget::Gone);
    assert_eq!(attach(make()), Attached::New);
    run("ip link delete skeptest0");
    detach_interface(InterfaceHook::Tcx, ifindex, Direction::Ingress, &pin).unwrap();
    assert!(!pin.exists());
}

#[test]
fn an_interface_that_does_not_exist_is_named() {
    let Some(host) = Host::new() else { return };
    let tcx = has_tcx().then_some(InterfaceHook::Tcx);
    for hook in tcx.into_iter().chain([InterfaceHook::Clsact]) {
        let pin = host.bpffs().join("link");
        let error = attach_interface(hook, &classifier(PASS), 4711, Direction::Egress, &pin)
            .unwrap_err()
            .to_string();
        assert!(error.contains("egress of interface 4711"), "{error}");
        assert!(error.contains("interface is gone"), "{error}");
    }
}

#[test]
fn cgroup_links_are_found_again_and_swapped() {
    let Some(mut host) = Host::new() else { return };
    let Some(cgroup) = host.cgroup() else { return };
    let pin = host.bpffs().join("links/cgroup/connect4");
    let program =
        |verdict| Program::from_instructions("connect4", CONNECT4, &returning(verdict)).unwrap();
    let (allow, deny) = (program(1), program(0));
    assert_eq!(attach_cgroup(&allow, &cgroup, &pin).unwrap(), Attached::New);
    assert_eq!(attach_cgroup(&allow, &cgroup, &pin).unwrap(), Attached::Unchanged);
    assert!(connect_allowed(&cgroup));
    assert_eq!(attach_cgroup(&deny, &cgroup, &pin).unwrap(), Attached::Swapped);
    assert!(!connect_allowed(&cgroup));
    assert_eq!(cgroup_program(&pin, &cgroup).unwrap(), Some(deny.info().unwrap().id));
    assert_eq!(cgroup_program(&pin, cgroup.parent().unwrap()).unwrap(), None);
    detach_link(&pin).unwrap();
    assert!(connect_allowed(&cgroup));

    attach_cgroup(&allow, &cgroup, &pin).unwrap();
    fs::remove_dir(&cgroup).unwrap();
    // The kernel lets go of a removed cgroup's programs from a worker.
    let gone = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        Link::open(&pin).unwrap().info().unwrap().target == LinkTarget::Gone
    });
    assert!(gone);
    fs::create_dir(&cgroup).unwrap();
    assert_eq!(attach_cgroup(&allow, &cgroup, &pin).unwrap(), Attached::New);
    detach_link(&pin).unwrap();
}
