//! `skep lb testrun` on packets of our own, for what the fixtures' groups that are published don't
//! have: GUE, stable routing, decapsulation in line, flow migration. What must come out was
//! computed by a second, slower implementation of the hashing and of the headers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use testkit::gate;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/balancer").join(name)
}

/// What a run in each engine is to begin with; the kernel's only where it can be used.
fn engines() -> impl Iterator<Item = (&'static str, Command)> {
    let kernel = match gate::missing_privilege() {
        None => Some("kernel"),
        Some(reason) => {
            println!("not in the kernel: {reason}");
            None
        }
    };
    ["vm", "jit"].into_iter().chain(kernel).map(|engine| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
        command.args(["lb", "testrun", "--engine", engine]);
        (engine, command)
    })
}

/// Each group with the configuration of its name, one after the other in the same program.
fn check_in(packets: &Path, program: &str, groups: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    for (engine, mut command) in engines() {
        command.args(["--program", program, "--flows", "1000"]).arg("--packets").arg(packets);
        for group in groups {
            let path = folder.path().join(format!("{group}.yaml"));
            fs::write(&path, testkit::l4lb::of(group).unwrap()).unwrap();
            command.arg("--config").arg(path).args(["--group", group]);
        }
        expect_success(&mut command, &format!("{engine}: {groups:?}"));
    }
}

fn check(program: &str, groups: &[&str]) {
    check_in(&file("packets.jsonl"), program, groups);
}

fn expect_success(command: &mut Command, what: &str) {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}:\n{text}{errors}");
    assert!(!text.starts_with("0 passed"), "{what} has no packets");
}

/// A configuration and packets of the same name.
fn check_files(name: &str) {
    for (engine, mut command) in engines() {
        command.arg("--config").arg(file(&format!("{name}.yaml")));
        command.arg("--packets").arg(file(&format!("{name}.jsonl")));
        expect_success(&mut command, &format!("{engine}: {name}"));
    }
}

/// A group that is misspelt tests nothing, which is no success.
#[test]
fn no_frames() {
    if let Some(reason) = gate::missing_privilege() {
        println!("skipped: {reason}");
        return;
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
    command.args(["lb", "testrun", "--group", "nobody", "--config"]).arg(file("nat.yaml"));
    let output = command.arg("--packets").arg(file("nat.jsonl")).output().expect("skep runs");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.ends_with("has no frames of group nobody\n"), "{said}");
}

/// Both directions, between families, an ICMP error, echo requests.
#[test]
fn address_translation() {
    check_files("nat");
}

/// VLAN tag, options, extension headers, fragments, Geneve, too long, errors, ranges of ports.
#[test]
fn what_is_not_plain() {
    check_files("encap");
}

#[test]
fn gue() {
    check("balance", &["gue"]);
}

#[test]
fn stable_routing() {
    check("balance", &["stable_rt"]);
}

#[test]
fn decapsulation_in_line() {
    check("balance", &["xpop_decap"]);
    check("balance", &["egress_decap"]);
}

#[test]
fn flows_migrate_when_their_backend_goes() {
    check("balance", &["udp_flow_migration_1", "udp_flow_migration_2"]);
}

#[test]
fn health_checks_in_gue() {
    check("check", &["hc_gue"]);
}

#[test]
fn on_a_backend() {
    check("decapsulate", &["xdp_decap_gue"]);
    check("match-source", &["tc_srcmatch"]);
}
