//! Programs that run without checks, because a verifier has proved that they need none.
//!
//! **Invariant:** an [`Unchecked`] never leaves the runtime: it isn't put into program arrays or
//! handed out, and runs only on the contexts that it was verified for. What may be anything else
//! (what is tail called, timers, other contexts) runs the checked program beside it.

use std::sync::Arc;

use bpf_isa::{Instruction, Placed};
use bpf_object::{Object, ProgramType};
use bpf_verifier::{Facts, MapShape, Request, Touched, Verdict};

use super::{Runtime, RuntimeError, load};
use crate::jit::CompileOptions;
use crate::map::Map;
use crate::program::Program;
use crate::state::Kind;

#[derive(Clone, Debug)]
pub(super) struct Unchecked {
    program: Arc<Program>,
    kind: ProgramType,
    /// Whether a run may leave another context behind than it was given, besides what its helpers do.
    writes_context: bool,
}

impl Unchecked {
    /// The program, if it was verified for such a context.
    pub fn for_run(&self, kind: Kind) -> Option<&Program> {
        let fits = match kind {
            Kind::Xdp => self.kind == ProgramType::XDP,
            Kind::Skb { .. } => takes_skb(self.kind),
            Kind::SocketLookup | Kind::Message | Kind::Other => false,
        };
        fits.then_some(&*self.program)
    }

    pub fn writes_context(&self) -> bool {
        self.writes_context
    }
}

fn takes_skb(kind: ProgramType) -> bool {
    matches!(kind, ProgramType::CLASSIFIER | ProgramType::ACTION | ProgramType::SOCKET_FILTER)
}

/// Verifies a program and compiles it without checks. `None` if it can't be proved to need none.
pub(super) fn unchecked(
    runtime: &Runtime,
    maps: &[Option<Arc<Map>>],
    object: &Object,
    linked: &bpf_object::Program,
) -> Result<Option<Unchecked>, RuntimeError> {
    let Some(kind) = linked.kind.clone() else { return Ok(None) };
    let program = kind.program;
    if program != ProgramType::XDP && !takes_skb(program) {
        return Ok(None);
    }
    let request = Request::of_kind(linked, kind).object(object);
    let Verdict::Accepted(verified) = bpf_verifier::verify(&request) else { return Ok(None) };
    let bound = |index: usize| maps.get(index).and_then(Option::as_ref);
    let fits = |shape: &MapShape| {
        bound(shape.index)
            .is_some_and(|map| fits(shape, map) && fits_inner(runtime, object, shape, map))
    };
    // The proof was found with values that never change: another map may have others.
    let is_always = |(map, value)| bound(map).is_some_and(|map| map.is_always(value));
    if !keeps_to_runs(verified.facts())
        || !verified.maps().iter().all(fits)
        || !verified.constants().all(is_always)
    {
        return Ok(None);
    }
    let functions = load::functions(object, linked);
    let loaded = load::load(runtime, maps, &functions, &linked.name, &linked.instructions)?;
    // SAFETY: the maps are bound and have the shapes that were verified, as just checked, for as
    // long as the runtime lives; helpers are bound by their numbers; and `for_run` gives the program
    // to runs on contexts of its type only. Of memory it touches what such runs have.
    let compiled = unsafe { loaded.compile_verified(&verified, CompileOptions::default()) };
    let compiled = compiled.map_err(|source| RuntimeError::Compile {
        program: linked.name.clone(),
        source: Arc::new(source),
    })?;
    let writes_context = writes_context(verified.facts(), &linked.instructions);
    Ok(Some(Unchecked { program: Arc::new(compiled), kind: program, writes_context }))
}

fn writes_context(facts: &Facts, instructions: &[Placed]) -> bool {
    let is_of_context = |slot: usize| facts.touched.get(slot) == Some(&Touched::Context);
    instructions.iter().any(|placed| {
        let only_loads =
            matches!(placed.instruction, Instruction::Load { .. } | Instruction::LoadPacket { .. });
        !only_loads && is_of_context(placed.slot)
    })
}

/// Whether it touches nothing but what our runs have just as a kernel: no structures of a kernel's.
fn keeps_to_runs(facts: &Facts) -> bool {
    facts.touched.iter().all(|touched| {
        matches!(
            touched,
            Touched::Nothing
                | Touched::Context
                | Touched::Stack
                | Touched::Packet
                | Touched::MapValue
                | Touched::MapKey
                | Touched::Memory
                | Touched::Data
        )
    })
}

fn fits(shape: &MapShape, map: &Map) -> bool {
    let definition = map.definition();
    definition.kind == shape.kind
        && definition.key_size == shape.key_size
        && definition.value_size == shape.value_size
        && definition.max_entries >= shape.max_entries
        && definition.flags == shape.flags
}

/// Whether the maps in a map of maps are like those that were verified.
fn fits_inner(runtime: &Runtime, object: &Object, shape: &MapShape, map: &Map) -> bool {
    if !shape.kind.holds_maps() {
        return true;
    }
    let expected = object.maps.get(shape.index).filter(|map| map.inner.is_some());
    expected.is_some_and(|expected| {
        let expected = load::definition(object, expected, runtime.cpus());
        load::fits_inner(&expected, map.definition())
    })
}

#[cfg(test)]
mod tests {
    use bpf_isa::encode;
    use bpf_isa::text::{Syntax, assemble};
    use bpf_object::object_of_code;

    use super::*;
    use crate::context::Xdp;
    use crate::packet::Packet;
    use crate::runtime::Engine;

    /// What an XDP program returns on 4 bytes, and whether it runs without checks.
    fn check(text: &str, expected: Option<u64>, unchecked: bool) {
        let code = encode(&assemble(text, Syntax::Llvm).unwrap());
        let object = Object::parse(&object_of_code("main", "xdp", "GPL", &code)).unwrap();
        let runtime = Runtime::builder().engine(Engine::VerifiedJit).build();
        let program = match runtime.load(&object).and_then(|instance| instance.program("main")) {
            Err(RuntimeError::Compile { source, .. }) => {
                println!("skipped: {source}");
                return;
            }
            program => program.unwrap(),
        };
        assert_eq!(program.is_unchecked(), unchecked, "{text}");
        let mut packet = Packet::guarded(&[1, 2, 3, 4]).unwrap();
        let outcome = program.run_xdp(&mut packet, &Xdp::default());
        assert_eq!(outcome.ok().map(|outcome| outcome.value), expected, "{text}");
        // Another context than it was verified for: checked, and refused to read it.
        assert!(!unchecked || program.run_raw(&[0; 4]).is_err(), "{text}");
    }

    #[test]
    fn what_is_proved_is_not_checked() {
        let read = |length: u32, at: u32| {
            format!(
                "r2 = *(u32 *)(r1 + 0)\nr3 = *(u32 *)(r1 + 4)\nr0 = 0\nr4 = r2\nr4 += {length}\n\
                 if r4 > r3 goto +1\nr0 = *(u8 *)(r2 + {at})\nexit"
            )
        };
        check(&read(4, 3), Some(4), true);
        check(&read(5, 4), Some(0), true);
        // The check before is for too few bytes.
        check(&read(4, 4), None, false);
    }
}
