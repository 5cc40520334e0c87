//! Kernel functions that programs call by name (`.ksyms`), of Linux 6.18.

use super::*;

type Function = fn(&Shared, &mut Call<'_, '_>) -> Outcome;

/// A kernel function by name. `size` is that of a type of the program's, by its number: for those
/// that make objects.
pub(crate) fn kernel_function(
    shared: &Arc<Shared>,
    name: &str,
    size: impl Fn(u32) -> Option<u32> + Send + Sync + 'static,
) -> Option<Helper> {
    let shared = shared.clone();
    match name {
        "bpf_obj_new_impl" => {
            return Some(Arc::new(move |call: &mut Call<'_, '_>| {
                let size = size(call.arguments[0] as u32);
                objects::new(&shared, call, size)
            }));
        }
        "bpf_percpu_obj_new_impl" => {
            return Some(Arc::new(move |call: &mut Call<'_, '_>| {
                let size = size(call.arguments[0] as u32);
                objects::new_per_cpu(&shared, call, size)
            }));
        }
        _ => {}
    }
    let function = function(name).or_else(|| cpumask::function(name))?;
    Some(Arc::new(move |call: &mut Call<'_, '_>| function(&shared, call)))
}

fn function(name: &str) -> Option<Function> {
    Some(match name {
        "bpf_iter_bits_new" => iterators::bits_new,
        "bpf_iter_bits_next" => iterators::bits_next,
        "bpf_iter_bits_destroy" => iterators::bits_destroy,
        "bpf_iter_num_new" => iterators::numbers_new,
        "bpf_iter_num_next" => iterators::numbers_next,
        "bpf_iter_num_destroy" => iterators::numbers_destroy,

        "bpf_obj_drop_impl" | "bpf_percpu_obj_drop_impl" => objects::drop_object,
        "bpf_refcount_acquire_impl" => objects::acquire,
        "bpf_list_push_front_impl" => objects::push_front,
        "bpf_list_push_back_impl" => objects::push_back,
        "bpf_list_pop_front" => objects::pop_front,
        "bpf_list_pop_back" => objects::pop_back,
        "bpf_list_front" | "bpf_rbtree_first" => objects::first,
        "bpf_list_back" => objects::last,
        "bpf_rbtree_add_impl" => objects::tree_add,
        "bpf_rbtree_remove" => objects::tree_remove,

        "bpf_dynptr_from_skb" => dynptr::from_packet,
        "bpf_dynptr_from_xdp" => dynptr::from_packet,
        "bpf_dynptr_slice" => dynptr::slice,
        "bpf_dynptr_slice_rdwr" => dynptr::slice_to_write,
        "bpf_dynptr_adjust" => dynptr::adjust,
        "bpf_dynptr_is_null" => dynptr::is_null,
        "bpf_dynptr_is_rdonly" => dynptr::is_read_only,
        "bpf_dynptr_size" => dynptr::size,
        "bpf_dynptr_clone" => dynptr::clone,
        "bpf_dynptr_copy" => dynptr::copy,

        // Nothing here is freed while a program may look at it, and no run interrupts another.
        "bpf_rcu_read_lock" | "bpf_rcu_read_unlock" => nothing,
        "bpf_preempt_disable" | "bpf_preempt_enable" => nothing,
        "bpf_local_irq_save" | "bpf_local_irq_restore" => nothing,

        "bpf_wq_init" => timers::work_init,
        "bpf_wq_set_callback_impl" => timers::work_callback,
        "bpf_wq_start" => timers::work_start,

        // As of drivers that know nothing of the frame.
        "bpf_xdp_metadata_rx_timestamp"
        | "bpf_xdp_metadata_rx_hash"
        | "bpf_xdp_metadata_rx_vlan_tag" => |_, _| code(Err(Errno::EOPNOTSUPP)),

        "bpf_task_from_pid" | "bpf_task_from_vpid" => |_, call| {
            let pid = call.arguments[0] as u32;
            let process = &call.state::<State>()?.environment.process;
            // The current task is the only one that there is.
            Ok(if process.pid == pid { process.task } else { 0 })
        },
        "bpf_task_acquire" => |_, call| Ok(call.arguments[0]),
        "bpf_task_release" => nothing,
        _ => return None,
    })
}

fn nothing(_: &Shared, _: &mut Call<'_, '_>) -> Outcome {
    Ok(0)
}
