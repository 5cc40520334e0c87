//! Which maps which helpers take (kernel/bpf/verifier.c, Linux 6.12: check_map_func_compatibility).

use bpf_object::{AttachType, MapType as M, ProgramType as P};

use crate::caller::Caller;

/// Whether `caller` may give a map of this type to the helper.
pub fn takes_map(caller: &Caller<'_>, map: M, helper: u32) -> bool {
    let of_map = OF_MAPS.iter().find(|(maps, _)| maps.contains(&map));
    let of_helper = OF_HELPERS.iter().find(|(helpers, _)| helpers.contains(&helper));
    of_map.is_none_or(|(_, helpers)| {
        helpers.contains(&helper) || updates_socket_map(caller, map, helper)
    }) && of_helper.is_none_or(|(_, maps)| maps.contains(&map))
}

/// Sockets are put into maps where their lock is held or they are known not to go (may_update_sockmap).
fn updates_socket_map(caller: &Caller<'_>, map: M, helper: u32) -> bool {
    if !matches!(map, M::SOCKET_MAP | M::SOCKET_HASH) {
        return false;
    }
    // map_update_elem, map_delete_elem
    match (helper, caller.program) {
        (2 | 3, P::TRACING) => caller.attach == AttachType::TRACE_ITER,
        (3, P::SOCK_OPS) => true,
        (
            2 | 3,
            P::SOCKET_FILTER
            | P::CLASSIFIER
            | P::ACTION
            | P::XDP
            | P::SK_REUSEPORT
            | P::FLOW_DISSECTOR
            | P::SK_LOOKUP,
        ) => true,
        _ => false,
    }
}

/// Maps that only these helpers take.
#[rustfmt::skip]
const OF_MAPS: &[(&[M], &[u32])] = &[
    (&[M::PROGRAM_ARRAY], &[12]),
    // perf_event_read, perf_event_output, perf_event_read_value, skb_output, xdp_output
    (&[M::PERF_EVENT_ARRAY], &[22, 25, 55, 111, 121]),
    // ringbuf_output, _reserve, _query, _reserve_dynptr, _submit_dynptr, _discard_dynptr
    (&[M::RING_BUFFER], &[130, 131, 134, 198, 199, 200]),
    (&[M::USER_RING_BUFFER], &[209]),
    (&[M::STACK_TRACE], &[27]),
    // skb_under_cgroup, current_task_under_cgroup
    (&[M::CGROUP_ARRAY], &[33, 37]),
    (&[M::CGROUP_STORAGE, M::PER_CPU_CGROUP_STORAGE], &[81]),
    // redirect_map, map_lookup_elem
    (&[M::DEVICE_MAP, M::DEVICE_HASH, M::XSK_MAP], &[51, 1]),
    (&[M::CPU_MAP], &[51]),
    (&[M::ARRAY_OF_MAPS, M::HASH_OF_MAPS], &[1]),
    // sk_redirect_map, sock_map_update, msg_redirect_map, sk_select_reuseport, map_lookup_elem
    (&[M::SOCKET_MAP], &[52, 53, 60, 82, 1]),
    (&[M::SOCKET_HASH], &[72, 70, 71, 82, 1]),
    (&[M::REUSEPORT_SOCKET_ARRAY], &[82]),
    // map_push_elem, map_pop_elem, map_peek_elem
    (&[M::QUEUE, M::STACK], &[87, 88, 89]),
    (&[M::BLOOM_FILTER], &[87, 89]),
    // get, delete and kptr_xchg
    (&[M::SOCKET_STORAGE], &[107, 108, 194]),
    (&[M::INODE_STORAGE], &[145, 146, 194]),
    (&[M::TASK_STORAGE], &[156, 157, 194]),
    (&[M::CGROUP_LOCAL_STORAGE], &[210, 211, 194]),
];

/// Helpers that take only these maps.
#[rustfmt::skip]
const OF_HELPERS: &[(&[u32], &[M])] = &[
    (&[12], &[M::PROGRAM_ARRAY]),
    (&[22, 25, 55, 111, 121], &[M::PERF_EVENT_ARRAY]),
    (&[130, 131, 134, 198, 199, 200], &[M::RING_BUFFER]),
    (&[209], &[M::USER_RING_BUFFER]),
    (&[27], &[M::STACK_TRACE]),
    (&[33, 37], &[M::CGROUP_ARRAY]),
    (&[51], &[M::DEVICE_MAP, M::DEVICE_HASH, M::CPU_MAP, M::XSK_MAP]),
    (&[52, 60, 53], &[M::SOCKET_MAP]),
    (&[72, 71, 70], &[M::SOCKET_HASH]),
    (&[81], &[M::CGROUP_STORAGE, M::PER_CPU_CGROUP_STORAGE]),
    (&[82], &[M::REUSEPORT_SOCKET_ARRAY, M::SOCKET_MAP, M::SOCKET_HASH]),
    (&[88], &[M::QUEUE, M::STACK]),
    (&[87, 89], &[M::QUEUE, M::STACK, M::BLOOM_FILTER]),
    (&[195], &[M::PER_CPU_ARRAY, M::PER_CPU_HASH, M::LRU_PER_CPU_HASH]),
    (&[107, 108], &[M::SOCKET_STORAGE]),
    (&[145, 146], &[M::INODE_STORAGE]),
    (&[156, 157], &[M::TASK_STORAGE]),
    (&[210, 211], &[M::CGROUP_LOCAL_STORAGE]),
];
