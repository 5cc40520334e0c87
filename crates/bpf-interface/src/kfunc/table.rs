//! Kernel functions of Linux 6.12 by the sets in which they are registered
//! (`BTF_KFUNCS_START` and `register_btf_kfunc_id_set` in the files named below).

use super::{Hook, Hook::*, Only};

/// `KF_...` of include/linux/btf.h
pub(super) const ACQUIRE: u32 = 1;
pub(super) const RELEASE: u32 = 1 << 1;
pub(super) const RET_NULL: u32 = 1 << 2;
pub(super) const TRUSTED_ARGS: u32 = 1 << 4;
pub(super) const SLEEPABLE: u32 = 1 << 5;
pub(super) const DESTRUCTIVE: u32 = 1 << 6;
pub(super) const RCU: u32 = 1 << 7;
pub(super) const ITER_NEW: u32 = 1 << 8;
pub(super) const ITER_NEXT: u32 = 1 << 9;
pub(super) const ITER_DESTROY: u32 = 1 << 10;
pub(super) const RCU_PROTECTED: u32 = 1 << 11;
pub(super) const NONE: u32 = 0;

/// Functions that the same programs may call.
pub(super) struct Set {
    pub hooks: &'static [Hook],
    pub only: Option<Only>,
    pub functions: &'static [(&'static str, u32)],
}

