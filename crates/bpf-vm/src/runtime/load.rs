//! Objects to maps and programs.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bpf_isa::{Placed, Wide};
use bpf_object::btf::{Btf, Kind, TypeId};
use bpf_object::{InitialValue, MapType, Object, Origin, PointerTarget, Role};

use super::instance::Bound;
use super::{Engine, Instance, Runtime, RuntimeError, proof};
use crate::errno::Errno;
use crate::fault::LoadError;
use crate::helper::{Shared, helper, kernel_function};
use crate::jit::CompileOptions;
use crate::map::{Map, MapDefinition, update};
use crate::platform::{Helper, Platform};
use crate::program::Program;

/// Loads an object: [`Runtime::loader`].
#[derive(Debug)]
pub struct Loader<'a> {
    runtime: &'a Runtime,
    kernel: Option<&'a Btf>,
    maps: HashMap<String, Arc<Map>>,
    max_entries: HashMap<String, u32>,
}

/// What programs of an object are bound to.
struct Binding<'a> {
    shared: &'a Arc<Shared>,
    maps: &'a [Option<Arc<Map>>],
    functions: &'a Functions,
    traced: bool,
}

/// The kernel functions that a program calls.
#[derive(Debug, Default)]
pub(super) struct Functions {
    /// Their names by their numbers.
    names: HashMap<i32, String>,
    /// Of types that the program may make objects of.
    sizes: Arc<HashMap<u32, u32>>,
}

pub(super) fn functions(object: &Object, linked: &bpf_object::Program) -> Functions {
    let named = |used: &bpf_object::ExternUse| {
        let name = &object.externs.get(used.external)?.name;
        Some((used.target?.0.cast_signed(), name.clone()))
    };
    let names: HashMap<i32, String> = linked.externs.iter().filter_map(named).collect();
    let makes = |name: &String| name.ends_with("obj_new_impl");
    let sizes = match &object.types {
        Some(types) if names.values().any(makes) => sizes(types),
        _ => HashMap::new(),
    };
    Functions { names, sizes: Arc::new(sizes) }
}

/// Of all structures, by their numbers.
fn sizes(types: &Btf) -> HashMap<u32, u32> {
    let structures = types.own_types().filter_map(|(id, _)| match types.resolve(id) {
        Some((_, Kind::Struct(composite))) => Some((id.0, composite.size)),
        _ => None,
    });
    structures.collect()
}

impl Platform for Binding<'_> {
    fn helper(&self, id: i32) -> Option<Helper> {
        helper(self.shared, id)
    }

    fn kernel_function(&self, btf_id: i32, module: i16) -> Option<Helper> {
        let name = self.functions.names.get(&btf_id).filter(|_| module == 0)?;
        let sizes = self.functions.sizes.clone();
        kernel_function(self.shared, name, move |id| sizes.get(&id).copied())
    }

    fn traced(&self) -> bool {
        self.traced
    }

    fn address(&self, what: Wide) -> Option<u64> {
        let map = |index: i32| self.maps.get(usize::try_from(index).ok()?)?.as_ref();
        match what {
            Wide::MapByIndex(index) => self.shared.maps.handle(map(index)?),
            Wide::MapValueByIndex { map: index, offset } => {
                map(index)?.value_address(u64::from(offset as u32))
            }
            _ => None,
        }
    }
}

impl<'a> Loader<'a> {
    pub(super) fn new(runtime: &'a Runtime) -> Self {
        Self { runtime, kernel: None, maps: HashMap::new(), max_entries: HashMap::new() }
    }

    /// The types of the kernel that programs ask about (CO-RE).
    pub fn kernel(mut self, kernel: &'a Btf) -> Self {
        self.kernel = Some(kernel);
        self
    }

    /// Uses this map instead of making the object's of that name.
    pub fn map(mut self, name: &str, map: &Arc<Map>) -> Self {
        self.maps.insert(name.to_owned(), map.clone());
        self
    }

    /// Uses the maps of another object where the names are the same, but for variables.
    pub fn maps_of(mut self, instance: &Instance) -> Self {
        let shared = instance.maps().filter(|map| !map.name().starts_with('.'));
        self.maps.extend(shared.map(|map| (map.name().to_owned(), map.clone())));
        self
    }

    /// Makes a map with room for so many entries.
    pub fn max_entries(mut self, map: &str, entries: u32) -> Self {
        self.max_entries.insert(map.to_owned(), entries);
        self
    }

