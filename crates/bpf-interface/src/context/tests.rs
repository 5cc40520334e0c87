use bpf_object::{AttachType as A, ProgramType as P};

use super::*;
use crate::caller::Privilege;

fn at(offset: i32, size: u8) -> Access {
    Access { offset, size, write: false, signed: false }
}

fn to(offset: i32, size: u8) -> Access {
    Access { write: true, ..at(offset, size) }
}

#[track_caller]
fn check(program: P, attach: A, wanted: Access, expected: Result<FieldKind, &str>) {
    let found = access(&Caller::new(program, attach), wanted);
    let found = match found {
        Ok(Found::Field(field)) => Ok(field.kind),
        Ok(Found::Number) => Ok(FieldKind::Number),
        Err(Refused::Outside) => Err("outside"),
        Err(Refused::Misaligned) => Err("misaligned"),
        Err(Refused::Padding) => Err("padding"),
        Err(Refused::Hidden(_)) => Err("hidden"),
        Err(Refused::ReadOnly(_)) => Err("read-only"),
        Err(Refused::Size(_)) => Err("size"),
        Err(Refused::Signed(_)) => Err("signed"),
        Err(Refused::Typed) => Err("typed"),
    };
    assert_eq!(found, expected, "{program} {attach} {wanted:?}");
}

#[test]
fn fields_lie_one_behind_the_other() {
    use layout::*;
    for layout in [
        &SK_BUFF,
        &XDP_MD,
        &SOCK,
        &TCP_SOCK,
        &XDP_SOCK,
        &SOCK_ADDR,
        &SOCK_OPS,
        &SK_MSG,
        &SK_REUSEPORT,
        &SK_LOOKUP,
        &CGROUP_DEVICE,
        &SYSCTL,
        &SOCKOPT,
        &PERF_EVENT,
        &NETFILTER,
        &RAW_TRACEPOINT_WRITABLE,
        &LIRC,
    ] {
        let mut end = 0;
        for field in layout.fields {
            assert!(field.offset >= end, "{}.{}", layout.name, field.name);
            assert_eq!(field.size % field.element, 0, "{}.{}", layout.name, field.name);
            end = field.offset + field.size;
            assert_eq!(layout.field(field.name), Some(field));
            assert_eq!(layout.field_at(end - 1), Some(field));
        }
        assert!(u32::from(end) <= layout.size, "{}", layout.name);
    }
}

#[test]
fn packets() {
    use FieldKind::*;
    let none = A(0);
    check(P::XDP, A::XDP, at(0, 4), Ok(Packet));
    check(P::XDP, A::XDP, at(4, 4), Ok(PacketEnd));
    check(P::XDP, A::XDP, Access { signed: true, ..at(0, 4) }, Err("signed"));
    check(P::XDP, A::XDP, at(0, 8), Err("size"));
    check(P::XDP, A::XDP, at(12, 2), Err("size"));
    check(P::XDP, A::XDP, at(20, 4), Err("hidden"));
    check(P::XDP, A::XDP_DEVMAP, at(20, 4), Ok(Number));
    check(P::XDP, A::XDP, at(24, 4), Err("outside"));
    check(P::XDP, A::XDP, at(-4, 4), Err("outside"));
    check(P::XDP, A::XDP, to(12, 4), Err("read-only"));
    check(P::CLASSIFIER, none, at(76, 4), Ok(Packet));
    check(P::CLASSIFIER, none, at(140, 4), Ok(PacketMeta));
    check(P::CLASSIFIER, none, at(76, 2), Err("size"));
    check(P::CLASSIFIER, none, at(16, 2), Ok(Number));
    check(P::CLASSIFIER, none, at(18, 2), Ok(Number));
    check(P::CLASSIFIER, none, at(17, 2), Err("misaligned"));
    check(P::CLASSIFIER, none, to(8, 4), Ok(Number));
    check(P::CLASSIFIER, none, to(8, 2), Err("size"));
    check(P::CLASSIFIER, none, to(0, 4), Err("read-only"));
    check(P::CLASSIFIER, none, at(88, 4), Err("hidden"));
    check(P::CLASSIFIER, none, at(168, 8), Ok(SockCommonOrNull));
    check(P::CLASSIFIER, none, at(180, 1), Ok(Number));
    check(P::CLASSIFIER, none, at(181, 1), Err("padding"));
    check(P::CLASSIFIER, none, at(144, 8), Err("hidden"));
    check(P::CLASSIFIER, none, at(64, 8), Err("size"));
    check(P::CLASSIFIER, none, at(48, 8), Ok(Number));
    check(P::SOCKET_FILTER, none, at(76, 4), Err("hidden"));
    check(P::SOCKET_FILTER, none, to(48, 1), Ok(Number));
    check(P::SOCKET_FILTER, none, to(8, 4), Err("read-only"));
    check(P::FLOW_DISSECTOR, none, at(144, 8), Ok(FlowKeys));
    check(P::FLOW_DISSECTOR, none, at(0, 4), Err("hidden"));
    check(P::SK_SKB, none, at(8, 4), Err("hidden"));
    check(P::SK_SKB, none, at(88, 4), Ok(Number));
    check(P::LWT_XMIT, none, to(44, 4), Err("read-only"));

    let unprivileged =
        Caller { privilege: Privilege::None, ..Caller::new(P::CGROUP_SKB, A::CGROUP_INET_EGRESS) };
    assert!(matches!(access(&unprivileged, at(76, 4)), Err(Refused::Hidden(_))));
    assert!(matches!(access(&unprivileged, to(152, 8)), Err(Refused::ReadOnly(_))));
}

