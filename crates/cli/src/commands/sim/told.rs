//! A packet's way in words.

use super::{Sent, fate};
use crate::output::{Paint, Style};
use abi::event::{FlowEvent, FlowKind};
use bpf_interface::program::action_name;
use bpf_object::ProgramType;
use model::Model;
use policy::explain::DirectionState;
use policy::{Explanation, Party};
use serde_json::{Value, json};
use sim::{Balanced, Fate, From, Headers, Node, Place, SocketCall, Way, headers};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

/// Names of addresses that are no workload's.
pub struct Names {
    services: BTreeMap<IpAddr, String>,
}

impl Names {
    pub fn new(model: &Model) -> Self {
        let services = model.services.iter().flat_map(|(name, service)| {
            service.cluster_ips.iter().map(move |address| (*address, name.to_string()))
        });
        Self { services: services.collect() }
    }
}

/// All that is known of one packet.
pub struct Told<'a> {
    pub number: usize,
    pub node: &'a mut Node,
    pub names: &'a Names,
    pub sent: &'a Sent,
    pub way: &'a Way,
}

impl Told<'_> {
    pub fn text(mut self, is_expected: bool, style: Style) -> String {
        let mut text = format!("#{:<4} {}\n", self.number, self.flow());
        let (received, made): (Vec<_>, Vec<_>) =
            self.way.calls.iter().partition(|call| is_receiving(call));
        let faint = |text: String| style.paint(Paint::Faint, &text).to_string();
        let tell_call = |text: &mut String, call: &SocketCall| {
            let place = &self.node.endpoints()[call.endpoint].name;
            let _ = writeln!(
                text,
                "      {}",
                faint(format!("{} of {} in {place}", call.program, call.process))
            );
            if call.before != call.after {
                let _ = writeln!(text, "        peer {} → {}", call.before, call.after);
            }
        };
        for call in made {
            tell_call(&mut text, call);
        }
        if let Some(balanced) = &self.way.balanced {
            let place = &self.node.devices()[balanced.device].name;
            let _ = writeln!(text, "      {}", faint(format!("{} of {place}", balanced.program)));
            for line in self.balanced(balanced) {
                let _ = writeln!(text, "        {line}");
            }
        }
        for step in &self.way.steps {
            let place = self.place(step.place);
            let _ = writeln!(text, "      {}", faint(format!("{} of {place}", step.program)));
            for change in changes(&step.before, &step.after) {
                let _ = writeln!(text, "        {change}");
            }
        }
        for call in received {
            tell_call(&mut text, call);
        }
        let (paint, mark) = match fate(self.way) {
            "dropped" => (Paint::Bad, "✗"),
            _ => (Paint::Good, "✓"),
        };
        let _ = write!(text, "      {}", style.paint(paint, &format!("{mark} {}", self.ending())));
        if let Some(why) = self.why() {
            let _ = write!(text, "   {why}");
        }
        text.push('\n');
        if let (false, Some(expected)) = (is_expected, &self.sent.expect) {
            let _ = writeln!(
                text,
                "      {}",
                style.paint(Paint::Bad, &format!("expected was: {expected}"))
            );
        }
        text
    }

    pub fn value(mut self) -> Value {
        let steps: Vec<Value> = self
            .way
            .steps
            .iter()
            .map(|step| {
                json!({
                    "program": step.program,
                    "endpoint": match step.place {
                        Place::Endpoint(_) => Some(self.place(step.place)),
                        Place::Device(_) => None,
                    },
                    "device": match step.place {
                        Place::Endpoint(_) => None,
                        Place::Device(_) => Some(self.place(step.place)),
                    },
                    "action": step.action,
                    "redirect": step.redirect.as_ref().map(|redirect| format!("{redirect:?}")),
                    "changes": changes(&step.before, &step.after),
                })
            })
            .collect();
        let to = match self.way.fate {
            Fate::Delivered(to) => Some(self.node.endpoints()[to].name.to_string()),
            Fate::Left(device) => Some(self.node.devices()[device].name.clone()),
            _ => None,
        };
        let calls: Vec<Value> = self.way.calls.iter().map(|call| self.call(call)).collect();
        let balanced = self.way.balanced.as_ref().map(|balanced| {
            json!({
                "program": balanced.program,
                "device": self.node.devices()[balanced.device].name,
                "action": balanced.action,
                "vip": balanced.vip,
                "backend": balanced.backend.map(|backend| backend.to_string()),
                "counted": balanced.counted,
                "changes": changes(&balanced.before, &balanced.after),
            })
        });
        let reason = match self.way.fate {
            Fate::Dropped(reason) => reason.map(|reason| reason.name()),
            Fate::NoHops => Some("no-hops"),
            Fate::NoInterface => Some("no-interface"),
            Fate::Balanced => {
                let counted = self.way.balanced.as_ref().map(|balanced| &balanced.counted);
                counted.and_then(|counted| counted.first().copied())
            }
            _ => None,
        };
        json!({
            "number": self.number,
            "flow": self.flow(),
            "from": match self.sent.from {
                From::Endpoint(from) => Some(self.node.endpoints()[from].name.to_string()),
                From::Device(device) => Some(self.node.devices()[device].name.clone()),
                From::Host => None,
            },
            "calls": calls,
            "balancer": balanced,
            "steps": steps,
            "fate": fate(self.way),
            "to": to,
            "reason": reason,
            "why": self.why(),
            "packet": crate::commands::prog::run::hexadecimal(&self.way.frame),
        })
    }

    fn place(&self, place: Place) -> String {
        match place {
            Place::Endpoint(endpoint) => self.node.endpoints()[endpoint].name.to_string(),
            Place::Device(device) => self.node.devices()[device].name.clone(),
        }
    }

    fn call(&self, call: &SocketCall) -> Value {
        json!({
            "program": call.program,
            "endpoint": self.node.endpoints()[call.endpoint].name.to_string(),
            "process": call.process,
            "peer": call.before.to_string(),
            "translated": call.after.to_string(),
        })
    }

    /// What the edge balancer did, line by line.
    fn balanced(&self, balanced: &Balanced) -> Vec<String> {
        let action = action_name(ProgramType::XDP, balanced.action).unwrap_or("?");
        let mut lines = Vec::new();
        match (&balanced.vip, balanced.backend) {
            (Some(vip), Some(backend)) => lines.push(format!("{vip} by backend {backend}")),
            (Some(vip), None) => lines.push(vip.clone()),
            _ => {}
        }
        lines.extend(changes(&balanced.before, &balanced.after));
        match balanced.counted.as_slice() {
            [] => lines.push(action.to_owned()),
            counted => lines.push(format!("{action}, counted: {}", counted.join(", "))),
        }
        lines
    }

    fn flow(&self) -> String {
        let Some(headers) = headers(&self.sent.frame) else {
            let kind = match self.sent.frame.get(12..14) {
                Some([0x08, 0x06]) => "ARP".to_owned(),
                Some([high, low]) => format!("EtherType {high:02x}{low:02x}"),
                _ => "cut off".to_owned(),
            };
            return format!("{} bytes, {kind}", self.sent.frame.len());
        };
        let end = |address: IpAddr, port: Option<u16>| {
            let name = self.name(address);
            let port = port.map(|port| format!(":{port}")).unwrap_or_default();
            match (name, address.is_ipv6() && !port.is_empty()) {
                (Some(name), _) => format!("{name}{port}"),
                (None, true) => format!("[{address}]{port}"),
                (None, false) => format!("{address}{port}"),
            }
        };
        let (source, destination) = headers.ports.unzip();
        format!(
            "{} ► {}   {}",
            end(headers.source, source),
            end(headers.destination, destination),
            protocol(&headers)
        )
    }

    fn name(&self, address: IpAddr) -> Option<String> {
        let endpoint = self.node.endpoint_at(address).map(|endpoint| endpoint.name.to_string());
        endpoint.or_else(|| self.names.services.get(&address).cloned())
    }

    fn ending(&self) -> String {
        match self.way.fate {
            Fate::Delivered(to) => {
                format!("delivered to {}", self.node.endpoints()[to].name)
            }
            Fate::Host => "to the node itself".to_owned(),
            Fate::Left(device) => {
                format!("leaves the node by {}", self.node.devices()[device].name)
            }
            Fate::Balanced => "dropped by the balancer".to_owned(),
            Fate::NoInterface => "dropped: there is no such interface".to_owned(),
            Fate::Dropped(Some(reason)) => format!("dropped: {}", reason.name()),
            Fate::Dropped(None) => "dropped".to_owned(),
            Fate::NoHops => "dropped: its hop limit ran out".to_owned(),
        }
    }

    /// The rules that decided, or what is missing.
    fn why(&mut self) -> Option<String> {
        let event = self.way.events.last().copied();
        if let Fate::Dropped(_) = self.way.fate {
            return event.and_then(|event| self.denied(&event));
        }
        let mut parts = Vec::new();
        for (number, what) in self.rules(event) {
            if let Some(rule) = self.node.policy().rule(number) {
                parts.push(format!(
                    "{what} {} rule {} ({})",
                    rule.policy,
                    rule.index + 1,
                    rule.origin
                ));
            }
        }
        let event = event?;
        if let Some(service) = self.node.services().service(event.service) {
            parts.insert(0, format!("service {service}"));
        }
        for (key, what) in [(event.source_process, "by"), (event.destination_process, "to")] {
            if let Some(name) = self.node.process_name(key) {
                parts.push(format!("{what} process {name} ({})", { key.pid }));
            }
        }
        match FlowKind::from_number(event.kind) {
            Some(FlowKind::Reply) => parts.insert(0, "reply".to_owned()),
            Some(FlowKind::End) => parts.insert(0, "end of the flow".to_owned()),
            _ => {}
        }
        (!parts.is_empty()).then(|| parts.join(", "))
    }

    fn rules(&self, event: Option<FlowEvent>) -> Vec<(u32, &'static str)> {
        let rules = event.map_or((0, 0), |event| (event.egress_rule, event.ingress_rule));
        [(rules.0, "egress"), (rules.1, "ingress")]
            .into_iter()
            .filter(|(number, _)| *number != 0)
            .collect()
    }

    /// By the policies' own words.
    fn denied(&mut self, event: &FlowEvent) -> Option<String> {
        let (from, to) = (IpAddr::from(event.source), IpAddr::from(event.destination));
        let port = event.destination_port.number();
        let policy = self.node.policy_mut();
        let explanation = policy
            .explain(&Party::Address(from), &Party::Address(to), event.protocol, port)
            .ok()?;
        let Explanation { egress, ingress, hint, .. } = explanation;
        for report in [egress, ingress] {
            let DirectionState::Restricted { allowed: false, decided_by, policies } = report.state
            else {
                continue;
            };
            let text = match decided_by {
                Some(rule) => {
                    format!("{} rule {} denies it ({})", rule.policy, rule.index + 1, rule.origin)
                }
                None => {
                    let names: Vec<String> = policies
                        .iter()
                        .map(|report| format!("{} ({})", report.policy, report.origin))
                        .collect();
                    format!("no rule of {} allows it", names.join(", "))
                }
            };
            // Hints speak of ports.
            let has_ports = matches!(event.protocol, 6 | 17 | 132);
            return Some(match hint.filter(|_| has_ports) {
                Some(hint) => format!("{text}\n        {hint}"),
                None => text,
            });
        }
        None
    }
}

