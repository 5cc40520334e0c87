//! `skep-bench`: figures of Skep on the real kernel, each beside a baseline of the same run.
//!
//! `cargo xtask bench` builds and calls it. It makes isolated nodes as the tests do, so it needs
//! root, and it measures from outside: real sockets, the agent's own answers, the kernel's test
//! runs. `traffic` is the part of itself that it starts inside workloads.

#![forbid(unsafe_code)]

mod acceleration;
mod agent;
mod datapath;
mod figures;
mod lb;
mod rules;
mod traffic;
mod vm;

use std::path::Path;
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail};
use testkit::{gate, remains};

const USAGE: &str = "usage: skep-bench datapath [ROUNDS [MILLISECONDS]]
       skep-bench programs
       skep-bench agent
       skep-bench lb
       skep-bench acceleration
       skep-bench vm [RATIOS]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<()> {
    match arguments {
        ["traffic", rest @ ..] => return traffic::run(rest),
        ["datapath" | "programs" | "agent" | "lb" | "acceleration" | "vm", ..] => {}
        _ => bail!("{USAGE}"),
    }
    if let Some(reason) = gate::missing_privilege() {
        bail!("this can't be measured here: {reason}");
    }
    remains::remove_on_interrupt()?;
    match arguments {
        ["datapath"] => datapath::run(&datapath::Options::default()),
        ["datapath", rounds] => datapath::run(&datapath::Options {
            rounds: number(rounds)?,
            ..datapath::Options::default()
        }),
        ["datapath", rounds, milliseconds] => datapath::run(&datapath::Options {
            rounds: number(rounds)?,
            window: std::time::Duration::from_millis(number(milliseconds)?),
        }),
        ["programs"] => datapath::programs::run(),
        ["agent"] => agent::run(),
        ["lb"] => lb::run(),
        ["acceleration"] => acceleration::run(),
        ["vm"] => vm::run(None),
        ["vm", ratios] => vm::run(Some(Path::new(ratios))),
        _ => bail!("{USAGE}"),
    }
}

fn number<T: FromStr>(text: &str) -> Result<T> {
    text.parse().ok().with_context(|| format!("`{text}` is no number\n{USAGE}"))
}
