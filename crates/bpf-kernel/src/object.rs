//! Loading an ELF object: its maps (found again through their pins), its constants, its programs.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, HashSet},
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use aya_obj::{
    EbpfSectionKind, Function, ProgramSection,
    generated::{BPF_F_RDONLY_PROG, bpf_attach_type, bpf_prog_type as kind},
    maps::Map as MapDefinition,
};
use zerocopy::{Immutable, IntoBytes};

use crate::{
    Error,
    btf::Btf,
    map::{Map, MapBtf, MapKind, MapLayout},
    offsets::KernelOffsets,
    program::{Code, DebugInfo, Program, ProgramKind},
    sys::{self, Command},
    verifier::{self, LoadFailure, SourceLine},
};

/// How to load an object.
///
/// ```no_run
/// # fn main() -> Result<(), bpf_kernel::Error> {
/// # let bytes: &[u8] = &[];
/// let object = bpf_kernel::Loader::new("endpoint")
///     .pin_maps("/sys/fs/bpf/skep/maps")
///     .max_entries("conntrack", 1 << 20)
///     .global("TASK_TGID", &2468u32)
///     .load(bytes)?;
/// object.program("from_endpoint")?.pin("/sys/fs/bpf/skep/programs/from_endpoint".as_ref())?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Loader<'a> {
    object: &'a str,
    pins: Option<PathBuf>,
    replace_mismatched: bool,
    max_entries: HashMap<&'a str, u32>,
    globals: HashMap<&'a str, (Vec<u8>, bool)>,
    programs: Option<Vec<&'a str>>,
}

/// A loaded object. What is not taken out is closed with it; pins stay.
#[derive(Debug)]
pub struct Object {
    name: String,
    maps: BTreeMap<String, Map>,
    programs: BTreeMap<String, Program>,
}

impl<'a> Loader<'a> {
    /// `object` names the object in errors.
    pub fn new(object: &'a str) -> Self {
        Self {
            object,
            pins: None,
            replace_mismatched: false,
            max_entries: HashMap::new(),
            globals: HashMap::new(),
            programs: None,
        }
    }

    /// Pins every map at `dir/<name>`, and uses what is pinned there already. So objects share
    /// their maps by name. The constants of an object are its own.
    pub fn pin_maps(mut self, dir: impl Into<PathBuf>) -> Self {
        self.pins = Some(dir.into());
        self
    }

    /// What to do with a pinned map of another layout: make a new one in its place (the old one
    /// lives on as long as programs use it) instead of refusing.
    pub fn replace_mismatched(mut self, replace: bool) -> Self {
        self.replace_mismatched = replace;
        self
    }

    /// Another size than the object asks for.
    pub fn max_entries(mut self, map: &'a str, entries: u32) -> Self {
        self.max_entries.insert(map, entries);
        self
    }

    /// Sets a constant; the object must have it and with this size.
    pub fn global(mut self, name: &'a str, value: &(impl IntoBytes + Immutable + ?Sized)) -> Self {
        self.globals.insert(name, (value.as_bytes().to_vec(), true));
        self
    }

    /// Sets a constant if the object has it: for lists that serve several objects.
    pub fn optional_global(
        mut self,
        name: &'a str,
        value: &(impl IntoBytes + Immutable + ?Sized),
    ) -> Self {
        self.globals.insert(name, (value.as_bytes().to_vec(), false));
        self
    }

    /// Sets the constants that say where the kernel keeps its fields, those the object has.
    pub fn kernel_offsets(mut self, offsets: &KernelOffsets) -> Self {
        for (name, offset) in offsets.constants() {
            self = self.optional_global(name, &offset);
        }
        self
    }

