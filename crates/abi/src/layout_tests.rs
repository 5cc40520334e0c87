//! Prints every shared layout, so that a change of the ABI shows in review.

extern crate std;
use std::fmt::Write;
use std::string::String;

macro_rules! layouts {
    ($out:ident; $($ty:path { $($field:ident),* $(,)? })*) => {$(
        writeln!($out, "{} {}", stringify!($ty), size_of::<$ty>()).unwrap();
        $(writeln!($out, "  {:>4} {}", std::mem::offset_of!($ty, $field), stringify!($field)).unwrap();)*
    )*};
}

#[test]
fn layouts_are_as_reviewed() {
    use crate::{
        conntrack::*, endpoint::*, event::*, metrics::*, policy::*, process::*, service::*,
        state::*,
    };
    let mut out = String::new();
    layouts! { out;
        Endpoint { id, ifindex, identity, peer, ingress, egress, workload_mac, host_mac, flags }
        Device { v4, v6, mtu, flags }
        AddressKey { prefix_len, address }
        AddressInfo { identity, peer }
        PeerKey { rule_set, peer }
        PortKey { prefix_len, port_set, protocol, zero, port }
        Rule { id, flags }
        ServiceKey { address, port, protocol, scope }
        Service { id, ring_base, ring_len, flags, affinity_s }
        RingBlock { backends }
        Backend { address, port, protocol, zero }
        AffinityKey { client, service }
        Affinity { last_used_ns, backend, zero }
        MemberKey { service, backend }
        SourceRangeKey { prefix_len, service, address }
        SocketTranslationKey { cookie, backend, port, protocol, zero }
        SocketTranslation { address, port, zero, service, backend }
        ProcessKey { start_ns, pid, zero }
        Process { parent, cgroup_id, exec_id, uid, binary_len, comm, binary }
        SocketOwner { process, vip, vip_port, zero, service, backend, zero2 }
        FlowKey { low, high, low_port, high_port, protocol, zero }
        Connection {
            created_ns, last_seen_ns, original, reply, initiator, responder, vip, vip_port, flags,
            service, backend, epoch, initiator_identity, responder_identity, initiator_endpoint,
            responder_endpoint, egress_rule, ingress_rule, state, seen, denied, icmp_type, denied_direction,
            zero,
        }
        ServiceFlowKey { source, destination, source_port, destination_port, protocol, zero }
        ServiceFlow { last_seen_ns, backend, service, address, source, port, source_port, zero }
        Masquerade { client, port, zero }
        FragmentKey { source, destination, id, protocol, zero }
        FragmentPorts { source_port, destination_port }
        FlowEvent {
            time_ns, sequence, source, destination, vip, source_port, destination_port, vip_port,
            cpu, source_process, destination_process, original, reply, started_ns,
            source_identity, destination_identity, source_endpoint, destination_endpoint, service,
            backend, egress_rule, ingress_rule, ifindex, length, kind, reason, direction, protocol,
            tcp_flags, icmp_type, icmp_code, is_reply, flags, zero,
        }
        Metric { packets, bytes }
        State {
            abi_version, policy_epoch, flags, flow_events_per_second, drop_events_per_second,
            timeouts, zero,
        }
        Timeouts {
            tcp_opening, tcp_established, tcp_closing, other_unreplied, other, icmp,
        }
        Limiter { refilled_ns, tokens }
    }
    insta::assert_snapshot!(out);
}

#[test]
fn layouts_of_the_balancer_are_as_reviewed() {
    use crate::balancer::capture::{CaptureFilter, Captured};
    use crate::balancer::*;
    let mut out = String::new();
    layouts! { out;
        Settings {
            flags, max_frame, source_v4, source_v6, router_mac, local_mac, check_ifindex, gue_port,
            geneve_port, nat_first_port, nat_last_port, seed, ipip_source_v4, zero,
            ipip_source_v6, max_sent, udp_timeout_ns, generation, zero_too,
        }
        FrontEndKey { address, port, protocol, zero }
        FrontEndKeyV4 { address, port, protocol, zero }
        RangeKey { prefix_len, address, protocol, zero, port }
        PrefixKey { prefix_len, port, protocol, zero, address }
        FrontEnd {
            vip, flags, ring, ring_len, previous, new_flows_per_second, window_end_ns, sources,
            previous_len,
        }
        RingBlock { slots }
        Backend {
            address, source, flags, ifindex, mac, source_mac, port, zero, vni, zero2,
        }
        FlowKey { source, destination, source_port, destination_port, protocol, zero }
        Flow { last_seen_ns, backend, vip }
        Translation {
            source, destination, source_port, destination_port, backend, created_ns,
        }
        SourceKey { prefix_len, table, address }
        DownKey { vip, backend }
        Limit { refilled_ns, tokens }
        VipCounters {
            packets, bytes, new_flows, moved, misses, limited, no_backend, too_big,
        }
        BackendCounters { packets, bytes }
        CaptureFilter { kinds, reason, backend, client_mask, client, vips }
        Captured {
            time_ns, ifindex, action, vip, backend, counted, kinds, before_length, after_length,
            before, after,
        }
    }
    insta::assert_snapshot!(out);
}
