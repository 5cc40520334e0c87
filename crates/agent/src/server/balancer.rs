//! `skep lb`: the edge balancer as messages.

mod capture;
mod metrics;
mod which;

pub use capture::{Packets, capture};
pub use metrics::{metrics, write};
pub use which::which;

use crate::balancer::Balancing;
use crate::balancer::checks::{self, Finding};
use crate::balancer::history::Event;
use crate::node::Node;
use api::v1;
use model::load_balancer::{DeliveryMode, Keep};
use services::balancer::{BackendView, Role, VipView};
use std::net::IpAddr;

pub fn status(
    node: &Node,
    balancing: &Balancing,
    filter: &str,
) -> anyhow::Result<v1::BalancerStatusResponse> {
    let balancer = node.datapath.balancer();
    let views = balancer.views();
    let wanted = views.iter().filter(|view| {
        filter.is_empty() || view.object.to_string() == filter || view.title.contains(filter)
    });
    let used = balancer.used();
    let capacity = balancer.compiler().capacity();
    let tables = [
        ("front-ends", used.front_ends, capacity.front_ends),
        ("port ranges", used.ranges, capacity.ranges),
        ("address blocks", used.prefixes, capacity.prefixes),
        ("ring blocks", used.ring_blocks as usize, capacity.rings),
        ("backends", used.backends, capacity.backends),
        ("VIPs", used.vips, capacity.vips),
    ];
    let flows = match balancer.flow_table() {
        Some(capacity) => vec![("flows", balancer.flow_count()?, capacity)],
        None => Vec::new(),
    };
    Ok(v1::BalancerStatusResponse {
        interfaces: balancer
            .interfaces()
            .map(|interface| v1::BalancerInterface {
                name: interface.name.clone(),
                attachment: interface
                    .attachment
                    .map(|attachment| attachment.to_string())
                    .unwrap_or_default(),
                notes: interface.notes.clone(),
            })
            .collect(),
        vips: wanted.map(|view| vip(node, balancing, view)).collect::<anyhow::Result<_>>()?,
        counters: balancer
            .counters()?
            .into_iter()
            .filter(|counter| counter.count > 0)
            .map(|counter| v1::BalancerCounter {
                name: counter.name.to_owned(),
                count: counter.count,
                drop: counter.is_drop,
            })
            .collect(),
        tables: tables
            .into_iter()
            .chain(flows)
            .map(|(name, entries, capacity)| v1::BalancerTable {
                name: name.to_owned(),
                entries: entries as u64,
                capacity: capacity.into(),
            })
            .collect(),
        drained: balancer.compiler().drained().iter().map(IpAddr::to_string).collect(),
        problem: node.balancer_problem().unwrap_or_default().to_owned(),
    })
}

fn vip(node: &Node, balancing: &Balancing, view: &VipView) -> anyhow::Result<v1::Vip> {
    let balancer = node.datapath.balancer();
    let counters = match view.number {
        Some(number) => balancer.vip_counters(number)?,
        None => datapath::VipCounters::default(),
    };
    Ok(v1::Vip {
        name: view.title.clone(),
        namespace: view.object.namespace.to_string(),
        balancer: view.object.name.to_string(),
        file: view.origin.file.to_string(),
        line: view.origin.line,
        delivery: match view.delivery {
            DeliveryMode::Ipip => "ipip",
            DeliveryMode::Gue => "gue",
            DeliveryMode::Geneve => "geneve",
            DeliveryMode::Nat => "nat",
        }
        .to_owned(),
        flows: match view.keep {
            Keep::Moved => "moved",
            Keep::All => "all",
            Keep::None => "none",
        }
        .to_owned(),
        ring_size: view.ring_len,
        moved_slots: view.moved,
        counters: Some(v1::VipCounters {
            packets: counters.packets,
            bytes: counters.bytes,
            new_flows: counters.new_flows,
            moved: counters.moved,
            misses: counters.misses,
            limited: counters.limited,
            no_backend: counters.no_backend,
            too_big: counters.too_big,
        }),
        backends: view
            .backends
            .iter()
            .map(|one| backend(node, balancing, view, one))
            .collect::<anyhow::Result<_>>()?,
    })
}

fn backend(
    node: &Node,
    balancing: &Balancing,
    vip: &VipView,
    view: &BackendView,
) -> anyhow::Result<v1::VipBackend> {
    let counters = match view.number {
        Some(number) => node.datapath.balancer().backend_counters(number)?,
        None => datapath::BackendCounters::default(),
    };
    let (state, reason) = match view.role {
        Role::Serves(_) if view.share < services::balancer::FULL => {
            let percent = f64::from(view.share) / 10.0;
            (v1::vip_backend::State::Serving, format!("slow start, {percent:.0}% of its weight"))
        }
        Role::Serves(_) => (v1::vip_backend::State::Serving, String::new()),
        Role::KeepsFlows(reason) => (v1::vip_backend::State::KeepingFlows, reason.to_string()),
        Role::Dead(reason) => (v1::vip_backend::State::Dead, reason.to_string()),
    };
    Ok(v1::VipBackend {
        address: view.address.to_string(),
        port: view.port.unwrap_or(0).into(),
        zone: view.zone.clone().unwrap_or_default(),
        weight: view.weight,
        share: match vip.ring_len {
            0 => 0.0,
            slots => 100.0 * f64::from(view.slots) / f64::from(slots),
        },
        state: state.into(),
        reason,
        health: view
            .checked
            .as_ref()
            .map(|target| health(&checks::title(target), balancing.findings.of(target).as_ref())),
        packets: counters.packets,
        bytes: counters.bytes,
        line: view.line,
    })
}

fn health(check: &str, finding: Option<&Finding>) -> v1::BackendHealth {
    let Some(finding) = finding else {
        return v1::BackendHealth { check: check.to_owned(), healthy: true, ..Default::default() };
    };
    v1::BackendHealth {
        check: check.to_owned(),
        healthy: finding.healthy,
        checked: finding.latest.is_some(),
        message: finding.latest.as_ref().map(|it| it.message.clone()).unwrap_or_default(),
        since: Some(finding.since.into()),
        checks: finding.checks,
        failures: finding.failures,
        duration_us: finding.duration.as_micros() as u64,
    }
}

pub fn event(event: Event) -> v1::BalancerEvent {
    v1::BalancerEvent {
        time: Some(event.time.into()),
        kind: event.kind.name().to_owned(),
        backend: event.backend.to_string(),
        subject: event.subject,
        message: event.message,
    }
}
