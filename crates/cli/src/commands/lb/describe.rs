//! `skep lb describe`: VIPs with their backends.

use crate::output::{Cell, Paint, Style, Table, qualified};
use api::v1::vip_backend::State;
use api::v1::{BackendHealth, BalancerStatusResponse, Vip, VipBackend};

pub fn render(status: &BalancerStatusResponse, style: Style) -> String {
    let vips: Vec<String> = status.vips.iter().map(|one| vip(one, style)).collect();
    vips.join("\n")
}

fn vip(vip: &Vip, style: Style) -> String {
    let counters = vip.counters.unwrap_or_default();
    let mut text = format!(
        "{}   {} ({}:{})\n",
        style.paint(Paint::Heading, &vip.name),
        qualified(&vip.namespace, &vip.balancer),
        vip.file,
        vip.line
    );
    let moved = match vip.moved_slots {
        0 => String::new(),
        moved => format!(", {moved} moved"),
    };
    text += &format!(
        "  delivery {}   flows kept: {}   ring of {} slots{moved}\n",
        vip.delivery, vip.flows, vip.ring_size
    );
    text += &format!(
        "  {} packets, {} bytes, {} new flows; {} moved, {} missed, {} limited, {} without backend, \
         {} too long\n",
        counters.packets,
        counters.bytes,
        counters.new_flows,
        counters.moved,
        counters.misses,
        counters.limited,
        counters.no_backend,
        counters.too_big
    );
    let mut table =
        Table::new(["BACKEND", "WEIGHT", "SHARE", "STATE", "HEALTH", "PACKETS"]).indented(2);
    for backend in &vip.backends {
        table.row([
            api_address(backend).into(),
            backend.weight.to_string().into(),
            format!("{:.1}%", backend.share).into(),
            state(backend),
            health(backend.health.as_ref()),
            backend.packets.to_string().into(),
        ]);
    }
    text + &table.render(style)
}

fn api_address(backend: &VipBackend) -> String {
    match backend.port {
        0 => backend.address.clone(),
        port => api::flow::socket_address(&backend.address, port),
    }
}

fn state(backend: &VipBackend) -> Cell {
    let (paint, name) = match backend.state() {
        State::Serving => (Paint::Good, "serves"),
        State::KeepingFlows => (Paint::Warning, "keeps flows"),
        State::Dead => (Paint::Bad, "dead"),
        State::Unknown => (Paint::Plain, "-"),
    };
    match backend.reason.as_str() {
        "" => Cell::new(paint, name),
        reason => Cell::new(paint, format!("{name}: {reason}")),
    }
}

fn health(health: Option<&BackendHealth>) -> Cell {
    let Some(health) = health else { return "-".into() };
    if !health.checked {
        return format!("{}: not checked yet", health.check).into();
    }
    let paint = if health.healthy { Paint::Good } else { Paint::Bad };
    let milliseconds = health.duration_us as f64 / 1000.0;
    Cell::new(paint, format!("{}: {} ({milliseconds:.1} ms)", health.check, health.message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_vip() {
        let backend = |address: &str, state: State, reason: &str, health| VipBackend {
            address: address.into(),
            weight: 1,
            share: 50.0,
            state: state.into(),
            reason: reason.into(),
            health,
            ..Default::default()
        };
        let checked = BackendHealth {
            check: "http 80 /".into(),
            checked: true,
            message: "status 503".into(),
            duration_us: 1500,
            ..Default::default()
        };
        let status = BalancerStatusResponse {
            vips: vec![Vip {
                name: "tcp 192.0.2.1:80".into(),
                namespace: "default".into(),
                balancer: "edge".into(),
                file: "edge.yaml".into(),
                line: 12,
                delivery: "ipip".into(),
                flows: "moved".into(),
                ring_size: 4093,
                moved_slots: 7,
                backends: vec![
                    backend("10.0.0.1", State::Serving, "", None),
                    backend("10.0.0.2", State::Dead, "health check fails", Some(checked)),
                ],
                ..Default::default()
            }],
            ..Default::default()
        };
        insta::assert_snapshot!(render(&status, Style::PLAIN), @r"
        tcp 192.0.2.1:80   default/edge (edge.yaml:12)
          delivery ipip   flows kept: moved   ring of 4093 slots, 7 moved
          0 packets, 0 bytes, 0 new flows; 0 moved, 0 missed, 0 limited, 0 without backend, 0 too long
          BACKEND    WEIGHT   SHARE   STATE                      HEALTH                           PACKETS
          10.0.0.1   1        50.0%   serves                     -                                0
          10.0.0.2   1        50.0%   dead: health check fails   http 80 /: status 503 (1.5 ms)   0
        ");
    }
}
