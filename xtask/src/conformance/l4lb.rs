//! Packets that a load balancer compatible with Katran must send: each group with the configuration
//! that the fixtures' README gives for it, through `skep lb testrun`.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::{Value, json};

use crate::{setup, workspace};

#[derive(Args)]
pub struct L4lb {
    /// FILE.jsonl
    file: PathBuf,
    /// Try only this group
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// What runs the programs: kernel, vm (our interpreter) or jit (our compiler)
    #[arg(long, value_name = "ENGINE", default_value = "kernel")]
    engine: String,
}

/// Groups that go through one set of programs and maps, one after the other.
struct Run {
    groups: &'static [&'static str],
    program: &'static str,
    flows: u32,
}

const fn balance(groups: &'static [&'static str]) -> Run {
    Run { groups, program: "balance", flows: 1000 }
}

const RUNS: &[Run] = &[
    balance(&["base"]),
    balance(&["tpr"]),
    balance(&["icmp_toobig"]),
    balance(&["lpm_src"]),
    balance(&["cidr_vip"]),
    Run { groups: &["hc"], program: "check", flows: 1000 },
    Run { groups: &["xdp_decap"], program: "decapsulate", flows: 1000 },
    balance(&["gue"]),
    balance(&["tpr_gue"]),
    balance(&["stable_rt"]),
    balance(&["xpop_decap"]),
    balance(&["decap_stats"]),
    balance(&["egress_decap"]),
    balance(&["udp_flow_migration_1", "udp_flow_migration_2"]),
    Run { groups: &["hc_gue"], program: "check", flows: 1000 },
    Run { groups: &["xdp_decap_gue"], program: "decapsulate", flows: 1000 },
    Run { groups: &["tc_srcmatch"], program: "match-source", flows: 1000 },
];

pub fn run(options: &L4lb) -> Result<()> {
    let text = fs::read_to_string(&options.file)
        .with_context(|| format!("cannot read {}", options.file.display()))?;
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let line: Value = serde_json::from_str(line)
            .with_context(|| format!("{}, line {}", options.file.display(), number + 1))?;
        lines.push(line);
    }
    setup::toolchain()?;
    let built = workspace::build(&["-p", "cli", "--bin", "skep"])?;
    let skep = built.executables.iter().find(|(name, _)| name == "skep");
    let (_, skep) = skep.context("cargo built no skep")?;
    let folder = tempfile::tempdir()?;
    let group_of = |line: &Value| line["group"].as_str().unwrap_or_default().to_owned();

    let (mut passed, mut failed) = (0, 0);
    for run in RUNS {
        let wanted = |group: &str| {
            options
                .group
                .as_deref()
                .is_none_or(|only| run.groups.contains(&only) && run.groups.contains(&group))
        };
        let chosen: Vec<Value> = lines
            .iter()
            .filter(|line| run.groups.contains(&group_of(line).as_str()) && wanted(&group_of(line)))
            .map(|line| completed(line, &group_of(line)))
            .collect();
        if chosen.is_empty() {
            continue;
        }
        let outcome = try_run(run, &chosen, skep, folder.path(), &options.engine)?;
        passed += outcome.0;
        failed += outcome.1;
    }
    let known: Vec<&str> = RUNS.iter().flat_map(|run| run.groups).copied().collect();
    for line in &lines {
        let group = group_of(line);
        if options.group.is_none() && !known.contains(&group.as_str()) {
            println!("group {group}: there is no configuration for it");
            failed += 1;
        }
    }
    println!("{passed} passed, {failed} failed");
    if passed + failed == 0 {
        bail!("no packet was chosen");
    }
    if failed > 0 {
        // The line above is the last: no error message follows it.
        process::exit(1);
    }
    Ok(())
}

/// What the README says of a group's packets and the file doesn't.
fn completed(line: &Value, group: &str) -> Value {
    let mut line = line.clone();
    if line.get("mark").is_none() && group.starts_with("hc") {
        // Marks 0, 1, 2, 3 in that order.
        line["mark"] = json!(line["index"].as_u64().unwrap_or(1).saturating_sub(1));
    }
    if group == "hc_gue" && line.get("any").is_none() {
        // The outer source port is random.
        line["any"] = json!([34, 35]);
    }
    line
}

/// Numbers of packets that passed and failed.
fn try_run(
    run: &Run,
    lines: &[Value],
    skep: &Path,
    folder: &Path,
    engine: &str,
) -> Result<(usize, usize)> {
    let packets = folder.join("packets.jsonl");
    let mut file = fs::File::create(&packets)?;
    for line in lines {
        writeln!(file, "{line}")?;
    }
    let mut command = Command::new(skep);
    command.args(["lb", "testrun", "--engine", engine, "--program", run.program]);
    command.arg("--flows").arg(run.flows.to_string());
    command.arg("--packets").arg(&packets);
    for group in run.groups {
        let path = folder.join(format!("{group}.yaml"));
        let text =
            testkit::l4lb::of(group).with_context(|| format!("no configuration: {group}"))?;
        fs::write(&path, text)?;
        command.arg("--config").arg(path).args(["--group", group]);
    }
    let output = command.stderr(Stdio::inherit()).output().context("cannot run skep")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut counts = None;
    for line in text.lines() {
        match tally(line) {
            Some(found) => counts = Some(found),
            None => println!("{line}"),
        }
    }
    let Some(counts) = counts else {
        bail!("skep lb testrun ended with {} for {:?}", output.status, run.groups);
    };
    println!("{}: {} passed, {} failed", run.groups.join(", "), counts.0, counts.1);
    Ok(counts)
}

/// `N passed, M failed`.
fn tally(line: &str) -> Option<(usize, usize)> {
    let (passed, rest) = line.split_once(" passed, ")?;
    let failed = rest.strip_suffix(" failed")?;
    Some((passed.parse().ok()?, failed.parse().ok()?))
}
