//! `skep prog list`, `show`, `dump`, `pin`: programs and maps that are in the kernel.

use super::typed;
use crate::failure::Failure;
use crate::output::{Format, Screen, Table, or_dash};
use bpf_isa::decode_one;
use bpf_kernel::map::types;
use bpf_kernel::{Map, MapDetails, Program, ProgramDetails};
use bpf_object::btf::{Btf, TypeId};
use bpf_object::{MapType, ProgramType};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const LIST_AFTER: &str = "\
Examples:
  skep prog list
  skep prog list maps -o json

Needs root or CAP_BPF and CAP_SYS_ADMIN.";

const SHOW_AFTER: &str = "\
Examples:
  skep prog show                          all programs; `skep prog show map`: all maps
  skep prog show id 42
  skep prog show name from_endpoint
  skep prog show map pinned /sys/fs/bpf/skep/maps/conntrack
  skep prog show tag 6deef7357e7b4530

Needs root or CAP_BPF and CAP_SYS_ADMIN.";

const DUMP_AFTER: &str = "\
Examples:
  skep prog dump id 42                    the instructions that the kernel runs
  skep prog dump id 42 --machine > code   the machine's, as bytes; `dump jited id 42` is the same
  skep prog dump map name conntrack --limit 20

Entries are shown by their types where the map has some. Needs root or CAP_BPF and CAP_SYS_ADMIN.";

const PIN_AFTER: &str = "\
Examples:
  skep prog pin id 42 /sys/fs/bpf/mine
  skep prog pin map name conntrack /sys/fs/bpf/connections

What is pinned stays in the kernel until the file is removed.";

/// List programs or maps in the kernel
#[derive(Debug, clap::Args)]
#[command(after_help = LIST_AFTER)]
pub struct ListArgs {
    /// What to list
    #[arg(value_enum, default_value_t = What::Programs)]
    what: What,

    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum What {
    #[value(alias = "prog", alias = "program", alias = "progs")]
    Programs,
    #[value(alias = "map")]
    Maps,
}

/// Show a program or map in the kernel
#[derive(Debug, clap::Args)]
#[command(after_help = SHOW_AFTER)]
pub struct ShowArgs {
    /// [map] id N | name NAME | tag TAG | pinned PATH; all without
    #[arg(value_name = "WHICH", num_args = 0..=3)]
    which: Vec<String>,

    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    output: Format,
}

/// Show a program's instructions or a map's entries, from the kernel
#[derive(Debug, clap::Args)]
#[command(after_help = DUMP_AFTER)]
pub struct DumpArgs {
    /// [map | xlated | jited] id N | name NAME | tag TAG | pinned PATH
    #[arg(value_name = "WHICH", required = true, num_args = 1..=3)]
    which: Vec<String>,

    /// The machine's instructions, as they are
    #[arg(long)]
    machine: bool,

    /// At most so many entries
    #[arg(long, value_name = "N", default_value_t = 1000)]
    limit: usize,

    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    output: Format,
}

/// Keep a program or map alive under a name
#[derive(Debug, clap::Args)]
#[command(after_help = PIN_AFTER)]
pub struct PinArgs {
    /// [map] id N | name NAME | tag TAG | pinned PATH, then where to pin it
    #[arg(value_name = "WHICH", required = true, num_args = 2..=4)]
    which: Vec<String>,
}

/// Programs have many maps; a list shows the first of them.
const MAPS_LISTED: usize = 4;

fn failed(error: bpf_kernel::Error) -> Failure {
    Failure::Usage(error.to_string())
}

pub fn list(args: &ListArgs, screen: &Screen) -> Result<ExitCode, Failure> {
    list_all(args.what, args.output, screen)
}

fn list_all(what: What, output: Format, screen: &Screen) -> Result<ExitCode, Failure> {
    let (values, table) = match what {
        What::Programs => {
            let programs = programs()?;
            let details: Vec<&ProgramDetails> =
                programs.iter().map(|(_, details)| details).collect();
            (
                details.iter().map(|d| program_value(d)).collect(),
                program_table(&details, MAPS_LISTED),
            )
        }
        What::Maps => {
            let maps = maps()?;
            let details: Vec<&MapDetails> = maps.iter().map(|(_, details)| details).collect();
            (details.iter().map(|d| map_value(d)).collect(), map_table(&details))
        }
    };
    print(screen, output, &Value::Array(values), || table.render(screen.style()))
}

pub fn show(args: &ShowArgs, screen: &Screen) -> Result<ExitCode, Failure> {
    match args.which.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] | ["prog"] => return list_all(What::Programs, args.output, screen),
        ["map"] => return list_all(What::Maps, args.output, screen),
        _ => {}
    }
    let (value, table) = match find(&args.which)? {
        Found::Program(_, details) => {
            (program_value(&details), program_table(&[&details], usize::MAX))
        }
        Found::Map(_, details) => (map_value(&details), map_table(&[&details])),
    };
    print(screen, args.output, &value, || table.render(screen.style()))
}

