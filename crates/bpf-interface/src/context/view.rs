//! Which programs see and write which fields.

use bpf_object::{AttachType as A, ProgramType as P};

use super::{Refused, layout::Field};
use crate::caller::{Caller, Privilege};

/// What is hidden from a kind of program that sees a packet's `__sk_buff`, and what it may write.
struct Packet {
    hidden: &'static [&'static str],
    written: &'static [&'static str],
}

/// From `family` to `local_port`.
const ADDRESSES: [&str; 7] =
    ["family", "remote_ip4", "local_ip4", "remote_ip6", "local_ip6", "remote_port", "local_port"];

const FILTER: Packet = Packet {
    hidden: &["tc_classid", "data", "data_meta", "data_end", "tstamp", "wire_len", "hwtstamp"],
    written: &["cb"],
};
const CGROUP: Packet = Packet {
    hidden: &["tc_classid", "data_meta", "wire_len"],
    written: &["mark", "priority", "cb", "tstamp"],
};
const CLASSIFIER: Packet = Packet {
    hidden: &[],
    written: &["mark", "tc_index", "priority", "tc_classid", "cb", "tstamp", "queue_mapping"],
};
const LIGHT_TUNNEL: Packet = Packet {
    hidden: &["tc_classid", "data_meta", "tstamp", "wire_len", "hwtstamp"],
    written: &["mark", "priority", "cb"],
};
const STREAM: Packet = Packet {
    hidden: &["tc_classid", "data_meta", "tstamp", "wire_len", "hwtstamp", "mark"],
    written: &["tc_index", "priority"],
};

pub(super) fn check(
    caller: &Caller<'_>,
    field: &'static Field,
    write: bool,
) -> Result<(), Refused> {
    let (seen, written) = match caller.program {
        P::FLOW_DISSECTOR => (matches!(field.name, "data" | "data_end" | "flow_keys"), false),
        P::XDP => (field.name != "egress_ifindex" || caller.attach == A::XDP_DEVMAP, false),
        P::CGROUP_SOCK => socket(caller.attach, field),
        P::CGROUP_SOCK_ADDR => (address(caller.attach, field), true),
        P::CGROUP_SOCKOPT => socket_option(caller.attach, field),
        program => match packet(program) {
            Some(packet) => sk_buff(caller, &packet, field),
            None => (true, true),
        },
    };
    if !seen {
        Err(Refused::Hidden(field))
    } else if write && !written {
        Err(Refused::ReadOnly(field))
    } else {
        Ok(())
    }
}

fn packet(program: P) -> Option<Packet> {
    Some(match program {
        P::SOCKET_FILTER => FILTER,
        P::CGROUP_SKB => CGROUP,
        P::CLASSIFIER | P::ACTION => CLASSIFIER,
        P::LWT_IN | P::LWT_OUT | P::LWT_XMIT | P::LWT_SEG6LOCAL => LIGHT_TUNNEL,
        P::SK_SKB => STREAM,
        _ => return None,
    })
}

fn sk_buff(caller: &Caller<'_>, packet: &Packet, field: &Field) -> (bool, bool) {
    let program = caller.program;
    let privileged = program != P::CGROUP_SKB || caller.privilege >= Privilege::Bpf;
    let seen = match field.name {
        "flow_keys" => false,
        "data" | "data_end" if !privileged => false,
        "tstamp_type" => matches!(program, P::CLASSIFIER | P::ACTION),
        name if ADDRESSES.contains(&name) => matches!(program, P::CGROUP_SKB | P::SK_SKB),
        name => !packet.hidden.contains(&name),
    };
    let written = packet.written.contains(&field.name) && (field.name != "tstamp" || privileged);
    (seen, written)
}

/// __sock_filter_check_attach_type
fn socket(attach: A, field: &Field) -> (bool, bool) {
    match field.name {
        "bound_dev_if" | "mark" | "priority" => {
            let allowed = matches!(attach, A::CGROUP_SOCK_CREATE | A::CGROUP_SOCK_RELEASE);
            (allowed, allowed)
        }
        "src_ip4" => (attach == A::CGROUP_INET4_POST_BIND, false),
        "src_ip6" => (attach == A::CGROUP_INET6_POST_BIND, false),
        "src_port" => {
            (matches!(attach, A::CGROUP_INET4_POST_BIND | A::CGROUP_INET6_POST_BIND), false)
        }
        _ => (true, false),
    }
}

fn address(attach: A, field: &Field) -> bool {
    match field.name {
        "user_ip4" => matches!(
            attach,
            A::CGROUP_INET4_BIND
                | A::CGROUP_INET4_CONNECT
                | A::CGROUP_INET4_GETPEERNAME
                | A::CGROUP_INET4_GETSOCKNAME
                | A::CGROUP_UDP4_SENDMSG
                | A::CGROUP_UDP4_RECVMSG
        ),
        "user_ip6" => matches!(
            attach,
            A::CGROUP_INET6_BIND
                | A::CGROUP_INET6_CONNECT
                | A::CGROUP_INET6_GETPEERNAME
                | A::CGROUP_INET6_GETSOCKNAME
                | A::CGROUP_UDP6_SENDMSG
                | A::CGROUP_UDP6_RECVMSG
        ),
        "msg_src_ip4" => attach == A::CGROUP_UDP4_SENDMSG,
        "msg_src_ip6" => attach == A::CGROUP_UDP6_SENDMSG,
        _ => true,
    }
}

fn socket_option(attach: A, field: &Field) -> (bool, bool) {
    match field.name {
        "retval" => (attach == A::CGROUP_GETSOCKOPT, true),
        "optname" | "level" => (true, attach == A::CGROUP_SETSOCKOPT),
        _ => (true, true),
    }
}
