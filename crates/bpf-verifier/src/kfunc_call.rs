//! Calls of kernel functions by BTF (kernel/bpf/verifier.c, Linux 6.12: check_kfunc_call).

use bpf_interface::caller::Caller;
use bpf_interface::helper;
use bpf_interface::kfunc::{self, Flags as Traits};
use bpf_interface::prototype::What;
use bpf_isa::Callee;
use bpf_object::ProgramType;
use bpf_object::btf::{Kind as TypeKind, TypeId};

use crate::change::Change;
use crate::code::Calls;
use crate::engine::{Engine, Next};
use crate::register::{Flags, Register};
use crate::request::Request;
use crate::rule::Rule;
use crate::signature;
use crate::stop::{Check, refuse, unmodelled};

mod arguments;
mod graph;
mod result;

/// What calls do, as far as the tables say.
pub(crate) struct KernelCalls<'a> {
    pub request: &'a Request<'a>,
    pub caller: Caller<'a>,
}

impl<'a> KernelCalls<'a> {
    /// The name of a kernel function: the object's word for it, or that of the kernel's types.
    pub fn name(&self, slot: usize, btf_id: i32) -> Option<&'a str> {
        let program = self.request.program;
        let used = program.externs.iter().find(|used| used.slot == slot);
        let named = used.and_then(|used| self.request.object?.externs.get(used.external));
        if let Some(named) = named {
            return Some(bpf_object::btf::essential_name(&named.name));
        }
        let name = self.request.kernel?.name(TypeId(btf_id.cast_unsigned()));
        (!name.is_empty()).then_some(name)
    }

    fn traits(&self, slot: usize, callee: Callee) -> Option<Traits> {
        let Callee::Kernel { btf_id, .. } = callee else { return None };
        self.allowed(self.name(slot, btf_id)?).ok()
    }

    /// What the tables say of the function, if this program may call it.
    fn allowed(&self, name: &str) -> Result<Traits, kfunc::Denied> {
        let rules = self.request.options.rules;
        let as_tracing = self.caller.program == ProgramType::RAW_TRACEPOINT
            && rules.has(Change::RawTracepointFunctions);
        match as_tracing {
            true => {
                let tracing = Caller { program: ProgramType::TRACING, ..self.caller };
                kfunc::for_program(&tracing, name)
            }
            false => kfunc::for_program(&self.caller, name),
        }
    }

    pub fn named(&self, slot: usize, callee: Callee) -> Option<&'a str> {
        match callee {
            Callee::Kernel { btf_id, .. } => self.name(slot, btf_id),
            _ => None,
        }
    }
}

impl Calls for KernelCalls<'_> {
    fn runs_callback(&self, slot: usize, callee: Callee) -> bool {
        match callee {
            Callee::Helper(id) => crate::helper_call::runs_callback(id.cast_unsigned()),
            _ => self.named(slot, callee) == Some("bpf_rbtree_add_impl"),
        }
    }

    fn leaves_callback(&self, slot: usize, callee: Callee) -> bool {
        match callee {
            Callee::Helper(id) => crate::helper_call::leaves_callback(id.cast_unsigned()),
            _ => self.named(slot, callee) == Some("bpf_wq_set_callback_impl"),
        }
    }

    fn advances_iterator(&self, slot: usize, callee: Callee) -> bool {
        self.traits(slot, callee).is_some_and(Traits::advances_iterator)
    }

    fn changes_packet(&self, slot: usize, callee: Callee) -> bool {
        match callee {
            Callee::Helper(id) => {
                helper::by_id(id.cast_unsigned()).is_some_and(|helper| helper.changes_packet)
            }
            _ => self.named(slot, callee) == Some("bpf_xdp_pull_data"),
        }
    }

    fn might_sleep(&self, slot: usize, callee: Callee) -> bool {
        match callee {
            Callee::Helper(id) => {
                helper::by_id(id.cast_unsigned()).is_some_and(|helper| helper.might_sleep)
            }
            _ => self.traits(slot, callee).is_some_and(Traits::may_sleep),
        }
    }

    fn arguments(&self, callee: Callee) -> u8 {
        let Callee::Helper(id) = callee else { return 5 };
        // Some programs have a form of their own of a helper.
        let Ok(helper) = helper::for_program(&self.caller, id.cast_unsigned()) else { return 5 };
        helper.arguments.iter().filter(|argument| argument.what != What::Nothing).count() as u8
    }
}

/// Functions of lists and trees, which are called under their lock.
pub(crate) fn allowed_under_lock(name: &str) -> bool {
    matches!(
        name,
        "bpf_list_push_front_impl"
            | "bpf_list_push_back_impl"
            | "bpf_list_pop_front"
            | "bpf_list_pop_back"
            | "bpf_rbtree_remove"
            | "bpf_rbtree_add_impl"
            | "bpf_rbtree_first"
            | "bpf_refcount_acquire_impl"
    )
}

