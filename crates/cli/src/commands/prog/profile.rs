//! Kernels by name: profiles that are part of Skep, that are in files, or of the running kernel.

use super::object_file::unreadable;
use crate::failure::Failure;
use crate::output::{Format, Screen};
use bpf_interface::profile::{KNOWN, Profile, embedded};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const AFTER: &str = "\
Examples:
  skep prog profile > mine.txt                    what this kernel has, found by trying; needs root
  skep prog profile 5.10                          a profile that comes with Skep
  skep prog verify filter.o --kernel 6.1,mine.txt";

/// Show what a kernel offers to programs: helpers, program types, maps, instructions
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// A profile's name or file [default: the running kernel]
    #[arg(value_name = "KERNEL")]
    kernel: Option<String>,

    /// Output format; `table` is the text that --kernel reads
    #[arg(short, long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    output: Format,
}

pub fn run(args: &Args, screen: &Screen) -> Result<ExitCode, Failure> {
    let profile = match &args.kernel {
        Some(name) => by_name(name)?,
        None => running()?,
    };
    match args.output {
        Format::Table => screen.print(&profile.to_string())?,
        Format::Json => screen.print_json(&value(&profile))?,
        Format::Yaml => screen.print_yaml(&value(&profile))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The kernels of a list such as `5.10,6.1`, `all` or `running,mine.txt`, with what to call them.
pub fn kernels(list: &str) -> Result<Vec<(String, Profile)>, Failure> {
    let mut kernels = Vec::new();
    for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        if name == "all" {
            for name in KNOWN {
                kernels.push(((*name).to_owned(), by_name(name)?));
            }
            continue;
        }
        let label = match Path::new(name).file_stem() {
            Some(stem) if !KNOWN.contains(&name) => stem.to_string_lossy().into_owned(),
            _ => name.to_owned(),
        };
        kernels.push((label, by_name(name)?));
    }
    Ok(kernels)
}

fn by_name(name: &str) -> Result<Profile, Failure> {
    if name == "running" {
        return running();
    }
    if let Some(profile) = embedded(name) {
        return Ok(profile);
    }
    let path = PathBuf::from(name);
    let text = std::fs::read_to_string(&path).map_err(|error| {
        Failure::Usage(format!(
            "there is no kernel `{name}`: neither one of {}, nor `running`, nor a file that can \
             be read ({error})",
            KNOWN.join(", ")
        ))
    })?;
    Profile::parse(&text).map_err(|error| unreadable(&path, &error))
}

fn running() -> Result<Profile, Failure> {
    bpf_kernel::profile::probe()
        .map_err(|error| Failure::Usage(format!("cannot try what the running kernel has: {error}")))
}

fn value(profile: &Profile) -> Value {
    fn texts<T: ToString>(list: impl IntoIterator<Item = T>) -> Vec<String> {
        list.into_iter().map(|one| one.to_string()).collect()
    }
    let helper = |id: &u32| super::code::helper(id.cast_signed());
    let helpers: Map<String, Value> = profile
        .helpers
        .iter()
        .map(|(program, list)| (program.to_string(), texts(list.iter().map(helper)).into()))
        .collect();
    let functions: Map<String, Value> = profile
        .functions
        .iter()
        .map(|(program, list)| (program.to_string(), texts(list).into()))
        .collect();
    json!({
        "release": profile.release,
        "version": profile.version.to_string(),
        "source": profile.source,
        "programs": texts(&profile.programs),
        "attach": texts(&profile.attaches),
        "maps": texts(&profile.maps),
        "abilities": texts(profile.abilities.iter().map(|ability| ability.name())),
        "helpers": helpers,
        "functions": functions,
    })
}
