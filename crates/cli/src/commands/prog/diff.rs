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

Without --engine those that can't run the program here are left out, with the reason.

Exit codes: 0 all agree, 1 they don't, 2 an engine that was named can't run the program.";

/// Run a program in several engines and compare
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    #[command(flatten)]
    input: input::Inputs,

    /// Engines to compare [default: all that can run the program here]
    #[arg(long, value_enum, value_delimiter = ',')]
    engine: Vec<Engine>,

    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    output: Format,
}

pub fn run(args: &Args, screen: &Screen) -> Result<ExitCode, Failure> {
    let ready = args.input.ready(screen)?;
    let engines = match args.engine.as_slice() {
        [] => vec![Engine::Interp, Engine::Jit, Engine::Kernel],
        named => named.to_vec(),
    };
    // Who names an engine wants to hear that it can't.
    let is_named = !args.engine.is_empty();
    let mut ran = Vec::new();
    for engine in engines {
        let tried = ready.machine(engine, args.input.seed).and_then(|machine| {
            let answers = ready.inputs.iter().map(|input| machine.run(input, 1));
            Ok((answers.collect::<Result<Vec<Answer>, Failure>>()?, machine))
        });
        match tried {
            Ok((answers, machine)) => ran.push((engine, machine, answers)),
            Err(error) if is_named => return Err(error),
            Err(error) => screen.complain(&format!("{engine} is left out: {error}\n")),
        }
    }
    let Some(((first, reference, expected), others)) = ran.split_first() else {
        return Err(Failure::Usage("no engine can run the program here".to_owned()));
    };
    let mut differences = Vec::new();
    for (number, expected) in expected.iter().enumerate() {
        for (engine, _, answers) in others {
            let found = answers.get(number).map(|answer| between(&ready, expected, answer));
            for what in found.into_iter().flatten() {
                differences.push((format!("#{}", number + 1), *engine, what));
            }
        }
    }
    for (index, map) in ready.file.object.maps.iter().enumerate() {
        let expected = reference.entries(&ready.file, index)?;
        for (engine, machine, _) in others {
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
            let engines: Vec<String> = ran.iter().map(|(engine, ..)| engine.to_string()).collect();
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
