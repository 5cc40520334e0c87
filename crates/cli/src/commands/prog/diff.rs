//! `skep prog diff`: the same input in several engines, and what they don't agree about.

use super::input;
use super::machine::{Answer, Engine, action, takes_packet};
use super::run::changes;
use crate::failure::Failure;
use crate::output::{Format, Paint, Screen};
use serde_json::json;
use std::process::ExitCode;

const AFTER: &str = "\
Examples:
  skep prog diff filter.o --packet traffic.pcap
  skep prog diff filter.o --packet traffic.pcap --engine interp,jit

Verdicts, bytes of packets and contexts, and what maps hold at the end are compared with the first
engine's. A program that asks for the time or for random numbers may differ.

Exit codes: 0 all agree, 1 they don't, 2 an engine can't run the program.";

/// Run a program in several engines and compare
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    #[command(flatten)]
    input: input::Inputs,

    /// Engines to compare
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_values_t = [Engine::Interp, Engine::Jit, Engine::Kernel]
    )]
    engine: Vec<Engine>,

    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    output: Format,
}

pub fn run(args: &Args, screen: &Screen) -> Result<ExitCode, Failure> {
    let ready = args.input.ready()?;
    let mut machines = Vec::new();
    for engine in &args.engine {
        machines.push((*engine, ready.machine(*engine, args.input.seed)?));
    }
    let Some(((first, reference), others)) = machines.split_first() else {
        return Err(Failure::Usage("name the engines to compare".to_owned()));
    };
    let mut differences = Vec::new();
    for (number, input) in ready.inputs.iter().enumerate() {
        let expected = reference.run(input, 1)?;
        for (engine, machine) in others {
            let answer = machine.run(input, 1)?;
            for what in between(&ready, &expected, &answer) {
                differences.push((format!("#{}", number + 1), *engine, what));
            }
        }
    }
    for (index, map) in ready.file.object.maps.iter().enumerate() {
        let expected = reference.entries(&ready.file, index)?;
        for (engine, machine) in others {
            let found = machine.entries(&ready.file, index)?;
            if found != expected {
                let count = |entries: &Option<Vec<_>>| entries.as_ref().map_or(0, Vec::len);
                let (expected, found) = (count(&expected), count(&found));
                let what = match expected == found {
                    true => format!("other values in some of {found} entries"),
                    false => format!("{expected} entries in {first}, {found} in {engine}"),
                };
                differences.push((format!("map {}", map.name), *engine, what));
            }
        }
    }
    match args.output {
        Format::Table => {
            let mut text = String::new();
            for (place, engine, what) in &differences {
                let engine = screen.style().paint(Paint::Bad, &engine.to_string());
                text += &format!("{place}   {engine}   {what}\n");
            }
            let engines: Vec<String> = args.engine.iter().map(Engine::to_string).collect();
            text += &match differences.len() {
                0 => format!("{} inputs: {} agree\n", ready.inputs.len(), engines.join(", ")),
                many => format!("{} inputs: {many} differences\n", ready.inputs.len()),
            };
            screen.print(&text)?;
        }
        format => {
            let list: Vec<_> = differences
                .iter()
                .map(|(place, engine, what)| {
                    json!({ "place": place, "engine": engine.to_string(), "what": what })
                })
                .collect();
            let value = json!({
                "inputs": ready.inputs.len(),
                "reference": first.to_string(),
                "differences": list,
            });
            match format {
                Format::Yaml => screen.print_yaml(&value)?,
                _ => screen.print_json(&value)?,
            }
        }
    }
    if differences.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(Failure::Negative) }
}

fn between(ready: &input::Ready, expected: &Answer, found: &Answer) -> Vec<String> {
    let kind = ready.kind.program;
    let mut list = Vec::new();
    if expected.value != found.value {
        let (expected, found) = (action(kind, expected.value), action(kind, found.value));
        list.push(format!("{found} instead of {expected}"));
    }
    if takes_packet(kind) && expected.packet != found.packet {
        list.push(format!("packet: {}", changes(&expected.packet, &found.packet)));
    }
    if !takes_packet(kind) && !found.context.is_empty() && expected.context != found.context {
        list.push(format!("context: {}", changes(&expected.context, &found.context)));
    }
    list
}
