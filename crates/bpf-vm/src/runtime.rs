//! Objects loaded and run: what users of this crate begin with.

use std::sync::atomic::{AtomicU64, Ordering::Acquire};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bpf_isa::Placed;
use bpf_object::Object;
use bpf_object::btf::Btf;

use crate::clock::{Clock, Random, Time};
use crate::errno::Errno;
use crate::fault::Fault;
use crate::helper::{Objects, Shared, Timers};
use crate::map::{Content, Map, MapDefinition, MapTable};
use crate::memory::{Kept, Memory};
use crate::program::Input;
use crate::state::{Kind, State};
use crate::trace::Trace;
use crate::world::World;

mod error;
mod instance;
mod load;
mod outcome;
mod proof;
mod run;
mod runs;

pub use error::RuntimeError;
pub use instance::{Instance, ProgramHandle};
pub use load::Loader;
pub use outcome::Outcome;
pub use runs::Runs;

/// How programs are carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    #[default]
    Interpreter,
    /// Machine code in which every access is checked. Where this CPU or system isn't supported,
    /// loading says so.
    Jit,
    /// As [`Self::Jit`], but programs for packets are verified when they are loaded, and those that
    /// provably keep to memory that runs have run as machine code without checks.
    VerifiedJit,
}

/// Maps, time and surroundings that programs share. Programs of one runtime can run at the same
/// time on any number of threads.
#[derive(Clone, Debug)]
pub struct Runtime {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub shared: Arc<Shared>,
    pub engine: Engine,
    pub fuel: u64,
    /// How many instructions of each run are noted down.
    pub trace: Option<usize>,
    pub last_trace: Mutex<Trace>,
}

/// How a runtime is made: [`Runtime::builder`].
#[derive(Clone, Debug)]
pub struct Builder {
    clock: Clock,
    seed: u64,
    cpus: u32,
    engine: Engine,
    fuel: u64,
    world: World,
    trace: Option<usize>,
}

/// Instructions that a run may repeat unless the builder says otherwise: seconds of work.
const FUEL: u64 = 1 << 32;

impl Builder {
    /// What time programs find it to be; the host's unless set.
    pub fn clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// What `bpf_get_prandom_u32` begins with; 0 unless set.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// How many CPUs there are; 1 unless set.
    pub fn cpus(self, cpus: u32) -> Self {
        Self { cpus: cpus.max(1), ..self }
    }

    pub fn engine(self, engine: Engine) -> Self {
        Self { engine, ..self }
    }

    /// How many instructions a run may repeat, so that every run ends.
    pub fn fuel(self, fuel: u64) -> Self {
        Self { fuel, ..self }
    }

    /// The host that programs ask about: sockets, routes, interfaces.
    pub fn world(self, world: World) -> Self {
        Self { world, ..self }
    }

    /// Has the interpreter note down the first so many instructions of each run:
    /// [`Runtime::last_trace`].
    pub fn trace(self, instructions: usize) -> Self {
        Self { trace: Some(instructions), ..self }
    }

    pub fn build(self) -> Runtime {
        let shared = Shared {
            maps: MapTable::new(),
            areas: RwLock::new(Arc::new([])),
            area_changes: AtomicU64::new(0),
            time: Time::new(self.clock),
            random: Random::new(self.seed),
            world: RwLock::new(self.world),
            cpus: self.cpus,
            timers: Timers::default(),
            objects: Objects::default(),
        };
        let inner = Inner {
            shared: Arc::new(shared),
            engine: self.engine,
            fuel: self.fuel,
            trace: self.trace,
            last_trace: Mutex::default(),
        };
        Runtime { inner: Arc::new(inner) }
    }
}

impl Default for Runtime {
    fn default() -> Self {
        Self::builder().build()
    }
}

impl Runtime {
    pub fn builder() -> Builder {
        Builder {
            clock: Clock::default(),
            seed: 0,
            cpus: 1,
            engine: Engine::default(),
            fuel: FUEL,
            world: World::default(),
            trace: None,
        }
    }

    /// Makes the object's maps and binds its programs to them.
    pub fn load(&self, object: &Object) -> Result<Instance, RuntimeError> {
        self.loader().load(object)
    }

