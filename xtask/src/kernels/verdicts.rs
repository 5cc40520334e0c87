//! `cargo xtask kernels verdicts`: what our verifier and the kernels' profiles say of programs, and
//! what the kernels themselves say when booted.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bpf_interface::caller::Caller;
use bpf_interface::needs::{missing, needs_of};
use bpf_interface::profile::{Profile, embedded};
use bpf_interface::typed::check_target;
use bpf_object::btf::Btf;
use bpf_object::{Object, ProgramKind};
use bpf_verifier::{Options as Judging, Request, Rules, Verdict, verify};

use super::{Fetched, fetch, guest, guest_program, initramfs, types};
use crate::{build_ebpf, report};

/// Emulated kernels verify slowly.
const TIME_LIMIT: Duration = Duration::from_secs(900);
const ATTEMPTS: usize = 3;

#[derive(clap::Args)]
pub struct Options {
    /// Objects, or executables and folders with objects in them, besides Skep's own
    files: Vec<PathBuf>,

    /// Some of 5.10, 6.1, 6.12, newest; all without
    #[arg(long, value_delimiter = ',')]
    kernel: Vec<String>,

    /// Show programs on which both agree, too
    #[arg(long)]
    all: bool,
}

/// What we say of a program.
enum Ours {
    Accepted,
    /// Why.
    Refused(String),
    NotModelled(String),
}

pub fn run(options: &Options) -> Result<()> {
    let kernels = fetch(&options.kernel)?;
    let program = guest_program()?;
    let objects = objects(&options.files)?;
    println!("{} objects", objects.len());
    let mut disagreements = 0;
    for Fetched { name, kernel, folder } in kernels {
        let started = Instant::now();
        let initramfs = folder.join("initramfs-verdicts");
        initramfs::write(&initramfs, &program, &kernel.modules, &objects)?;
        let outcome = ask(name, &kernel.image, &initramfs)?;
        let kernel_types = types::of_image(&kernel.image)
            .with_context(|| format!("the types of kernel {name}"))?;
        let profile = embedded(name).with_context(|| format!("there is no profile of {name}"))?;
        let ours = ours(&objects, &kernel_types, &profile);
        let mut table: BTreeMap<&str, usize> = BTreeMap::new();
        for check in outcome.checks() {
            let Some(what) = check.what.strip_prefix("verdict ") else { continue };
            let accepted = check.detail.first().is_some_and(|verdict| verdict == "accepted");
            let Some(ours) = ours.get(what) else {
                bail!("{what} was tried on kernel {name} only");
            };
            let (class, why) = compare(ours, accepted);
            *table.entry(class).or_default() += 1;
            let disagrees = matches!(class, ACCEPTED_HERE | REFUSED_HERE);
            disagreements += usize::from(disagrees);
            if disagrees || options.all {
                println!("  {name:<7} {what}: {class}");
                for line in why.into_iter().chain(check.detail.iter().skip(1).map(String::as_str)) {
                    println!("          {line}");
                }
            }
        }
        let total: usize = table.values().sum();
        let parts: Vec<String> =
            table.iter().map(|(class, count)| format!("{count} {class}")).collect();
        let took = report::duration(started.elapsed());
        println!("{name:<7} {} programs: {}   {took}", total, parts.join(", "));
    }
    if disagreements > 0 {
        bail!("{disagreements} verdicts differ");
    }
    Ok(())
}

/// Guests under emulation crash now and then; one that does so each time does it for a program, whose
/// verdict is the one that is missing.
fn ask(name: &str, image: &Path, initramfs: &Path) -> Result<guest::Outcome> {
    for attempt in 1..=ATTEMPTS {
        let outcome = guest::run(image, initramfs, "verdicts", TIME_LIMIT)?;
        if outcome.ended() {
            return Ok(outcome);
        }
        let last = outcome.checks().last().map_or("nothing", |check| check.what.as_str());
        println!("  {name}: attempt {attempt} of {ATTEMPTS} ended after `{last}`");
        if attempt == ATTEMPTS {
            outcome.print(false);
        }
    }
    bail!("kernel {name} did not get to its end");
}

const ACCEPTED_HERE: &str = "accepted here, refused by the kernel";
const REFUSED_HERE: &str = "refused here, accepted by the kernel";

