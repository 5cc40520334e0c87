//! `skep lb testrun`: frames through the real programs, compared with what is expected.

use crate::failure::Failure;
use crate::output::{Paint, Screen, diagnostic};
use api::v1::File;
use bpf_interface::program::action_name;
use bpf_object::ProgramType;
use clap::ValueEnum;
use datapath::testbench::{Line, Outcome, Program, TestBench, differences, read_lines};
use model::{LoadBalancer, Object};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

const LONG: &str = "\
Loads the load balancer's programs with a configuration, sends the frames of a file through them in \
order, and compares verdict and bytes.

Nothing is attached to any interface, and no agent is asked. --engine kernel needs the privilege to \
load programs; vm and jit need none: there the same programs run in Skep's own runtime, where no time \
passes and no routes or neighbours are known.

--packets takes a file with one JSON object a line: `input` and `expected` are whole frames in \
hexadecimal, `verdict` is what the program returns (XDP_TX, XDP_PASS, XDP_DROP, XDP_REDIRECT, \
TC_ACT_REDIRECT, ...). `group`, `index` and `name` are for reading; `mark` is the mark of the socket \
buffer, which health checks carry; `any` lists offsets of bytes that may be anything.

Flows are remembered from frame to frame. With several --config, each takes the place of the one \
before while flows stay remembered, and the n-th --group goes with the n-th of them.";

const AFTER: &str = "\
Examples:
  skep lb testrun --config edge.yaml --packets frames.jsonl
  skep lb testrun --config edge.yaml --packets frames.jsonl --engine vm
  skep lb testrun --config before.yaml --group first --config after.yaml --group second \\
      --packets frames.jsonl

Exit codes: 0 all frames passed, 1 some did not, 2 the input makes no sense, 5 the kernel refused.";

/// Send frames through the load balancer's programs and compare what comes out
#[derive(Debug, clap::Args)]
#[command(long_about = LONG, after_help = AFTER)]
pub struct Args {
    /// Manifest with LoadBalancer objects
    #[arg(long, value_name = "FILE", required = true)]
    config: Vec<PathBuf>,

    /// Frames, one JSON object a line
    #[arg(long, value_name = "FILE.jsonl")]
    packets: PathBuf,

    /// Only frames of this group
    #[arg(long, value_name = "GROUP")]
    group: Vec<String>,

    /// What runs the programs
    #[arg(long, value_enum, default_value_t = Engine::Kernel, value_name = "ENGINE")]
    engine: Engine,

    /// Which program the frames go through
    #[arg(long, default_value = "balance", value_name = "PROGRAM",
          value_parser = Program::ALL.map(|(name, _)| name))]
    program: String,

    /// An object file in place of the built-in one
    #[arg(long, value_name = "FILE.o")]
    object: Option<PathBuf>,

    /// Flows that the table holds
    #[arg(long, default_value_t = 65_536, value_name = "N",
          value_parser = clap::value_parser!(u32).range(64..))]
    flows: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Engine {
    /// A test run in the kernel
    Kernel,
    /// Skep's own runtime, without any privilege
    Vm,
    /// The same, with machine code
    Jit,
}

/// Programs and tables in one of the engines.
enum Bench {
    Kernel(TestBench),
    Vm(sim::Balancer, Program),
}

impl Bench {
    fn load(args: &Args, program: Program, object: Option<&[u8]>) -> Result<Self, Failure> {
        let engine = match args.engine {
            Engine::Kernel => {
                let bench = TestBench::load(program, args.flows, object);
                return bench.map(Self::Kernel).map_err(refused);
            }
            Engine::Vm => bpf_vm::Engine::Interpreter,
            Engine::Jit => bpf_vm::Engine::Jit,
        };
        let balancer = sim::Balancer::load(object, args.flows, engine, 0).map_err(unable)?;
        Ok(Self::Vm(balancer, program))
    }

    fn apply(&mut self, balancers: Vec<Arc<LoadBalancer>>) -> Result<(), Failure> {
        let done = match self {
            Self::Kernel(bench) => bench.apply(balancers, now_ns()),
            Self::Vm(balancer, _) => balancer.apply(balancers),
        };
        done.map_err(Failure::Usage)
    }

    fn run(&self, line: &Line) -> Result<Outcome, Failure> {
        let (balancer, program) = match self {
            Self::Kernel(bench) => return bench.run(&line.input, line.mark).map_err(refused),
            Self::Vm(balancer, program) => (balancer, *program),
        };
        let (outcome, frame) = match program.is_xdp() {
            true => balancer.run_xdp(program.symbol(), &line.input),
            false => balancer.run_tc(program.symbol(), &line.input, line.mark),
        }
        .map_err(unable)?;
        Ok(Outcome { action: outcome.value as u32, frame })
    }
}

