//! `skep prog bench`: how long a program takes in each engine.

use super::input;
use super::machine::Engine;
use crate::failure::Failure;
use crate::output::{Format, Screen, Table};
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const AFTER: &str = "\
Examples:
  skep prog bench filter.o --packet traffic.pcap
  skep prog bench filter.o --engine jit,kernel --repeat 1000000

Each engine runs the program --repeat times on each packet, in several rounds; the quickest round
counts. The kernel's times are those of its own test run, ours include making the context. An
engine that can't run the program here is left out, with the reason.";

/// Measure a program in several engines
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    #[command(flatten)]
    input: input::Inputs,

    /// Engines to measure
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_values_t = [Engine::Interp, Engine::Jit, Engine::Kernel]
    )]
    engine: Vec<Engine>,

    /// Runs on each packet in a round
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,

    /// Rounds
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    output: Format,
}

struct Measured {
    engine: Engine,
    load: Duration,
    /// Mean over the inputs of each one's quickest round.
    run: Duration,
}

pub fn run(args: &Args, screen: &Screen) -> Result<ExitCode, Failure> {
    let ready = args.input.ready(screen)?;
    let mut measured = Vec::new();
    for engine in &args.engine {
        match measure(args, &ready, *engine) {
            Ok(result) => measured.push(result),
            Err(error) if args.engine.len() > 1 => {
                screen.complain(&format!("{engine} is left out: {error}\n"));
            }
            Err(error) => return Err(error),
        }
    }
    let Some(first) = measured.first().map(|one| one.run) else {
        return Err(Failure::Usage("no engine can run the program here".to_owned()));
    };
    let ratio = |run: Duration| run.as_secs_f64() / first.as_secs_f64().max(1e-9);
    match args.output {
        Format::Table => {
            let mut table = Table::new(["ENGINE", "NS PER RUN", "RATIO", "LOAD"]);
            for one in &measured {
                table.row([
                    one.engine.to_string().into(),
                    format!("{:.1}", one.run.as_secs_f64() * 1e9).into(),
                    format!("{:.2}", ratio(one.run)).into(),
                    format!("{} µs", one.load.as_micros()).into(),
                ]);
            }
            screen.print(&table.render(screen.style()))?;
        }
        format => {
            let value = Value::Array(
                measured
                    .iter()
                    .map(|one| {
                        json!({
                            "engine": one.engine.to_string(),
                            "nanoseconds": one.run.as_secs_f64() * 1e9,
                            "ratio": ratio(one.run),
                            "load_microseconds": one.load.as_micros() as u64,
                        })
                    })
                    .collect(),
            );
            match format {
                Format::Yaml => screen.print_yaml(&value)?,
                _ => screen.print_json(&value)?,
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn measure(args: &Args, ready: &input::Ready, engine: Engine) -> Result<Measured, Failure> {
    let start = Instant::now();
    let machine = ready.machine(engine, args.input.seed)?;
    let load = start.elapsed();
    let mut total = Duration::ZERO;
    for input in &ready.inputs {
        let mut best = Duration::MAX;
        for _ in 0..args.rounds {
            // The time of all runs, so that means below a nanosecond don't vanish.
            let start = Instant::now();
            let answer = machine.run(input, args.repeat)?;
            let round = match engine {
                Engine::Kernel => answer.time * args.repeat,
                _ => start.elapsed(),
            };
            best = best.min(round);
        }
        total += best;
    }
    let runs = args.repeat.saturating_mul(ready.inputs.len() as u32).max(1);
    Ok(Measured {
        engine,
        load,
        run: Duration::from_secs_f64(total.as_secs_f64() / f64::from(runs)),
    })
}
