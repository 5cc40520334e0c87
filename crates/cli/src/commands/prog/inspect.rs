//! `skep prog inspect`: what is in an object, and what it needs of a kernel.

use super::code::helper;
use super::disasm::short;
use super::object_file::{ObjectFile, Target};
use crate::failure::Failure;
use crate::output::{Cell, Format, Paint, Screen, Style, Table, or_dash};
use bpf_interface::needs::needs;
use bpf_object::{CoreSummary, Extern, ExternSort, Inspection, Map, Origin, Program};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

const AFTER: &str = "\
Examples:
  skep prog inspect filter.o
  skep prog inspect filter.o --core        with every CO-RE relocation
  skep prog inspect filter.o -o json | jq '.needs'";

/// Show an object's programs, maps, types, relocations and what it needs of a kernel
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// Object, or an executable with one in it
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// List the relocations against the kernel's types
    #[arg(long)]
    core: bool,

    /// List the sections
    #[arg(long)]
    sections: bool,

    #[command(flatten)]
    target: Target,

    /// Output format
    #[arg(short, long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    output: Format,
}

/// A program that can't be linked here.
struct Unlinked {
    name: String,
    section: String,
    reason: String,
}

pub fn run(args: &Args, screen: &Screen) -> Result<ExitCode, Failure> {
    let file = ObjectFile::read(&args.file, &args.target)?;
    let (mut programs, mut unlinked): (Vec<Program>, Vec<Unlinked>) = Default::default();
    for (name, linked) in file.programs(None)? {
        match linked {
            Ok(program) => programs.push(program),
            Err(error) => {
                let function = file.object.functions.iter().find(|f| f.name == name);
                let section = function.map(|f| f.section.clone()).unwrap_or_default();
                unlinked.push(Unlinked { name, section, reason: error.to_string() });
            }
        }
    }
    let inspection = file.object.inspect(&programs);
    let needs = needed(&file, &programs);
    match args.output {
        Format::Table => {
            let shown = Shown {
                args,
                file: &file,
                inspection: &inspection,
                unlinked: &unlinked,
                needs: &needs,
            };
            screen.print(&shown.text(screen.style()))?;
        }
        Format::Json => screen.print_json(&value(&file, &inspection, &unlinked, &needs))?,
        Format::Yaml => screen.print_yaml(&value(&file, &inspection, &unlinked, &needs))?,
    }
    Ok(ExitCode::SUCCESS)
}

struct Shown<'a> {
    args: &'a Args,
    file: &'a ObjectFile,
    inspection: &'a Inspection<'a>,
    unlinked: &'a [Unlinked],
    needs: &'a [Needed],
}