    /// Loads only these programs; all of them otherwise.
    pub fn programs(mut self, names: &[&'a str]) -> Self {
        self.programs = Some(names.to_vec());
        self
    }

    /// Loads maps and programs.
    pub fn load(&self, bytes: &[u8]) -> Result<Object, Error> {
        let (object, mut failures) = self.load_each(bytes)?;
        match failures.pop() {
            Some(failure) => Err(Error::Load(Box::new(failure))),
            None => Ok(object),
        }
    }

    /// As [`Loader::load`], but a refused program does not keep the others from being loaded.
    pub fn load_each(&self, bytes: &[u8]) -> Result<(Object, Vec<LoadFailure>), Error> {
        let mut parsed = aya_obj::Object::parse(&aligned(bytes)).map_err(|e| self.damaged(&e))?;
        self.set_globals(&mut parsed)?;

        let features = aya::features();
        let mut btf = None;
        if let Some(features) = features.btf() {
            let sanitized =
                parsed.fixup_and_sanitize_btf(features).map_err(|e| self.damaged(&e))?;
            if let Some(sanitized) = sanitized {
                let bytes = sanitized.to_bytes();
                btf = Some((self.load_btf(&bytes)?, Btf::parse(bytes)?));
            }
        }

        let unused = unused_maps(bytes);
        let definitions: Vec<(String, MapDefinition)> =
            parsed.maps.drain().filter(|(name, _)| !unused.contains(name)).collect();
        let mut maps = BTreeMap::new();
        for (name, definition) in &definitions {
            let map = self.map(name, definition, btf.as_ref().map(|(fd, _)| fd))?;
            maps.insert(name.clone(), map);
        }

        let text: HashSet<usize> = parsed.functions.keys().map(|(section, _)| *section).collect();
        let by_name = definitions
            .iter()
            .map(|(name, map)| (name.as_str(), maps[name].as_fd().as_raw_fd(), map));
        parsed.relocate_maps(by_name, &text).map_err(|e| self.damaged(&e))?;
        parsed.relocate_calls(&text).map_err(|e| self.damaged(&e))?;
        parsed.sanitize_functions(features);

        let (programs, failures) = self.load_programs(&parsed, btf.as_ref())?;
        maps.retain(|name, _| !name.starts_with('.'));
        Ok((Object { name: self.object.to_owned(), maps, programs }, failures))
    }

    fn damaged(&self, reason: &dyn std::error::Error) -> Error {
        let mut text = reason.to_string();
        let mut source = reason.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        Error::Object { object: self.object.to_owned(), reason: text }
    }

    fn missing(&self, what: &'static str, name: &str) -> Error {
        Error::NotInObject { object: self.object.to_owned(), what, name: name.to_owned() }
    }

    fn set_globals(&self, parsed: &mut aya_obj::Object) -> Result<(), Error> {
        let globals = self
            .globals
            .iter()
            .map(|(name, (bytes, required))| (*name, (bytes.as_slice(), *required)))
            .collect();
        parsed.patch_map_data(globals).map_err(|error| match error {
            aya_obj::ParseError::SymbolNotFound { name } => self.missing("constant", &name),
            other => self.damaged(&other),
        })
    }

    fn load_btf(&self, bytes: &[u8]) -> Result<OwnedFd, Error> {
        let load = |log: &mut [u8]| {
            let mut attr = sys::BtfLoad {
                btf: sys::address(bytes),
                btf_size: bytes.len() as u32,
                ..Default::default()
            };
            if !log.is_empty() {
                attr.log_level = 1;
                attr.log_size = log.len() as u32;
                attr.log_buf = sys::address_mut(log);
            }
            // SAFETY: both buffers have the given sizes and outlive the call.
            unsafe { sys::bpf_fd(Command::BtfLoad, &mut attr) }
        };
        load(&mut []).map_err(|source| {
            let mut log = vec![0; (1 << 24) - 1];
            // Only the log of this second try is of use; it fails as the first did.
            drop(load(&mut log));
            let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
            let log = verifier::tail(&String::from_utf8_lossy(&log[..end])).join("\n");
            Error::Btf { object: self.object.to_owned(), source, log }
        })
    }

    fn map(
        &self,
        name: &str,
        definition: &MapDefinition,
        btf: Option<&OwnedFd>,
    ) -> Result<Map, Error> {
        let data = matches!(
            definition.section_kind(),
            EbpfSectionKind::Bss | EbpfSectionKind::Data | EbpfSectionKind::Rodata
        );
        let wanted = MapLayout {
            kind: MapKind::from_number(definition.map_type()),
            key_size: definition.key_size(),
            value_size: definition.value_size(),
            max_entries: *self.max_entries.get(name).unwrap_or(&definition.max_entries()),
            flags: definition.map_flags(),
        };
        let pin = self.pins.as_ref().filter(|_| !data).map(|dir| dir.join(name));
        if let Some(map) = pin.as_deref().map(|pin| self.pinned(pin, wanted)).transpose()?.flatten()
        {
            return Ok(map);
        }
        let btf = match (btf, definition) {
            (Some(fd), MapDefinition::Btf(map)) => Some(MapBtf {
                fd: fd.as_fd(),
                key_type: map.def.btf_key_type_id,
                value_type: map.def.btf_value_type_id,
            }),
            _ => None,
        };
        let map = match Map::create_with_btf(name, wanted, btf) {
            // Types are a nicety for most maps: some kernels refuse ours (a key without a type).
            Err(_) if btf.is_some() && wanted.kind != MapKind::SocketStorage => {
                Map::create_with_btf(name, wanted, None)?
            }
            other => other?,
        };
        if data && definition.section_kind() != EbpfSectionKind::Bss {
            map.update(&0u32.to_ne_bytes(), definition.data(), 0)
                .map_err(|source| map.failed("setting the constants", source))?;
        }
        if definition.map_flags() & BPF_F_RDONLY_PROG != 0 && data {
            map.freeze()?;
        }
        if let Some(pin) = &pin {
            crate::pin::replace(map.as_fd(), pin)?;
        }
        Ok(map)
    }

    fn pinned(&self, pin: &Path, wanted: MapLayout) -> Result<Option<Map>, Error> {
        let Some(map) = Map::open_if_pinned(pin)? else { return Ok(None) };
        if map.layout() == wanted {
            return Ok(Some(map));
        }
        if self.replace_mismatched {
            tracing::info!(map = map.name(), was = %map.layout(), is = %wanted, "map made anew");
            return Ok(None);
        }
        Err(Error::MapMismatch {
            map: map.name().to_owned(),
            pin: pin.to_owned(),
            pinned: map.layout(),
            wanted,
        })
    }

    fn load_programs(
        &self,
        parsed: &aya_obj::Object,
        btf: Option<&(OwnedFd, Btf)>,
    ) -> Result<(BTreeMap<String, Program>, Vec<LoadFailure>), Error> {
        if let Some(absent) =
            self.programs.iter().flatten().find(|name| !parsed.programs.contains_key(**name))
        {
            return Err(self.missing("program", absent));
        }
        let mut names: Vec<&String> = parsed.programs.keys().collect();
        names.sort();
        let (mut programs, mut failures) = (BTreeMap::new(), Vec::new());
        for name in names {
            if self.programs.as_ref().is_some_and(|wanted| !wanted.contains(&name.as_str())) {
                continue;
            }
            let definition = &parsed.programs[name];
            let function = &parsed.functions[&definition.function_key()];
            let kind = program_kind(&definition.section).ok_or_else(|| Error::Object {
                object: self.object.to_owned(),
                reason: format!("program `{name}` is of a kind this version cannot load"),
            })?;
            let debug = btf.map(|(fd, _)| DebugInfo {
                btf: fd.as_fd(),
                functions: function.func_info.func_info_bytes(),
                function_record: function.func_info_rec_size,
                lines: function.line_info.line_info_bytes(),
                line_record: function.line_info_rec_size,
            });
            let code = Code {
                name,
                kind,
                license: &definition.license,
                instructions: &function.instructions,
                debug,
            };
            match code.load() {
                Ok(fd) => {
                    programs.insert(name.clone(), Program::from_fd(name, fd, kind));
                }
                Err((source, log)) => failures.push(LoadFailure {
                    object: self.object.to_owned(),
                    program: name.clone(),
                    source,
                    location: location(&log, function, btf.map(|(_, btf)| btf)),
                    log: verifier::tail(&log),
                }),
            }
        }
        Ok((programs, failures))
    }
}

/// Where in our source the verifier stopped: by the object's line table, or the log's own comment.
fn location(log: &str, function: &Function, btf: Option<&Btf>) -> Option<SourceLine> {
    let lines = btf.map(|btf| {
        function.line_info.line_info.iter().filter_map(|line| {
            let source = SourceLine {
                file: btf.string(line.file_name_off)?.to_owned(),
                // The upper 22 bits are the line, the lower 10 the column.
                line: line.line_col >> 10,
                text: btf.string(line.line_off).unwrap_or_default().to_owned(),
            };
            Some((line.insn_off, source))
        })
    });
    let own = verifier::last_instruction(log)
        .and_then(|at| verifier::own_line(at, lines.into_iter().flatten()));
    own.or_else(|| verifier::last_comment(log))
}

/// The ELF reader wants 8-byte alignment, which `include_bytes!` does not give.
fn aligned(bytes: &[u8]) -> Cow<'_, [u8]> {
    if bytes.as_ptr().cast::<u64>().is_aligned() {
        Cow::Borrowed(bytes)
    } else {
        // The allocator aligns blocks of this size to 16.
        Cow::Owned(bytes.to_vec())
    }
}

