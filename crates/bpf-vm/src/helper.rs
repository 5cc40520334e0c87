//! Helpers: the functions of include/uapi/linux/bpf.h (`enum bpf_func_id`, Linux 6.18) that
//! programs call by number.
//!
//! Each follows the kernel's: same checks, same errors. What reaches outside of the program (a
//! redirect, a trace line, a socket option) is recorded in the state of the run.

use std::sync::atomic::{AtomicU64, Ordering::Release};
use std::sync::{Arc, PoisonError, RwLock};

use crate::clock::{Random, Time};
use crate::errno::Errno;
use crate::fault::{Reason, Stop};
use crate::map::{Map, MapTable};
use crate::memory::Area;
use crate::platform::Helper;
use crate::run::Call;
use crate::state::State;
use crate::world::World;

pub(crate) mod checksum;
mod cpumask;
mod dynptr;
mod format;
mod iterators;
mod kernel;
mod maps;
mod messages;
mod objects;
pub(crate) mod packet;
mod process;
pub(crate) mod redirect;
mod rings;
mod sockets;
mod strings;
mod sysctl;
mod tcp;
mod timers;

pub(crate) use kernel::kernel_function;
pub(crate) use objects::Objects;
pub use packet::TunnelKey;
pub(crate) use timers::{Due, Timers};

/// What all programs of a runtime share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub maps: MapTable,
    /// Of all maps.
    pub areas: RwLock<Arc<[Area]>>,
    /// How often they have changed, so that runs need not ask each time.
    pub area_changes: AtomicU64,
    pub time: Time,
    pub random: Random,
    pub world: RwLock<World>,
    pub cpus: u32,
    pub timers: Timers,
    pub objects: Objects,
}

type Outcome = Result<u64, Stop>;

impl Shared {
    /// Gives a map a handle and lets programs access its values.
    pub fn add_map(&self, map: &Arc<Map>) -> Option<u64> {
        let handle = self.maps.handle(map)?;
        if let Some(area) = map.area() {
            self.add_area(area);
        }
        Some(handle)
    }

    /// Lets the runs that begin from now on access elements that live as long as the runtime.
    fn add_area(&self, area: Area) {
        let mut areas = self.areas.write().unwrap_or_else(PoisonError::into_inner);
        if !areas.contains(&area) {
            *areas = areas.iter().copied().chain([area]).collect();
            self.area_changes.fetch_add(1, Release);
        }
    }

    /// The map that a program passes.
    #[inline]
    fn map(&self, handle: u64) -> Result<&Arc<Map>, Stop> {
        let missing = || Stop::Failed(Reason::Helper(format!("{handle:#x} is no map")));
        self.maps.resolve(handle).ok_or_else(missing)
    }
}

/// Numbers for programs: zero or an error.
fn code(result: Result<(), Errno>) -> Outcome {
    Ok(result.map_or_else(Errno::result, |()| 0))
}

fn value(result: Result<u64, Errno>) -> Outcome {
    Ok(result.unwrap_or_else(Errno::result))
}

fn read_bytes(call: &Call<'_, '_>, address: u64, length: u64) -> Result<Vec<u8>, Stop> {
    // No memory is larger than what can be lent, so a check comes before the allocation.
    call.check(address, length, false)?;
    let mut bytes = vec![0; length as usize];
    call.read(address, &mut bytes)?;
    Ok(bytes)
}

/// A NUL-terminated string of at most `limit` bytes, without the NUL.
fn read_string(call: &Call<'_, '_>, address: u64, limit: usize) -> Result<Vec<u8>, Stop> {
    let mut text = Vec::new();
    while text.len() < limit {
        let mut byte = [0];
        call.read(address.wrapping_add(text.len() as u64), &mut byte)?;
        if byte[0] == 0 {
            break;
        }
        text.push(byte[0]);
    }
    Ok(text)
}

fn cpu(call: &mut Call<'_, '_>) -> Result<u32, Stop> {
    Ok(call.state::<State>()?.environment.cpu)
}

