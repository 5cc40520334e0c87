//! The versions of mainline Linux that brought what is in the ABI.

use bpf_object::{AttachType as A, MapType as M, ProgramType as P};

use crate::version::Version;

const fn v(major: u16, minor: u16) -> Version {
    Version::new(major, minor)
}

pub(super) fn helper(id: u32) -> Option<Version> {
    from_ranges(HELPERS, id)
}

pub(super) fn map(map: M) -> Option<Version> {
    from_ranges(MAPS, map.0)
}

pub(super) fn program(program: P) -> Option<Version> {
    from_ranges(PROGRAMS, program.0)
}

pub(super) fn attach(attach: A) -> Option<Version> {
    from_ranges(ATTACHES, attach.0)
}

/// Numbers are given in the order in which things came: each entry holds until the next one.
fn from_ranges(ranges: &[(u32, Option<Version>)], number: u32) -> Option<Version> {
    let after = ranges.partition_point(|(first, _)| *first <= number);
    ranges.get(after.checked_sub(1)?)?.1
}

#[rustfmt::skip]
const HELPERS: &[(u32, Option<Version>)] = &[
    (0, None),
    (1, Some(v(3, 19))), (4, Some(v(4, 1))), (12, Some(v(4, 2))), (17, Some(v(4, 3))),
    (23, Some(v(4, 4))), (26, Some(v(4, 5))), (27, Some(v(4, 6))), (31, Some(v(4, 8))),
    (37, Some(v(4, 9))), (42, Some(v(4, 10))), (45, Some(v(4, 11))), (46, Some(v(4, 12))),
    (48, Some(v(4, 13))), (51, Some(v(4, 14))), (54, Some(v(4, 15))), (58, Some(v(4, 16))),
    (60, Some(v(4, 17))), (65, Some(v(4, 18))), (81, Some(v(4, 19))), (84, Some(v(4, 20))),
    (91, Some(v(5, 0))), (93, Some(v(5, 1))), (99, Some(v(5, 2))), (109, Some(v(5, 3))),
    (110, Some(v(5, 4))), (111, Some(v(5, 5))), (116, Some(v(5, 6))), (119, Some(v(5, 7))),
    (125, Some(v(5, 8))), (136, Some(v(5, 9))), (142, Some(v(5, 10))), (156, Some(v(5, 11))),
    (163, Some(v(5, 12))), (164, Some(v(5, 13))), (166, Some(v(5, 14))), (169, Some(v(5, 15))),
    (176, Some(v(5, 16))), (180, Some(v(5, 17))), (186, Some(v(5, 18))), (194, Some(v(5, 19))),
    (204, Some(v(6, 0))), (208, Some(v(6, 1))), (210, Some(v(6, 2))),
    (212, None),
];

#[rustfmt::skip]
const MAPS: &[(u32, Option<Version>)] = &[
    (0, None),
    (1, Some(v(3, 19))), (3, Some(v(4, 2))), (4, Some(v(4, 3))), (5, Some(v(4, 6))),
    (8, Some(v(4, 8))), (9, Some(v(4, 10))), (11, Some(v(4, 11))), (12, Some(v(4, 12))),
    (14, Some(v(4, 14))), (16, Some(v(4, 15))), (17, Some(v(4, 18))), (19, Some(v(4, 19))),
    (21, Some(v(4, 20))), (24, Some(v(5, 2))), (25, Some(v(5, 4))), (26, Some(v(5, 6))),
    (27, Some(v(5, 8))), (28, Some(v(5, 10))), (29, Some(v(5, 11))), (30, Some(v(5, 16))),
    (31, Some(v(6, 1))), (32, Some(v(6, 2))), (33, Some(v(6, 9))),
    (34, None),
];

#[rustfmt::skip]
const PROGRAMS: &[(u32, Option<Version>)] = &[
    (0, None),
    (1, Some(v(3, 19))), (2, Some(v(4, 1))), (5, Some(v(4, 7))), (6, Some(v(4, 8))),
    (7, Some(v(4, 9))), (8, Some(v(4, 10))), (13, Some(v(4, 13))), (14, Some(v(4, 14))),
    (15, Some(v(4, 15))), (16, Some(v(4, 17))), (19, Some(v(4, 18))), (21, Some(v(4, 19))),
    (22, Some(v(4, 20))), (23, Some(v(5, 2))), (25, Some(v(5, 3))), (26, Some(v(5, 5))),
    (27, Some(v(5, 6))), (29, Some(v(5, 7))), (30, Some(v(5, 9))), (31, Some(v(5, 14))),
    (32, Some(v(6, 4))),
    (33, None),
];

#[rustfmt::skip]
const ATTACHES: &[(u32, Option<Version>)] = &[
    (0, Some(v(4, 10))), (3, Some(v(4, 13))), (4, Some(v(4, 14))), (6, Some(v(4, 15))),
    (7, Some(v(4, 17))), (14, Some(v(4, 18))), (17, Some(v(4, 20))), (18, Some(v(5, 2))),
    (21, Some(v(5, 3))), (23, Some(v(5, 5))), (26, Some(v(5, 7))), (28, Some(v(5, 8))),
    (34, Some(v(5, 9))), (38, Some(v(5, 13))), (39, Some(v(5, 14))), (41, Some(v(5, 15))),
    (42, Some(v(5, 18))), (43, Some(v(6, 0))), (44, Some(v(6, 4))), (46, Some(v(6, 6))),
    (49, Some(v(6, 7))), (56, Some(v(6, 10))), (57, Some(v(6, 13))),
    (58, None),
];

