//! A load balancer's `spec`, with every default written out.

use model::LoadBalancer;
use model::load_balancer::{
    AttachMode, Backend, BackendState, DecapsulationHook, DeliveryMode, Edge, HashAlgorithm,
    HashOn, HealthCheck, HttpProbe, Keep, NextHop, PortRange, Probe, Vip,
};
use serde_json::{Map, Value, json};
use std::time::Duration;

pub fn spec(balancer: &LoadBalancer) -> Value {
    let edge = &balancer.edge;
    let mut spec = json!({
        "nextHop": match edge.next_hop {
            NextHop::Fib => "fib".to_owned(),
            NextHop::Mac(octets) => mac(octets),
        },
        "delivery": delivery(edge),
        "hashing": hashing(edge),
        "flows": {
            "keep": keep(edge.flows.keep),
            "table": edge.flows.table,
            "idle": duration(edge.flows.idle),
        },
    });
    if !edge.interfaces.is_empty() {
        let interfaces = edge.interfaces.iter().map(|interface| {
            json!({
                "name": interface.name,
                "attach": match interface.attach {
                    AttachMode::Auto => "auto",
                    AttachMode::Native => "native",
                    AttachMode::Generic => "generic",
                    AttachMode::Tc => "tc",
                },
            })
        });
        spec["interfaces"] = interfaces.collect();
    }
    if let Some(zone) = &edge.zone {
        spec["zone"] = zone.as_str().into();
    }
    if !edge.server_ids.is_empty() {
        let ids = edge.server_ids.iter();
        spec["serverIds"] = ids
            .map(|server| json!({"id": server.id, "backend": server.backend.to_string()}))
            .collect();
    }
    if !edge.source_routes.is_empty() {
        let routes = edge.source_routes.iter().map(|route| {
            json!({"source": route.source.to_string(), "backend": route.backend.to_string()})
        });
        spec["sourceRoutes"] = routes.collect();
    }
    if let Some(decapsulation) = &edge.decapsulation {
        let mut written = json!({
            "ipip": decapsulation.ipip,
            "gue": decapsulation.gue,
            "strictDestination": decapsulation.strict_destination,
            "at": match decapsulation.hook {
                DecapsulationHook::Xdp => "xdp",
                DecapsulationHook::Tc => "tc",
            },
        });
        for (name, addresses) in
            [("destinations", &decapsulation.destinations), ("egress", &decapsulation.egress)]
        {
            if !addresses.is_empty() {
                written[name] = addresses.iter().map(ToString::to_string).collect();
            }
        }
        spec["decapsulation"] = written;
    }
    if let Some(probes) = &edge.probes {
        let marks = probes.marks.iter();
        let mut written = json!({
            "marks": marks
                .map(|mark| json!({"mark": mark.mark, "backend": mark.backend.to_string()}))
                .collect::<Vec<_>>(),
        });
        if let Some(interface) = &probes.interface {
            written["interface"] = interface.as_str().into();
        }
        if let Some(octets) = probes.local_mac {
            written["localMac"] = mac(octets).into();
        }
        spec["probes"] = written;
    }
    spec["vips"] = balancer.vips.iter().map(vip).collect();
    spec
}

fn delivery(edge: &Edge) -> Value {
    let delivery = &edge.delivery;
    let mut written = json!({
        "mode": mode(delivery.mode),
        "guePort": delivery.gue_port,
        "genevePort": delivery.geneve_port,
        "geneveVni": delivery.geneve_vni,
        "mtu": delivery.mtu,
        "clientMtu": delivery.client_mtu,
        "tooBig": if delivery.drop_too_big { "drop" } else { "answer" },
    });
    let mut sources = Map::new();
    if let Some(v4) = delivery.source_v4 {
        sources.insert("ipv4".into(), v4.to_string().into());
    }
    if let Some(v6) = delivery.source_v6 {
        sources.insert("ipv6".into(), v6.to_string().into());
    }
    if !sources.is_empty() {
        written["sources"] = sources.into();
    }
    if let Some(masquerade) = &delivery.masquerade {
        let mut fields = json!({"ports": range(&masquerade.ports)});
        if let Some(v4) = masquerade.v4 {
            fields["ipv4"] = v4.to_string().into();
        }
        if let Some(v6) = masquerade.v6 {
            fields["ipv6"] = v6.to_string().into();
        }
        written["masquerade"] = fields;
    }
    written
}

