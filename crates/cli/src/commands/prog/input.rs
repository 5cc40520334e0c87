//! What programs are run on: packets, contexts, maps' entries, variables.

use super::machine::{Input, Machine, takes_packet};
use super::object_file::{ObjectFile, Target, read, unreadable};
use super::typed;
use crate::failure::Failure;
use crate::output::Screen;
use bpf_object::{Object, ProgramKind};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Which program, on what.
#[derive(Debug, clap::Args)]
pub struct Inputs {
    /// Object, or an executable with one in it
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Program; may be left out if there is only one
    #[arg(long = "prog", value_name = "NAME")]
    pub program: Option<String>,

    /// What the program is, if its section's name doesn't say it, such as xdp or tc
    #[arg(long = "section", value_name = "NAME")]
    section: Option<String>,

    /// Packets: a pcap or pcapng file, or one packet's bytes in hexadecimal; may be repeated; without
    /// any it is 60 zero bytes
    #[arg(long = "packet", value_name = "FILE|HEX")]
    packets: Vec<String>,

    /// The context's bytes in hexadecimal, for programs that take no packets
    #[arg(long, value_name = "HEX")]
    context: Option<String>,

    /// Entries of a map, as `skep prog dump map -o json` writes them: [{"key": .., "value": ..}]
    #[arg(long = "map", value_name = "NAME=FILE")]
    maps: Vec<String>,

    /// A variable's value as JSON, set before the program is loaded
    #[arg(long = "set", value_name = "NAME=VALUE")]
    variables: Vec<String>,

    /// What chance begins with
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,

    #[command(flatten)]
    target: Target,
}

/// All that is needed to run it in any engine.
pub struct Ready {
    pub file: ObjectFile,
    pub program: String,
    pub kind: ProgramKind,
    pub inputs: Vec<Input>,
    entries: Vec<Entry>,
}

/// Of a map, by its name.
struct Entry {
    map: String,
    key: Vec<u8>,
    value: Vec<u8>,
}

/// The smallest frame of Ethernet, all zeroes: what programs see if no packet is given.
const EMPTY: usize = 60;

impl Inputs {
    /// What is assumed is said on the screen.
    pub fn ready(&self, screen: &Screen) -> Result<Ready, Failure> {
        let mut file = ObjectFile::read(&self.file, &self.target)?;
        for word in &self.variables {
            set_variable(&mut file.object, word)?;
        }
        let program = file.program(self.program.as_deref())?;
        let section = self.section.as_deref().and_then(ProgramKind::of_section);
        let kind = program.kind.clone().or(section).ok_or_else(|| {
            Failure::Usage(format!(
                "section `{}` doesn't say what program `{}` is for; say it with --section",
                program.section, program.name
            ))
        })?;
        let mut entries = Vec::new();
        for word in &self.maps {
            read_entries(&file, word, &mut entries)?;
        }
        if self.packets.is_empty() && takes_packet(kind.program) {
            screen.complain(&format!(
                "note: the program runs on {EMPTY} zero bytes; --packet gives it a packet\n"
            ));
        }
        let inputs = self.inputs()?;
        Ok(Ready { program: program.name, kind, inputs, entries, file })
    }

    fn inputs(&self) -> Result<Vec<Input>, Failure> {
        let context = match &self.context {
            Some(digits) => bytes(digits)
                .ok_or_else(|| Failure::Usage(format!("`{digits}` is not hexadecimal")))?,
            // Enough for the longest context.
            None => vec![0; 256],
        };
        let mut packets = Vec::new();
        for word in &self.packets {
            let path = Path::new(word);
            match bytes(word) {
                Some(packet) if !path.exists() => packets.push(packet),
                _ => {
                    let bytes = std::fs::read(path).map_err(|error| no_packet(word, &error))?;
                    let frames =
                        sim::capture::read(&bytes).map_err(|error| no_packet(word, &error))?;
                    packets.extend(frames.into_iter().map(|frame| frame.bytes));
                }
            }
        }
        if packets.is_empty() {
            packets.push(vec![0; EMPTY]);
        }
        let input = |packet| Input { packet, context: context.clone() };
        Ok(packets.into_iter().map(input).collect())
    }
}

fn no_packet(word: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::Usage(format!(
        "--packet {word}: it is no capture that can be read ({error}), nor a packet in hexadecimal; \
         give a pcap or pcapng file, or two digits for each byte, such as 0200000000010200..."
    ))
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    let digits: String = digits
        .trim_start_matches("0x")
        .chars()
        .filter(|c| !c.is_whitespace() && *c != ':')
        .collect();
    typed::hex(&digits)
}

fn set_variable(object: &mut Object, word: &str) -> Result<(), Failure> {
    let wrong = |reason: String| Failure::Usage(format!("--set {word}: {reason}"));
    let (name, text) = word.split_once('=').ok_or_else(|| wrong("write NAME=VALUE".to_owned()))?;
    let value: Value = serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
    let size = object.variable(name).map(<[u8]>::len);
    let size = size.ok_or_else(|| {
        let names: Vec<&str> = object.variables.iter().map(|v| v.name.as_str()).collect();
        let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        wrong(format!("there is no variable `{name}`; there are {there}"))
    })?;
    let kind = object.variables.iter().find(|variable| variable.name == name);
    let kind = kind.and_then(|variable| variable.kind);
    let bytes = typed::read(object.types.as_ref(), kind, size, &value).map_err(wrong)?;
    object.set_variable(name, &bytes).map_err(|error| wrong(error.to_string()))
}

fn read_entries(file: &ObjectFile, word: &str, entries: &mut Vec<Entry>) -> Result<(), Failure> {
    let Some((name, path)) = word.split_once('=') else {
        return Err(Failure::Usage(format!("--map {word}: write NAME=FILE")));
    };
    let path = Path::new(path);
    let map = file.object.map(name).ok_or_else(|| {
        let names: Vec<&str> = file.object.maps.iter().map(|map| map.name.as_str()).collect();
        let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        Failure::NotFound(format!("there is no map `{name}` in {}; it has {there}", file.path))
    })?;
    let value: Value =
        serde_json::from_slice(&read(path)?).map_err(|error| unreadable(path, &error))?;
    let Some(list) = value.as_array() else {
        return Err(unreadable(path, &"it is no list of entries"));
    };
    let types = file.object.types.as_ref();
    for (number, entry) in list.iter().enumerate() {
        let part = |what: &str, kind, size: u32| {
            let value = entry.get(what).ok_or_else(|| format!("it has no {what}"));
            let bytes = value.and_then(|value| typed::read(types, kind, size as usize, value));
            bytes.map_err(|reason| unreadable(path, &format!("entry {number}: {what}: {reason}")))
        };
        entries.push(Entry {
            map: name.to_owned(),
            key: part("key", map.key_type, map.key_size)?,
            value: part("value", map.value_type, map.value_size)?,
        });
    }
    Ok(())
}

impl Ready {
    /// The program in an engine, its maps filled.
    pub fn machine(&self, engine: super::machine::Engine, seed: u64) -> Result<Machine, Failure> {
        self.traced(engine, seed, None)
    }

    /// The same, whose runs are noted down, so many instructions of each.
    pub fn traced(
        &self,
        engine: super::machine::Engine,
        seed: u64,
        trace: Option<usize>,
    ) -> Result<Machine, Failure> {
        let machine = Machine::new(engine, &self.file, &self.program, &self.kind, seed, trace)?;
        for Entry { map, key, value } in &self.entries {
            machine.set(&self.file, map, key, value)?;
        }
        Ok(machine)
    }
}
