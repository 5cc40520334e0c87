//! A loaded object.

use std::collections::BTreeMap;
use std::sync::Arc;

use bpf_object::{Object, ProgramKind};

use super::proof::Unchecked;
use super::{Runtime, RuntimeError, load};
use crate::map::Map;
use crate::program::Program;
use crate::world::Environment;

/// An object's maps and programs.
#[derive(Clone, Debug)]
pub struct Instance {
    pub(super) runtime: Runtime,
    pub(super) object: Arc<Object>,
    pub(super) maps: Arc<Vec<Option<Arc<Map>>>>,
    pub(super) programs: Arc<BTreeMap<String, Result<Bound, RuntimeError>>>,
}

#[derive(Clone, Debug)]
pub(super) struct Bound {
    pub program: Arc<Program>,
    pub unchecked: Option<Unchecked>,
    pub kind: Option<ProgramKind>,
}

impl Instance {
    /// The programs' names.
    pub fn programs(&self) -> impl Iterator<Item = &str> {
        self.programs.keys().map(String::as_str)
    }

    /// A program by its function's name. The error says why it couldn't be loaded.
    pub fn program(&self, name: &str) -> Result<ProgramHandle, RuntimeError> {
        let bound = self.programs.get(name);
        let bound = bound.ok_or_else(|| RuntimeError::NoProgram(name.to_owned()))?.clone()?;
        Ok(self.handle(name, bound))
    }

    /// A program that isn't of the object but was made for its maps.
    pub fn bind(&self, program: &bpf_object::Program) -> Result<ProgramHandle, RuntimeError> {
        Ok(self
            .handle(&program.name, load::bind(&self.runtime, &self.maps, &self.object, program)?))
    }

    fn handle(&self, name: &str, bound: Bound) -> ProgramHandle {
        ProgramHandle {
            runtime: self.runtime.clone(),
            name: name.to_owned(),
            program: bound.program,
            unchecked: bound.unchecked,
            kind: bound.kind,
            environment: Arc::default(),
        }
    }

    /// The object's maps.
    pub fn maps(&self) -> impl Iterator<Item = &Arc<Map>> {
        self.maps.iter().flatten()
    }

    /// A map by name.
    pub fn map(&self, name: &str) -> Option<&Arc<Map>> {
        self.maps().find(|map| map.name() == name)
    }

    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }
}

/// A program that can be run, on any thread.
#[derive(Clone, Debug)]
pub struct ProgramHandle {
    pub(super) runtime: Runtime,
    pub(super) name: String,
    pub(super) program: Arc<Program>,
    pub(super) unchecked: Option<Unchecked>,
    pub(super) kind: Option<ProgramKind>,
    pub(super) environment: Arc<Environment>,
}

impl ProgramHandle {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the section's name says of it.
    pub fn kind(&self) -> Option<&ProgramKind> {
        self.kind.as_ref()
    }

    /// The program itself, for program arrays and for the engines' own interface.
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// Whether a verifier has proved that it keeps to its memory, so that nothing is checked when
    /// it runs on a packet.
    pub fn is_unchecked(&self) -> bool {
        self.unchecked.is_some()
    }

    /// The same program, with every access checked also where that was proved to be needless.
    pub fn checked(mut self) -> Self {
        self.unchecked = None;
        self
    }

    /// The CPU, process and namespace that the next runs belong to.
    pub fn within(mut self, environment: Environment) -> Self {
        self.environment = Arc::new(environment);
        self
    }
}
