use bpf_object::{AttachType as A, MapType as M, ProgramType as P};

use super::*;
use crate::{
    caller::{Caller, Privilege},
    prototype::{Return, What},
};

#[test]
fn the_table_is_in_the_order_of_numbers() {
    for (index, helper) in all().enumerate() {
        assert_eq!(helper.id as usize, index + 1, "{}", helper.name);
        assert_eq!(by_name(helper.name), Some(helper));
    }
    assert_eq!(by_id(0), None);
    assert_eq!(by_id(212), None);
    assert_eq!(by_name("loop").map(|helper| helper.id), Some(181));
}

/// A size follows memory, a fixed size stands for it: as the kernel checks of its own prototypes.
#[test]
fn memory_has_its_size() {
    for helper in all() {
        for (index, argument) in helper.arguments.iter().enumerate() {
            let next = helper.arguments.get(index + 1).map(|next| next.what);
            let followed = matches!(next, Some(What::Size | What::SizeOrZero));
            match argument.what {
                What::Memory { size, .. } | What::UninitialisedMemory { size, .. } => {
                    assert_eq!(size.is_none(), followed, "{} argument {index}", helper.name);
                }
                _ => assert!(!followed, "{} argument {index}", helper.name),
            }
        }
        if helper.changes_packet {
            assert_eq!(helper.arguments[0].what, What::Context, "{}", helper.name);
        }
    }
}

#[test]
fn programs_have_their_helpers() {
    use Privilege::{Bpf, Perfmon};
    let check = |program, attach, name: &str, expected: Result<(), Denied>| {
        let id = by_name(name).map_or(0, |helper| helper.id);
        let found = for_program(&Caller::new(program, attach), id);
        assert_eq!(found.map(drop), expected, "{program} {attach} {name}");
    };
    let no = Err(Denied::Program);
    check(P::XDP, A::XDP, "redirect_map", Ok(()));
    check(P::CLASSIFIER, A(0), "redirect_map", no);
    check(P::CLASSIFIER, A(0), "redirect_peer", Ok(()));
    check(P::XDP, A::XDP, "get_current_uid_gid", no);
    check(P::XDP, A::XDP, "get_current_pid_tgid", Ok(()));
    check(P::XDP, A::XDP, "nonsense", Err(Denied::Unknown));
    check(P::SOCKET_FILTER, A(0), "skb_store_bytes", no);
    check(P::CGROUP_SOCK_ADDR, A::CGROUP_INET4_CONNECT, "bind", Ok(()));
    check(P::CGROUP_SOCK_ADDR, A::CGROUP_UDP4_SENDMSG, "bind", no);
    check(P::CGROUP_SOCK_ADDR, A::CGROUP_UDP4_RECVMSG, "set_retval", no);
    check(P::CGROUP_SOCK, A::CGROUP_SOCK_CREATE, "set_retval", Ok(()));
    check(P::CGROUP_SOCKOPT, A::CGROUP_GETSOCKOPT, "setsockopt", no);
    check(P::CGROUP_SOCKOPT, A::CGROUP_SETSOCKOPT, "setsockopt", Ok(()));
    check(P::TRACING, A::TRACE_FENTRY, "get_func_arg", Ok(()));
    check(P::TRACING, A::TRACE_RAW_TP, "get_func_arg", no);
    check(P::TRACING, A::TRACE_ITER, "seq_write", Ok(()));
    check(P::TRACING, A::TRACE_FENTRY, "d_path", Err(Denied::Hook));
    check(P::LWT_SEG6LOCAL, A(0), "skb_pull_data", no);
    check(P::LIRC_MODE2, A::LIRC_MODE2, "loop", no);
    check(P::NETFILTER, A::NETFILTER, "loop", Ok(()));
    check(P::SYSCALL, A(0), "sys_bpf", Ok(()));
    check(P::LSM, A::LSM_MAC, "inode_storage_get", Ok(()));

    let of = |privilege, name: &str| {
        let caller = Caller { privilege, ..Caller::new(P::SOCKET_FILTER, A(0)) };
        by_name(name).map(|helper| for_program(&caller, helper.id).map(drop))
    };
    assert_eq!(of(Privilege::None, "map_lookup_elem"), Some(Ok(())));
    assert_eq!(of(Privilege::None, "spin_lock"), Some(Err(Denied::Privilege(Bpf))));
    assert_eq!(of(Bpf, "trace_printk"), Some(Err(Denied::Privilege(Perfmon))));
}

#[test]
fn some_programs_call_a_helper_in_another_form() {
    let first = |program, attach, id| {
        for_program(&Caller::new(program, attach), id).map(|helper| helper.arguments[0].what)
    };
    assert_eq!(first(P::SOCK_OPS, A::CGROUP_SOCK_OPS, 49), Ok(What::Context));
    assert_eq!(first(P::CGROUP_SOCKOPT, A::CGROUP_SETSOCKOPT, 49), Ok(What::SockCommon));
    assert_eq!(first(P::CLASSIFIER, A(0), 17), Ok(What::Context));
    assert_eq!(first(P::CGROUP_SOCK, A::CGROUP_SOCK_CREATE, 17), Ok(What::Nothing));
    let storage = for_program(&Caller::new(P::CGROUP_SOCK, A::CGROUP_SOCK_CREATE), 107);
    assert_eq!(storage.map(|helper| helper.arguments[1].what), Ok(What::Context));
    assert_eq!(storage.map(|helper| helper.result), Ok(Return::MapValue { nullable: true }));
}

#[test]
fn maps_have_their_helpers() {
    let check = |program, map, name: &str, expected| {
        let id = by_name(name).map_or(0, |helper| helper.id);
        let caller = Caller::new(program, A(0));
        assert_eq!(takes_map(&caller, map, id), expected, "{program} {map} {name}");
    };
    check(P::XDP, M::HASH, "map_lookup_elem", true);
    check(P::XDP, M::HASH, "tail_call", false);
    check(P::XDP, M::PROGRAM_ARRAY, "map_lookup_elem", false);
    check(P::XDP, M::DEVICE_MAP, "redirect_map", true);
    check(P::XDP, M::CPU_MAP, "map_lookup_elem", false);
    check(P::XDP, M::BLOOM_FILTER, "map_pop_elem", false);
    check(P::XDP, M::BLOOM_FILTER, "map_peek_elem", true);
    check(P::XDP, M::SOCKET_MAP, "map_update_elem", true);
    check(P::KPROBE, M::SOCKET_MAP, "map_update_elem", false);
    check(P::SOCK_OPS, M::SOCKET_HASH, "map_delete_elem", true);
    check(P::SOCK_OPS, M::SOCKET_HASH, "map_update_elem", false);
    check(P::XDP, M::RING_BUFFER, "ringbuf_reserve", true);
    check(P::XDP, M::ARRAY, "ringbuf_reserve", false);
}
