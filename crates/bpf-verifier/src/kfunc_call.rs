//! Calls of kernel functions by BTF (kernel/bpf/verifier.c, Linux 6.12: check_kfunc_call).

use bpf_interface::caller::Caller;
use bpf_interface::helper;
use bpf_interface::kfunc::{self, Flags as Traits};
use bpf_interface::prototype::What;
use bpf_isa::Callee;
use bpf_object::btf::TypeId;

use crate::code::Calls;
use crate::engine::{Engine, Next};
use crate::request::Request;
use crate::stop::{Check, unmodelled};

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
        kfunc::for_program(&self.caller, self.name(slot, btf_id)?).ok()
    }

    fn named(&self, slot: usize, callee: Callee) -> Option<&'a str> {
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
        match callee {
            Callee::Helper(id) => helper::by_id(id.cast_unsigned()).map_or(5, |helper| {
                let given =
                    |argument: &&bpf_interface::prototype::Argument| argument.what != What::Nothing;
                helper.arguments.iter().filter(given).count() as u8
            }),
            _ => 5,
        }
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
        let name = self.kfunc_name(self.slot, btf_id).unwrap_or("?").to_owned();
        let _ = module;
        unmodelled(format!("the kernel function {name}"))
    }
}