    /// Makes the object's maps and binds its programs to them. A program that can't be bound is no
    /// error yet: [`Instance::program`] says why.
    pub fn load(self, object: &Object) -> Result<Instance, RuntimeError> {
        let shared = &self.runtime.inner.shared;
        let mut maps = Vec::with_capacity(object.maps.len());
        for map in &object.maps {
            // What a kernel would call is nothing that programs use.
            let made = match map.origin {
                Origin::StructOps { .. } => None,
                _ => Some(self.make(object, map)?),
            };
            if let Some(made) = &made {
                let many = || RuntimeError::Map { map: map.name.clone(), source: Errno::ENOMEM };
                shared.add_map(made).ok_or_else(many)?;
            }
            maps.push(made);
        }
        for (index, map) in object.maps.iter().enumerate() {
            if !self.maps.contains_key(&map.name) {
                fill(object, index, &maps)?;
            }
        }
        let mut programs = BTreeMap::new();
        for function in &object.functions {
            if matches!(function.role, Role::Program(_)) {
                let bound = self.bind(object, &function.name, &maps);
                programs.insert(function.name.clone(), bound);
            }
        }
        for (index, map) in object.maps.iter().enumerate() {
            if !self.maps.contains_key(&map.name)
                && let Some(made) = &maps[index]
            {
                fill_references(map, made, &maps, &programs)?;
            }
        }
        Ok(Instance {
            runtime: self.runtime.clone(),
            object: Arc::new(object.clone()),
            maps: Arc::new(maps),
            programs: Arc::new(programs),
        })
    }

    fn make(&self, object: &Object, map: &bpf_object::Map) -> Result<Arc<Map>, RuntimeError> {
        let cpus = self.runtime.cpus();
        let mut definition = definition(object, map, cpus);
        if let Some(&entries) = self.max_entries.get(&map.name) {
            definition.max_entries = entries;
        }
        if let Some(given) = self.maps.get(&map.name) {
            let theirs = given.definition();
            let same = theirs.kind == definition.kind
                && theirs.key_size == definition.key_size
                && theirs.value_size == definition.value_size
                && fits_inner(&definition, theirs);
            let other = || RuntimeError::OtherMap { map: map.name.clone() };
            return same.then(|| given.clone()).ok_or_else(other);
        }
        let made = Map::new(definition, cpus);
        made.map(Arc::new).map_err(|source| RuntimeError::Map { map: map.name.clone(), source })
    }

    fn bind(
        &self,
        object: &Object,
        name: &str,
        maps: &[Option<Arc<Map>>],
    ) -> Result<Bound, RuntimeError> {
        let linked = object.link(name, self.kernel).map_err(|source| RuntimeError::Link {
            program: name.to_owned(),
            source: Arc::new(source),
        })?;
        bind(self.runtime, maps, object, &linked)
    }
}

/// Binds a linked program to maps.
pub(super) fn bind(
    runtime: &Runtime,
    maps: &[Option<Arc<Map>>],
    object: &Object,
    linked: &bpf_object::Program,
) -> Result<Bound, RuntimeError> {
    let functions = functions(object, linked);
    let program = bind_instructions(runtime, maps, &functions, &linked.name, &linked.instructions)?;
    let unchecked = match runtime.inner.engine {
        Engine::VerifiedJit => proof::unchecked(runtime, maps, object, linked)?,
        Engine::Interpreter | Engine::Jit => None,
    };
    Ok(Bound { program: Arc::new(program), unchecked, kind: linked.kind.clone() })
}

pub(super) fn bind_instructions(
    runtime: &Runtime,
    maps: &[Option<Arc<Map>>],
    functions: &Functions,
    name: &str,
    instructions: &[Placed],
) -> Result<Program, RuntimeError> {
    let loaded = load(runtime, maps, functions, name, instructions)?;
    match runtime.inner.engine {
        Engine::Interpreter => Ok(loaded),
        Engine::Jit | Engine::VerifiedJit => {
            loaded.compile(CompileOptions::default()).map_err(|source| RuntimeError::Compile {
                program: name.to_owned(),
                source: Arc::new(source),
            })
        }
    }
}

/// Binds instructions to helpers and maps.
pub(super) fn load(
    runtime: &Runtime,
    maps: &[Option<Arc<Map>>],
    functions: &Functions,
    name: &str,
    instructions: &[Placed],
) -> Result<Program, RuntimeError> {
    let traced = runtime.inner.trace.is_some();
    let binding = Binding { shared: &runtime.inner.shared, maps, functions, traced };
    let loaded = Program::load_placed(instructions, &binding);
    let loaded = loaded.map(|program| Program { shared: Some(binding.shared.clone()), ..program });
    loaded.map_err(|source| match source {
        LoadError::UnknownHelper { id, .. } => {
            RuntimeError::Helper { program: name.to_owned(), helper: helper_name(id) }
        }
        source => RuntimeError::Load { program: name.to_owned(), source },
    })
}

fn helper_name(id: i32) -> String {
    let known = u32::try_from(id).ok().and_then(bpf_interface::helper::by_id);
    known.map_or_else(|| format!("helper {id}"), |known| format!("{} ({id})", known.name))
}

