//! The balancer's counters in the text format of Prometheus.

use crate::balancer::Balancing;
use crate::metrics::text::{Kind, Text};
use crate::node::Node;
use api::v1;
use std::collections::BTreeSet;

pub fn metrics(node: &Node, balancing: &Balancing) -> anyhow::Result<String> {
    let mut text = Text::default();
    write(&mut text, &super::status(node, balancing, "")?);
    Ok(text.into_string())
}

type VipCounter = fn(&v1::VipCounters) -> u64;

/// Every metric of the edge balancer.
pub fn write(text: &mut Text, status: &v1::BalancerStatusResponse) {
    const OF_VIPS: [(&str, &str, VipCounter); 8] = [
        ("packets", "Packets for the VIP.", |it| it.packets),
        ("bytes", "Bytes of these packets, before encapsulation.", |it| it.bytes),
        ("new_flows", "Flows begun.", |it| it.new_flows),
        ("moved", "Packets that went elsewhere than to their slot's owner.", |it| it.moved),
        ("misses", "Packets whose flow should have been remembered.", |it| it.misses),
        ("limited", "New flows dropped by the limit.", |it| it.limited),
        ("no_backend", "Packets dropped for want of a backend.", |it| it.no_backend),
        ("too_big", "Packets that were too long.", |it| it.too_big),
    ];
    for (name, help, value) in OF_VIPS {
        let metric = format!("skep_lb_vip_{name}_total");
        text.head(&metric, Kind::Counter, help);
        for vip in &status.vips {
            let counters = vip.counters.unwrap_or_default();
            text.line(&metric, &[("vip", &vip.name)], value(&counters));
        }
    }
    text.head("skep_lb_backend_share", Kind::Gauge, "Share of a VIP's new flows, 0 to 1.");
    for vip in &status.vips {
        for backend in &vip.backends {
            let labels = [("vip", vip.name.as_str()), ("backend", &backend.address)];
            text.line("skep_lb_backend_share", &labels, backend.share / 100.0);
        }
    }
    text.head("skep_lb_backend_healthy", Kind::Gauge, "1 if the backend's health check is good.");
    for vip in &status.vips {
        for backend in &vip.backends {
            if let Some(health) = &backend.health {
                let labels = [("vip", vip.name.as_str()), ("backend", &backend.address)];
                text.line("skep_lb_backend_healthy", &labels, u8::from(health.healthy));
            }
        }
    }
    for (name, help, value) in [
        (
            "packets",
            "Packets sent to the backend.",
            (|it| it.packets) as fn(&v1::VipBackend) -> u64,
        ),
        ("bytes", "Bytes of these packets, before encapsulation.", |it| it.bytes),
    ] {
        let metric = format!("skep_lb_backend_{name}_total");
        text.head(&metric, Kind::Counter, help);
        // A backend has one counter, however many VIPs have it.
        let mut seen = BTreeSet::new();
        for (vip, backend) in
            status.vips.iter().flat_map(|vip| vip.backends.iter().map(move |it| (vip, it)))
        {
            let port = backend.port.to_string();
            if seen.insert((&backend.address, backend.port, &vip.delivery)) {
                let labels = [
                    ("backend", backend.address.as_str()),
                    ("port", &port),
                    ("delivery", &vip.delivery),
                ];
                text.line(&metric, &labels, value(backend));
            }
        }
    }
    for (metric, help, drops) in [
        ("skep_lb_dropped_total", "Packets dropped, by reason.", true),
        ("skep_lb_events_total", "What else the balancer did with packets.", false),
    ] {
        text.head(metric, Kind::Counter, help);
        let label = if drops { "reason" } else { "event" };
        for counter in status.counters.iter().filter(|counter| counter.drop == drops) {
            text.line(metric, &[(label, &counter.name)], counter.count);
        }
    }
    for (metric, help, value) in [
        (
            "skep_lb_table_entries",
            "Entries in a table.",
            (|it| it.entries) as fn(&v1::BalancerTable) -> u64,
        ),
        ("skep_lb_table_capacity", "Entries that a table takes.", |it| it.capacity),
    ] {
        text.head(metric, Kind::Gauge, help);
        for table in &status.tables {
            text.line(metric, &[("table", &table.name)], value(table));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_is_counted_once() {
        let backend = v1::VipBackend {
            address: "10.0.0.1".into(),
            share: 100.0,
            packets: 7,
            ..Default::default()
        };
        let vip = |name: &str| v1::Vip {
            name: name.into(),
            delivery: "ipip".into(),
            backends: vec![backend.clone()],
            ..Default::default()
        };
        let status = v1::BalancerStatusResponse {
            vips: vec![vip("tcp 192.0.2.1:80"), vip("tcp 192.0.2.1:443")],
            counters: vec![v1::BalancerCounter { name: "no-backend".into(), count: 3, drop: true }],
            ..Default::default()
        };
        let mut text = Text::default();
        write(&mut text, &status);
        let text = text.into_string();
        let count = |wanted: &str| text.lines().filter(|line| *line == wanted).count();
        let packets = "skep_lb_backend_packets_total{backend=\"10.0.0.1\",port=\"0\",\
                       delivery=\"ipip\"} 7";
        assert_eq!(count(packets), 1, "{text}");
        assert_eq!(count("skep_lb_dropped_total{reason=\"no-backend\"} 3"), 1, "{text}");
        let share = "skep_lb_backend_share{vip=\"tcp 192.0.2.1:443\",backend=\"10.0.0.1\"} 1";
        assert_eq!(count(share), 1, "{text}");
    }
}