    /// To load an object with maps of others, or for a kernel's types.
    pub fn loader(&self) -> Loader<'_> {
        Loader::new(self)
    }

    /// As [`Self::load`], with the types of the kernel that programs ask about (CO-RE).
    pub fn load_for(&self, object: &Object, kernel: &Btf) -> Result<Instance, RuntimeError> {
        self.loader().kernel(kernel).load(object)
    }

    /// Makes a map that belongs to no object.
    pub fn map(&self, definition: MapDefinition) -> Result<Arc<Map>, RuntimeError> {
        let name = definition.name.clone();
        let failed = |source| RuntimeError::Map { map: name.clone(), source };
        let map = Arc::new(Map::new(definition, self.cpus()).map_err(failed)?);
        self.inner.shared.add_map(&map).ok_or(failed(Errno::ENOMEM))?;
        Ok(map)
    }

    /// Binds instructions that belong to no object; they name maps by index in `maps`.
    pub fn bind(
        &self,
        name: &str,
        instructions: &[Placed],
        maps: &[Arc<Map>],
    ) -> Result<ProgramHandle, RuntimeError> {
        let named = |map: &Arc<Map>| {
            let many = || RuntimeError::Map { map: map.name().to_owned(), source: Errno::ENOMEM };
            self.inner.shared.add_map(map).ok_or_else(many)?;
            Ok(Some(map.clone()))
        };
        let maps = maps.iter().map(named).collect::<Result<Vec<_>, RuntimeError>>()?;
        let program =
            load::bind_instructions(self, &maps, &load::Functions::default(), name, instructions)?;
        Ok(ProgramHandle {
            runtime: self.clone(),
            name: name.to_owned(),
            program: Arc::new(program),
            unchecked: None,
            kind: None,
            environment: Arc::default(),
        })
    }

    pub fn cpus(&self) -> u32 {
        self.inner.shared.cpus
    }

    /// What `bpf_ktime_get_ns` would return now.
    pub fn now(&self) -> u64 {
        self.inner.shared.time.now()
    }

    /// What the last run of a program did, also if it ended with a fault; nothing unless
    /// [`Builder::trace`] asked for it, or if programs were compiled.
    pub fn last_trace(&self) -> Trace {
        self.inner.last_trace.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the host that programs ask about.
    pub fn set_world(&self, world: World) {
        *self.inner.shared.world.write().unwrap_or_else(PoisonError::into_inner) = world;
    }

    /// Lets time pass and calls the timers whose time comes, in order; returns how many. A
    /// program's timers fire only so, also with the host's clock: then `advance(0)` fires what is
    /// due.
    pub fn advance(&self, nanoseconds: u64) -> Result<usize, Fault> {
        let shared = &self.inner.shared;
        let end = shared.time.now().saturating_add(nanoseconds);
        let mut fired = 0;
        loop {
            let now = shared.time.now();
            // Timers see their own time, not the end of the leap.
            match shared.timers.next().filter(|due| *due <= end) {
                Some(due) => shared.time.advance(due.saturating_sub(now)),
                None => break,
            }
            while let Some(due) =
                shared.timers.take_due(shared.time.now(), |map, timer| self.value(map, timer))
            {
                self.fire(&due)?;
                fired += 1;
            }
        }
        shared.time.advance(end.saturating_sub(shared.time.now()));
        Ok(fired)
    }

    /// The start of the value that a timer lies in.
    fn value(&self, map: u64, timer: u64) -> Option<u64> {
        let map = self.inner.shared.maps.resolve(map)?;
        timer.checked_sub(map.definition().timer?.into())
    }

    fn fire(&self, due: &crate::helper::Due) -> Result<(), Fault> {
        let image = match crate::context::Image::new(8) {
            Ok(image) => image,
            Err(error) => return Err(Fault::of_host(&error)),
        };
        let Some(map) = self.inner.shared.maps.resolve(due.map) else { return Ok(()) };
        let Some((key, copy)) = self.key_of(map, due.value) else { return Ok(()) };
        let mut state = State::new(Arc::default(), Kind::Other, image);
        state.program = Some(due.program.clone());
        state.fires = true;
        let mut input = Input { fuel: self.inner.fuel, ..Input::default() };
        input.memory.add_areas(self.areas());
        input.memory.add(key);
        input.arguments = [due.map, key.start, due.value, 0, 0];
        input.state = Some(&mut state);
        let result = due.program.run_function(due.slot, &mut input);
        drop(input);
        state.clean_up();
        drop(copy);
        result.map(drop)
    }

    /// A copy of the key whose value lies at an address.
    fn key_of(&self, map: &Map, value: u64) -> Option<(crate::memory::Region, crate::slab::Slab)> {
        let elements = map.elements(0).ok()?;
        let (key, _) = elements.into_iter().find(|(_, at)| *at == value)?;
        let copy = crate::slab::Slab::new(key.len() as u64).ok()?;
        copy.store(0, &key);
        let (start, length) = (copy.address(), key.len() as u64);
        Some((crate::memory::Region { start, length, writable: false }, copy))
    }

    /// What runs begin with.
    pub(crate) fn kept(&self) -> Kept {
        let changes = self.inner.shared.area_changes.load(Acquire);
        Kept { memory: Memory::of_areas(self.areas()), changes }
    }

    /// Replaces areas if maps have been added.
    #[inline]
    pub(crate) fn renew_areas(&self, kept: &mut Kept) {
        // Those that are read then are at least as new.
        let changes = self.inner.shared.area_changes.load(Acquire);
        if changes != kept.changes {
            kept.memory.add_areas(self.areas());
            kept.changes = changes;
        }
    }

    pub(crate) fn areas(&self) -> Arc<[crate::memory::Area]> {
        self.inner.shared.areas.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Programs in maps hold what holds the maps. Those in maps that another runtime has as well
        // may still be called by its programs, and go with it.
        for map in self.shared.maps.abandon() {
            if let Content::Programs(slots) = map.content() {
                for slot in slots {
                    slot.write().unwrap_or_else(PoisonError::into_inner).take();
                }
            }
        }
        self.shared.timers.clear();
    }
}
