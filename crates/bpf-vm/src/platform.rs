//! What a program finds outside of itself: helpers, functions and addresses.

use std::collections::HashMap;
use std::sync::Arc;

use bpf_isa::Wide;

use crate::fault::Stop;
use crate::run::Call;

/// A function that programs can call. Its result goes to `r0`.
pub type Helper = Arc<dyn Fn(&mut Call<'_, '_>) -> Result<u64, Stop> + Send + Sync>;

/// Binds a program to what it refers to, once, when it is loaded.
pub trait Platform {
    fn helper(&self, id: i32) -> Option<Helper>;

    /// A function of the kernel, by BTF id; see [`bpf_isa::Callee::Kernel`].
    fn kernel_function(&self, _btf_id: i32, _module: i16) -> Option<Helper> {
        None
    }

    /// The helpers that a program may call by their number in a register, as uBPF lets it. On the
    /// kernel there are none.
    fn numbered_helpers(&self) -> Vec<i32> {
        Vec::new()
    }

    /// Whether its runs are noted down instruction by instruction.
    fn traced(&self) -> bool {
        false
    }

    /// What a 64-bit immediate stands for that isn't a number and not code.
    fn address(&self, _what: Wide) -> Option<u64> {
        None
    }
}

/// Helpers by their number, callable in both ways, and nothing else.
impl Platform for HashMap<i32, Helper> {
    fn helper(&self, id: i32) -> Option<Helper> {
        self.get(&id).cloned()
    }

    fn numbered_helpers(&self) -> Vec<i32> {
        self.keys().copied().collect()
    }
}
