//! Objects from files, and the kernel's types that they may ask for.

use super::skeleton::{MAGIC, inside, is_foreign};
use crate::failure::Failure;
use bpf_object::btf::Btf;
use bpf_object::{Configuration, Error, ExternSort, Need, Object, Problem, Program};
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Where a running kernel shows its types.
pub const RUNNING_KERNEL: &str = "/sys/kernel/btf/vmlinux";

/// Which kernel's types CO-RE relocations are answered from.
#[derive(Debug, Default, clap::Args)]
pub struct Target {
    /// Types of the kernel that the program is for [default: the running kernel's, if it is asked]
    #[arg(long, value_name = "FILE")]
    pub btf: Option<PathBuf>,

    /// Configuration of that kernel, such as /boot/config-6.1.0 [default: the running kernel's]
    #[arg(long, value_name = "FILE")]
    pub kconfig: Option<PathBuf>,
}

impl Target {
    /// Gives the options of the kernel's configuration that the object asks for their values.
    pub fn configure(&self, object: &mut Object) -> Result<(), String> {
        let asks = |e: &bpf_object::Extern| matches!(e.sort, ExternSort::Configuration { .. });
        if !object.externs.iter().any(asks) {
            return Ok(());
        }
        let mut configuration = Configuration::parse(&self.configuration_text()?);
        let release = nix::sys::utsname::uname().ok();
        let release = release.and_then(|name| version(&name.release().to_string_lossy()));
        if let Some(release) = release {
            configuration = configuration.version(release);
        }
        // Since Linux 5.15 helpers can ask for cookies; x86-64 and AArch64 have wrappers since 4.17.
        let cookies = release.is_some_and(|release| release >= (5, 15, 0));
        let configuration = configuration.features(cookies, true);
        object
            .set_configuration(&configuration)
            .map_err(|error| format!("{error}; give the kernel's configuration with --kconfig"))
    }

    fn configuration_text(&self) -> Result<String, String> {
        let text = |path: &Path| {
            let bytes = fs::read(path)?;
            let mut text = String::new();
            match bytes.starts_with(&[0x1f, 0x8b]) {
                true => flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text)?,
                false => bytes.as_slice().read_to_string(&mut text)?,
            };
            Ok(text)
        };
        let fail =
            |path: &Path, error: std::io::Error| format!("cannot read {}: {error}", path.display());
        if let Some(path) = &self.kconfig {
            return text(path).map_err(|error| fail(path, error));
        }
        let running = Path::new("/proc/config.gz");
        let release = nix::sys::utsname::uname().ok();
        let release = release.map(|name| name.release().to_string_lossy().into_owned());
        let boot = PathBuf::from(format!("/boot/config-{}", release.unwrap_or_default()));
        // Without any, objects may still do with the version alone.
        for path in [running, boot.as_path()] {
            if path.exists() {
                return text(path).map_err(|error| fail(path, error));
            }
        }
        Ok(String::new())
    }
}

/// The numbers that a release begins with.
fn version(release: &str) -> Option<(u8, u8, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next()?.parse().ok()?;
    Some((major, minor, numbers.next().and_then(|text| text.parse().ok()).unwrap_or(0)))
}

/// A file with programs.
#[derive(Debug)]
pub struct ObjectFile {
    /// As the user wrote it.
    pub path: String,
    pub object: Object,
    /// Given, or read because the object asks for them.
    pub kernel: Option<Btf>,
}

/// A program's name, and what came of linking it.
pub type Linked = (String, Result<Program, Error>);

pub fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::Usage(format!("cannot read {}: {error}", path.display()))
}

pub fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| unreadable(path, &error))
}

pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    fs::write(path, bytes)
        .map_err(|error| Failure::Usage(format!("cannot write {}: {error}", path.display())))
}

pub fn read_types(path: &Path) -> Result<Btf, Failure> {
    Btf::parse(&read(path)?).map_err(|error| unreadable(path, &error))
}

impl ObjectFile {
    pub fn read(path: &Path, target: &Target) -> Result<Self, Failure> {
        let bytes = object_bytes(path)?;
        let mut object = parse(&bytes).map_err(|error| no_object(path, &bytes, &error))?;
        target.configure(&mut object).map_err(|reason| unreadable(path, &reason))?;
        let kernel = match &target.btf {
            Some(file) => Some(read_types(file)?),
            None if asks_for_types(&object) && Path::new(RUNNING_KERNEL).exists() => {
                Some(read_types(Path::new(RUNNING_KERNEL))?)
            }
            None => None,
        };
        Ok(Self { path: path.display().to_string(), object, kernel })
    }

    pub fn link(&self, name: &str) -> Result<Program, Error> {
        self.object.link(name, self.kernel.as_ref())
    }

