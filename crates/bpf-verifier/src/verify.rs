//! The order of things: form, maps, the main function, the global functions, the stack.

use std::collections::BTreeMap;

use bpf_object::btf::Kind as TypeKind;
use bpf_object::{MapType, PointerTarget, ProgramType};

use crate::change::Change;
use crate::code::Code;
use crate::engine::{Engine, caller};
use crate::kfunc_call::KernelCalls;
use crate::maps::{MapInfo, maps};
use crate::register::{Kind, Register};
use crate::request::Request;
use crate::rule::Rule;
use crate::state::{Frame, State};
use crate::stop::{Cause, Check, Stop, refuse, unmodelled};
use crate::verdict::{
    Facts, FunctionFacts, MapShape, NotModelled, Refusal, Touched, Verdict, Verified,
};

/// Judges a program.
pub fn verify(request: &Request<'_>) -> Verdict {
    verify_with_log(request).0
}

/// As [`verify`], with the steps that were taken, if [`crate::Options::log`] asks for them.
pub fn verify_with_log(request: &Request<'_>) -> (Verdict, Vec<String>) {
    judge(request, maps(request.object))
}

pub(crate) fn judge(request: &Request<'_>, maps: Vec<MapInfo>) -> (Verdict, Vec<String>) {
    let target = struct_ops_target(request);
    let mut caller = caller(request);
    if let Some(target) = &target {
        caller.target = target;
    }
    let calls = KernelCalls { request, caller };
    let types = request.object.and_then(|object| object.types.as_ref());
    let code = match Code::new(request.program, types, &calls) {
        Ok(code) => code,
        Err(stop) => return (outside(stop), Vec::new()),
    };
    let length = code.len();
    let functions = code.functions.len();
    let mut engine = Engine {
        request,
        caller,
        kernel: request.kernel,
        types,
        maps,
        state: State::new(Frame::new(0, 0, 0), false),
        slot: 0,
        previous: 0,
        checkpoints: Vec::new(),
        at: vec![Vec::new(); length],
        open_at: vec![Vec::new(); length],
        pending: Vec::new(),
        returns: BTreeMap::new(),
        marks: 0,
        last_id: 0,
        in_history: false,
        filled: None,
        processed: 0,
        jumps: 0,
        processed_before: 0,
        jumps_before: 0,
        stack_depth: vec![0; functions],
        depth_without_spills: vec![0; functions],
        visits: vec![0; length],
        touched: vec![Touched::Nothing; length],
        pointers: vec![None; length],
        states: 0,
        states_at_one: 0,
        bounded: true,
        called: vec![false; functions],
        signatures: vec![None; functions],
        target: None,
        log: Vec::new(),
        masks: vec![None; length],
        masks_unknowns: false,
        code,
    };
    let outcome = engine.run();
    let log = std::mem::take(&mut engine.log);
    let verdict = match outcome {
        Ok(()) => Verdict::Accepted(engine.proof()),
        Err((stop, slot)) => match *stop.0 {
            Cause::Refused { rule, message } => {
                Verdict::Refused(engine.explain(rule, message, slot))
            }
            Cause::NotModelled(what) => Verdict::NotModelled(NotModelled { slot, what }),
        },
    };
    (verdict, log)
}

/// Type and member of a struct_ops program: its section may name anything, the map that holds it
/// says what it is.
fn struct_ops_target(request: &Request<'_>) -> Option<String> {
    if request.kind.program != ProgramType::STRUCT_OPS || request.kind.target.contains('/') {
        return None;
    }
    let object = request.object?;
    let types = object.types.as_ref()?;
    for map in &object.maps {
        let is_own = |target: &PointerTarget| matches!(target, PointerTarget::Function(name) if *name == request.program.name);
        let Some(pointer) = map.pointers.iter().find(|pointer| is_own(&pointer.target)) else {
            continue;
        };
        let (structure, _) = types.resolve(map.value_type?)?;
        let at = pointer.offset.checked_mul(8)?;
        let members = &types.composite(structure)?.members;
        let member = members.iter().find(|member| u64::from(member.bit_offset) == at)?;
        return Some(format!("{}/{}", types.name(structure), types.string(member.name)?));
    }
    None
}