#[rustfmt::skip]
pub(super) static SETS: &[Set] = &[
    // kernel/trace/bpf_trace.c: key_sig_kfunc_set
    Set {
        hooks: &[Tracing],
        only: None,
        functions: &[
            ("bpf_lookup_user_key", ACQUIRE | RET_NULL | SLEEPABLE),
            ("bpf_lookup_system_key", ACQUIRE | RET_NULL),
            ("bpf_key_put", RELEASE),
            ("bpf_verify_pkcs7_signature", SLEEPABLE),
        ],
    },
    // kernel/trace/bpf_trace.c: kprobe_multi_kfunc_set_ids
    Set {
        hooks: &[Kprobe],
        only: Some(Only::KprobeSession),
        functions: &[
            ("bpf_session_is_return", NONE),
            ("bpf_session_cookie", NONE),
        ],
    },
    // kernel/sched/ext.c: scx_kfunc_ids_select_cpu
    Set {
        hooks: &[StructOps],
        only: None,
        functions: &[
            ("scx_bpf_select_cpu_dfl", RCU),
        ],
    },
    // kernel/sched/ext.c: scx_kfunc_ids_enqueue_dispatch
    Set {
        hooks: &[StructOps],
        only: None,
        functions: &[
            ("scx_bpf_dispatch", RCU),
            ("scx_bpf_dispatch_vtime", RCU),
        ],
    },
    // kernel/sched/ext.c: scx_kfunc_ids_dispatch
    Set {
        hooks: &[StructOps],
        only: None,
        functions: &[
            ("scx_bpf_dispatch_nr_slots", NONE),
            ("scx_bpf_dispatch_cancel", NONE),
            ("scx_bpf_consume", NONE),
            ("scx_bpf_dispatch_from_dsq_set_slice", RCU),
            ("scx_bpf_dispatch_from_dsq_set_vtime", RCU),
            ("scx_bpf_dispatch_from_dsq", RCU),
            ("scx_bpf_dispatch_vtime_from_dsq", RCU),
        ],
    },
    // kernel/sched/ext.c: scx_kfunc_ids_cpu_release
    Set {
        hooks: &[StructOps],
        only: None,
        functions: &[
            ("scx_bpf_reenqueue_local", NONE),
        ],
    },
    // kernel/sched/ext.c: scx_kfunc_ids_unlocked
    Set {
        hooks: &[StructOps, Syscall],
        only: None,
        functions: &[
            ("scx_bpf_create_dsq", SLEEPABLE),
            ("scx_bpf_dispatch_from_dsq_set_slice", RCU),
            ("scx_bpf_dispatch_from_dsq_set_vtime", RCU),
            ("scx_bpf_dispatch_from_dsq", RCU),
            ("scx_bpf_dispatch_vtime_from_dsq", RCU),
        ],
    },
    // kernel/sched/ext.c: scx_kfunc_ids_any
    Set {
        hooks: &[StructOps, Tracing, Syscall],
        only: None,
        functions: &[
            ("scx_bpf_kick_cpu", NONE),
            ("scx_bpf_dsq_nr_queued", NONE),
            ("scx_bpf_destroy_dsq", NONE),
            ("bpf_iter_scx_dsq_new", ITER_NEW | RCU_PROTECTED),
            ("bpf_iter_scx_dsq_next", ITER_NEXT | RET_NULL),
            ("bpf_iter_scx_dsq_destroy", ITER_DESTROY),
            ("scx_bpf_exit_bstr", TRUSTED_ARGS),
            ("scx_bpf_error_bstr", TRUSTED_ARGS),
            ("scx_bpf_dump_bstr", TRUSTED_ARGS),
            ("scx_bpf_cpuperf_cap", NONE),
            ("scx_bpf_cpuperf_cur", NONE),
            ("scx_bpf_cpuperf_set", NONE),
            ("scx_bpf_nr_cpu_ids", NONE),
            ("scx_bpf_get_possible_cpumask", ACQUIRE),
            ("scx_bpf_get_online_cpumask", ACQUIRE),
            ("scx_bpf_put_cpumask", RELEASE),
            ("scx_bpf_get_idle_cpumask", ACQUIRE),
            ("scx_bpf_get_idle_smtmask", ACQUIRE),
            ("scx_bpf_put_idle_cpumask", RELEASE),
            ("scx_bpf_test_and_clear_cpu_idle", NONE),
            ("scx_bpf_pick_idle_cpu", RCU),
            ("scx_bpf_pick_any_cpu", RCU),
            ("scx_bpf_task_running", RCU),
            ("scx_bpf_task_cpu", RCU),
            ("scx_bpf_cpu_rq", NONE),
            ("scx_bpf_task_cgroup", RCU | ACQUIRE),
        ],
    },
    // kernel/cgroup/rstat.c: bpf_rstat_kfunc_ids
    Set {
        hooks: &[Tracing],
        only: None,
        functions: &[
            ("cgroup_rstat_updated", NONE),
            ("cgroup_rstat_flush", SLEEPABLE),
        ],
    },
    // kernel/bpf/cpumask.c: cpumask_kfunc_btf_ids
    Set {
        hooks: &[Tracing, StructOps, Syscall],
        only: None,
        functions: &[
            ("bpf_cpumask_create", ACQUIRE | RET_NULL),
            ("bpf_cpumask_release", RELEASE),
            ("bpf_cpumask_acquire", ACQUIRE | TRUSTED_ARGS),
            ("bpf_cpumask_first", RCU),
            ("bpf_cpumask_first_zero", RCU),
            ("bpf_cpumask_first_and", RCU),
            ("bpf_cpumask_set_cpu", RCU),
            ("bpf_cpumask_clear_cpu", RCU),
            ("bpf_cpumask_test_cpu", RCU),
            ("bpf_cpumask_test_and_set_cpu", RCU),
            ("bpf_cpumask_test_and_clear_cpu", RCU),
            ("bpf_cpumask_setall", RCU),
            ("bpf_cpumask_clear", RCU),
            ("bpf_cpumask_and", RCU),
            ("bpf_cpumask_or", RCU),
            ("bpf_cpumask_xor", RCU),
            ("bpf_cpumask_equal", RCU),
            ("bpf_cpumask_intersects", RCU),
            ("bpf_cpumask_subset", RCU),
            ("bpf_cpumask_empty", RCU),
            ("bpf_cpumask_full", RCU),
            ("bpf_cpumask_copy", RCU),
            ("bpf_cpumask_any_distribute", RCU),
            ("bpf_cpumask_any_and_distribute", RCU),
            ("bpf_cpumask_weight", RCU),
        ],
    },
    // kernel/bpf/map_iter.c: bpf_map_iter_kfunc_ids
    Set {
        hooks: &[Common],
        only: None,
        functions: &[
            ("bpf_map_sum_elem_count", TRUSTED_ARGS),
        ],
    },
    // kernel/bpf/crypto.c: crypt_init_kfunc_btf_ids
    Set {
        hooks: &[Syscall],
        only: None,
        functions: &[
            ("bpf_crypto_ctx_create", ACQUIRE | RET_NULL | SLEEPABLE),
            ("bpf_crypto_ctx_release", RELEASE),
            ("bpf_crypto_ctx_acquire", ACQUIRE | RCU | RET_NULL),
        ],
    },
    // kernel/bpf/crypto.c: crypt_kfunc_btf_ids
    Set {
        hooks: &[Classifier, Action, Xdp],
        only: None,
        functions: &[
            ("bpf_crypto_decrypt", RCU),
            ("bpf_crypto_encrypt", RCU),
        ],
    },
    // kernel/bpf/helpers.c: generic_btf_ids
    Set {
        hooks: &[Tracing, Classifier, Xdp, StructOps, Syscall, Cgroup],
        only: None,
        functions: &[
            ("crash_kexec", DESTRUCTIVE),
            ("bpf_obj_new_impl", ACQUIRE | RET_NULL),
            ("bpf_percpu_obj_new_impl", ACQUIRE | RET_NULL),
            ("bpf_obj_drop_impl", RELEASE),
            ("bpf_percpu_obj_drop_impl", RELEASE),
            ("bpf_refcount_acquire_impl", ACQUIRE | RET_NULL | RCU),
            ("bpf_list_push_front_impl", NONE),
            ("bpf_list_push_back_impl", NONE),
            ("bpf_list_pop_front", ACQUIRE | RET_NULL),
            ("bpf_list_pop_back", ACQUIRE | RET_NULL),
            ("bpf_task_acquire", ACQUIRE | RCU | RET_NULL),
            ("bpf_task_release", RELEASE),
            ("bpf_rbtree_remove", ACQUIRE | RET_NULL),
            ("bpf_rbtree_add_impl", NONE),
            ("bpf_rbtree_first", RET_NULL),
            ("bpf_cgroup_acquire", ACQUIRE | RCU | RET_NULL),
            ("bpf_cgroup_release", RELEASE),
            ("bpf_cgroup_ancestor", ACQUIRE | RCU | RET_NULL),
            ("bpf_cgroup_from_id", ACQUIRE | RET_NULL),
            ("bpf_task_under_cgroup", RCU),
            ("bpf_task_get_cgroup1", ACQUIRE | RCU | RET_NULL),
            ("bpf_task_from_pid", ACQUIRE | RET_NULL),
            ("bpf_throw", NONE),
        ],
    },
    // kernel/bpf/helpers.c: common_btf_ids
    Set {
        hooks: &[Common],
        only: None,
        functions: &[
            ("bpf_cast_to_kern_ctx", NONE),
            ("bpf_rdonly_cast", NONE),
            ("bpf_rcu_read_lock", NONE),
            ("bpf_rcu_read_unlock", NONE),
            ("bpf_dynptr_slice", RET_NULL),
            ("bpf_dynptr_slice_rdwr", RET_NULL),
            ("bpf_iter_num_new", ITER_NEW),
            ("bpf_iter_num_next", ITER_NEXT | RET_NULL),
            ("bpf_iter_num_destroy", ITER_DESTROY),
            ("bpf_iter_task_vma_new", ITER_NEW | RCU),
            ("bpf_iter_task_vma_next", ITER_NEXT | RET_NULL),
            ("bpf_iter_task_vma_destroy", ITER_DESTROY),
            ("bpf_iter_css_task_new", ITER_NEW | TRUSTED_ARGS),
            ("bpf_iter_css_task_next", ITER_NEXT | RET_NULL),
            ("bpf_iter_css_task_destroy", ITER_DESTROY),
            ("bpf_iter_css_new", ITER_NEW | TRUSTED_ARGS | RCU_PROTECTED),
            ("bpf_iter_css_next", ITER_NEXT | RET_NULL),
            ("bpf_iter_css_destroy", ITER_DESTROY),
            ("bpf_iter_task_new", ITER_NEW | TRUSTED_ARGS | RCU_PROTECTED),
            ("bpf_iter_task_next", ITER_NEXT | RET_NULL),
            ("bpf_iter_task_destroy", ITER_DESTROY),
            ("bpf_dynptr_adjust", NONE),
            ("bpf_dynptr_is_null", NONE),
            ("bpf_dynptr_is_rdonly", NONE),
            ("bpf_dynptr_size", NONE),
            ("bpf_dynptr_clone", NONE),
            ("bpf_modify_return_test_tp", NONE),
            ("bpf_wq_init", NONE),
            ("bpf_wq_set_callback_impl", NONE),
            ("bpf_wq_start", NONE),
            ("bpf_preempt_disable", NONE),
            ("bpf_preempt_enable", NONE),
            ("bpf_iter_bits_new", ITER_NEW),
            ("bpf_iter_bits_next", ITER_NEXT | RET_NULL),
            ("bpf_iter_bits_destroy", ITER_DESTROY),
            ("bpf_copy_from_user_str", SLEEPABLE),
        ],
    },
    // kernel/bpf/arena.c: arena_kfuncs
    Set {
        hooks: &[Common],
        only: None,
        functions: &[
            ("bpf_arena_alloc_pages", TRUSTED_ARGS | SLEEPABLE),
            ("bpf_arena_free_pages", TRUSTED_ARGS | SLEEPABLE),
        ],
    },
    // net/netfilter/nf_nat_bpf.c: nf_nat_kfunc_set
    Set {
        hooks: &[Xdp, Classifier],
        only: None,
        functions: &[
            ("bpf_ct_set_nat_info", TRUSTED_ARGS),
        ],
    },
    // net/netfilter/nf_conntrack_bpf.c: nf_ct_kfunc_set
    Set {
        hooks: &[Xdp, Classifier],
        only: None,
        functions: &[
            ("bpf_xdp_ct_alloc", ACQUIRE | RET_NULL),
            ("bpf_xdp_ct_lookup", ACQUIRE | RET_NULL),
            ("bpf_skb_ct_alloc", ACQUIRE | RET_NULL),
            ("bpf_skb_ct_lookup", ACQUIRE | RET_NULL),
            ("bpf_ct_insert_entry", ACQUIRE | RET_NULL | RELEASE),
            ("bpf_ct_release", RELEASE),
            ("bpf_ct_set_timeout", TRUSTED_ARGS),
            ("bpf_ct_change_timeout", TRUSTED_ARGS),
            ("bpf_ct_set_status", TRUSTED_ARGS),
            ("bpf_ct_change_status", TRUSTED_ARGS),
        ],
    },
    // net/netfilter/nf_flow_table_bpf.c: nf_ft_kfunc_set
    Set {
        hooks: &[Xdp],
        only: None,
        functions: &[
            ("bpf_xdp_flow_lookup", TRUSTED_ARGS | RET_NULL),
        ],
    },
    // net/xfrm/xfrm_interface_bpf.c: xfrm_ifc_kfunc_set
    Set {
        hooks: &[Classifier],
        only: None,
        functions: &[
            ("bpf_skb_get_xfrm_info", NONE),
            ("bpf_skb_set_xfrm_info", NONE),
        ],
    },
    // net/xfrm/xfrm_state_bpf.c: xfrm_state_kfunc_set
    Set {
        hooks: &[Xdp],
        only: None,
        functions: &[
            ("bpf_xdp_get_xfrm_state", RET_NULL | ACQUIRE),
            ("bpf_xdp_xfrm_state_release", RELEASE),
        ],
    },
    // net/core/filter.c: bpf_kfunc_check_set_skb
    Set {
        hooks: &[Classifier, Action, SkSkb, SocketFilter, Cgroup, LightTunnel, Netfilter, Tracing],
        only: None,
        functions: &[
            ("bpf_dynptr_from_skb", TRUSTED_ARGS),
        ],
    },
    // net/core/filter.c: bpf_kfunc_check_set_xdp
    Set {
        hooks: &[Xdp],
        only: None,
        functions: &[
            ("bpf_dynptr_from_xdp", NONE),
        ],
    },
    // net/core/filter.c: bpf_kfunc_check_set_sock_addr
    Set {
        hooks: &[Cgroup],
        only: None,
        functions: &[
            ("bpf_sock_addr_set_sun_path", NONE),
        ],
    },
    // net/core/filter.c: bpf_kfunc_check_set_tcp_reqsk
    Set {
        hooks: &[Classifier],
        only: None,
        functions: &[
            ("bpf_sk_assign_tcp_reqsk", TRUSTED_ARGS),
        ],
    },
    // net/core/filter.c: bpf_sk_iter_kfunc_ids
    Set {
        hooks: &[Tracing],
        only: Some(Only::Iterator),
        functions: &[
            ("bpf_sock_destroy", TRUSTED_ARGS),
        ],
    },
    // net/core/xdp.c: xdp_metadata_kfunc_ids
    Set {
        hooks: &[Xdp],
        only: None,
        functions: &[
            ("bpf_xdp_metadata_rx_timestamp", TRUSTED_ARGS),
            ("bpf_xdp_metadata_rx_hash", TRUSTED_ARGS),
            ("bpf_xdp_metadata_rx_vlan_tag", TRUSTED_ARGS),
        ],
    },
    // net/bpf/test_run.c: test_sk_check_kfunc_ids
    Set {
        hooks: &[Classifier, Tracing, Syscall],
        only: None,
        functions: &[
            ("bpf_kfunc_call_test_release", RELEASE),
            ("bpf_kfunc_call_memb_release", RELEASE),
        ],
    },
    // net/ipv4/tcp_cubic.c: tcp_cubic_check_kfunc_ids
    Set {
        hooks: &[StructOps],
        only: None,
        functions: &[
            ("cubictcp_init", NONE),
            ("cubictcp_recalc_ssthresh", NONE),
            ("cubictcp_cong_avoid", NONE),
            ("cubictcp_state", NONE),
            ("cubictcp_cwnd_event", NONE),
            ("cubictcp_acked", NONE),
        ],
    },
    // net/ipv4/fou_bpf.c: fou_kfunc_set
    Set {
        hooks: &[Classifier],
        only: None,
        functions: &[
            ("bpf_skb_set_fou_encap", NONE),
            ("bpf_skb_get_fou_encap", NONE),
        ],
    },
    // net/ipv4/tcp_dctcp.c: tcp_dctcp_check_kfunc_ids
    Set {
        hooks: &[StructOps],
        only: None,
        functions: &[
            ("dctcp_init", NONE),
            ("dctcp_update_alpha", NONE),
            ("dctcp_cwnd_event", NONE),
            ("dctcp_ssthresh", NONE),
            ("dctcp_cwnd_undo", NONE),
            ("dctcp_state", NONE),
        ],
    },
    // net/ipv4/tcp_bbr.c: tcp_bbr_check_kfunc_ids
    Set {
        hooks: &[StructOps],
        only: None,
        functions: &[
            ("bbr_init", NONE),
            ("bbr_main", NONE),
            ("bbr_sndbuf_expand", NONE),
            ("bbr_undo_cwnd", NONE),
            ("bbr_cwnd_event", NONE),
            ("bbr_ssthresh", NONE),
            ("bbr_min_tso_segs", NONE),
            ("bbr_set_state", NONE),
        ],
    },
    // net/ipv4/bpf_tcp_ca.c: bpf_tcp_ca_check_kfunc_ids
    Set {
        hooks: &[StructOps],
        only: None,
        functions: &[
            ("tcp_reno_ssthresh", NONE),
            ("tcp_reno_cong_avoid", NONE),
            ("tcp_reno_undo_cwnd", NONE),
            ("tcp_slow_start", NONE),
            ("tcp_cong_avoid_ai", NONE),
        ],
    },
    // drivers/hid/bpf/hid_bpf_dispatch.c: hid_bpf_kfunc_ids
    Set {
        hooks: &[StructOps],
        only: None,
        functions: &[
            ("hid_bpf_get_data", RET_NULL),
            ("hid_bpf_allocate_context", ACQUIRE | RET_NULL | SLEEPABLE),
            ("hid_bpf_release_context", RELEASE | SLEEPABLE),
            ("hid_bpf_hw_request", SLEEPABLE),
            ("hid_bpf_hw_output_report", SLEEPABLE),
            ("hid_bpf_input_report", SLEEPABLE),
            ("hid_bpf_try_input_report", NONE),
        ],
    },
    // drivers/hid/bpf/hid_bpf_dispatch.c: hid_bpf_syscall_kfunc_ids
    Set {
        hooks: &[Syscall],
        only: None,
        functions: &[
            ("hid_bpf_allocate_context", ACQUIRE | RET_NULL),
            ("hid_bpf_release_context", RELEASE),
            ("hid_bpf_hw_request", NONE),
            ("hid_bpf_hw_output_report", NONE),
            ("hid_bpf_input_report", NONE),
        ],
    },
    // fs/verity/measure.c: fsverity_set_ids
    Set {
        hooks: &[Tracing],
        only: Some(Only::Lsm),
        functions: &[
            ("bpf_get_fsverity_digest", TRUSTED_ARGS),
        ],
    },
    // fs/bpf_fs_kfuncs.c: bpf_fs_kfunc_set_ids
    Set {
        hooks: &[Tracing],
        only: Some(Only::Lsm),
        functions: &[
            ("bpf_get_task_exe_file", ACQUIRE | TRUSTED_ARGS | RET_NULL),
            ("bpf_put_file", RELEASE),
            ("bpf_path_d_path", TRUSTED_ARGS),
            ("bpf_get_dentry_xattr", SLEEPABLE | TRUSTED_ARGS),
            ("bpf_get_file_xattr", SLEEPABLE | TRUSTED_ARGS),
        ],
    },
];
