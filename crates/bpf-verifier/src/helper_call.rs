//! Calls of helpers (kernel/bpf/verifier.c, Linux 6.12: check_helper_call).

use bpf_interface::helper::{self, Denied};
use bpf_interface::prototype::{Prototype, What};
use bpf_object::ProgramType as P;

use crate::change::Change;
use crate::engine::{Engine, Next};
use crate::register::{Kind, Register};
use crate::rule::Rule;
use crate::stop::{Check, refuse};

mod arguments;
mod callback;
mod lock;
mod result;

pub(crate) use arguments::Touch;
pub(crate) use callback::{leaves_callback, runs_callback};

/// What the arguments have shown.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gathered {
    pub map: Option<u32>,
    pub map_instance: u32,
    /// The reference that an argument holds.
    pub reference: u32,
    /// The argument that is released.
    pub released: Option<u8>,
    pub memory_size: u64,
    pub largest_size: u64,
    pub function: Option<usize>,
    /// The dynptr whose data is asked for.
    pub dynptr: u32,
    pub kptr: Option<crate::maps::Kptr>,
    /// Of a per-CPU variable.
    pub structure: u32,
}

impl Engine<'_> {
    pub(crate) fn call_helper(&mut self, id: i32) -> Check<Next> {
        let number = id.cast_unsigned();
        let prototype = self.helper(number)?;
        let name = prototype.name;
        if prototype.gpl_only && !self.licence_is_gpl_compatible() {
            return refuse(
                Rule::Licence,
                "cannot call GPL-restricted function from non-GPL compatible program",
            );
        }
        if prototype.might_sleep {
            if !self.state.sleepable {
                return refuse(Rule::Sleeping, "helper call might sleep in a non-sleepable prog");
            }
            if self.state.rcu {
                return refuse(
                    Rule::Sleeping,
                    format!("sleepable helper {name}#{id} in rcu_read_lock region"),
                );
            }
            if self.state.preempt > 0 {
                return refuse(
                    Rule::Sleeping,
                    format!("sleepable helper {name}#{id} in non-preemptible region"),
                );
            }
        }
        self.filled = None;
        let mut gathered = Gathered::default();
        for index in 0..5u8 {
            self.check_argument(prototype, index, &mut gathered)?;
        }
        self.check_map_use(prototype, &gathered)?;
        self.fill()?;
        let arguments: [Register; 5] = std::array::from_fn(|index| *self.register(index as u8 + 1));
        self.release_argument(prototype, &gathered)?;
        let mut changes_packet = prototype.changes_packet;
        match number {
            12 => {
                self.check_nothing_held("tail_call").or_else(|stop| {
                    if self.state.references.is_empty() {
                        return Err(stop);
                    }
                    refuse(Rule::ReferenceLeak, "tail_call would lead to reference leak")
                })?;
                self.check_tail_call_map(arguments[1].what)?;
            }
            81 => {
                if !arguments[1].is_null() {
                    return refuse(
                        Rule::ArgumentType,
                        "get_local_storage() doesn't support non-zero flags",
                    );
                }
                self.mark_precise(2)?;
            }
            // dynptr_from_mem
            197 if arguments[0].kind != Kind::MapValue => {
                let name = arguments[0].name();
                return refuse(
                    Rule::Dynptr,
                    format!("Unsupported reg type {name} for bpf_dynptr_from_mem data"),
                );
            }
            // dynptr_write
            202 => changes_packet |= self.is_packet_dynptr(&arguments[0]),
            // dynptr_data
            203 => gathered.dynptr = self.dynptr_identity(&arguments[0], &mut gathered.reference),
            165 => self.check_format_arguments()?,
            187 if self.caller.program == P::LSM => {
                if let Some(kernel) = self.kernel
                    && let Ok(signature) = bpf_interface::typed::signature(kernel, &self.caller)
                    && signature.result.is_none()
                {
                    return refuse(
                        Rule::ReturnValue,
                        "BPF_LSM_CGROUP that attach to void LSM hooks can't modify return value!",
                    );
                }
            }
            _ => {}
        }
        self.enter_callback(number, &gathered)?;
        self.clobber_caller_saved();
        let result = self.helper_result(prototype, &gathered, &arguments)?;
        self.state.frame_mut().registers[0] = result;
        if number == 12 && self.has(Change::TailCallsReturn) {
            if self.state.current() == 0 {
                return Ok(Next::Through);
            }
            self.push(self.slot + 1)?;
            self.forget_packet_pointers();
            self.write(0, Register::UNKNOWN)?;
            return self.leave();
        }
        if changes_packet {
            self.forget_packet_pointers();
        }
        Ok(Next::Through)
    }

    pub fn helper(&self, id: u32) -> Check<&'static Prototype> {
        match helper::for_program(&self.caller, id) {
            Ok(prototype) => Ok(prototype),
            Err(Denied::Unknown) => {
                refuse(Rule::UnknownHelper, format!("invalid func unknown#{id}"))
            }
            Err(Denied::Hook) => refuse(Rule::UnknownHelper, "helper call is not allowed in probe"),
            Err(Denied::Program | Denied::Privilege(_)) => {
                let name = helper::by_id(id).map_or("unknown", |helper| helper.name);
                refuse(
                    Rule::UnknownHelper,
                    format!("program of this type cannot use helper {name}#{id}"),
                )
            }
        }
    }

    fn release_argument(&mut self, prototype: &Prototype, gathered: &Gathered) -> Check {
        let Some(number) = gathered.released else { return Ok(()) };
        let register = *self.register(number);
        let what = prototype.arguments[usize::from(number) - 1].what;
        if matches!(what, What::Dynptr(_)) {
            return self.release_dynptr(&register);
        }
        if gathered.reference != 0 {
            return self.release(gathered.reference);
        }
        if register.is_null() {
            return Ok(());
        }
        refuse(
            Rule::ReleaseUnowned,
            format!(
                "func {}#{} reference has not been acquired before",
                prototype.name, prototype.id
            ),
        )
    }

    /// Whether the helper takes maps of that kind.
    fn check_map_use(&self, prototype: &Prototype, gathered: &Gathered) -> Check {
        let Some(index) = gathered.map else { return Ok(()) };
        let map = &self.maps[index as usize];
        if helper::takes_map(&self.caller, map.kind, prototype.id) {
            return Ok(());
        }
        refuse(
            Rule::MapKind,
            format!(
                "cannot pass map_type {} into func {}#{}",
                map.kind.0, prototype.name, prototype.id
            ),
        )
    }

    /// The format must be known, and so must be the number of its arguments.
    fn check_format_arguments(&self) -> Check {
        let size = self.register(5).number;
        if size.exact().is_none_or(|size| size % 8 != 0) {
            return refuse(Rule::ArgumentSize, "invalid size of the arguments of snprintf");
        }
        Ok(())
    }
}