fn hashing(edge: &Edge) -> Value {
    let mut written = match edge.hashing.algorithm {
        HashAlgorithm::Skep => json!({"algorithm": "skep"}),
        HashAlgorithm::KatranV1 => json!({"algorithm": "katran", "version": "V1"}),
        HashAlgorithm::KatranV2 => json!({"algorithm": "katran", "version": "V2"}),
    };
    if let Some(size) = edge.hashing.ring_size {
        written["ringSize"] = size.into();
    }
    written["slots"] = edge.hashing.slots.into();
    written
}

fn vip(vip: &Vip) -> Value {
    let whole = vip.block.prefix_len() == vip.block.max_prefix_len();
    let address = if whole { vip.block.addr().to_string() } else { vip.block.to_string() };
    let mut written = json!({
        "address": address,
        "ports": match vip.ports.as_slice() {
            [] => "all".into(),
            [one] => range(one),
            several => several.iter().map(range).collect(),
        },
        "protocol": vip.protocol.name(),
        "delivery": mode(vip.delivery),
        "flows": keep(vip.keep),
        "hashOn": match vip.hash_on {
            HashOn::Flow => "flow",
            HashOn::NoSourcePort => "noSourcePort",
            HashOn::DestinationPort => "destinationPort",
        },
    });
    for (name, on) in [
        ("quic", vip.quic),
        ("tcpServerId", vip.tcp_server_id),
        ("udpStableRouting", vip.udp_stable_routing),
        ("udpFlowMigration", vip.udp_flow_migration),
        ("sourceRouting", vip.source_routing),
        ("preferZone", vip.prefer_zone),
    ] {
        if on {
            written[name] = true.into();
        }
    }
    if let Some(limit) = vip.new_flows_per_second {
        written["newFlowsPerSecond"] = limit.into();
    }
    if let Some(check) = &vip.health_check {
        written["healthCheck"] = health_check(check);
    }
    written["backends"] = vip.backends.iter().map(backend).collect();
    written
}

fn backend(backend: &Backend) -> Value {
    let mut written = json!({
        "address": backend.address.to_string(),
        "weight": backend.weight,
        "state": match backend.state {
            BackendState::Active => "active",
            BackendState::Draining => "draining",
            BackendState::Down => "down",
            BackendState::Standby => "standby",
        },
    });
    if let Some(port) = backend.port {
        written["port"] = port.into();
    }
    if let Some(zone) = &backend.zone {
        written["zone"] = zone.as_str().into();
    }
    if backend.state == BackendState::Standby {
        written["priority"] = backend.priority.into();
    }
    for (name, on) in [("local", backend.local), ("forgetFlows", backend.forget_flows)] {
        if on {
            written[name] = true.into();
        }
    }
    written
}

fn health_check(check: &HealthCheck) -> Value {
    let mut written = json!({
        "interval": duration(check.interval),
        "timeout": duration(check.timeout),
        "healthyAfter": check.healthy_after,
        "unhealthyAfter": check.unhealthy_after,
        "slowStart": duration(check.slow_start),
        "throughEncapsulation": check.through_encapsulation,
    });
    let (name, fields) = match &check.probe {
        Probe::Tcp { port } => ("tcp", port.map_or(json!({}), |port| json!({"port": port}))),
        Probe::Http(probe) => (if probe.tls { "https" } else { "http" }, http(probe)),
        Probe::Icmp => ("icmp", json!({})),
        Probe::Script { command } => ("script", json!({"command": command})),
    };
    written[name] = fields;
    written
}

fn http(probe: &HttpProbe) -> Value {
    let (first, last) = probe.status;
    let mut written = json!({"path": probe.path, "status": format!("{first}-{last}")});
    if let Some(port) = probe.port {
        written["port"] = port.into();
    }
    if let Some(host) = &probe.host {
        written["host"] = host.as_str().into();
    }
    written
}

fn mode(mode: DeliveryMode) -> &'static str {
    match mode {
        DeliveryMode::Ipip => "ipip",
        DeliveryMode::Gue => "gue",
        DeliveryMode::Geneve => "geneve",
        DeliveryMode::Nat => "nat",
    }
}

fn keep(keep: Keep) -> &'static str {
    match keep {
        Keep::Moved => "moved",
        Keep::All => "all",
        Keep::None => "none",
    }
}

fn range(range: &PortRange) -> Value {
    match range.first == range.last {
        true => range.first.into(),
        false => format!("{}-{}", range.first, range.last).into(),
    }
}

fn duration(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

fn mac(octets: [u8; 6]) -> String {
    let octets = octets.map(|octet| format!("{octet:02x}"));
    octets.join(":")
}