/// Whether maps of a map of maps may be what the other says.
pub(super) fn fits_inner(expected: &MapDefinition, theirs: &MapDefinition) -> bool {
    match (&expected.inner, &theirs.inner) {
        (Some(expected), Some(theirs)) => theirs.fits(expected),
        _ => true,
    }
}

pub(super) fn definition(object: &Object, map: &bpf_object::Map, cpus: u32) -> MapDefinition {
    let mut definition =
        MapDefinition::new(map.kind, map.key_size, map.value_size, map.max_entries)
            .with_flags(map.flags)
            .named(&map.name);
    definition.extra = map.extra;
    // One entry for each CPU, as loaders make it.
    if map.kind == MapType::PERF_EVENT_ARRAY {
        definition.key_size = 4;
        definition.value_size = 4;
        if map.max_entries == 0 {
            definition.max_entries = cpus;
        }
    }
    // As libbpf makes it of whatever the object asks for: a power of two, of whole pages.
    if matches!(map.kind, MapType::RING_BUFFER | MapType::USER_RING_BUFFER) {
        let bytes = map.max_entries.max(4096);
        definition.max_entries = bytes.checked_next_power_of_two().unwrap_or(bytes);
    }
    if let (Some(types), Some(value)) = (&object.types, map.value_type) {
        definition.spin_lock = field(types, value, "bpf_spin_lock");
        let timer = field(types, value, "bpf_timer");
        definition.timer = timer.or_else(|| field(types, value, "bpf_wq"));
    }
    definition.inner =
        map.inner.as_ref().map(|inner| Box::new(self::definition(object, inner, cpus)));
    definition
}

/// Where in a value a structure of the kernel's lies, for maps whose values are structures.
fn field(types: &Btf, value: TypeId, name: &str) -> Option<u32> {
    let (_, kind) = types.resolve(value)?;
    let Kind::Struct(composite) = kind else { return None };
    composite.members.iter().find_map(|member| {
        let (id, kind) = types.resolve(member.kind)?;
        let is_it = matches!(kind, Kind::Struct(_)) && types.name(id) == name;
        is_it.then_some(member.bit_offset / 8)
    })
}

/// Gives a map of variables its first value.
fn fill(object: &Object, index: usize, maps: &[Option<Arc<Map>>]) -> Result<(), RuntimeError> {
    let map = &object.maps[index];
    let (Some(contents), Some(made)) = (&map.contents, &maps[index]) else { return Ok(()) };
    let mut contents = contents.clone();
    for pointer in &map.pointers {
        let address = match &pointer.target {
            PointerTarget::Value { map, offset } => {
                maps.get(*map).and_then(Option::as_ref).and_then(|map| map.value_address(*offset))
            }
            PointerTarget::Map(_) => None,
            PointerTarget::Function(function) => {
                return Err(RuntimeError::FunctionPointer {
                    map: map.name.clone(),
                    function: function.clone(),
                });
            }
        };
        let place = pointer.offset as usize;
        if let (Some(address), Some(bytes)) = (address, contents.get_mut(place..place + 8)) {
            bytes.copy_from_slice(&address.to_le_bytes());
        }
    }
    let failed = |source| RuntimeError::FirstValue { map: map.name.clone(), source };
    made.update(&0u32.to_ne_bytes(), &contents, update::ANY).map_err(failed)?;
    let frozen = matches!(map.origin, Origin::Configuration)
        || map.flags & crate::map::flag::RDONLY_PROG != 0;
    if frozen {
        made.seal().map_err(failed)?;
    }
    Ok(())
}

/// Puts programs and maps into maps that hold some from the start.
fn fill_references(
    map: &bpf_object::Map,
    made: &Map,
    maps: &[Option<Arc<Map>>],
    programs: &BTreeMap<String, Result<Bound, RuntimeError>>,
) -> Result<(), RuntimeError> {
    let failed = |source| RuntimeError::FirstValue { map: map.name.clone(), source };
    for InitialValue { index, target } in &map.values {
        match target {
            PointerTarget::Map(inner) => {
                let inner = maps.get(*inner).and_then(Option::as_ref);
                let inner = inner.ok_or(Errno::EINVAL).map_err(failed)?;
                made.set_inner(&index.to_ne_bytes(), inner.clone(), update::ANY).map_err(failed)?;
            }
            PointerTarget::Function(name) => match programs.get(name) {
                Some(Ok(bound)) => {
                    made.set_program(*index, bound.program.clone()).map_err(failed)?;
                }
                Some(Err(error)) => return Err(error.clone()),
                None => return Err(RuntimeError::NoProgram(name.clone())),
            },
            PointerTarget::Value { .. } => return Err(failed(Errno::EINVAL)),
        }
    }
    Ok(())
}
