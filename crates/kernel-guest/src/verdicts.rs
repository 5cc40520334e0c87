//! What this kernel says of each program of the objects that the host put into a folder.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use bpf_kernel::{
    linked::{Load, Maps},
    privilege,
};
use bpf_object::{MapType, Object, Program, ProgramKind, btf::Btf};

use crate::report::Report;

const OBJECTS: &str = "/objects";
const KERNEL_TYPES: &str = "/sys/kernel/btf/vmlinux";
/// PERF_MAX_STACK_DEPTH addresses
const STACK_BYTES: u32 = 127 * 8;
/// Of a verifier's log: the complaint stands in the end.
const LOG_LINES: usize = 4;

/// Tells `verdict OBJECT PROGRAM` with `accepted` or `refused`, and why.
pub fn tell(report: &mut Report) {
    if let Err(error) = privilege::check() {
        return report.failed("privilege", &error.to_string());
    }
    if let Err(error) = tell_all(report) {
        report.failed("objects", &format!("{error:#}"));
    }
}

fn tell_all(report: &mut Report) -> Result<()> {
    let kernel = Btf::parse(&fs::read(KERNEL_TYPES)?).context("the kernel's types")?;
    let mut paths: Vec<_> = fs::read_dir(Path::new(OBJECTS))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match Object::parse(&fs::read(&path)?) {
            Ok(object) => tell_object(report, &name, &complete(object), &kernel),
            Err(error) => report.failed(&format!("object {name}"), &error.to_string()),
        }
    }
    Ok(())
}

/// Tools size some maps only when they know their options.
fn complete(mut object: Object) -> Object {
    for map in &mut object.maps {
        if map.kind == MapType::STACK_TRACE && map.value_size == 0 {
            map.value_size = STACK_BYTES;
        }
        let leaves_entries = matches!(
            map.kind,
            MapType::STACK_TRACE
                | MapType::HASH
                | MapType::ARRAY
                | MapType::LRU_HASH
                | MapType::PER_CPU_HASH
                | MapType::PER_CPU_ARRAY
                | MapType::CGROUP_ARRAY
        );
        if leaves_entries && map.max_entries == 0 {
            map.max_entries = 1024;
        }
    }
    object
}

fn tell_object(report: &mut Report, name: &str, object: &Object, kernel: &Btf) {
    let maps = Maps::create(object);
    for function in object.programs() {
        let what = format!("verdict {name} {}", function.name);
        let Some(kind) = ProgramKind::of_section(&function.section) else { continue };
        let verdict = match (object.link(&function.name, Some(kernel)), &maps) {
            (Err(error), _) => format!("refused\nnot linked: {error}"),
            (_, Err(error)) => format!("refused\n{error}"),
            (Ok(program), Ok(maps)) => load(object, maps, &program, &kind, kernel),
        };
        report.ok(&what, &verdict);
    }
}

fn load(
    object: &Object,
    maps: &Maps,
    program: &Program,
    kind: &ProgramKind,
    kernel: &Btf,
) -> String {
    let load = |log_level| maps.load(object, program, &Load { kind, flags: 0, log_level, kernel });
    // Writing the log is slow: only for those that are refused.
    if load(0).program.is_ok() {
        return "accepted".to_owned();
    }
    let verdict = load(1);
    let Err(error) = verdict.program else { return "accepted".to_owned() };
    let lines: Vec<&str> = verdict
        .log
        .lines()
        .filter(|line| !line.starts_with("processed ") && !line.trim().is_empty())
        .collect();
    let last = &lines[lines.len().saturating_sub(LOG_LINES)..];
    format!("refused\n{error}\n{}", last.join("\n"))
}