/// The kinds of programs our objects hold.
fn program_kind(section: &ProgramSection) -> Option<ProgramKind> {
    let none = bpf_attach_type::BPF_CGROUP_INET_INGRESS;
    Some(match section {
        ProgramSection::SchedClassifier => ProgramKind::CLASSIFIER,
        ProgramSection::Xdp { attach_type, .. } => {
            ProgramKind::new(kind::BPF_PROG_TYPE_XDP, (*attach_type).into())
        }
        ProgramSection::CgroupSkb { attach_type } => ProgramKind::new(
            kind::BPF_PROG_TYPE_CGROUP_SKB,
            attach_type.map_or(none, bpf_attach_type::from),
        ),
        ProgramSection::CgroupSock { attach_type } => {
            ProgramKind::new(kind::BPF_PROG_TYPE_CGROUP_SOCK, (*attach_type).into())
        }
        ProgramSection::CgroupSockAddr { attach_type } => {
            ProgramKind::new(kind::BPF_PROG_TYPE_CGROUP_SOCK_ADDR, (*attach_type).into())
        }
        ProgramSection::CgroupSockopt { attach_type } => {
            ProgramKind::new(kind::BPF_PROG_TYPE_CGROUP_SOCKOPT, (*attach_type).into())
        }
        ProgramSection::SockOps => {
            ProgramKind::new(kind::BPF_PROG_TYPE_SOCK_OPS, bpf_attach_type::BPF_CGROUP_SOCK_OPS)
        }
        ProgramSection::SkMsg => {
            ProgramKind::new(kind::BPF_PROG_TYPE_SK_MSG, bpf_attach_type::BPF_SK_MSG_VERDICT)
        }
        ProgramSection::SocketFilter => ProgramKind::new(kind::BPF_PROG_TYPE_SOCKET_FILTER, none),
        ProgramSection::RawTracePoint => ProgramKind::new(kind::BPF_PROG_TYPE_RAW_TRACEPOINT, none),
        ProgramSection::TracePoint => ProgramKind::new(kind::BPF_PROG_TYPE_TRACEPOINT, none),
        _ => return None,
    })
}

