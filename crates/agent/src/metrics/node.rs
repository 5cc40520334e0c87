//! Endpoints, policy, services, connections, events, drops.

use super::connections::{ServiceTotal, ServiceTotals};
use super::text::{Kind, Text};
use api::v1;
use std::collections::BTreeMap;

/// Ports of services that have series of their own; with more, those that come later by name go
/// without, and `skep_service_series_omitted` counts them.
const MOST_SERVICES: usize = 1000;

type Number = fn(&v1::StatusResponse) -> u64;

/// A metric, what it tells, and its number for one of what it is told of.
type Row<T, N> = (&'static str, &'static str, fn(&T) -> N);

pub fn write(text: &mut Text, status: &v1::StatusResponse, policy_revision: u32) {
    text.head("skep_build_info", Kind::Gauge, "1, with what runs here.");
    let labels = [("version", status.version.as_str()), ("kernel", &status.kernel_release)];
    text.line("skep_build_info", &labels, 1);
    counts(text, status, policy_revision);
    programs(text, status);
    let gauges: [Row<v1::MapStatus, u64>; 2] = [
        ("skep_map_entries", "Entries of a map in use.", |map| map.entries),
        ("skep_map_capacity", "Entries that a map takes.", |map| map.capacity),
    ];
    for (metric, help, value) in gauges {
        text.head(metric, Kind::Gauge, help);
        for map in &status.maps {
            text.line(metric, &[("map", &map.name)], value(map));
        }
    }
    traffic(text, status);
    let severities = [
        ("error", v1::diagnostic::Severity::Error),
        ("warning", v1::diagnostic::Severity::Warning),
    ];
    text.head("skep_diagnostics", Kind::Gauge, "What is wrong now, as skep status tells it.");
    for (name, severity) in severities {
        let count = status.diagnostics.iter().filter(|it| it.severity() == severity).count();
        text.line("skep_diagnostics", &[("severity", name)], count);
    }
}

fn counts(text: &mut Text, status: &v1::StatusResponse, policy_revision: u32) {
    let counts = status.counts.unwrap_or_default();
    text.head("skep_endpoints", Kind::Gauge, "Workloads of this node.");
    for (state, count) in [
        ("ready", counts.endpoints_ready),
        ("not_ready", counts.endpoints.saturating_sub(counts.endpoints_ready)),
    ] {
        text.line("skep_endpoints", &[("state", state)], count);
    }
    for (metric, help, value) in [
        ("skep_identities", "Identities in use.", counts.identities),
        ("skep_network_policies", "Network policies in force.", counts.policies),
        ("skep_rule_sets", "Rule sets that these are compiled to.", counts.rule_sets),
        ("skep_front_ends", "Addresses and ports at which services answer.", counts.services),
        ("skep_backends", "Backends of services, each once.", counts.backends),
        (
            "skep_policy_revision",
            "Raised with every change of policy or identities.",
            policy_revision,
        ),
    ] {
        text.single(metric, Kind::Gauge, help, value);
    }
}

fn programs(text: &mut Text, status: &v1::StatusResponse) {
    let gauges: [Row<v1::ProgramStatus, u32>; 2] = [
        ("skep_programs_attached", "Places that have the program.", |it| it.attached),
        ("skep_programs_wanted", "Places that should have it.", |it| it.wanted),
    ];
    for (metric, help, value) in gauges {
        text.head(metric, Kind::Gauge, help);
        for program in &status.programs {
            text.line(metric, &[("program", &program.name)], value(program));
        }
    }
}

