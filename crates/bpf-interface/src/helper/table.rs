//! All helpers of Linux 6.12, by number (include/uapi/linux/bpf.h; the `bpf_func_proto` structures in
//! kernel/bpf/helpers.c, kernel/trace/bpf_trace.c, net/core/filter.c and beside them). No newer
//! kernel has another: since 6.2 only kernel functions are added.

use crate::prototype::{
    Argument, DynptrUse, Prototype,
    Return::{self, *},
    What,
};

const ANY: Argument = Argument::new(What::Anything);
const SCALAR: Argument = Argument::new(What::Scalar);
const CONTEXT: Argument = Argument::new(What::Context);
const MAP: Argument = Argument::new(What::Map);
const KEY: Argument = Argument::new(What::MapKey);
const VALUE: Argument = Argument::new(What::MapValue);
const FILLED_VALUE: Argument = Argument::new(What::UninitialisedMapValue);
const MEMORY: Argument = Argument::new(What::Memory { size: None, writable: false });
const WRITTEN: Argument = Argument::new(What::Memory { size: None, writable: true });
const FILLED: Argument = Argument::new(What::UninitialisedMemory { size: None, aligned: false });
const SIZE: Argument = Argument::new(What::Size);
const SIZE_OR_ZERO: Argument = Argument::new(What::SizeOrZero);
const ALLOCATION: Argument = Argument::new(What::AllocationSize);
const LOCK: Argument = Argument::new(What::SpinLock);
const TIMER: Argument = Argument::new(What::Timer);
const SOCK_COMMON: Argument = Argument::new(What::SockCommon);
const UNTYPED_SOCK_COMMON: Argument = Argument::new(What::UntypedSockCommon);
const SOCKET: Argument = Argument::new(What::Socket);
const PER_CPU: Argument = Argument::new(What::PerCpu);
const RECORD: Argument = Argument::new(What::RingBufferRecord);
const CALLBACK: Argument = Argument::new(What::Callback);
const STACK: Argument = Argument::new(What::Stack);
const STRING: Argument = Argument::new(What::ConstString);
const KPTR: Argument = Argument::new(What::Kptr);
const CONTENT: Argument = Argument::new(What::KptrContent);
const DYNPTR: Argument = Argument::new(What::Dynptr(DynptrUse::Read));
const NEW_LOCAL: Argument = Argument::new(What::Dynptr(DynptrUse::InitialiseLocal));
const NEW_RECORD_DYNPTR: Argument = Argument::new(What::Dynptr(DynptrUse::InitialiseRingBuffer));
const RECORD_DYNPTR: Argument = Argument::new(What::Dynptr(DynptrUse::ReleaseRingBuffer));

const fn memory(size: u32) -> Argument {
    Argument::new(What::Memory { size: Some(size), writable: false })
}

const fn written(size: u32) -> Argument {
    Argument::new(What::Memory { size: Some(size), writable: true })
}

const fn filled(size: u32) -> Argument {
    Argument::new(What::UninitialisedMemory { size: Some(size), aligned: true })
}

const fn structure(name: &'static str) -> Argument {
    Argument::new(What::Structure(name))
}

const fn trusted(name: &'static str) -> Return {
    Structure { name, nullable: false, trusted: true }
}

const fn plain(name: &'static str) -> Return {
    Structure { name, nullable: false, trusted: false }
}

const fn or_null(name: &'static str) -> Return {
    Structure { name, nullable: true, trusted: false }
}

const fn helper(id: u32, name: &'static str, result: Return, arguments: &[Argument]) -> Prototype {
    Prototype::new(id, name, result, arguments)
}