pub fn dump(args: &DumpArgs, screen: &Screen) -> Result<ExitCode, Failure> {
    let (machine, which) = match args.which.split_first() {
        Some((word, rest)) if word == "jited" => (true, rest),
        Some((word, rest)) if word == "xlated" => (args.machine, rest),
        _ => (args.machine, args.which.as_slice()),
    };
    match find(which)? {
        Found::Map(map, details) => {
            let entries = map.entries(args.limit).map_err(failed)?;
            let value = entries_value(&map, &details, &entries);
            print(screen, args.output, &value, || {
                value.as_array().into_iter().flatten().map(|entry| format!("{entry}\n")).collect()
            })
        }
        Found::Program(program, details) if machine => {
            let code = shown(program.machine_code().map_err(failed)?, &details)?;
            screen.print_bytes(&code)?;
            Ok(ExitCode::SUCCESS)
        }
        Found::Program(program, details) => {
            let code = shown(program.translated_code().map_err(failed)?, &details)?;
            let lines = instructions(&code);
            let value = lines
                .iter()
                .map(|(slot, text)| json!({ "slot": slot, "text": text }))
                .collect::<Vec<_>>();
            print(screen, args.output, &Value::Array(value), || {
                lines.iter().map(|(slot, text)| format!("{slot:6}: {text}\n")).collect()
            })
        }
    }
}