fn refused(error: datapath::Error) -> Failure {
    Failure::Agent(error.to_string())
}

fn unable(error: sim::Error) -> Failure {
    Failure::Agent(error.to_string())
}

pub fn run(args: &Args, screen: &Screen) -> Result<ExitCode, Failure> {
    let several = args.config.len().max(args.group.len()) > 1;
    if several && args.config.len() != args.group.len() {
        return Err(Failure::Usage("give as many --group as --config".to_owned()));
    }
    let program = Program::ALL.into_iter().find(|(name, _)| *name == args.program);
    let (_, program) = program.ok_or_else(|| Failure::Usage("no such program".to_owned()))?;
    let text = read(&args.packets)?;
    let lines = read_lines(&text)
        .map_err(|error| Failure::Usage(format!("{}: {error}", args.packets.display())))?;
    let object =
        match &args.object {
            Some(path) => Some(fs::read(path).map_err(|error| {
                Failure::Usage(format!("cannot read {}: {error}", path.display()))
            })?),
            None => None,
        };
    let kind = if program.is_xdp() { ProgramType::XDP } else { ProgramType::CLASSIFIER };
    let mut bench = Bench::load(args, program, object.as_deref())?;
    let (mut passed, mut wrong) = (0, 0);
    for (index, path) in args.config.iter().enumerate() {
        bench.apply(balancers(path, screen)?)?;
        let group = args.group.get(index);
        for line in lines.iter().filter(|line| group.is_none_or(|group| *group == line.group)) {
            let outcome = bench.run(line)?;
            let mut problems = differences(&line.expected, &outcome.frame, &line.any);
            let verdict = match action_name(kind, outcome.action) {
                Some(name) => name.to_owned(),
                None => outcome.action.to_string(),
            };
            if verdict != line.verdict {
                problems.insert(0, format!("verdict: {verdict} instead of {}", line.verdict));
            }
            if problems.is_empty() {
                passed += 1;
            } else {
                wrong += 1;
                screen.print(&complaint(line, &problems, screen))?;
            }
        }
    }
    if passed + wrong == 0 {
        let file = args.packets.display();
        return Err(Failure::Usage(match args.group.as_slice() {
            [] => format!("{file} has no frames"),
            groups => format!("{file} has no frames of group {}", groups.join(", ")),
        }));
    }
    screen.print(&format!("{passed} passed, {wrong} failed\n"))?;
    if wrong > 0 { Err(Failure::Negative) } else { Ok(ExitCode::SUCCESS) }
}

fn complaint(line: &Line, problems: &[String], screen: &Screen) -> String {
    let name = match (line.group.as_str(), line.index) {
        ("", 0) => line.name.clone(),
        ("", index) => format!("{index} {}", line.name),
        (group, index) => format!("{group} {index}: {}", line.name),
    };
    let title = screen.style().paint(Paint::Bad, &name);
    let problems: String = problems.iter().map(|problem| format!("  {problem}\n")).collect();
    format!("{title}\n{problems}")
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path)
        .map_err(|error| Failure::Usage(format!("cannot read {}: {error}", path.display())))
}

fn balancers(path: &Path, screen: &Screen) -> Result<Vec<Arc<LoadBalancer>>, Failure> {
    let file = File { name: path.display().to_string(), text: read(path)? };
    let parsed = store::manifest::parse(&file.name, &file.text);
    let found: Vec<_> = parsed.diagnostics.iter().map(diagnostic::of_manifest).collect();
    if !found.is_empty() {
        screen.complain(&diagnostic::render(&found, &[file], screen.error_style()));
    }
    if parsed.has_errors() {
        return Err(Failure::Usage(format!("{} can't be applied", path.display())));
    }
    let balancers = parsed.into_objects().into_iter().filter_map(|object| match object {
        Object::LoadBalancer(balancer) => Some(balancer),
        _ => None,
    });
    let balancers: Vec<Arc<LoadBalancer>> = balancers.collect();
    if balancers.is_empty() {
        return Err(Failure::Usage(format!("{} has no LoadBalancer", path.display())));
    }
    Ok(balancers)
}

/// Boot time, by which the programs tell how long ago a change was.
fn now_ns() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME);
    // The clock is there since Linux 2.6.39.
    now.map_or(0, |now| now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64)
}