/// Number 1 first.
#[rustfmt::skip]
pub(super) static HELPERS: [Prototype; 211] = [
    helper(1, "bpf_map_lookup_elem", MapValue { nullable: true }, &[MAP, KEY]).packet(),
    helper(2, "bpf_map_update_elem", Integer, &[MAP, KEY, VALUE, ANY]).packet(),
    helper(3, "bpf_map_delete_elem", Integer, &[MAP, KEY]).packet(),
    helper(4, "bpf_probe_read", Integer, &[FILLED, SIZE_OR_ZERO, ANY]).gpl(),
    helper(5, "bpf_ktime_get_ns", Integer, &[]),
    helper(6, "bpf_trace_printk", Integer, &[MEMORY, SIZE]).gpl(),
    helper(7, "bpf_get_prandom_u32", Integer, &[]),
    helper(8, "bpf_get_smp_processor_id", Integer, &[]),
    helper(9, "bpf_skb_store_bytes", Integer, &[CONTEXT, ANY, MEMORY, SIZE, ANY]).changes_packet(),
    helper(10, "bpf_l3_csum_replace", Integer, &[CONTEXT, ANY, ANY, ANY, ANY]).changes_packet(),
    helper(11, "bpf_l4_csum_replace", Integer, &[CONTEXT, ANY, ANY, ANY, ANY]).changes_packet(),
    helper(12, "bpf_tail_call", Void, &[CONTEXT, MAP, ANY]).changes_packet(),
    helper(13, "bpf_clone_redirect", Integer, &[CONTEXT, ANY, ANY]).changes_packet(),
    helper(14, "bpf_get_current_pid_tgid", Integer, &[]),
    helper(15, "bpf_get_current_uid_gid", Integer, &[]),
    helper(16, "bpf_get_current_comm", Integer, &[FILLED, SIZE]),
    helper(17, "bpf_get_cgroup_classid", Integer, &[CONTEXT]),
    helper(18, "bpf_skb_vlan_push", Integer, &[CONTEXT, ANY, ANY]).changes_packet(),
    helper(19, "bpf_skb_vlan_pop", Integer, &[CONTEXT]).changes_packet(),
    helper(20, "bpf_skb_get_tunnel_key", Integer, &[CONTEXT, FILLED, SIZE, ANY]),
    helper(21, "bpf_skb_set_tunnel_key", Integer, &[CONTEXT, MEMORY, SIZE, ANY]),
    helper(22, "bpf_perf_event_read", Integer, &[MAP, ANY]).gpl(),
    helper(23, "bpf_redirect", Integer, &[ANY, ANY]),
    helper(24, "bpf_get_route_realm", Integer, &[CONTEXT]),
    helper(25, "bpf_perf_event_output", Integer, &[CONTEXT, MAP, ANY, MEMORY, SIZE_OR_ZERO]).gpl(),
    helper(26, "bpf_skb_load_bytes", Integer, &[CONTEXT, ANY, FILLED, SIZE]),
    helper(27, "bpf_get_stackid", Integer, &[CONTEXT, MAP, ANY]).gpl(),
    helper(28, "bpf_csum_diff", Integer, &[MEMORY.or_null(), SIZE_OR_ZERO, MEMORY.or_null(), SIZE_OR_ZERO, ANY]).packet(),
    helper(29, "bpf_skb_get_tunnel_opt", Integer, &[CONTEXT, FILLED, SIZE]),
    helper(30, "bpf_skb_set_tunnel_opt", Integer, &[CONTEXT, MEMORY, SIZE]),
    helper(31, "bpf_skb_change_proto", Integer, &[CONTEXT, ANY, ANY]).changes_packet(),
    helper(32, "bpf_skb_change_type", Integer, &[CONTEXT, ANY]),
    helper(33, "bpf_skb_under_cgroup", Integer, &[CONTEXT, MAP, ANY]),
    helper(34, "bpf_get_hash_recalc", Integer, &[CONTEXT]),
    helper(35, "bpf_get_current_task", Integer, &[]).gpl(),
    helper(36, "bpf_probe_write_user", Integer, &[ANY, MEMORY, SIZE]).gpl(),
    helper(37, "bpf_current_task_under_cgroup", Integer, &[MAP, ANY]),
    helper(38, "bpf_skb_change_tail", Integer, &[CONTEXT, ANY, ANY]).changes_packet(),
    helper(39, "bpf_skb_pull_data", Integer, &[CONTEXT, ANY]).changes_packet(),
    helper(40, "bpf_csum_update", Integer, &[CONTEXT, ANY]),
    helper(41, "bpf_set_hash_invalid", Integer, &[CONTEXT]),
    helper(42, "bpf_get_numa_node_id", Integer, &[]),
    helper(43, "bpf_skb_change_head", Integer, &[CONTEXT, ANY, ANY]).changes_packet(),
    helper(44, "bpf_xdp_adjust_head", Integer, &[CONTEXT, ANY]).changes_packet(),
    helper(45, "bpf_probe_read_str", Integer, &[FILLED, SIZE_OR_ZERO, ANY]).gpl(),
    helper(46, "bpf_get_socket_cookie", Integer, &[CONTEXT]),
    helper(47, "bpf_get_socket_uid", Integer, &[CONTEXT]),
    helper(48, "bpf_set_hash", Integer, &[CONTEXT, ANY]),
    helper(49, "bpf_setsockopt", Integer, &[CONTEXT, ANY, ANY, MEMORY, SIZE]),
    helper(50, "bpf_skb_adjust_room", Integer, &[CONTEXT, ANY, ANY, ANY]).changes_packet(),
    helper(51, "bpf_redirect_map", Integer, &[MAP, ANY, ANY]),
    helper(52, "bpf_sk_redirect_map", Integer, &[CONTEXT, MAP, ANY, ANY]),
    helper(53, "bpf_sock_map_update", Integer, &[CONTEXT, MAP, KEY, ANY]).packet(),
    helper(54, "bpf_xdp_adjust_meta", Integer, &[CONTEXT, ANY]).changes_packet(),
    helper(55, "bpf_perf_event_read_value", Integer, &[MAP, ANY, FILLED, SIZE]).gpl(),
    helper(56, "bpf_perf_prog_read_value", Integer, &[CONTEXT, FILLED, SIZE]).gpl(),
    helper(57, "bpf_getsockopt", Integer, &[CONTEXT, ANY, ANY, FILLED, SIZE]),
    helper(58, "bpf_override_return", Integer, &[CONTEXT, ANY]).gpl(),
    helper(59, "bpf_sock_ops_cb_flags_set", Integer, &[CONTEXT, ANY]),
    helper(60, "bpf_msg_redirect_map", Integer, &[CONTEXT, MAP, ANY, ANY]),
    helper(61, "bpf_msg_apply_bytes", Integer, &[CONTEXT, ANY]),
    helper(62, "bpf_msg_cork_bytes", Integer, &[CONTEXT, ANY]),
    helper(63, "bpf_msg_pull_data", Integer, &[CONTEXT, ANY, ANY, ANY]).changes_packet(),
    helper(64, "bpf_bind", Integer, &[CONTEXT, MEMORY, SIZE]),
    helper(65, "bpf_xdp_adjust_tail", Integer, &[CONTEXT, ANY]).changes_packet(),
    helper(66, "bpf_skb_get_xfrm_state", Integer, &[CONTEXT, ANY, FILLED, SIZE, ANY]),
    helper(67, "bpf_get_stack", Integer, &[CONTEXT, FILLED, SIZE_OR_ZERO, ANY]).gpl(),
    helper(68, "bpf_skb_load_bytes_relative", Integer, &[CONTEXT, ANY, FILLED, SIZE, ANY]),
    helper(69, "bpf_fib_lookup", Integer, &[CONTEXT, WRITTEN, SIZE, ANY]).gpl(),
    helper(70, "bpf_sock_hash_update", Integer, &[CONTEXT, MAP, KEY, ANY]).packet(),
    helper(71, "bpf_msg_redirect_hash", Integer, &[CONTEXT, MAP, KEY, ANY]),
    helper(72, "bpf_sk_redirect_hash", Integer, &[CONTEXT, MAP, KEY, ANY]),
    helper(73, "bpf_lwt_push_encap", Integer, &[CONTEXT, ANY, MEMORY, SIZE]).changes_packet(),
    helper(74, "bpf_lwt_seg6_store_bytes", Integer, &[CONTEXT, ANY, MEMORY, SIZE]).changes_packet(),
    helper(75, "bpf_lwt_seg6_adjust_srh", Integer, &[CONTEXT, ANY, ANY]).changes_packet(),
    helper(76, "bpf_lwt_seg6_action", Integer, &[CONTEXT, ANY, MEMORY, SIZE]).changes_packet(),
    helper(77, "bpf_rc_repeat", Integer, &[CONTEXT]).gpl(),
    helper(78, "bpf_rc_keydown", Integer, &[CONTEXT, ANY, ANY, ANY]).gpl(),
    helper(79, "bpf_skb_cgroup_id", Integer, &[CONTEXT]),
    helper(80, "bpf_get_current_cgroup_id", Integer, &[]),
    helper(81, "bpf_get_local_storage", MapValue { nullable: false }, &[MAP, ANY]),
    helper(82, "bpf_sk_select_reuseport", Integer, &[CONTEXT, MAP, KEY, ANY]),
    helper(83, "bpf_skb_ancestor_cgroup_id", Integer, &[CONTEXT, ANY]),
    helper(84, "bpf_sk_lookup_tcp", SocketOrNull, &[CONTEXT, MEMORY, SIZE_OR_ZERO, ANY, ANY]).packet(),
    helper(85, "bpf_sk_lookup_udp", SocketOrNull, &[CONTEXT, MEMORY, SIZE_OR_ZERO, ANY, ANY]).packet(),
    helper(86, "bpf_sk_release", Integer, &[SOCK_COMMON.released()]),
    helper(87, "bpf_map_push_elem", Integer, &[MAP, VALUE, ANY]).packet(),
    helper(88, "bpf_map_pop_elem", Integer, &[MAP, FILLED_VALUE]),
    helper(89, "bpf_map_peek_elem", Integer, &[MAP, FILLED_VALUE]),
    helper(90, "bpf_msg_push_data", Integer, &[CONTEXT, ANY, ANY, ANY]).changes_packet(),
    helper(91, "bpf_msg_pop_data", Integer, &[CONTEXT, ANY, ANY, ANY]).changes_packet(),
    helper(92, "bpf_rc_pointer_rel", Integer, &[CONTEXT, ANY, ANY]).gpl(),
    helper(93, "bpf_spin_lock", Void, &[LOCK]),
    helper(94, "bpf_spin_unlock", Void, &[LOCK]),
    helper(95, "bpf_sk_fullsock", SocketOrNull, &[UNTYPED_SOCK_COMMON]),
    helper(96, "bpf_tcp_sock", TcpSockOrNull, &[UNTYPED_SOCK_COMMON]),
    helper(97, "bpf_skb_ecn_set_ce", Integer, &[CONTEXT]),
    helper(98, "bpf_get_listener_sock", SocketOrNull, &[UNTYPED_SOCK_COMMON]),
    helper(99, "bpf_skc_lookup_tcp", SockCommonOrNull, &[CONTEXT, MEMORY, SIZE_OR_ZERO, ANY, ANY]).packet(),
    helper(100, "bpf_tcp_check_syncookie", Integer, &[SOCK_COMMON, MEMORY, SIZE, MEMORY, SIZE]).gpl().packet(),
    helper(101, "bpf_sysctl_get_name", Integer, &[CONTEXT, WRITTEN, SIZE, ANY]),
    helper(102, "bpf_sysctl_get_current_value", Integer, &[CONTEXT, FILLED, SIZE]),
    helper(103, "bpf_sysctl_get_new_value", Integer, &[CONTEXT, FILLED, SIZE]),
    helper(104, "bpf_sysctl_set_new_value", Integer, &[CONTEXT, MEMORY, SIZE]),
    helper(105, "bpf_strtol", Integer, &[MEMORY, SIZE, ANY, filled(8)]),
    helper(106, "bpf_strtoul", Integer, &[MEMORY, SIZE, ANY, filled(8)]),
    helper(107, "bpf_sk_storage_get", MapValue { nullable: true }, &[MAP, SOCK_COMMON, VALUE.or_null(), ANY]),
    helper(108, "bpf_sk_storage_delete", Integer, &[MAP, SOCK_COMMON]),
    helper(109, "bpf_send_signal", Integer, &[ANY]),
    helper(110, "bpf_tcp_gen_syncookie", Integer, &[SOCK_COMMON, MEMORY, SIZE, MEMORY, SIZE]).gpl().packet(),
    helper(111, "bpf_skb_output", Integer, &[structure("sk_buff"), MAP, ANY, MEMORY, SIZE_OR_ZERO]).gpl(),
    helper(112, "bpf_probe_read_user", Integer, &[FILLED, SIZE_OR_ZERO, ANY]).gpl(),
    helper(113, "bpf_probe_read_kernel", Integer, &[FILLED, SIZE_OR_ZERO, ANY]).gpl(),
    helper(114, "bpf_probe_read_user_str", Integer, &[FILLED, SIZE_OR_ZERO, ANY]).gpl(),
    helper(115, "bpf_probe_read_kernel_str", Integer, &[FILLED, SIZE_OR_ZERO, ANY]).gpl(),
    helper(116, "bpf_tcp_send_ack", Integer, &[structure("tcp_sock"), ANY]),
    helper(117, "bpf_send_signal_thread", Integer, &[ANY]),
    helper(118, "bpf_jiffies64", Integer, &[]),
    helper(119, "bpf_read_branch_records", Integer, &[CONTEXT, WRITTEN.or_null(), SIZE_OR_ZERO, ANY]).gpl(),
    helper(120, "bpf_get_ns_current_pid_tgid", Integer, &[ANY, ANY, FILLED, SIZE]),
    helper(121, "bpf_xdp_output", Integer, &[structure("xdp_buff"), MAP, ANY, MEMORY, SIZE_OR_ZERO]).gpl(),
    helper(122, "bpf_get_netns_cookie", Integer, &[CONTEXT.or_null()]),
    helper(123, "bpf_get_current_ancestor_cgroup_id", Integer, &[ANY]),
    helper(124, "bpf_sk_assign", Integer, &[CONTEXT, SOCK_COMMON, ANY]),
    helper(125, "bpf_ktime_get_boot_ns", Integer, &[]),
    helper(126, "bpf_seq_printf", Integer, &[structure("seq_file"), MEMORY, SIZE, MEMORY.or_null(), SIZE_OR_ZERO]).gpl(),
    helper(127, "bpf_seq_write", Integer, &[structure("seq_file"), MEMORY, SIZE_OR_ZERO]).gpl(),
    helper(128, "bpf_sk_cgroup_id", Integer, &[SOCK_COMMON]),
    helper(129, "bpf_sk_ancestor_cgroup_id", Integer, &[SOCK_COMMON, ANY]),
    helper(130, "bpf_ringbuf_output", Integer, &[MAP, MEMORY, SIZE_OR_ZERO, ANY]),
    helper(131, "bpf_ringbuf_reserve", RingBufferRecordOrNull, &[MAP, ALLOCATION, ANY]),
    helper(132, "bpf_ringbuf_submit", Void, &[RECORD.released(), ANY]),
    helper(133, "bpf_ringbuf_discard", Void, &[RECORD.released(), ANY]),
    helper(134, "bpf_ringbuf_query", Integer, &[MAP, ANY]),
    helper(135, "bpf_csum_level", Integer, &[CONTEXT, ANY]),
    helper(136, "bpf_skc_to_tcp6_sock", or_null("tcp6_sock"), &[SOCK_COMMON]),
    helper(137, "bpf_skc_to_tcp_sock", or_null("tcp_sock"), &[SOCK_COMMON]),
    helper(138, "bpf_skc_to_tcp_timewait_sock", or_null("tcp_timewait_sock"), &[SOCK_COMMON]),
    helper(139, "bpf_skc_to_tcp_request_sock", or_null("tcp_request_sock"), &[SOCK_COMMON]),
    helper(140, "bpf_skc_to_udp6_sock", or_null("udp6_sock"), &[SOCK_COMMON]),
    helper(141, "bpf_get_task_stack", Integer, &[structure("task_struct"), FILLED, SIZE_OR_ZERO, ANY]),
    helper(142, "bpf_load_hdr_opt", Integer, &[CONTEXT, WRITTEN, SIZE, ANY]),
    helper(143, "bpf_store_hdr_opt", Integer, &[CONTEXT, MEMORY, SIZE, ANY]).changes_packet(),
    helper(144, "bpf_reserve_hdr_opt", Integer, &[CONTEXT, ANY, ANY]),
    helper(145, "bpf_inode_storage_get", MapValue { nullable: true }, &[MAP, structure("inode").or_null(), VALUE.or_null(), ANY]),
    helper(146, "bpf_inode_storage_delete", Integer, &[MAP, structure("inode").or_null()]),
    helper(147, "bpf_d_path", Integer, &[structure("path"), WRITTEN, SIZE_OR_ZERO]),
    helper(148, "bpf_copy_from_user", Integer, &[FILLED, SIZE_OR_ZERO, ANY]).sleeps(),
    helper(149, "bpf_snprintf_btf", Integer, &[WRITTEN, SIZE, MEMORY, SIZE, ANY]),
    helper(150, "bpf_seq_printf_btf", Integer, &[structure("seq_file"), MEMORY, SIZE_OR_ZERO, ANY]).gpl(),
    helper(151, "bpf_skb_cgroup_classid", Integer, &[CONTEXT]),
    helper(152, "bpf_redirect_neigh", Integer, &[ANY, MEMORY.or_null(), SIZE_OR_ZERO, ANY]),
    helper(153, "bpf_per_cpu_ptr", PerCpuVariable { nullable: true }, &[PER_CPU, ANY]),
    helper(154, "bpf_this_cpu_ptr", PerCpuVariable { nullable: false }, &[PER_CPU]),
    helper(155, "bpf_redirect_peer", Integer, &[ANY, ANY]),
    helper(156, "bpf_task_storage_get", MapValue { nullable: true }, &[MAP, structure("task_struct").or_null(), VALUE.or_null(), ANY]),
    helper(157, "bpf_task_storage_delete", Integer, &[MAP, structure("task_struct").or_null()]),
    helper(158, "bpf_get_current_task_btf", trusted("task_struct"), &[]).gpl(),
    helper(159, "bpf_bprm_opts_set", Integer, &[structure("linux_binprm"), ANY]),
    helper(160, "bpf_ktime_get_coarse_ns", Integer, &[]),
    helper(161, "bpf_ima_inode_hash", Integer, &[structure("inode"), FILLED, SIZE]).sleeps(),
    helper(162, "bpf_sock_from_file", or_null("socket"), &[structure("file")]),
    helper(163, "bpf_check_mtu", Integer, &[CONTEXT, ANY, written(4), ANY, ANY]).gpl(),
    helper(164, "bpf_for_each_map_elem", Integer, &[MAP, CALLBACK, STACK.or_null(), ANY]),
    helper(165, "bpf_snprintf", Integer, &[WRITTEN.or_null(), SIZE_OR_ZERO, STRING, MEMORY.or_null(), SIZE_OR_ZERO]).gpl(),
    helper(166, "bpf_sys_bpf", Integer, &[ANY, MEMORY, SIZE]).sleeps(),
    helper(167, "bpf_btf_find_by_name_kind", Integer, &[MEMORY, SIZE, ANY, ANY]).sleeps(),
    helper(168, "bpf_sys_close", Integer, &[ANY]).sleeps(),
    helper(169, "bpf_timer_init", Integer, &[TIMER, MAP, ANY]).gpl(),
    helper(170, "bpf_timer_set_callback", Integer, &[TIMER, CALLBACK]).gpl(),
    helper(171, "bpf_timer_start", Integer, &[TIMER, ANY, ANY]).gpl(),
    helper(172, "bpf_timer_cancel", Integer, &[TIMER]).gpl(),
    helper(173, "bpf_get_func_ip", Integer, &[CONTEXT]).gpl(),
    helper(174, "bpf_get_attach_cookie", Integer, &[CONTEXT]),
    helper(175, "bpf_task_pt_regs", plain("pt_regs"), &[structure("task_struct")]).gpl(),
    helper(176, "bpf_get_branch_snapshot", Integer, &[FILLED, SIZE_OR_ZERO]).gpl(),
    helper(177, "bpf_trace_vprintk", Integer, &[MEMORY, SIZE, MEMORY.or_null(), SIZE_OR_ZERO]).gpl(),
    helper(178, "bpf_skc_to_unix_sock", or_null("unix_sock"), &[SOCK_COMMON]),
    helper(179, "bpf_kallsyms_lookup_name", Integer, &[MEMORY, SIZE_OR_ZERO, ANY, filled(8)]),
    helper(180, "bpf_find_vma", Integer, &[structure("task_struct"), ANY, CALLBACK, STACK.or_null(), ANY]),
    helper(181, "bpf_loop", Integer, &[SCALAR, CALLBACK, STACK.or_null(), ANY]),
    helper(182, "bpf_strncmp", Integer, &[MEMORY, SIZE, STRING]),
    helper(183, "bpf_get_func_arg", Integer, &[CONTEXT, ANY, filled(8)]),
    helper(184, "bpf_get_func_ret", Integer, &[CONTEXT, filled(8)]),
    helper(185, "bpf_get_func_arg_cnt", Integer, &[CONTEXT]),
    helper(186, "bpf_get_retval", Integer, &[]),
    helper(187, "bpf_set_retval", Integer, &[ANY]),
    helper(188, "bpf_xdp_get_buff_len", Integer, &[CONTEXT]),
    helper(189, "bpf_xdp_load_bytes", Integer, &[CONTEXT, ANY, FILLED, SIZE]),
    helper(190, "bpf_xdp_store_bytes", Integer, &[CONTEXT, ANY, MEMORY, SIZE]),
    helper(191, "bpf_copy_from_user_task", Integer, &[FILLED, SIZE_OR_ZERO, ANY, structure("task_struct"), ANY]).gpl().sleeps(),
    helper(192, "bpf_skb_set_tstamp", Integer, &[CONTEXT, ANY, ANY]),
    helper(193, "bpf_ima_file_hash", Integer, &[structure("file"), FILLED, SIZE]).sleeps(),
    helper(194, "bpf_kptr_xchg", KptrOrNull, &[KPTR, CONTENT.or_null().released()]),
    helper(195, "bpf_map_lookup_percpu_elem", MapValue { nullable: true }, &[MAP, KEY, ANY]).packet(),
    helper(196, "bpf_skc_to_mptcp_sock", or_null("mptcp_sock"), &[UNTYPED_SOCK_COMMON]),
    helper(197, "bpf_dynptr_from_mem", Integer, &[FILLED, SIZE_OR_ZERO, ANY, NEW_LOCAL]),
    helper(198, "bpf_ringbuf_reserve_dynptr", Integer, &[MAP, ANY, ANY, NEW_RECORD_DYNPTR]),
    helper(199, "bpf_ringbuf_submit_dynptr", Void, &[RECORD_DYNPTR.released(), ANY]),
    helper(200, "bpf_ringbuf_discard_dynptr", Void, &[RECORD_DYNPTR.released(), ANY]),
    helper(201, "bpf_dynptr_read", Integer, &[FILLED, SIZE_OR_ZERO, DYNPTR, ANY, ANY]),
    helper(202, "bpf_dynptr_write", Integer, &[DYNPTR, ANY, MEMORY, SIZE_OR_ZERO, ANY]),
    helper(203, "bpf_dynptr_data", DynptrDataOrNull, &[DYNPTR, ANY, ALLOCATION]),
    helper(204, "bpf_tcp_raw_gen_syncookie_ipv4", Integer, &[memory(20), MEMORY, SIZE_OR_ZERO]).gpl().packet(),
    helper(205, "bpf_tcp_raw_gen_syncookie_ipv6", Integer, &[memory(40), MEMORY, SIZE_OR_ZERO]).gpl().packet(),
    helper(206, "bpf_tcp_raw_check_syncookie_ipv4", Integer, &[memory(20), memory(20)]).gpl().packet(),
    helper(207, "bpf_tcp_raw_check_syncookie_ipv6", Integer, &[memory(40), memory(20)]).gpl().packet(),
    helper(208, "bpf_ktime_get_tai_ns", Integer, &[]),
    helper(209, "bpf_user_ringbuf_drain", Integer, &[MAP, CALLBACK, STACK.or_null(), ANY]),
    helper(210, "bpf_cgrp_storage_get", MapValue { nullable: true }, &[MAP, structure("cgroup").or_null(), VALUE.or_null(), ANY]),
    helper(211, "bpf_cgrp_storage_delete", Integer, &[MAP, structure("cgroup").or_null()]),
];