pub fn pin(args: &PinArgs) -> Result<ExitCode, Failure> {
    let Some((path, which)) = args.which.split_last() else {
        return Err(Failure::Usage("say what to pin, and where".to_owned()));
    };
    let path = PathBuf::from(path);
    if path.exists() {
        return Err(Failure::Usage(format!("{} exists already", path.display())));
    }
    match find(which)? {
        Found::Program(program, _) => program.pin(&path).map_err(failed)?,
        Found::Map(map, _) => map.pin(&path).map_err(failed)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn print(
    screen: &Screen,
    format: Format,
    value: &Value,
    text: impl FnOnce() -> String,
) -> Result<ExitCode, Failure> {
    match format {
        Format::Table => screen.print(&text())?,
        Format::Json => screen.print_json(value)?,
        Format::Yaml => screen.print_yaml(value)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(code: Vec<u8>, details: &ProgramDetails) -> Result<Vec<u8>, Failure> {
    if code.is_empty() {
        return Err(Failure::NotFound(format!(
            "the kernel doesn't show the instructions of program {}: kernel.kptr_restrict or \
             lockdown forbids it, or it has no JIT",
            details.id
        )));
    }
    Ok(code)
}

enum Found {
    Program(Program, ProgramDetails),
    Map(Map, MapDetails),
}

/// Programs and maps may go while they are listed.
fn is_gone(error: &bpf_kernel::Error) -> bool {
    error.errno() == Some(nix::errno::Errno::ENOENT as i32)
}

fn programs() -> Result<Vec<(Program, ProgramDetails)>, Failure> {
    let mut list = Vec::new();
    for id in Program::ids().map_err(failed)? {
        match Program::from_id(id).and_then(|p| p.details().map(|details| (p, details))) {
            Ok(found) => list.push(found),
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(list)
}

fn maps() -> Result<Vec<(Map, MapDetails)>, Failure> {
    let mut list = Vec::new();
    for id in Map::ids().map_err(failed)? {
        match Map::from_id(id).and_then(|map| map.details().map(|details| (map, details))) {
            Ok(found) => list.push(found),
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(list)
}

/// What the words mean: `[map] id N`, and so on; a number alone is an id.
fn find(words: &[String]) -> Result<Found, Failure> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (is_map, words) = match words.as_slice() {
        ["map", rest @ ..] => (true, rest),
        ["prog", rest @ ..] => (false, rest),
        all => (false, all),
    };
    let (how, what) = match words {
        [how @ ("id" | "name" | "pinned" | "tag"), what] => (*how, *what),
        [what] if what.parse::<u32>().is_ok() => ("id", *what),
        _ => {
            return Err(Failure::Usage(
                "say which: [map] id N, name NAME, tag TAG or pinned PATH".to_owned(),
            ));
        }
    };
    let id = || {
        what.parse::<u32>().map_err(|_| Failure::Usage(format!("`{what}` is no number of an id")))
    };
    let path = Path::new(what);
    if is_map {
        let map = match how {
            "id" => {
                let id = id()?;
                Map::from_id(id).map_err(|error| of_id("map", id, error))?
            }
            "pinned" => Map::open(path).map_err(failed)?,
            "name" => {
                only("map", what, maps()?, |(_, d)| kernel_name(&d.name, what), |(_, d)| d.id)?.0
            }
            _ => return Err(Failure::Usage("maps have no tags".to_owned())),
        };
        let details = map.details().map_err(failed)?;
        return Ok(Found::Map(map, details));
    }
    let program = match how {
        "id" => {
            let id = id()?;
            Program::from_id(id).map_err(|error| of_id("program", id, error))?
        }
        "pinned" => Program::open(path).map_err(failed)?,
        "name" => {
            let is = |(_, d): &(Program, ProgramDetails)| kernel_name(&d.name, what);
            only("program", what, programs()?, is, |(_, d)| d.id)?.0
        }
        _ => {
            let is = |(_, d): &(Program, ProgramDetails)| tag(&d.tag) == what;
            only("program", what, programs()?, is, |(_, d)| d.id)?.0
        }
    };
    let details = program.details().map_err(failed)?;
    Ok(Found::Program(program, details))
}

/// The kernel keeps the first 15 bytes of a name.
fn kernel_name(known: &str, wanted: &str) -> bool {
    known == wanted || known.len() == 15 && wanted.starts_with(known)
}

fn only<T>(
    what: &str,
    name: &str,
    mut list: Vec<T>,
    is: impl Fn(&T) -> bool,
    id: impl Fn(&T) -> u32,
) -> Result<T, Failure> {
    list.retain(is);
    match list.len() {
        1 => Ok(list.remove(0)),
        0 => {
            let list = if what == "map" { "list maps" } else { "list" };
            Err(Failure::NotFound(format!(
                "there is no {what} `{name}` in the kernel; `skep prog {list}` shows those that are"
            )))
        }
        _ => {
            let ids: Vec<String> = list.iter().map(|one| id(one).to_string()).collect();
            Err(Failure::Usage(format!(
                "there are several {what}s `{name}`; name one by its id: {}",
                ids.join(", ")
            )))
        }
    }
}

fn tag(tag: &[u8; 8]) -> String {
    tag.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Of a thing that was named by its id.
fn of_id(what: &str, id: u32, error: bpf_kernel::Error) -> Failure {
    if is_gone(&error) {
        let list = if what == "map" { "list maps" } else { "list" };
        return Failure::NotFound(format!(
            "there is no {what} with id {id} in the kernel; `skep prog {list}` shows those that are"
        ));
    }
    failed(error)
}

fn program_table(list: &[&ProgramDetails], maps_shown: usize) -> Table {
    let mut table =
        Table::new(["ID", "NAME", "TYPE", "TAG", "INSNS", "JITED", "MAPS", "RUNS", "MEAN"]);
    for details in list {
        let ids = details.maps.iter().take(maps_shown).map(u32::to_string);
        let mut maps = ids.collect::<Vec<String>>().join(",");
        match details.maps.len().saturating_sub(maps_shown) {
            0 => {}
            more => maps += &format!(" and {more} more"),
        }
        table.row([
            details.id.to_string().into(),
            or_dash(details.name.clone()).into(),
            ProgramType(details.kind).to_string().into(),
            tag(&details.tag).into(),
            (details.translated / 8).to_string().into(),
            format!("{} B", details.machine_code).into(),
            or_dash(maps).into(),
            match details.runs {
                0 => "-".into(),
                runs => runs.to_string().into(),
            },
            match details.run_time.as_nanos().checked_div(details.runs.into()) {
                Some(mean) => format!("{mean} ns").into(),
                None => "-".into(),
            },
        ]);
    }
    table
}

fn map_table(list: &[&MapDetails]) -> Table {
    let mut table =
        Table::new(["ID", "NAME", "TYPE", "KEY", "VALUE", "ENTRIES", "FLAGS", "MEMORY", ""]);
    for details in list {
        table.row([
            details.id.to_string().into(),
            or_dash(details.name.clone()).into(),
            MapType(details.kind).to_string().into(),
            details.layout.key_size.to_string().into(),
            details.layout.value_size.to_string().into(),
            details.layout.max_entries.to_string().into(),
            format!("{:#x}", details.layout.flags).into(),
            details.memory.map_or("-".into(), |bytes| format!("{bytes} B").into()),
            if details.frozen { "frozen" } else { "" }.into(),
        ]);
    }
    table
}

fn program_value(details: &ProgramDetails) -> Value {
    json!({
        "id": details.id,
        "type": ProgramType(details.kind).to_string(),
        "name": details.name,
        "tag": tag(&details.tag),
        "gpl_compatible": details.gpl,
        "loaded_at": details.loaded.as_secs(),
        "uid": details.user,
        "bytes_xlated": details.translated,
        "jited": details.machine_code > 0,
        "bytes_jited": details.machine_code,
        "map_ids": details.maps,
        "btf_id": details.types,
        "run_cnt": details.runs,
        "run_time_ns": details.run_time.as_nanos() as u64,
        "verified_insns": details.verified_instructions,
    })
}

fn map_value(details: &MapDetails) -> Value {
    json!({
        "id": details.id,
        "type": MapType(details.kind).to_string(),
        "name": details.name,
        "flags": details.layout.flags,
        "bytes_key": details.layout.key_size,
        "bytes_value": details.layout.value_size,
        "max_entries": details.layout.max_entries,
        "bytes_memlock": details.memory,
        "frozen": details.frozen,
        "btf_id": details.types,
    })
}

fn entries_value(map: &Map, details: &MapDetails, entries: &[(Vec<u8>, Vec<u8>)]) -> Value {
    // Without types, or with ones that can't be read, bytes are shown.
    let known = (details.types != 0)
        .then(|| types(details.types).ok().and_then(|bytes| Btf::parse(&bytes).ok()))
        .flatten();
    let format = |id: u32, bytes: &[u8]| match &known {
        Some(known) if id != 0 => typed::show(known, TypeId(id), bytes),
        _ => typed::raw(bytes),
    };
    let entry = |(key, value): &(Vec<u8>, Vec<u8>)| {
        let key = format(details.key_type, key);
        if !map.layout().kind.is_per_cpu() {
            return json!({ "key": key, "value": format(details.value_type, value) });
        }
        let size = map.layout().value_size as usize;
        let values: Vec<Value> = value
            .chunks(size.next_multiple_of(8).max(8))
            .enumerate()
            .map(|(cpu, bytes)| {
                let bytes = bytes.get(..size).unwrap_or(bytes);
                json!({ "cpu": cpu, "value": format(details.value_type, bytes) })
            })
            .collect();
        json!({ "key": key, "values": values })
    };
    Value::Array(entries.iter().map(entry).collect())
}

/// The kernel's own instructions among them are shown as bytes.
fn instructions(code: &[u8]) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut at = 0;
    while let Some(rest) = code.get(at..).filter(|rest| rest.len() >= bpf_isa::SLOT) {
        let slot = at / bpf_isa::SLOT;
        match decode_one(rest) {
            Ok(instruction) => {
                lines.push((slot, instruction.to_string()));
                at += instruction.slots() * bpf_isa::SLOT;
            }
            Err(_) => {
                let bytes: Vec<String> =
                    rest[..bpf_isa::SLOT].iter().map(|byte| format!("{byte:02x}")).collect();
                lines.push((slot, format!("(kernel) {}", bytes.join(" "))));
                at += bpf_isa::SLOT;
            }
        }
    }
    lines
}