impl<'a> Engine<'a> {
    pub(crate) fn kernel_calls(&self) -> KernelCalls<'a> {
        KernelCalls { request: self.request, caller: self.caller }
    }

    pub(crate) fn kfunc_name(&self, slot: usize, btf_id: i32) -> Option<&'a str> {
        self.kernel_calls().name(slot, btf_id)
    }

    pub(crate) fn call_kernel(&mut self, btf_id: i32, module: i16) -> Check<Next> {
        let Some(name) = self.kfunc_name(self.slot, btf_id) else {
            return unmodelled(format!("the kernel function of type {btf_id}, which has no name"));
        };
        let traits = match self.kernel_calls().allowed(name) {
            Ok(traits) => traits,
            Err(kfunc::Denied::Program) => {
                return refuse(
                    Rule::UnknownFunction,
                    format!("calling kernel function {name} is not allowed"),
                );
            }
            Err(kfunc::Denied::Unknown) => {
                return unmodelled(format!("the kernel function {name}"));
            }
        };
        if module != 0 {
            return unmodelled(format!("the kernel function {name} of a module"));
        }
        let Some(kernel) = self.kernel else {
            return unmodelled(format!("the kernel function {name}, without the kernel's types"));
        };
        // The object's number may be of another kernel; the name counts.
        let id = kernel.find(name, |kind| matches!(kind, TypeKind::Function { .. }));
        let Some((returns, parameters)) = id.and_then(|id| signature::prototype(kernel, id)) else {
            return unmodelled(format!(
                "the kernel function {name}, which the kernel's types don't have"
            ));
        };
        if traits.may_sleep() && !self.state.sleepable {
            return refuse(
                Rule::Sleeping,
                format!("program must be sleepable to call sleepable kfunc {name}"),
            );
        }
        let mut call = Call::new(name, traits, returns);
        self.check_kfunc_arguments(kernel, &mut call, parameters)?;
        let arguments: [Register; 5] = std::array::from_fn(|index| *self.register(index as u8 + 1));
        self.enter_kfunc_callback(&call, &arguments)?;
        self.switch_sections(&call)?;
        if let Some(number) = call.released {
            let reference = self.register(number).reference;
            self.release(reference)?;
        }
        self.hand_over_node(&call, &arguments)?;
        if name == "bpf_throw" {
            return unmodelled("exceptions");
        }
        self.clobber_caller_saved();
        let result = self.kfunc_result(kernel, &mut call)?;
        self.state.frame_mut().registers[0] = result;
        if name == "bpf_xdp_pull_data" || name == "bpf_dynptr_write" {
            self.forget_packet_pointers();
        }
        if traits.advances_iterator() {
            return self.advance_iterator(&call);
        }
        Ok(Next::Through)
    }

    /// Sections that are protected by RCU or without preemption begin and end.
    fn switch_sections(&mut self, call: &Call<'_>) -> Check {
        let name = call.name;
        let breach = |message: String| refuse(Rule::RcuLock, message);
        let (lock, unlock) = (name == "bpf_rcu_read_lock", name == "bpf_rcu_read_unlock");
        match (self.state.rcu, lock, unlock) {
            (true, true, _) => {
                return breach(format!("nested rcu read lock (kernel function {name})"));
            }
            (true, _, true) => {
                // What it protected may be gone now.
                self.state.each(
                    |register| register.flags.has(Flags::RCU),
                    |register| {
                        let flags = register.flags.without(Flags::RCU).without(Flags::NULLABLE);
                        register.flags = flags.with(Flags::UNTRUSTED);
                    },
                );
                self.taint_protected_iterators();
                self.state.rcu = false;
            }
            (true, ..) if call.traits.may_sleep() => {
                return refuse(
                    Rule::Sleeping,
                    format!("kernel func {name} is sleepable within rcu_read_lock region"),
                );
            }
            (false, true, _) => self.state.rcu = true,
            (false, _, true) => {
                return breach(format!("unmatched rcu read unlock (kernel function {name})"));
            }
            _ => {}
        }
        match (self.state.preempt, name) {
            (_, "bpf_preempt_disable") => self.state.preempt += 1,
            (0, "bpf_preempt_enable") => {
                return breach(format!(
                    "unmatched attempt to enable preemption (kernel function {name})"
                ));
            }
            (_, "bpf_preempt_enable") => self.state.preempt -= 1,
            (1.., _) if call.traits.may_sleep() => {
                return refuse(
                    Rule::Sleeping,
                    format!("kernel func {name} is sleepable within non-preemptible region"),
                );
            }
            _ => {}
        }
        Ok(())
    }
}

/// A call, with what its arguments have shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    pub name: &'a str,
    pub traits: Traits,
    pub returns: TypeId,
    /// A number that is known when the program is loaded.
    pub constant: Option<u64>,
    /// The size of the memory that it returns, and whether it may only be read.
    pub returned_size: Option<(u32, bool)>,
    pub reference: u32,
    pub released: Option<u8>,
    pub function: Option<usize>,
    pub map: Option<(u32, u32)>,
    pub dynptr: Option<Register>,
    /// The allocated object that an argument points to.
    pub object: Option<TypeId>,
    pub object_owned: bool,
    /// The frame and slot of the iterator.
    pub iterator: Option<(usize, usize)>,
    /// What the list or tree holds: its nodes' structure, and where in it the node is.
    pub root: Option<(TypeId, u32)>,
}

impl<'a> Call<'a> {
    fn new(name: &'a str, traits: Traits, returns: TypeId) -> Self {
        Self {
            name,
            traits,
            returns,
            constant: None,
            returned_size: None,
            reference: 0,
            released: None,
            function: None,
            map: None,
            dynptr: None,
            object: None,
            object_owned: false,
            iterator: None,
            root: None,
        }
    }
}