impl Shown<'_> {
    fn text(&self, style: Style) -> String {
        let inspection = self.inspection;
        let license = match inspection.license {
            "" => "no licence (helpers that ask for GPL can't be used)".to_owned(),
            license => format!("licence {license}"),
        };
        let mut text = format!("{}   {license}\n", self.file.path);
        let mut part = |heading: &str, table: Table| {
            let table = table.render(style);
            if !table.is_empty() {
                text += &format!("\n{}\n{table}", style.paint(Paint::Heading, heading));
            }
        };
        part("Programs", self.programs());
        part("Maps", self.maps());
        part("Externs", self.externs());
        if self.args.sections {
            part("Sections", self.sections());
        }
        if self.args.core {
            part("Relocations against the kernel's types", core(&inspection.core));
        }
        part("Needs of Linux", self.needs());
        let kinds: Vec<String> =
            inspection.types.kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        if !kinds.is_empty() {
            text += &format!("\nTypes: {} ({})\n", inspection.types.total, kinds.join(", "));
        }
        if !inspection.core.is_empty() && !self.args.core {
            text += &format!(
                "Relocations against the kernel's types: {} (--core lists them)\n",
                inspection.core.len()
            );
        }
        text
    }

    fn programs(&self) -> Table {
        let mut table =
            Table::new(["NAME", "KIND", "SECTION", "SLOTS", "MAPS", "CALLS"]).indented(2);
        for program in &self.inspection.programs {
            let maps: Vec<&str> =
                program.maps.iter().filter_map(|map| self.map_name(*map)).collect();
            let calls = program.functions.len() - 1;
            table.row([
                program.name.clone().into(),
                program.program.map_or("-".into(), |kind| kind.to_string().into()),
                program.section.clone().into(),
                program.slots.to_string().into(),
                some(&maps).into(),
                match (calls, program.helpers.len()) {
                    (0, helpers) => format!("{helpers} helpers").into(),
                    (calls, helpers) => format!("{calls} functions, {helpers} helpers").into(),
                },
            ]);
        }
        for Unlinked { name, section, reason } in self.unlinked {
            table.row([
                name.clone().into(),
                "?".into(),
                section.clone().into(),
                Cell::new(Paint::Bad, format!("not linked: {reason}")),
                "".into(),
                "".into(),
            ]);
        }
        if self.inspection.programs.is_empty() && self.unlinked.is_empty() {
            return Table::without_headings();
        }
        table
    }

    fn map_name(&self, index: usize) -> Option<&str> {
        self.inspection.maps.get(index).map(|map| map.name.as_str())
    }

    fn maps(&self) -> Table {
        if self.inspection.maps.is_empty() {
            return Table::without_headings();
        }
        let mut table =
            Table::new(["NAME", "KIND", "KEY", "VALUE", "ENTRIES", "FLAGS", "TYPES"]).indented(2);
        for map in self.inspection.maps {
            let types = self.file.object.types.as_ref();
            let describe = |id| types.and_then(|t| Some(t.describe(id?)));
            let types = match (describe(map.key_type), describe(map.value_type)) {
                (None, None) => "-".to_owned(),
                (None, Some(value)) => value,
                (key, value) => format!(
                    "{} → {}",
                    key.unwrap_or_else(|| "?".into()),
                    value.unwrap_or_else(|| "?".into())
                ),
            };
            table.row([
                map.name.clone().into(),
                map.kind.to_string().into(),
                map.key_size.to_string().into(),
                map.value_size.to_string().into(),
                match map.max_entries {
                    0 => "-".into(),
                    entries => entries.to_string().into(),
                },
                or_dash(flags(map).join(",")).into(),
                types.into(),
            ]);
        }
        table
    }

    fn externs(&self) -> Table {
        let mut table = Table::without_headings().indented(2);
        for external in self.inspection.externs {
            table.row([
                external.name.clone().into(),
                sort(external).into(),
                if external.weak { "weak" } else { "" }.into(),
            ]);
        }
        table
    }

    fn sections(&self) -> Table {
        let mut table = Table::new(["NAME", "SIZE", "", "RELOCATIONS"]).indented(2);
        for section in self.inspection.sections.iter().filter(|section| !section.name.is_empty()) {
            table.row([
                section.name.clone().into(),
                section.size.to_string().into(),
                if section.is_code { "code" } else { "" }.into(),
                section.relocations.to_string().into(),
            ]);
        }
        table
    }

    fn needs(&self) -> Table {
        let mut table = Table::without_headings().indented(2);
        for need in self.needs {
            table.row([
                need.since.map_or("?".to_owned(), |since| since.to_string()).into(),
                need.what.clone().into(),
                need.place.clone().into(),
            ]);
        }
        table
    }
}

/// The first few names, and how many more there are.
fn some(names: &[&str]) -> String {
    const SHOWN: usize = 4;
    match names.len().checked_sub(SHOWN) {
        None | Some(0) => or_dash(names.join(",")),
        Some(more) => format!("{} and {more} more", names[..SHOWN].join(",")),
    }
}

/// Something that a kernel must have.
struct Needed {
    since: Option<bpf_interface::Version>,
    what: String,
    /// The program, and where in the source.
    place: String,
}

/// What the programs need, newest first, each once.
fn needed(file: &ObjectFile, programs: &[Program]) -> Vec<Needed> {
    let mut list: Vec<Needed> = Vec::new();
    for program in programs {
        for need in needs(program, &file.object) {
            let what = need.feature.to_string();
            if list.iter().any(|known| known.what == what) {
                continue;
            }
            let place = match need.line(program) {
                Some(line) => format!("{}, {}:{}", program.name, short(&line.file), line.line),
                None => program.name.clone(),
            };
            list.push(Needed { since: need.feature.since(), what, place });
        }
    }
    list.sort_by_key(|need| std::cmp::Reverse(need.since));
    list
}

fn core(records: &[CoreSummary]) -> Table {
    let mut table = Table::without_headings().indented(2);
    for record in records {
        table.row([
            format!("{}+{}", record.function, record.slot).into(),
            format!("{:?}", record.kind).into(),
            record.root.clone().into(),
            record.path.clone().into(),
        ]);
    }
    table
}

