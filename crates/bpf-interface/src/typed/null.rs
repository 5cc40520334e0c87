//! Arguments that may be NULL although no type says so (kernel/bpf/btf.c, raw_tp_null_args; the
//! registrations of iterators), Linux 6.12.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Null {
    Never,
    May,
    /// It may be an error instead of a pointer.
    Error,
}

pub(super) fn of_tracepoint(name: &str, argument: usize) -> Null {
    let mask = TRACEPOINTS.iter().find(|(known, _)| *known == name).map_or(0, |(_, mask)| *mask);
    let digit = if argument < 8 { (mask >> (4 * argument)) & 0xf } else { 0 };
    match digit {
        0 => Null::Never,
        digit if digit & 2 != 0 => Null::Error,
        _ => Null::May,
    }
}

/// What an iterator gives at an offset of its context; all of these may be NULL, at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Given {
    Structure { trusted: bool },
    Buffer { writable: bool },
}

pub(super) fn of_iterator(name: &str, offset: u32) -> Option<Given> {
    let found = ITERATORS.iter().find(|(known, at, _)| *known == name && *at == offset);
    found.map(|(_, _, given)| *given)
}

const PLAIN: Given = Given::Structure { trusted: false };
const TRUSTED: Given = Given::Structure { trusted: true };
const READ: Given = Given::Buffer { writable: false };
const WRITE: Given = Given::Buffer { writable: true };

/// Behind the 8 bytes of `struct bpf_iter_meta *`.
#[rustfmt::skip]
const ITERATORS: &[(&str, u32, Given)] = &[
    ("ksym", 8, PLAIN),
    ("bpf_prog", 8, PLAIN),
    ("cgroup", 8, TRUSTED),
    ("task", 8, TRUSTED),
    ("task_file", 8, PLAIN),
    ("task_file", 24, PLAIN),
    ("task_vma", 8, PLAIN),
    ("task_vma", 16, PLAIN),
    ("bpf_map", 8, TRUSTED),
    ("bpf_map_elem", 16, READ),
    ("bpf_map_elem", 24, WRITE),
    ("bpf_link", 8, PLAIN),
    ("netlink", 8, PLAIN),
    ("ipv6_route", 8, PLAIN),
    ("sockmap", 16, READ),
    ("sockmap", 24, PLAIN),
    ("bpf_sk_storage_map", 16, PLAIN),
    ("bpf_sk_storage_map", 24, WRITE),
    ("unix", 8, PLAIN),
    ("tcp", 8, TRUSTED),
    ("udp", 8, TRUSTED),
];

/// Four bits for each argument: 1 NULL, 2 an error.
#[rustfmt::skip]
const TRACEPOINTS: &[(&str, u32)] = &[
    ("sched_pi_setprio", 0x10),
    ("sched_process_wait", 0x1),
    ("sched_stick_numa", 0x100),
    ("sched_swap_numa", 0x100),
    ("afs_make_fs_call", 0x10),
    ("afs_make_fs_calli", 0x10),
    ("afs_make_fs_call1", 0x10),
    ("afs_make_fs_call2", 0x10),
    ("afs_protocol_error", 0x1),
    ("afs_flock_ev", 0x10),
    ("cachefiles_lookup", 0x201),
    ("cachefiles_unlink", 0x1),
    ("cachefiles_rename", 0x1),
    ("cachefiles_prep_read", 0x1),
    ("cachefiles_mark_active", 0x1),
    ("cachefiles_mark_failed", 0x1),
    ("cachefiles_mark_inactive", 0x1),
    ("cachefiles_vfs_error", 0x1),
    ("cachefiles_io_error", 0x1),
    ("cachefiles_ondemand_open", 0x1),
    ("cachefiles_ondemand_copen", 0x1),
    ("cachefiles_ondemand_close", 0x1),
    ("cachefiles_ondemand_read", 0x1),
    ("cachefiles_ondemand_cread", 0x1),
    ("cachefiles_ondemand_fd_write", 0x1),
    ("cachefiles_ondemand_fd_release", 0x1),
    ("ext4_mballoc_discard", 0x10),
    ("ext4_mballoc_free", 0x10),
    ("fib_table_lookup", 0x100),
    ("posix_lock_inode", 0x10),
    ("fcntl_setlk", 0x10),
    ("locks_remove_posix", 0x10),
    ("flock_lock_inode", 0x10),
    ("break_lease_noblock", 0x10),
    ("break_lease_block", 0x10),
    ("break_lease_unblock", 0x10),
    ("generic_delete_lease", 0x10),
    ("time_out_leases", 0x10),
    ("host1x_cdma_push_gather", 0x10000),
    ("mm_khugepaged_scan_pmd", 0x10),
    ("mm_collapse_huge_page_isolate", 0x1),
    ("mm_khugepaged_scan_file", 0x10),
    ("mm_khugepaged_collapse_file", 0x10),
    ("mm_page_alloc", 0x1),
    ("mm_page_pcpu_drain", 0x1),
    ("mm_page_alloc_zone_locked", 0x1),
    ("netfs_failure", 0x10),
    ("device_pm_callback_start", 0x10),
    ("qdisc_dequeue", 0x1000),
    ("rxrpc_recvdata", 0x1),
    ("rxrpc_resend", 0x10),
    ("signal_generate", 0x20),
    ("signal_deliver", 0x20),
    ("kfree_skb", 0x1000),
    ("xs_stream_read_data", 0x1),
    ("xprt_reserve_cong", 0x10),
    ("xprt_release_cong", 0x10),
    ("xprt_get_cong", 0x10),
    ("xprt_put_cong", 0x10),
    ("tcp_send_reset", 0x11),
    ("tegra_dma_tx_status", 0x100),
    ("tmigr_update_events", 0x1),
    ("writeback_dirty_folio", 0x10),
    ("folio_wait_writeback", 0x10),
    ("mr_integ_alloc", 0x2000),
];