fn traffic(text: &mut Text, status: &v1::StatusResponse) {
    let drops: [Row<v1::DropCount, u64>; 2] = [
        ("skep_dropped_packets_total", "Packets dropped, by reason.", |it| it.packets),
        ("skep_dropped_bytes_total", "Bytes of these packets.", |it| it.bytes),
    ];
    for (metric, help, value) in drops {
        text.head(metric, Kind::Counter, help);
        for drop in &status.drops {
            let reason = drop.reason().as_str_name();
            let reason = reason.trim_start_matches("DROP_REASON_").to_ascii_lowercase();
            text.line(metric, &[("reason", &reason)], value(drop));
        }
    }
    let counters: [(&str, &str, Number); 11] = [
        ("skep_forwarded_packets_total", "Packets forwarded.", |it| {
            of_traffic(it).forwarded_packets
        }),
        ("skep_forwarded_bytes_total", "Bytes of these.", |it| of_traffic(it).forwarded_bytes),
        (
            "skep_redirected_packets_total",
            "Packets handed to an endpoint past the host's stack.",
            |it| of_traffic(it).redirected_packets,
        ),
        (
            "skep_service_packets_translated_total",
            "Packets to services that were translated one by one.",
            |it| of_traffic(it).packet_translated,
        ),
        (
            "skep_service_sockets_translated_total",
            "Socket calls whose address was translated.",
            |it| of_traffic(it).socket_translated,
        ),
        ("skep_service_packets_shortcut_total", "Packets of these that XDP has sent on.", |it| {
            of_traffic(it).shortcut_packets
        }),
        ("skep_connections_created_total", "Flows that were begun.", |it| flows(it).created),
        ("skep_connections_expired_total", "Flows forgotten for want of packets.", |it| {
            flows(it).expired
        }),
        ("skep_connections_evicted_total", "Flows pushed out of a full table.", |it| {
            flows(it).evicted
        }),
        ("skep_flow_events_total", "Events that were read from the kernel.", |it| events(it).total),
        ("skep_flow_events_limited_total", "Events that a rate limit kept back.", |it| {
            events(it).limited
        }),
    ];
    for (metric, help, value) in counters {
        text.single(metric, Kind::Counter, help, value(status));
    }
    let lost = events(status).lost;
    let help = "Events that found the queue to the agent full.";
    text.single("skep_flow_events_lost_total", Kind::Counter, help, lost);
    let help = "Flows in the connection table.";
    text.single("skep_connections", Kind::Gauge, help, flows(status).entries);
    let help = "Flows that the table takes.";
    text.single("skep_connections_capacity", Kind::Gauge, help, flows(status).capacity);
}

fn of_traffic(status: &v1::StatusResponse) -> v1::TrafficStatus {
    status.traffic.unwrap_or_default()
}

fn flows(status: &v1::StatusResponse) -> v1::ConnectionStatus {
    status.connections.unwrap_or_default()
}

fn events(status: &v1::StatusResponse) -> v1::EventStatus {
    status.events.unwrap_or_default()
}

/// Namespace, name and port: what series of a service are told apart by.
pub type Labels = (String, String, String);

/// Totals by service.
#[derive(Debug, Default)]
pub struct ServiceNames(BTreeMap<Labels, ServiceTotal>);

impl ServiceNames {
    pub fn of(compiler: &services::Compiler, totals: &ServiceTotals) -> Self {
        let named = totals.iter().filter_map(|(id, total)| {
            let service = compiler.service(id)?;
            let port = match service.port_name.as_str() {
                "" => service.port.to_string(),
                name => name.to_owned(),
            };
            let name = &service.service;
            Some(((name.namespace.to_string(), name.name.to_string(), port), total))
        });
        ServiceNames(named.collect())
    }
}

pub fn write_services(text: &mut Text, services: &[v1::Service], totals: &ServiceNames) {
    // By port: every front-end of a family has the same backends.
    let mut backends: BTreeMap<Labels, BTreeMap<(&str, u32), bool>> = BTreeMap::new();
    for service in services {
        let port = match service.port_name.as_str() {
            "" => service.port.to_string(),
            name => name.to_owned(),
        };
        let labels = (service.namespace.clone(), service.name.clone(), port);
        let found = backends.entry(labels).or_default();
        for backend in &service.backends {
            let ready = backend.state() == v1::backend::State::Active;
            found.insert((&backend.address, backend.port), ready);
        }
    }
    let omitted = backends.len().saturating_sub(MOST_SERVICES);
    let shown: Vec<&Labels> = backends.keys().take(MOST_SERVICES).collect();
    let metric = "skep_service_backends";
    text.head(metric, Kind::Gauge, "Backends of a service's port, by state.");
    for labels in &shown {
        for (state, wanted) in [("ready", true), ("terminating", false)] {
            let count = backends[*labels].values().filter(|ready| **ready == wanted).count();
            text.line(metric, &[&pairs(labels)[..], &[("state", state)]].concat(), count);
        }
    }
    let series: [(Kind, Row<ServiceTotal, u64>); 3] = [
        (
            Kind::Gauge,
            (
                "skep_service_connections",
                "Flows of a service's port in the connection table.",
                |it| it.open,
            ),
        ),
        (
            Kind::Counter,
            (
                "skep_service_packets_total",
                "Packets of these and earlier flows, both ways, at the latest walk of the table.",
                |it| it.packets,
            ),
        ),
        (Kind::Counter, ("skep_service_bytes_total", "Bytes of these packets.", |it| it.bytes)),
    ];
    for (kind, (metric, help, value)) in series {
        text.head(metric, kind, help);
        for labels in &shown {
            let total = totals.0.get(*labels).copied().unwrap_or_default();
            text.line(metric, &pairs(labels), value(&total));
        }
    }
    let help = "Ports of services without series of their own: there are too many.";
    text.single("skep_service_series_omitted", Kind::Gauge, help, omitted);
}

fn pairs((namespace, service, port): &Labels) -> [(&str, &str); 3] {
    [("namespace", namespace), ("service", service), ("port", port)]
}
