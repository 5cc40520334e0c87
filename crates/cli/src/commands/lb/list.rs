//! `skep lb list`: a line for each VIP.

use crate::output::{Cell, Paint, Style, Table, qualified};
use api::v1::vip_backend::State;
use api::v1::{BalancerStatusResponse, Vip};

pub fn table(status: &BalancerStatusResponse, style: Style) -> String {
    if status.vips.is_empty() {
        return "no VIPs; a LoadBalancer declares them (docs/loadbalancer.md)\n".to_owned();
    }
    let mut table =
        Table::new(["VIP", "BALANCER", "DELIVERY", "BACKENDS", "PACKETS", "NEW FLOWS", "DROPPED"]);
    for vip in &status.vips {
        let counters = vip.counters.unwrap_or_default();
        let dropped = counters.limited + counters.no_backend;
        let dropped = match dropped {
            0 => Cell::from("0"),
            some => Cell::new(Paint::Warning, some.to_string()),
        };
        table.row([
            vip.name.as_str().into(),
            qualified(&vip.namespace, &vip.balancer).into(),
            vip.delivery.as_str().into(),
            backends(vip),
            counters.packets.to_string().into(),
            counters.new_flows.to_string().into(),
            dropped,
        ]);
    }
    table.render(style)
}

/// `3 of 4`.
fn backends(vip: &Vip) -> Cell {
    let serving = vip.backends.iter().filter(|it| it.state() == State::Serving).count();
    let text = match vip.backends.len() {
        all if all == serving => all.to_string(),
        all => format!("{serving} of {all}"),
    };
    let paint = match serving {
        0 => Paint::Bad,
        _ if serving < vip.backends.len() => Paint::Warning,
        _ => Paint::Plain,
    };
    Cell::new(paint, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::v1::{VipBackend, VipCounters};

    #[test]
    fn vips_in_a_table() {
        let backend = |state: State| VipBackend { state: state.into(), ..Default::default() };
        let vip = |name: &str, backends: Vec<VipBackend>, no_backend| Vip {
            name: name.into(),
            namespace: "default".into(),
            balancer: "edge".into(),
            delivery: "ipip".into(),
            backends,
            counters: Some(VipCounters { packets: 12, no_backend, ..Default::default() }),
            ..Default::default()
        };
        let status = BalancerStatusResponse {
            vips: vec![
                vip("tcp 192.0.2.1:80", vec![backend(State::Serving), backend(State::Dead)], 0),
                vip("udp [fc00::1]:*", Vec::new(), 3),
            ],
            ..Default::default()
        };
        insta::assert_snapshot!(table(&status, Style::PLAIN), @r"
        VIP                BALANCER       DELIVERY   BACKENDS   PACKETS   NEW FLOWS   DROPPED
        tcp 192.0.2.1:80   default/edge   ipip       1 of 2     12        0           0
        udp [fc00::1]:*    default/edge   ipip       0          12        0           3
        ");
    }
}