fn compare(ours: &Ours, accepted: bool) -> (&'static str, Option<&str>) {
    match (ours, accepted) {
        (Ours::Accepted, true) => ("accepted by both", None),
        (Ours::Refused(why), false) => ("refused by both", Some(why)),
        (Ours::NotModelled(why), _) => ("not modelled", Some(why)),
        (Ours::Accepted, false) => (ACCEPTED_HERE, None),
        (Ours::Refused(why), true) => (REFUSED_HERE, Some(why)),
    }
}

/// By `OBJECT PROGRAM`.
fn ours(objects: &[(String, Vec<u8>)], kernel: &Btf, profile: &Profile) -> BTreeMap<String, Ours> {
    let mut all = BTreeMap::new();
    for (name, bytes) in objects {
        let Ok(object) = Object::parse(bytes) else { continue };
        for function in object.programs() {
            let Some(kind) = ProgramKind::of_section(&function.section) else { continue };
            let judged = judge(&object, &function.name, &kind, kernel, profile);
            all.insert(format!("{name} {}", function.name), judged);
        }
    }
    all
}

/// As `skep prog verify --kernel` judges.
fn judge(object: &Object, name: &str, kind: &ProgramKind, kernel: &Btf, profile: &Profile) -> Ours {
    let program = match object.link(name, Some(kernel)) {
        Ok(program) => program,
        Err(error) => return Ours::Refused(format!("not linked: {error}")),
    };
    if let Err(missing) = check_target(kernel, &Caller::of(kind)) {
        return Ours::Refused(missing.to_string());
    }
    let options = Judging { rules: Rules::of_profile(profile), ..Judging::default() };
    let request =
        Request::of_kind(&program, kind.clone()).object(object).kernel(kernel).options(options);
    let verdict = verify(&request);
    let visits = match &verdict {
        Verdict::Accepted(verified) => Some(&verified.facts().visits),
        _ => None,
    };
    let reached =
        |slot: usize| visits.is_none_or(|visits| visits.get(slot).is_none_or(|count| *count > 0));
    let needs = needs_of(&program, object, reached);
    let lacks: Vec<String> =
        missing(&needs, profile).iter().map(|(need, _)| need.feature.to_string()).collect();
    match verdict {
        _ if !lacks.is_empty() => Ours::Refused(format!("lacks {}", lacks.join(", "))),
        Verdict::Accepted(_) => Ours::Accepted,
        Verdict::Refused(refusal) => Ours::Refused(refusal.to_string()),
        Verdict::NotModelled(what) => Ours::NotModelled(format!("{what:?}")),
    }
}

/// Skep's own and those in `files`, by names that no two of them have.
fn objects(files: &[PathBuf]) -> Result<Vec<(String, Vec<u8>)>> {
    let mut objects = Vec::new();
    let mut add = |path: &PathBuf, bytes: &[u8]| {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        objects.push((format!("{:03}-{stem}", objects.len()), bytes.to_vec()));
    };
    for path in build_ebpf::object_files()? {
        add(&path, &fs::read(&path)?);
    }
    let mut left: Vec<PathBuf> = files.to_vec();
    while let Some(path) = left.pop() {
        if path.is_dir() {
            let mut inside: Vec<PathBuf> = fs::read_dir(&path)?
                .map(|entry| entry.map(|entry| entry.path()))
                .collect::<Result<_, _>>()?;
            inside.sort_by(|a, b| b.cmp(a));
            left.extend(inside);
            continue;
        }
        let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        for object in objects_in(&bytes) {
            add(&path, object);
        }
    }
    Ok(objects)
}

/// `\x7fELF`, 64 bits, little-endian, version 1
const ELF: &[u8] = b"\x7fELF\x02\x01\x01";
const EM_BPF: u16 = 247;

/// The file itself or, in executables, what skeletons of libbpf have inside.
fn objects_in(bytes: &[u8]) -> Vec<&[u8]> {
    let starts = bytes.windows(ELF.len()).enumerate().filter(|(_, window)| *window == ELF);
    starts.filter_map(|(start, _)| whole_object(&bytes[start..])).collect()
}

/// To where the table of sections ends, which tools write last.
fn whole_object(bytes: &[u8]) -> Option<&[u8]> {
    let half = |at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let sections = u64::from_le_bytes(bytes.get(0x28..0x30)?.try_into().ok()?);
    if half(0x12)? != EM_BPF {
        return None;
    }
    let length = usize::from(half(0x3a)?) * usize::from(half(0x3c)?);
    bytes.get(..usize::try_from(sections).ok()?.checked_add(length)?)
}
