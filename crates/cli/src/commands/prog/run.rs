//! `skep prog run`: a program on packets, and what came of it.

use super::input;
use super::machine::{Answer, Engine, Input, Machine, action, takes_packet};
use super::steps::Steps;
use super::typed;
use crate::failure::Failure;
use crate::output::{Format, Paint, Screen, Style, visible};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::process::ExitCode;

const AFTER: &str = "\
Examples:
  skep prog run filter.o --packet traffic.pcap
  skep prog run filter.o --prog on_packet --packet 0200...0800 --map allowed=allowed.json --maps
  skep prog run filter.o --packet 0200...0800 --trace
  skep prog run filter.o --engine kernel --packet traffic.pcapng --repeat 1000

Ours need no privileges and no kernel. Programs without packets run on --context.";

/// Run a program on packets, here or in the kernel
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    #[command(flatten)]
    input: input::Inputs,

    /// What carries the program out
    #[arg(long, value_enum, default_value_t = Engine::Interp)]
    engine: Engine,

    /// Run on each packet so often, and give the mean time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,

    /// Show each instruction that was carried out with the registers that it changed (engine
    /// interp), what the program prints, and its records in ring buffers
    #[arg(long)]
    trace: bool,

    /// Instructions of each run that --trace shows; 0 for none
    #[arg(long, value_name = "N", default_value_t = 1000)]
    trace_limit: usize,

    /// Show what the maps hold at the end
    #[arg(long = "maps")]
    show_maps: bool,

    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    output: Format,
}