/// Helpers that some programs call with other arguments or under other conditions.
#[rustfmt::skip]
pub(super) mod variant {
    use super::*;

    pub static PROCESSOR_ID_FASTCALL: Prototype = helper(8, "bpf_get_smp_processor_id", Integer, &[]).fastcall();
    pub static CGROUP_CLASSID_OF_CURRENT: Prototype = helper(17, "bpf_get_cgroup_classid", Integer, &[]);
    pub static STACKID_OF_SAMPLE: Prototype = helper(27, "bpf_get_stackid", Integer, &[CONTEXT, MAP, ANY]);
    pub static SOCKET_COOKIE_BY_POINTER: Prototype = helper(46, "bpf_get_socket_cookie", Integer, &[SOCK_COMMON.or_null()]);
    pub static SETSOCKOPT_BY_POINTER: Prototype = helper(49, "bpf_setsockopt", Integer, &[SOCK_COMMON, ANY, ANY, MEMORY, SIZE]);
    pub static GETSOCKOPT_BY_POINTER: Prototype = helper(57, "bpf_getsockopt", Integer, &[SOCK_COMMON, ANY, ANY, FILLED, SIZE]);
    pub static STACK_OF_RAW_TRACEPOINT: Prototype = helper(67, "bpf_get_stack", Integer, &[CONTEXT, WRITTEN, SIZE_OR_ZERO, ANY]).gpl();
    pub static STACK_SLEEPABLE: Prototype = helper(67, "bpf_get_stack", Integer, &[CONTEXT, FILLED, SIZE_OR_ZERO, ANY]).gpl().sleeps();
    pub static TCP_LOOKUP_WITHOUT_PACKET: Prototype = helper(84, "bpf_sk_lookup_tcp", SocketOrNull, &[CONTEXT, MEMORY, SIZE_OR_ZERO, ANY, ANY]);
    pub static UDP_LOOKUP_WITHOUT_PACKET: Prototype = helper(85, "bpf_sk_lookup_udp", SocketOrNull, &[CONTEXT, MEMORY, SIZE_OR_ZERO, ANY, ANY]);
    pub static SKC_LOOKUP_WITHOUT_PACKET: Prototype = helper(99, "bpf_skc_lookup_tcp", SockCommonOrNull, &[CONTEXT, MEMORY, SIZE_OR_ZERO, ANY, ANY]);
    pub static STORAGE_OF_CONTEXT: Prototype = helper(107, "bpf_sk_storage_get", MapValue { nullable: true }, &[MAP, CONTEXT, VALUE.or_null(), ANY]);
    pub static STORAGE_TRACING: Prototype = helper(107, "bpf_sk_storage_get", MapValue { nullable: true }, &[MAP, structure("sock_common").or_null(), VALUE.or_null(), ANY]);
    pub static STORAGE_DELETE_TRACING: Prototype = helper(108, "bpf_sk_storage_delete", Integer, &[MAP, structure("sock_common").or_null()]);
    pub static ASSIGN_IN_LOOKUP: Prototype = helper(124, "bpf_sk_assign", Integer, &[CONTEXT, SOCKET.or_null(), ANY]);
    pub static TASK_STACK_SLEEPABLE: Prototype = helper(141, "bpf_get_task_stack", Integer, &[structure("task_struct"), FILLED, SIZE_OR_ZERO, ANY]).sleeps();
    pub static FUNCTION_ADDRESS_OF_MULTI: Prototype = helper(173, "bpf_get_func_ip", Integer, &[CONTEXT]);
    pub static XDP_LENGTH_TRACING: Prototype = helper(188, "bpf_xdp_get_buff_len", Integer, &[structure("xdp_buff")]);
}
