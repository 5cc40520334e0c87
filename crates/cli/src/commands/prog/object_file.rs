//! Objects from files, and the kernel's types that they may ask for.

use crate::failure::Failure;
use bpf_object::btf::Btf;
use bpf_object::{Error, Need, Object, Problem, Program};
use std::fs;
use std::path::{Path, PathBuf};

/// Where a running kernel shows its types.
pub const RUNNING_KERNEL: &str = "/sys/kernel/btf/vmlinux";

/// Which kernel's types CO-RE relocations are answered from.
#[derive(Debug, Default, clap::Args)]
pub struct Target {
    /// Types of the kernel that the program is for [default: the running kernel's, if it is asked]
    #[arg(long, value_name = "FILE")]
    pub btf: Option<PathBuf>,
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
        let bytes = read(path)?;
        let object = parse(&bytes).map_err(|error| unreadable(path, &error))?;
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