pub fn run(args: &Args, screen: &Screen) -> Result<ExitCode, Failure> {
    let ready = args.input.ready(screen)?;
    let is_stepped = args.trace && args.trace_limit > 0 && args.engine == Engine::Interp;
    let limit = is_stepped.then_some(args.trace_limit);
    let machine = ready.traced(args.engine, args.input.seed, limit)?;
    let listed = match is_stepped {
        true => Some(Steps::of(&ready)?),
        false => None,
    };
    let mut text = String::new();
    let mut values = Vec::new();
    for (number, input) in ready.inputs.iter().enumerate() {
        let answer = machine.run(input, args.repeat);
        let steps = listed.as_ref().map(|listed| (listed, machine.steps()));
        let answer = match (answer, &steps) {
            (Err(error), Some((listed, trace))) => {
                // How it came to that is what one wants to know.
                screen.complain(&listed.text(trace, screen.error_style()));
                return Err(error);
            }
            (answer, _) => answer?,
        };
        let records = if args.trace { records(&ready, &machine) } else { Vec::new() };
        match args.output {
            Format::Table => {
                text += &line(&ready, number, input, &answer, args.repeat, screen.style());
                if let Some((listed, trace)) = &steps {
                    text += &listed.text(trace, screen.style());
                }
                if args.trace {
                    for line in &answer.trace {
                        let _ = writeln!(text, "      {}", visible(line.trim_end()));
                    }
                    for (map, record) in &records {
                        let _ = writeln!(text, "      {map}: {record}");
                    }
                }
            }
            _ => {
                let mut value = value(&ready, &answer, args.repeat, &records);
                if let Some((listed, trace)) = &steps {
                    value["steps"] = listed.value(trace);
                    value["executed"] = trace.executed.into();
                }
                values.push(value);
            }
        }
    }
    let maps = if args.show_maps { maps(&ready, &machine)? } else { Vec::new() };
    match args.output {
        Format::Table => {
            for (name, entries) in &maps {
                let _ = writeln!(text, "\n{}", screen.style().paint(Paint::Heading, name));
                for entry in entries {
                    let _ = writeln!(text, "  {} → {}", entry["key"], entry["value"]);
                }
            }
            screen.print(&text)?;
        }
        format => {
            let maps: serde_json::Map<String, Value> =
                maps.into_iter().map(|(name, entries)| (name, entries.into())).collect();
            let value = json!({
                "program": ready.program,
                "engine": args.engine.to_string(),
                "runs": values,
                "maps": maps,
            });
            match format {
                Format::Yaml => screen.print_yaml(&value)?,
                _ => screen.print_json(&value)?,
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn line(
    ready: &input::Ready,
    number: usize,
    input: &Input,
    answer: &Answer,
    repeat: u32,
    style: Style,
) -> String {
    let kind = ready.kind.program;
    let mut text = format!("#{:<4} ", number + 1);
    if takes_packet(kind) {
        let _ = write!(text, "{:>5} B   ", input.packet.len());
    }
    text += &style.paint(Paint::Heading, &action(kind, answer.value));
    if let Some(redirect) = &answer.redirect {
        let _ = write!(text, "   {redirect:?}");
    }
    if takes_packet(kind) && answer.packet != input.packet {
        let _ = write!(text, "   {}", changes(&input.packet, &answer.packet));
    }
    if repeat > 1 {
        let _ = write!(text, "   {} ns", answer.time.as_nanos());
    }
    text.push('\n');
    text
}

/// What differs between two packets, in a few words.
pub fn changes(before: &[u8], after: &[u8]) -> String {
    let same = before.iter().zip(after).take_while(|(a, b)| a == b).count();
    if before.len() != after.len() {
        return format!("{} B → {} B, from byte {same} on", before.len(), after.len());
    }
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for (at, _) in before.iter().zip(after).enumerate().filter(|(_, (a, b))| a != b) {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == at => *last = at,
            _ => ranges.push((at, at)),
        }
    }
    let ranges: Vec<String> = ranges
        .iter()
        .map(|(first, last)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        })
        .collect();
    match ranges.is_empty() {
        true => "unchanged".to_owned(),
        false => format!("changed bytes {}", ranges.join(", ")),
    }
}

fn records(ready: &input::Ready, machine: &Machine) -> Vec<(String, String)> {
    let rings = ready.file.object.maps.iter();
    let rings = rings.filter(|map| map.kind == bpf_object::MapType::RING_BUFFER);
    rings
        .flat_map(|map| {
            let records = machine.records(&map.name).into_iter();
            records.map(|record| (map.name.clone(), hexadecimal(&record)))
        })
        .collect()
}

pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Every map that can be listed and holds something.
fn maps(ready: &input::Ready, machine: &Machine) -> Result<Vec<(String, Vec<Value>)>, Failure> {
    let mut list = Vec::new();
    for (index, map) in ready.file.object.maps.iter().enumerate() {
        let entries = machine.entries(&ready.file, index)?.unwrap_or_default();
        if entries.is_empty() {
            continue;
        }
        let types = ready.file.object.types.as_ref();
        let show = |kind: Option<_>, bytes: &[u8]| match (types, kind) {
            (Some(types), Some(kind)) => typed::show(types, kind, bytes),
            _ => typed::raw(bytes),
        };
        let entry = |(key, value): &(Vec<u8>, Vec<u8>)| json!({ "key": show(map.key_type, key), "value": show(map.value_type, value) });
        list.push((map.name.clone(), entries.iter().map(entry).collect()));
    }
    Ok(list)
}

fn value(
    ready: &input::Ready,
    answer: &Answer,
    repeat: u32,
    records: &[(String, String)],
) -> Value {
    let mut value = json!({
        "value": answer.value,
        "action": action(ready.kind.program, answer.value),
    });
    if takes_packet(ready.kind.program) {
        value["packet"] = hexadecimal(&answer.packet).into();
    } else {
        value["context"] = hexadecimal(&answer.context).into();
    }
    if let Some(redirect) = &answer.redirect {
        value["redirect"] = format!("{redirect:?}").into();
    }
    if !answer.trace.is_empty() {
        value["trace"] = answer.trace.clone().into();
    }
    if !records.is_empty() {
        value["records"] = records
            .iter()
            .map(|(map, record)| json!({ "map": map, "record": record }))
            .collect::<Vec<_>>()
            .into();
    }
    if repeat > 1 {
        value["nanoseconds"] = (answer.time.as_nanos() as u64).into();
    }
    value
}

#[cfg(test)]
mod tests {
    use super::changes;

    #[test]
    fn changed_bytes() {
        assert_eq!(changes(&[1, 2, 3, 4, 5], &[1, 9, 9, 4, 0]), "changed bytes 1-2, 4");
        assert_eq!(changes(&[1, 2], &[1, 2]), "unchanged");
        assert_eq!(changes(&[1, 2], &[1, 2, 3]), "2 B → 3 B, from byte 2 on");
    }
}