/// By name or by the beginning of names; the first that fits counts.
#[rustfmt::skip]
const FUNCTIONS: &[(&str, Version)] = &[
    ("bpf_lookup_user_key", v(6, 1)), ("bpf_lookup_system_key", v(6, 1)), ("bpf_key_put", v(6, 1)),
    ("bpf_verify_pkcs7_signature", v(6, 1)),
    ("bpf_session_", v(6, 10)),
    ("scx_", v(6, 12)), ("bpf_iter_scx_", v(6, 12)),
    ("cgroup_rstat_", v(6, 1)),
    ("bpf_cpumask_weight", v(6, 8)), ("bpf_cpumask_first_and", v(6, 5)),
    ("bpf_cpumask_any_", v(6, 5)), ("bpf_cpumask_", v(6, 3)),
    ("bpf_map_sum_elem_count", v(6, 6)),
    ("bpf_crypto_", v(6, 10)),
    ("crash_kexec", v(6, 1)),
    ("bpf_percpu_obj_", v(6, 7)), ("bpf_obj_", v(6, 2)), ("bpf_refcount_acquire_impl", v(6, 4)),
    ("bpf_list_", v(6, 2)), ("bpf_rbtree_", v(6, 3)),
    ("bpf_task_under_cgroup", v(6, 5)), ("bpf_task_get_cgroup1", v(6, 8)),
    ("bpf_task_", v(6, 2)), ("bpf_cgroup_from_id", v(6, 3)), ("bpf_cgroup_", v(6, 2)),
    ("bpf_throw", v(6, 7)),
    ("bpf_cast_to_kern_ctx", v(6, 2)), ("bpf_rdonly_cast", v(6, 2)), ("bpf_rcu_read_", v(6, 2)),
    ("bpf_dynptr_slice", v(6, 4)), ("bpf_dynptr_from_", v(6, 4)), ("bpf_dynptr_", v(6, 5)),
    ("bpf_iter_num_", v(6, 4)), ("bpf_iter_bits_", v(6, 11)), ("bpf_iter_", v(6, 7)),
    ("bpf_modify_return_test_tp", v(6, 10)),
    ("bpf_wq_", v(6, 10)), ("bpf_preempt_", v(6, 10)), ("bpf_copy_from_user_str", v(6, 12)),
    ("bpf_arena_", v(6, 9)),
    ("bpf_ct_set_nat_info", v(6, 1)), ("bpf_ct_release", v(5, 18)), ("bpf_ct_", v(6, 0)),
    ("bpf_xdp_ct_lookup", v(5, 18)), ("bpf_skb_ct_lookup", v(5, 18)),
    ("bpf_xdp_ct_alloc", v(6, 0)), ("bpf_skb_ct_alloc", v(6, 0)),
    ("bpf_xdp_flow_lookup", v(6, 11)), ("bpf_xdp_get_xfrm_state", v(6, 8)),
    ("bpf_xdp_xfrm_state_release", v(6, 8)), ("bpf_xdp_metadata_rx_vlan_tag", v(6, 8)),
    ("bpf_xdp_metadata_", v(6, 3)),
    ("bpf_skb_get_xfrm_info", v(6, 2)), ("bpf_skb_set_xfrm_info", v(6, 2)),
    ("bpf_skb_set_fou_encap", v(6, 4)), ("bpf_skb_get_fou_encap", v(6, 4)),
    ("bpf_sock_addr_set_sun_path", v(6, 7)), ("bpf_sk_assign_tcp_reqsk", v(6, 9)),
    ("bpf_sock_destroy", v(6, 5)),
    ("bpf_kfunc_call_", v(5, 13)),
    ("cubictcp_", v(5, 13)), ("dctcp_", v(5, 13)), ("bbr_", v(5, 13)),
    ("tcp_reno_", v(5, 13)), ("tcp_slow_start", v(5, 13)), ("tcp_cong_avoid_ai", v(5, 13)),
    ("hid_bpf_input_report", v(6, 8)), ("hid_bpf_hw_output_report", v(6, 8)),
    ("hid_bpf_try_input_report", v(6, 11)), ("hid_bpf_", v(6, 3)),
    ("bpf_get_fsverity_digest", v(6, 8)), ("bpf_get_file_xattr", v(6, 8)),
    ("bpf_get_dentry_xattr", v(6, 12)), ("bpf_get_task_exe_file", v(6, 12)),
    ("bpf_put_file", v(6, 12)), ("bpf_path_d_path", v(6, 12)),
];

pub(super) fn kernel_function(name: &str) -> Option<Version> {
    let fits = |known: &str| match known.strip_suffix('_') {
        Some(_) => name.starts_with(known),
        None => name == known || (known.ends_with("slice") && name.starts_with(known)),
    };
    FUNCTIONS.iter().find(|(known, _)| fits(known)).map(|(_, version)| *version)
}