/// What a capture says of a packet: its number, and what was done to it on its way.
pub fn comment(number: usize, way: &Way) -> String {
    let mut text = format!("#{number}");
    for call in &way.calls {
        if call.before != call.after {
            let _ = write!(text, ", {}: {} → {}", call.program, call.before, call.after);
        }
    }
    if let Some(Balanced { vip: Some(vip), backend: Some(backend), .. }) = &way.balanced {
        let _ = write!(text, ", {vip} by {backend}");
    }
    text
}

/// A call that comes after the packet.
fn is_receiving(call: &SocketCall) -> bool {
    call.program.starts_with("recvmsg")
}

fn protocol(headers: &Headers) -> String {
    const FLAGS: [&str; 6] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG"];
    let name = match headers.protocol {
        1 => "icmp",
        6 => "tcp",
        17 => "udp",
        58 => "icmpv6",
        132 => "sctp",
        number => return format!("protocol {number}"),
    };
    let Some(flags) = headers.tcp_flags else { return name.to_owned() };
    let set: Vec<&str> =
        (0..6).filter(|bit| flags & 1 << bit != 0).map(|bit| FLAGS[bit as usize]).collect();
    format!("{name} {}", set.join(","))
}

/// What a program changed in a packet's headers.
fn changes(before: &[u8], after: &[u8]) -> Vec<String> {
    if before == after {
        return Vec::new();
    }
    let (Some(old), Some(new)) = (headers(before), headers(after)) else {
        return vec![crate::commands::prog::run::changes(before, after)];
    };
    let mut list = Vec::new();
    let end = |address: IpAddr, port: Option<u16>| match port {
        Some(port) => std::net::SocketAddr::new(address, port).to_string(),
        None => address.to_string(),
    };
    let ((old_from, old_to), (new_from, new_to)) = (old.ports.unzip(), new.ports.unzip());
    let mut change = |what: &str, old: String, new: String| {
        if old != new {
            list.push(format!("{what} {old} → {new}"));
        }
    };
    change("source", end(old.source, old_from), end(new.source, new_from));
    change("destination", end(old.destination, old_to), end(new.destination, new_to));
    change("hop limit", old.hops.to_string(), new.hops.to_string());
    let mac = |mac: [u8; 6]| mac.map(|byte| format!("{byte:02x}")).join(":");
    change("from", mac(old.macs[0]), mac(new.macs[0]));
    change("to", mac(old.macs[1]), mac(new.macs[1]));
    if list.is_empty() {
        list.push(crate::commands::prog::run::changes(before, after));
    }
    list
}
