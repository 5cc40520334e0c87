//! The order of things: form, maps, the main function, the global functions, the stack.

use bpf_object::btf::{Kind as TypeKind, TypeId};
use bpf_object::{PointerTarget, ProgramType};

use crate::code::Code;
use crate::engine::{Engine, caller};
use crate::kfunc_call::KernelCalls;
use crate::maps::{MapInfo, maps};
use crate::register::{Flags, Kind, Register};
use crate::request::Request;
use crate::rule::Rule;
use crate::scalar::Scalar;
use crate::state::{Frame, MAX_FRAMES, State};
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
        pending: Vec::new(),
        returns: Vec::new(),
        marks: 0,
        last_id: 0,
        in_history: false,
        filled: None,
        processed: 0,
        jumps: 0,
        processed_before: 0,
        jumps_before: 0,
        stack_depth: vec![0; functions],
        visits: vec![0; length],
        touched: vec![Touched::Nothing; length],
        states: 0,
        states_at_one: 0,
        bounded: true,
        called: vec![false; functions],
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
        self.at.iter_mut().for_each(Vec::clear);
        self.pending.clear();
        self.returns.clear();
        let start = self.code.functions[index].start;
        let mut frame = Frame::new(index, 0, 0);
        if index == 0 {
            frame.registers[1] = Register::pointer(Kind::Context);
        } else {
            let arguments = self.global_arguments(index).map_err(|stop| (stop, Some(start)))?;
            for (number, argument) in arguments.into_iter().enumerate() {
                frame.registers[number + 1] = self.fresh_argument(argument);
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
            if bpf_interface::hook::is_lsm_disabled(&kind.target) {
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

    /// What a global function takes, by its types and tags (`btf_prepare_func_args`).
    fn global_arguments(&self, index: usize) -> Check<Vec<GlobalArgument>> {
        let function = &self.code.functions[index];
        let name = &function.name;
        let (Some(types), Some(id)) = (self.types, function.kind) else {
            return unmodelled(format!("the global function {name} without types"));
        };
        let Some((returns, parameters)) = crate::signature::prototype(types, id) else {
            return unmodelled(format!("the global function {name} without types"));
        };
        if parameters.len() > 5 {
            return refuse(
                Rule::GlobalFunction,
                format!(
                    "Global function {name}() with {} > 5 args. Buggy compiler.",
                    parameters.len()
                ),
            );
        }
        if !crate::signature::is_number(types, returns) {
            return refuse(
                Rule::GlobalFunction,
                format!(
                    "Global function {name}() doesn't return scalar. Only those are supported."
                ),
            );
        }
        let mut arguments = Vec::new();
        for (number, parameter) in parameters.iter().enumerate() {
            arguments.push(self.global_argument(types, id, name, number, parameter.kind)?);
        }
        Ok(arguments)
    }

    fn global_argument(
        &self,
        types: &bpf_object::btf::Btf,
        function: TypeId,
        name: &str,
        number: usize,
        kind: TypeId,
    ) -> Check<GlobalArgument> {
        let tags = crate::signature::tags(types, function, number);
        let tagged = |tag: &str| tags.iter().any(|found| *found == format!("arg:{tag}"));
        let is_number = crate::signature::is_number(types, kind);
        if tagged("arena") {
            return Ok(GlobalArgument::Arena);
        }
        if is_number {
            if tagged("ctx") || tagged("nonnull") || tagged("trusted") || tagged("nullable") {
                return refuse(
                    Rule::GlobalFunction,
                    format!("arg#{number} is not a pointer, but is tagged as one"),
                );
            }
            return Ok(GlobalArgument::Number);
        }
        let Some((_, TypeKind::Pointer(target))) = types.resolve(kind) else {
            return refuse(
                Rule::GlobalFunction,
                format!(
                    "Arg#{number} type {} in {name}() is not supported yet.",
                    types.describe(kind)
                ),
            );
        };
        let target_name = self.typedef_name(types, *target);
        if tagged("ctx") || self.is_context_type(&target_name) {
            return Ok(GlobalArgument::Context);
        }
        let nullable = tagged("nullable") || !tagged("nonnull");
        if tagged("trusted") {
            let structure = self.kernel_structure(bpf_object::btf::essential_name(&target_name))?;
            return Ok(GlobalArgument::Trusted { structure, nullable: tagged("nullable") });
        }
        if target_name == "bpf_dynptr" {
            return Ok(GlobalArgument::Dynptr);
        }
        let Some(size) = types.size(*target).and_then(|size| u32::try_from(size).ok()) else {
            let described = types.describe(*target);
            return refuse(
                Rule::GlobalFunction,
                format!("arg#{number} reference type('{described}') size cannot be determined"),
            );
        };
        Ok(GlobalArgument::Memory { size, nullable })
    }

    /// The name of what a pointer is to: of the typedef, if there is one.
    fn typedef_name(&self, types: &bpf_object::btf::Btf, target: TypeId) -> String {
        match types.resolve_qualifiers(target) {
            Some((id, TypeKind::Typedef(_))) if types.name(id) == "bpf_user_pt_regs_t" => {
                types.name(id).to_owned()
            }
            _ => types.resolve(target).map_or("", |(id, _)| types.name(id)).to_owned(),
        }
    }

    /// Whether a structure of that name is the context of this kind of program.
    fn is_context_type(&self, name: &str) -> bool {
        use bpf_interface::context::{self, Context};
        use bpf_object::ProgramType as P;
        if name.is_empty() {
            return false;
        }
        match (self.caller.program, context::of(self.caller.program)) {
            (_, Some(Context::Structure(layout))) => layout.name == name,
            (P::KPROBE, _) => matches!(name, "bpf_user_pt_regs_t" | "pt_regs" | "user_pt_regs"),
            (P::PERF_EVENT, _) => name == "bpf_perf_event_data",
            (P::RAW_TRACEPOINT, _) => name == "bpf_raw_tracepoint_args",
            _ => false,
        }
    }

    fn fresh_argument(&mut self, argument: GlobalArgument) -> Register {
        match argument {
            GlobalArgument::Number => Register::UNKNOWN,
            GlobalArgument::Context => Register::pointer(Kind::Context),
            GlobalArgument::Arena => Register { kind: Kind::Arena, ..Register::UNKNOWN },
            GlobalArgument::Memory { size, nullable } => {
                let mut register = Register { size, ..Register::pointer(Kind::Memory) };
                if nullable {
                    register.flags = Flags::NULLABLE;
                    register.id = self.new_id();
                }
                register
            }
            GlobalArgument::Trusted { structure, nullable } => {
                let mut register =
                    Register { what: structure, ..Register::pointer(Kind::Structure) };
                register.flags = Flags::TRUSTED;
                if nullable {
                    register.flags = register.flags.with(Flags::NULLABLE);
                    register.id = self.new_id();
                }
                register
            }
            GlobalArgument::Dynptr => {
                let id = self.new_id();
                Register {
                    what: crate::dynptr::LOCAL,
                    size: 1,
                    id,
                    number: Scalar::ZERO,
                    ..Register::pointer(Kind::Dynptr)
                }
            }
        }
    }

    /// Whether the registers are what the global function takes (`btf_check_func_arg_match`).
    pub(crate) fn check_global_arguments(&mut self, index: usize, name: &str) -> Check {
        use crate::helper_call::Touch;
        use crate::memory::Fills;
        let breach = |what: String| {
            refuse(
                Rule::GlobalFunction,
                format!("{what}\nCaller passes invalid args into func#{index} ('{name}')"),
            )
        };
        for (at, argument) in self.global_arguments(index)?.into_iter().enumerate() {
            let number = at as u8 + 1;
            let register = *self.register(number);
            match argument {
                GlobalArgument::Number if !register.is_scalar() => {
                    return breach(format!("R{number} is not a scalar"));
                }
                GlobalArgument::Number => {}
                GlobalArgument::Context => {
                    if register.kind != Kind::Context {
                        return breach(format!("arg#{at} expects pointer to ctx"));
                    }
                    self.check_unmodified(&register, number)?;
                }
                GlobalArgument::Arena => {
                    if !register.is_scalar() && register.kind != Kind::Arena {
                        return breach(format!("R{number} is not a pointer to arena or scalar."));
                    }
                }
                GlobalArgument::Memory { size, nullable } => {
                    if register.is_null() {
                        if nullable {
                            continue;
                        }
                        return breach(format!("arg#{at} is expected to be non-NULL"));
                    }
                    if register.is_nullable() && !nullable {
                        return breach(format!("arg#{at} is expected to be non-NULL"));
                    }
                    // Only while it is checked: it may still be NULL afterwards.
                    let mut valid = register;
                    self.not_null(&mut valid);
                    *self.register_mut(number) = valid;
                    for write in [false, true] {
                        let touch = Touch { write, fills: Fills::No, empty_allowed: true };
                        self.check_memory(number, size, touch)?;
                    }
                    *self.register_mut(number) = register;
                }
                GlobalArgument::Trusted { structure, nullable } => {
                    if register.is_null() && nullable {
                        continue;
                    }
                    let trusted = register.kind == Kind::Structure
                        && (nullable || !register.is_nullable())
                        && crate::step::branch::is_trusted(&Register {
                            flags: register.flags.without(if nullable {
                                Flags::NULLABLE
                            } else {
                                Flags::NONE
                            }),
                            ..register
                        })
                        && self.is_or_begins_with(register.what, register.off, structure);
                    if !trusted {
                        return breach(format!(
                            "R{number} type={} expected=ptr_, trusted_ptr_, rcu_ptr_",
                            register.name()
                        ));
                    }
                }
                GlobalArgument::Dynptr => {
                    self.initialised_dynptr(number, &register)?;
                }
            }
        }
        Ok(())
    }

    /// The frames of all chains of calls together (`check_max_stack_depth`).
    fn check_stack_depth(&self) -> Check {
        let mut chain = vec![0];
        self.check_chain(&mut chain, 0)?;
        for (index, function) in self.code.functions.iter().enumerate() {
            if function.is_callback && !chain.contains(&index) {
                self.check_chain(&mut vec![index], 0)?;
            }
        }
        Ok(())
    }

    fn check_chain(&self, chain: &mut Vec<usize>, above: i32) -> Check {
        let Some(&index) = chain.last() else { return Ok(()) };
        let function = &self.code.functions[index];
        let directly = (function.start..function.end).any(|slot| {
            matches!(
                self.code.at(slot),
                Some(bpf_isa::Instruction::Call { callee: bpf_isa::Callee::Helper(12) })
            )
        });
        if index != 0 && directly && above >= 256 {
            return refuse(
                Rule::TailCallStack,
                format!(
                    "tail_calls are not allowed when call stack of previous frames is {above} bytes. Too large"
                ),
            );
        }
        // Each frame is rounded up to 16 bytes where functions are compiled.
        let own = (self.stack_depth[index].max(1) + 15) / 16 * 16;
        let total = above + own;
        if total > crate::stack::MAX_STACK {
            return refuse(
                Rule::StackSize,
                format!("combined stack size of {} calls is {total}. Too large", chain.len()),
            );
        }
        for slot in function.start..function.end {
            let Some(callee) = self.code.callee_at(slot).or_else(|| self.code.callback_at(slot))
            else {
                continue;
            };
            if chain.contains(&callee) {
                if self.code.callee_at(slot).is_some() {
                    return refuse(Rule::CallDepth, format!("recursive call from insn {slot}"));
                }
                continue;
            }
            chain.push(callee);
            if chain.len() > MAX_FRAMES {
                return refuse(
                    Rule::CallDepth,
                    format!("the call stack of {} frames is too deep !", chain.len()),
                );
            }
            self.check_chain(chain, total)?;
            chain.pop();
        }
        Ok(())
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GlobalArgument {
    Number,
    Context,
    Memory { size: u32, nullable: bool },
    Trusted { structure: u32, nullable: bool },
    Dynptr,
    Arena,
}