/// Maps that the object defines and no program refers to: Rust's linker keeps every named symbol of
/// the crates that a program stands on.
fn unused_maps(bytes: &[u8]) -> HashSet<String> {
    use object::{Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget};

    let Ok(file) = object::File::parse(bytes) else { return HashSet::new() };
    let Some(maps) = file.section_by_name(".maps") else { return HashSet::new() };
    let in_maps = |symbol: &object::Symbol<'_, '_>| symbol.section_index() == Some(maps.index());
    let name = |symbol: object::Symbol<'_, '_>| symbol.name().unwrap_or_default().to_owned();
    let mut unused: HashSet<String> = file.symbols().filter(in_maps).map(name).collect();
    let text = file.sections().filter(|section| section.kind() == object::SectionKind::Text);
    for (_, relocation) in text.flat_map(|section| section.relocations().collect::<Vec<_>>()) {
        let RelocationTarget::Symbol(index) = relocation.target() else { continue };
        if let Ok(symbol) = file.symbol_by_index(index) {
            unused.remove(&name(symbol));
        }
    }
    unused
}

impl Object {
    pub fn maps(&self) -> impl Iterator<Item = &Map> {
        self.maps.values()
    }

    pub fn programs(&self) -> impl Iterator<Item = &Program> {
        self.programs.values()
    }

    pub fn map(&self, name: &str) -> Result<&Map, Error> {
        self.maps.get(name).ok_or_else(|| self.missing("map", name))
    }

    pub fn program(&self, name: &str) -> Result<&Program, Error> {
        self.programs.get(name).ok_or_else(|| self.missing("program", name))
    }

    /// Takes the map out, to keep it longer than the object.
    pub fn take_map(&mut self, name: &str) -> Result<Map, Error> {
        self.maps.remove(name).ok_or_else(|| self.missing("map", name))
    }

    /// Takes the program out, to keep it longer than the object.
    pub fn take_program(&mut self, name: &str) -> Result<Program, Error> {
        self.programs.remove(name).ok_or_else(|| self.missing("program", name))
    }

    fn missing(&self, what: &'static str, name: &str) -> Error {
        Error::NotInObject { object: self.name.clone(), what, name: name.to_owned() }
    }
}