/// Before there is an engine.
fn outside(stop: Stop) -> Verdict {
    match *stop.0 {
        Cause::Refused { rule, message } => Verdict::Refused(Refusal {
            rule,
            slot: None,
            message,
            registers: Vec::new(),
            path: Vec::new(),
            hint: rule.hint().to_owned(),
            place: None,
            processed: 0,
        }),
        Cause::NotModelled(what) => Verdict::NotModelled(NotModelled { slot: None, what }),
    }
}

impl Engine<'_> {
    fn run(&mut self) -> Result<(), (Stop, Option<usize>)> {
        self.check_request().map_err(|stop| (stop, None))?;
        self.check_value_addresses()?;
        self.run_function(0)?;
        // A global function is verified if something that was verified calls it.
        let mut done = vec![false; self.code.functions.len()];
        while let Some(index) = (0..done.len()).find(|index| self.called[*index] && !done[*index]) {
            done[index] = true;
            self.run_function(index)?;
        }
        self.check_stack_depth().map_err(|stop| (stop, None))
    }

    fn run_function(&mut self, index: usize) -> Result<(), (Stop, Option<usize>)> {
        self.checkpoints.clear();
        self.at.iter_mut().chain(&mut self.open_at).for_each(Vec::clear);
        self.pending.clear();
        self.returns.clear();
        let start = self.code.functions[index].start;
        let mut frame = Frame::new(index, 0, 0);
        if index == 0 {
            frame.registers[1] = Register::pointer(Kind::Context);
        } else {
            let arguments = self.global_arguments(index).map_err(|stop| (stop, Some(start)))?;
            for (number, argument) in arguments.iter().enumerate() {
                frame.registers[number + 1] = self.fresh_argument(*argument);
            }
        }
        let sleepable = self.caller.sleepable;
        self.state = State { first: start, ..State::new(frame, sleepable) };
        self.slot = start;
        self.previous = start;
        self.walk().map_err(|stop| {
            let slot = Some(self.slot);
            (stop, slot)
        })
    }

    /// What doesn't depend on any path.
    fn check_request(&mut self) -> Check {
        use bpf_interface::program;
        use bpf_object::ProgramType as P;
        let kind = &self.request.kind;
        // `BPF_MAXINSNS`; with CAP_BPF there is no limit but that of complexity.
        if !self.privileged() && self.code.len() > 4096 {
            return refuse(
                Rule::TooComplex,
                format!("at most 4096 instructions, the program has {}", self.code.len()),
            );
        }
        if bpf_interface::context::of(kind.program).is_none() {
            return unmodelled(format!("programs of type {}", kind.program));
        }
        if program::needs_gpl(kind.program) && !self.licence_is_gpl_compatible() {
            return refuse(
                Rule::Licence,
                format!("{} programs must have a GPL compatible license", kind.program),
            );
        }
        if kind.program == P::LSM {
            let closed = bpf_interface::hook::is_lsm_disabled(&kind.target);
            if closed && self.has(Change::LsmResults) {
                return refuse(
                    Rule::AttachTarget,
                    format!("attach_btf_id bpf_lsm_{} points to disabled hook", kind.target),
                );
            }
            if let Some(kernel) = self.kernel {
                let hook = format!("bpf_lsm_{}", kind.target);
                if kernel.find(&hook, |kind| matches!(kind, TypeKind::Function { .. })).is_none() {
                    return unmodelled(format!(
                        "the hook {}, which the kernel's types don't have",
                        kind.target
                    ));
                }
            }
        }
        if let (false, Some((from, to))) = (self.privileged(), self.back_edge()) {
            return refuse(Rule::BackEdge, format!("back-edge from insn {from} to {to}"));
        }
        for index in self.used_maps() {
            let map = &self.maps[index];
            for field in &map.record.fields {
                if !field.special.is_allowed_in(map.kind) {
                    let name = crate::maps::special_name(field.special);
                    return refuse(
                        Rule::MapUse,
                        format!("{name} is not allowed in maps of type {}", map.kind),
                    );
                }
            }
            self.check_map_in_program(index)?;
        }
        Ok(())
    }

    fn back_edge(&self) -> Option<(usize, usize)> {
        self.code.back_edge()
    }

    fn used_maps(&self) -> Vec<usize> {
        use bpf_isa::{Instruction, Wide};
        let mut used: Vec<usize> = self
            .request
            .program
            .instructions
            .iter()
            .filter_map(|placed| match placed.instruction {
                Instruction::LoadWide {
                    value: Wide::MapByIndex(map) | Wide::MapValueByIndex { map, .. },
                    ..
                } => usize::try_from(map).ok(),
                _ => None,
            })
            .filter(|map| *map < self.maps.len())
            .collect();
        used.sort_unstable();
        used.dedup();
        used
    }

    /// Whether programs of this kind may use the map at all (`check_map_prog_compatibility`).
    fn check_map_in_program(&self, index: usize) -> Check {
        use bpf_interface::program::{self, MapDenied};
        use bpf_object::ProgramType as P;
        let map = &self.maps[index];
        let is_simple = matches!(map.kind, MapType::ARRAY | MapType::HASH | MapType::LRU_HASH);
        if self.caller.sleepable && !is_simple && !self.has(Change::SleepableMaps) {
            let message = "Sleepable programs can only use array and hash maps";
            return refuse(Rule::MapUse, message);
        }
        let specials: Vec<_> = map.record.fields.iter().map(|field| field.special).collect();
        let message = match program::allows_map(&self.caller, map.kind, &specials) {
            Ok(()) => return Ok(()),
            Err(MapDenied::Special(special)) if self.caller.program == P::SOCKET_FILTER => {
                let name = crate::maps::special_name(special);
                format!("socket filter progs cannot use {name} yet")
            }
            Err(MapDenied::Special(special)) => {
                let name = crate::maps::special_name(special);
                format!("tracing progs cannot use {name} yet")
            }
            Err(MapDenied::Sleepable) => {
                "Sleepable programs can only use array, hash, ringbuf and local storage maps"
                    .to_owned()
            }
            Err(MapDenied::StructOps) => "bpf_struct_ops map cannot be used in prog".to_owned(),
        };
        refuse(Rule::MapUse, message)
    }

    fn used_constants(&self) -> Vec<(usize, Box<[u8]>)> {
        let value = |index: usize| Some((index, self.maps[index].constant.clone()?.into()));
        self.used_maps().into_iter().filter_map(value).collect()
    }

    fn proof(&self) -> Verified {
        let program = self.request.program;
        let functions = self.code.functions.iter().enumerate().map(|(index, function)| {
            let visits = &self.visits[function.start..function.end];
            FunctionFacts {
                name: function.name.clone(),
                stack: self.stack_depth[index].cast_unsigned(),
                processed: visits.iter().sum(),
            }
        });
        let shape = |index: usize| {
            let map = &self.maps[index];
            MapShape {
                index,
                kind: map.kind,
                key_size: map.key_size,
                value_size: map.value_size,
                max_entries: map.max_entries,
                flags: map.flags,
            }
        };
        Verified {
            instructions: program.instructions.clone().into_boxed_slice(),
            program: self.request.kind.program,
            maps: self.used_maps().into_iter().map(shape).collect(),
            constants: self.used_constants(),
            facts: Facts {
                processed: self.processed,
                states: self.states,
                states_at_one: self.states_at_one,
                functions: functions.collect(),
                visits: self.visits.clone(),
                touched: self.touched.clone(),
                bounded: self.bounded,
            },
        }
    }
}