/// `BPF_F_*` of map creation that say something to a reader (include/uapi/linux/bpf.h, 6.18).
const FLAGS: &[(u32, &str)] = &[
    (1 << 0, "no-prealloc"),
    (1 << 1, "no-common-lru"),
    (1 << 2, "numa-node"),
    (1 << 3, "rdonly"),
    (1 << 4, "wronly"),
    (1 << 5, "stack-build-id"),
    (1 << 6, "zero-seed"),
    (1 << 7, "rdonly-prog"),
    (1 << 8, "wronly-prog"),
    (1 << 9, "clone"),
    (1 << 10, "mmapable"),
    (1 << 11, "preserve-elems"),
    (1 << 12, "inner-map"),
    (1 << 13, "link"),
    (1 << 18, "segv-on-fault"),
];

fn flags(map: &Map) -> Vec<String> {
    let mut left = map.flags;
    let mut names = Vec::new();
    for (bit, name) in FLAGS {
        if left & bit != 0 {
            names.push((*name).to_owned());
            left &= !bit;
        }
    }
    if left != 0 {
        names.push(format!("{left:#x}"));
    }
    if map.pinned_by_name {
        names.push("pinned".to_owned());
    }
    names
}

fn sort(external: &Extern) -> String {
    match external.sort {
        ExternSort::Function => "kernel function".to_owned(),
        ExternSort::Variable { typed: true } => "kernel variable".to_owned(),
        ExternSort::Variable { typed: false } => "kernel symbol".to_owned(),
        ExternSort::Configuration { size, .. } => format!("kernel configuration, {size} bytes"),
    }
}

fn value(
    file: &ObjectFile,
    inspection: &Inspection<'_>,
    unlinked: &[Unlinked],
    needs: &[Needed],
) -> Value {
    let types = file.object.types.as_ref();
    let describe = |id: Option<_>| id.and_then(|id| Some(types?.describe(id)));
    let map = |map: &Map| {
        json!({
            "name": map.name,
            "kind": map.kind.to_string(),
            "origin": match map.origin {
                Origin::Types => "definition",
                Origin::Legacy => "legacy",
                Origin::Data(_) => "variables",
                Origin::Configuration => "configuration",
                Origin::StructOps { .. } => "struct_ops",
            },
            "key_size": map.key_size,
            "value_size": map.value_size,
            "max_entries": map.max_entries,
            "flags": flags(map),
            "key_type": describe(map.key_type),
            "value_type": describe(map.value_type),
        })
    };
    let name = |index: &usize| inspection.maps.get(*index).map(|map| map.name.clone());
    let programs: Vec<Value> = inspection
        .programs
        .iter()
        .map(|program| {
            json!({
                "name": program.name,
                "section": program.section,
                "kind": program.program.map(|kind| kind.to_string()),
                "attach": program.attach.map(|kind| kind.to_string()),
                "target": program.target,
                "slots": program.slots,
                "functions": program.functions,
                "maps": program.maps.iter().filter_map(name).collect::<Vec<_>>(),
                "helpers": program.helpers.iter().map(|id| helper(*id)).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({
        "file": file.path,
        "license": inspection.license,
        "sections": inspection.sections.iter().map(|section| json!({
            "name": section.name, "size": section.size, "code": section.is_code,
            "relocations": section.relocations,
        })).collect::<Vec<_>>(),
        "programs": programs,
        "unlinked": unlinked.iter().map(|program| json!({
            "name": program.name, "section": program.section, "reason": program.reason,
        })).collect::<Vec<_>>(),
        "maps": inspection.maps.iter().map(map).collect::<Vec<_>>(),
        "externs": inspection.externs.iter().map(|external| json!({
            "name": external.name, "sort": sort(external), "weak": external.weak,
            "type": describe(external.kind),
        })).collect::<Vec<_>>(),
        "types": { "total": inspection.types.total, "kinds": inspection.types.kinds },
        "relocations": inspection.core.iter().map(|record| json!({
            "function": record.function, "slot": record.slot,
            "kind": format!("{:?}", record.kind), "type": record.root, "path": record.path,
        })).collect::<Vec<_>>(),
        "needs": needs.iter().map(|need| json!({
            "what": need.what, "since": need.since.map(|since| since.to_string()),
            "place": need.place,
        })).collect::<Vec<_>>(),
    })
}