    /// All programs, or the one that was asked for, which may also be a function.
    pub fn programs(&self, wanted: Option<&str>) -> Result<Vec<Linked>, Failure> {
        let names: Vec<String> = match wanted {
            Some(name) if self.object.functions.iter().any(|function| function.name == name) => {
                vec![name.to_owned()]
            }
            Some(name) => return Err(self.no_such_program(name)),
            None => self.object.programs().map(|program| program.name.clone()).collect(),
        };
        Ok(names.into_iter().map(|name| (name.clone(), self.link(&name))).collect())
    }

    /// The program that is meant: the one of that name, or the only one there is.
    pub fn program(&self, wanted: Option<&str>) -> Result<Program, Failure> {
        let mut names = self.object.programs().map(|program| program.name.as_str());
        let name = match (wanted, names.next(), names.next()) {
            (Some(name), ..) => name,
            (None, Some(only), None) => only,
            (None, Some(_), Some(_)) => {
                return Err(Failure::Usage(format!(
                    "{} has several programs; name one with --prog: {}",
                    self.path,
                    self.names()
                )));
            }
            (None, None, _) => {
                return Err(Failure::Usage(format!("{} has no programs", self.path)));
            }
        };
        if !self.object.functions.iter().any(|function| function.name == name) {
            return Err(self.no_such_program(name));
        }
        self.link(name).map_err(|error| self.cannot_link(name, &error))
    }

    pub fn cannot_link(&self, program: &str, error: &Error) -> Failure {
        let hint = match error {
            Error::At { problem: Problem::NoTarget(_), .. } => {
                "; give a kernel's types with --btf FILE"
            }
            _ => "",
        };
        Failure::Usage(format!("{}: program `{program}`: {error}{hint}", self.path))
    }

    fn no_such_program(&self, name: &str) -> Failure {
        Failure::NotFound(format!(
            "there is no program `{name}` in {}; it has {}",
            self.path,
            self.names()
        ))
    }

    fn names(&self) -> String {
        let names: Vec<&str> = self.object.programs().map(|p| p.name.as_str()).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }
}

/// The file's bytes; of an executable those of the object in it. `FILE@OFFSET` is one of several.
pub fn object_bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    let text = path.to_string_lossy();
    if !path.exists()
        && let Some((file, offset)) = text.rsplit_once("@0x")
        && let Ok(offset) = usize::from_str_radix(offset, 16)
    {
        let bytes = read(Path::new(file))?;
        let there = inside(&bytes);
        return match there.iter().find(|(start, _)| *start == offset) {
            Some((_, object)) => Ok(object.to_vec()),
            None => Err(unreadable(path, &format!("no object begins there{}", list(file, &there)))),
        };
    }
    let bytes = read(path)?;
    if !is_foreign(&bytes) {
        return Ok(bytes);
    }
    let there = inside(&bytes);
    match there.as_slice() {
        [(_, object)] => Ok(object.to_vec()),
        [] => Err(unreadable(
            path,
            &"it is an executable or object for another machine, without an eBPF object in it; \
              give what `clang --target=bpf -c` makes",
        )),
        several => {
            let there = list(&text, several);
            Err(unreadable(path, &format!("it is an executable with several eBPF objects{there}")))
        }
    }
}

/// How to name the objects inside of a file.
fn list(file: &str, there: &[(usize, &[u8])]) -> String {
    let names: Vec<String> = there.iter().map(|(start, _)| format!("{file}@{start:#x}")).collect();
    if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) }
}

/// Why a file is no object, in the words of who named it.
pub fn no_object(path: &Path, bytes: &[u8], error: &Error) -> Failure {
    if bytes.starts_with(MAGIC) {
        return unreadable(path, error);
    }
    unreadable(path, &NO_ELF)
}

/// What files are that aren't ELF.
pub const NO_ELF: &str =
    "it is neither an ELF file nor bare instructions; give what `clang --target=bpf -c` makes";

/// An ELF object, or bare instructions, which are taken for one program called `program`.
pub fn parse(bytes: &[u8]) -> Result<Object, Error> {
    let is_elf = bytes.starts_with(b"\x7fELF");
    if !is_elf
        && !bytes.is_empty()
        && bytes.len().is_multiple_of(8)
        && bpf_isa::decode(bytes).is_ok()
    {
        return Object::parse(&bpf_object::object_of_code("program", "program", "GPL", bytes));
    }
    Object::parse(bytes)
}

fn asks_for_types(object: &Object) -> bool {
    let asks = |need: &Need| {
        matches!(need, Need::KernelTypes | Need::KernelFunction(_) | Need::KernelVariable(_))
    };
    object.inspect(&[]).needs.iter().any(asks) || object.externs.iter().any(|e| e.weak)
}