#[test]
fn sockets() {
    use FieldKind::*;
    let bind = A::CGROUP_INET6_BIND;
    check(P::CGROUP_SOCK_ADDR, bind, at(4, 4), Err("hidden"));
    check(P::CGROUP_SOCK_ADDR, bind, at(8, 8), Ok(Number));
    check(P::CGROUP_SOCK_ADDR, bind, at(16, 8), Ok(Number));
    check(P::CGROUP_SOCK_ADDR, bind, at(9, 1), Ok(Number));
    check(P::CGROUP_SOCK_ADDR, bind, to(12, 4), Ok(Number));
    check(P::CGROUP_SOCK_ADDR, bind, to(12, 2), Err("size"));
    check(P::CGROUP_SOCK_ADDR, bind, at(28, 2), Err("size"));
    check(P::CGROUP_SOCK_ADDR, bind, at(64, 8), Ok(Socket));
    check(P::CGROUP_SOCK_ADDR, A::CGROUP_UDP6_SENDMSG, at(48, 8), Ok(Number));
    check(P::CGROUP_SOCK_ADDR, A::CGROUP_UDP6_SENDMSG, at(56, 8), Err("size"));
    check(P::CGROUP_SOCK_ADDR, bind, at(48, 8), Err("hidden"));
    // Without an attach type it is for new sockets.
    check(P::CGROUP_SOCK, A(0), to(16, 4), Ok(Number));
    check(P::CGROUP_SOCK, A::CGROUP_INET4_POST_BIND, at(16, 4), Err("hidden"));
    check(P::CGROUP_SOCK, A::CGROUP_INET4_POST_BIND, at(24, 2), Ok(Number));
    check(P::CGROUP_SOCK, A::CGROUP_INET4_POST_BIND, to(24, 4), Err("read-only"));
    check(P::CGROUP_SOCK, A::CGROUP_INET4_POST_BIND, at(5, 1), Err("size"));
    check(P::CGROUP_SOCK, A::CGROUP_INET4_POST_BIND, at(48, 4), Ok(Number));
    check(P::CGROUP_SOCK, A::CGROUP_INET4_POST_BIND, at(50, 2), Err("padding"));
    check(P::CGROUP_SOCKOPT, A::CGROUP_GETSOCKOPT, to(36, 4), Ok(Number));
    check(P::CGROUP_SOCKOPT, A::CGROUP_SETSOCKOPT, to(36, 4), Err("hidden"));
    check(P::CGROUP_SOCKOPT, A::CGROUP_SETSOCKOPT, to(24, 4), Ok(Number));
    check(P::CGROUP_SOCKOPT, A::CGROUP_GETSOCKOPT, to(24, 4), Err("read-only"));
    check(P::SOCK_OPS, A::CGROUP_SOCK_OPS, to(4, 4), Ok(Number));
    check(P::SOCK_OPS, A::CGROUP_SOCK_OPS, to(8, 4), Err("size"));
    check(P::SOCK_OPS, A::CGROUP_SOCK_OPS, at(168, 4), Err("size"));
    check(P::SK_LOOKUP, A::SK_LOOKUP, at(36, 4), Ok(Number));
    check(P::SK_LOOKUP, A::SK_LOOKUP, at(38, 1), Ok(Number));
    check(P::SK_REUSEPORT, A(0), at(20, 1), Err("size"));
    check(P::SK_REUSEPORT, A(0), at(20, 2), Ok(Number));

    assert!(socket_access(SocketForm::Full, at(16, 4)).is_ok());
    assert!(socket_access(SocketForm::Common, at(16, 4)).is_err());
    assert!(socket_access(SocketForm::Tcp, at(80, 8)).is_ok());
    assert!(socket_access(SocketForm::Full, to(16, 4)).is_err());
}

#[test]
fn tracing() {
    use FieldKind::Number;
    check(P::KPROBE, A(0), at(160, 8), Ok(Number));
    check(P::KPROBE, A(0), at(168, 8), Err("outside"));
    check(P::KPROBE, A(0), at(3, 1), Ok(Number));
    check(P::TRACEPOINT, A(0), at(0, 8), Err("outside"));
    check(P::TRACEPOINT, A(0), at(8, 8), Ok(Number));
    check(P::RAW_TRACEPOINT, A(0), at(88, 8), Ok(Number));
    check(P::RAW_TRACEPOINT, A(0), at(96, 8), Err("outside"));
    check(P::PERF_EVENT, A(0), at(168, 4), Ok(Number));
    check(P::PERF_EVENT, A(0), at(160, 4), Err("size"));
    check(P::SYSCALL, A(0), to(1000, 8), Ok(Number));
    check(P::TRACING, A::TRACE_FENTRY, at(0, 8), Err("typed"));
}