macro_rules! helpers {
    ($($id:literal $name:literal $function:path,)*) => {
        /// The helper of this number, for programs of a runtime.
        pub(crate) fn helper(shared: &Arc<Shared>, id: i32) -> Option<Helper> {
            match id {
                $($id => {
                    let shared = shared.clone();
                    Some(Arc::new(move |call: &mut Call<'_, '_>| $function(&shared, call)))
                })*
                _ => None,
            }
        }

        /// The helpers that there are: number and name.
        pub const HELPERS: &[(i32, &str)] = &[$(($id, $name),)*];
    };
}

helpers! {
    1 "map_lookup_elem" maps::lookup,
    2 "map_update_elem" maps::update,
    3 "map_delete_elem" maps::delete,
    4 "probe_read" process::probe_read,
    5 "ktime_get_ns" process::ktime,
    6 "trace_printk" format::trace_printk,
    7 "get_prandom_u32" process::random,
    8 "get_smp_processor_id" process::processor,
    9 "skb_store_bytes" packet::skb_store_bytes,
    10 "l3_csum_replace" checksum::l3_replace,
    11 "l4_csum_replace" checksum::l4_replace,
    12 "tail_call" maps::tail_call,
    13 "clone_redirect" redirect::clone_redirect,
    14 "get_current_pid_tgid" process::pid_tgid,
    15 "get_current_uid_gid" process::uid_gid,
    16 "get_current_comm" process::comm,
    18 "skb_vlan_push" packet::vlan_push,
    19 "skb_vlan_pop" packet::vlan_pop,
    20 "skb_get_tunnel_key" packet::get_tunnel_key,
    21 "skb_set_tunnel_key" packet::set_tunnel_key,
    23 "redirect" redirect::redirect,
    25 "perf_event_output" rings::perf_event_output,
    26 "skb_load_bytes" packet::skb_load_bytes,
    27 "get_stackid" process::stack_id,
    28 "csum_diff" checksum::difference,
    29 "skb_get_tunnel_opt" packet::get_tunnel_options,
    30 "skb_set_tunnel_opt" packet::set_tunnel_options,
    31 "skb_change_proto" packet::change_protocol,
    32 "skb_change_type" packet::change_type,
    34 "get_hash_recalc" packet::hash,
    35 "get_current_task" process::task,
    38 "skb_change_tail" packet::change_tail,
    39 "skb_pull_data" packet::pull_data,
    40 "csum_update" checksum::update,
    41 "set_hash_invalid" packet::forget_hash,
    42 "get_numa_node_id" process::numa_node,
    43 "skb_change_head" packet::change_head,
    44 "xdp_adjust_head" packet::adjust_head,
    45 "probe_read_str" process::probe_read_str,
    46 "get_socket_cookie" sockets::cookie,
    47 "get_socket_uid" sockets::uid,
    48 "set_hash" packet::set_hash,
    49 "setsockopt" sockets::set_option,
    50 "skb_adjust_room" packet::adjust_room,
    51 "redirect_map" redirect::redirect_map,
    52 "sk_redirect_map" redirect::sk_redirect_map,
    53 "sock_map_update" tcp::map_update,
    54 "xdp_adjust_meta" packet::adjust_meta,
    57 "getsockopt" sockets::option,
    59 "sock_ops_cb_flags_set" sockets::callback_flags,
    60 "msg_redirect_map" redirect::sk_redirect_map,
    61 "msg_apply_bytes" messages::apply,
    62 "msg_cork_bytes" messages::cork,
    63 "msg_pull_data" messages::pull,
    64 "bind" sockets::bind,
    65 "xdp_adjust_tail" packet::adjust_tail,
    67 "get_stack" process::stack,
    68 "skb_load_bytes_relative" packet::load_bytes_relative,
    69 "fib_lookup" redirect::fib_lookup,
    70 "sock_hash_update" tcp::map_update,
    71 "msg_redirect_hash" redirect::sk_redirect_map,
    72 "sk_redirect_hash" redirect::sk_redirect_map,
    79 "skb_cgroup_id" sockets::skb_cgroup,
    80 "get_current_cgroup_id" process::cgroup,
    81 "get_local_storage" process::local_storage,
    84 "sk_lookup_tcp" sockets::lookup_tcp,
    85 "sk_lookup_udp" sockets::lookup_udp,
    86 "sk_release" sockets::release,
    87 "map_push_elem" maps::push,
    88 "map_pop_elem" maps::pop,
    89 "map_peek_elem" maps::peek,
    90 "msg_push_data" messages::push,
    91 "msg_pop_data" messages::pop,
    93 "spin_lock" maps::lock,
    94 "spin_unlock" maps::unlock,
    95 "sk_fullsock" sockets::full,
    96 "tcp_sock" tcp::tcp_sock,
    98 "get_listener_sock" sockets::listener,
    99 "skc_lookup_tcp" sockets::lookup_tcp,
    101 "sysctl_get_name" sysctl::name,
    102 "sysctl_get_current_value" sysctl::current,
    103 "sysctl_get_new_value" sysctl::new,
    104 "sysctl_set_new_value" sysctl::set_new,
    105 "strtol" strings::to_signed,
    106 "strtoul" strings::to_unsigned,
    107 "sk_storage_get" sockets::storage_get,
    108 "sk_storage_delete" sockets::storage_delete,
    111 "skb_output" rings::perf_event_output,
    112 "probe_read_user" process::probe_read,
    113 "probe_read_kernel" process::probe_read,
    114 "probe_read_user_str" process::probe_read_str,
    115 "probe_read_kernel_str" process::probe_read_str,
    118 "jiffies64" process::jiffies,
    121 "xdp_output" rings::perf_event_output,
    122 "get_netns_cookie" process::netns,
    123 "get_current_ancestor_cgroup_id" process::ancestor_cgroup,
    124 "sk_assign" sockets::assign,
    125 "ktime_get_boot_ns" process::ktime,
    128 "sk_cgroup_id" sockets::cgroup,
    130 "ringbuf_output" rings::output,
    131 "ringbuf_reserve" rings::reserve,
    132 "ringbuf_submit" rings::submit,
    133 "ringbuf_discard" rings::discard,
    134 "ringbuf_query" rings::query,
    135 "csum_level" checksum::level,
    136 "skc_to_tcp6_sock" tcp::to_tcp6,
    137 "skc_to_tcp_sock" tcp::to_tcp,
    138 "skc_to_tcp_timewait_sock" tcp::to_timewait,
    139 "skc_to_tcp_request_sock" tcp::to_request,
    140 "skc_to_udp6_sock" tcp::to_udp6,
    141 "get_task_stack" process::stack,
    152 "redirect_neigh" redirect::redirect_neighbour,
    153 "per_cpu_ptr" objects::per_cpu,
    154 "this_cpu_ptr" objects::this_cpu,
    155 "redirect_peer" redirect::redirect_peer,
    156 "task_storage_get" process::storage_get,
    157 "task_storage_delete" process::storage_delete,
    158 "get_current_task_btf" process::task,
    160 "ktime_get_coarse_ns" process::ktime,
    163 "check_mtu" redirect::check_mtu,
    164 "for_each_map_elem" maps::for_each,
    165 "snprintf" format::snprintf,
    169 "timer_init" timers::init,
    170 "timer_set_callback" timers::set_callback,
    171 "timer_start" timers::start,
    172 "timer_cancel" timers::cancel,
    177 "trace_vprintk" format::trace_vprintk,
    178 "skc_to_unix_sock" tcp::to_none,
    181 "loop" maps::repeat,
    182 "strncmp" strings::compare,
    186 "get_retval" process::return_value,
    187 "set_retval" process::set_return_value,
    188 "xdp_get_buff_len" packet::length,
    189 "xdp_load_bytes" packet::xdp_load_bytes,
    190 "xdp_store_bytes" packet::xdp_store_bytes,
    194 "kptr_xchg" objects::exchange,
    195 "map_lookup_percpu_elem" maps::lookup_on_cpu,
    196 "skc_to_mptcp_sock" tcp::to_none,
    197 "dynptr_from_mem" dynptr::from_memory,
    198 "ringbuf_reserve_dynptr" dynptr::reserve,
    199 "ringbuf_submit_dynptr" dynptr::submit,
    200 "ringbuf_discard_dynptr" dynptr::discard,
    201 "dynptr_read" dynptr::read,
    202 "dynptr_write" dynptr::write,
    203 "dynptr_data" dynptr::data,
    208 "ktime_get_tai_ns" process::ktime_tai,
    209 "user_ringbuf_drain" dynptr::drain,
    210 "cgrp_storage_get" process::cgroup_storage_get,
    211 "cgrp_storage_delete" process::cgroup_storage_delete,
}
