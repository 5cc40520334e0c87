//! `healthCheck`.

use super::values::{duration, each, number};
use crate::manifest::node::{Node, Value};
use crate::manifest::reader::{Fields, Reader};
use crate::manifest::selector::shorten;
use model::load_balancer::{HealthCheck, HttpProbe, Probe};
use std::time::Duration;

/// `has_port`: the VIP has one, which probes without a port of their own use. `has_mac`: the next
/// hop is a MAC address, without which the encapsulated probe would not know where to go.
pub fn read(
    reader: &mut Reader,
    node: &Node,
    has_port: bool,
    has_mac: bool,
) -> Option<HealthCheck> {
    let mut fields = reader.fields(node, "healthCheck")?;
    let probe = probe(reader, node, &mut fields, has_port);
    let mut time = |reader: &mut Reader, name: &'static str, default: Duration| {
        fields.optional(name).map_or(Some(default), |node| duration(reader, node, name))
    };
    let interval = time(reader, "interval", HealthCheck::INTERVAL);
    let timeout = time(reader, "timeout", HealthCheck::TIMEOUT);
    let slow_start = time(reader, "slowStart", Duration::ZERO);
    let mut count = |reader: &mut Reader, name: &'static str, default: u32| {
        fields.optional(name).map_or(Some(default), |node| {
            number(reader, node, name, 1..=100).map(|count| count as u32)
        })
    };
    let healthy_after = count(reader, "healthyAfter", HealthCheck::HEALTHY_AFTER);
    let unhealthy_after = count(reader, "unhealthyAfter", HealthCheck::UNHEALTHY_AFTER);
    let through_node = fields.optional("throughEncapsulation");
    let through =
        through_node.map_or(Some(false), |node| reader.flag(node, "throughEncapsulation"));
    if let (Some(true), Some(node), false) = (through, through_node, has_mac) {
        reader
            .error(node.place, "`throughEncapsulation` needs a fixed next hop")
            .help("give spec.nextHop as a MAC address");
    }
    fields.finish(reader);
    let (interval, timeout) = (interval?, timeout?);
    if interval < SHORTEST || timeout < SHORTEST {
        reader.error(
            node.place,
            format_args!("`interval` and `timeout` must be {}ms at least", SHORTEST.as_millis()),
        );
        return None;
    }
    Some(HealthCheck {
        probe: probe?,
        interval,
        timeout,
        healthy_after: healthy_after?,
        unhealthy_after: unhealthy_after?,
        slow_start: slow_start?,
        through_encapsulation: through?,
    })
}

const SHORTEST: Duration = Duration::from_millis(10);

const PROBES: [&str; 5] = ["tcp", "http", "https", "icmp", "script"];

fn probe(reader: &mut Reader, node: &Node, fields: &mut Fields, has_port: bool) -> Option<Probe> {
    // `tcp:` without anything behind it is a probe with all defaults.
    let given: Vec<(&str, &Node)> = PROBES
        .into_iter()
        .filter_map(|name| fields.entry(name).map(|entry| (name, &entry.value)))
        .collect();
    let [(name, probe)] = given[..] else {
        let message = match given.is_empty() {
            true => "`healthCheck` doesn't say how to check",
            false => "`healthCheck` names more than one kind of probe",
        };
        reader.error(node.place, message).help("give one of tcp, http, https, icmp, script");
        return None;
    };
    match name {
        "icmp" => {
            parts(reader, probe, name)?.finish_if(reader);
            Some(Probe::Icmp)
        }
        "script" => script(reader, probe),
        "tcp" => {
            let mut fields = parts(reader, probe, name)?;
            let port = port(reader, &mut fields, node, has_port);
            fields.finish_if(reader);
            Some(Probe::Tcp { port: port? })
        }
        scheme => http(reader, node, probe, scheme, has_port).map(Probe::Http),
    }
}

/// The fields of a probe; null stands for none.
struct Parts<'n>(Option<Fields<'n>>);

impl<'n> Parts<'n> {
    fn optional(&mut self, name: &'static str) -> Option<&'n Node> {
        self.0.as_mut()?.optional(name)
    }

    fn finish_if(self, reader: &mut Reader) {
        if let Some(fields) = self.0 {
            fields.finish(reader);
        }
    }
}

fn parts<'n>(reader: &mut Reader, node: &'n Node, name: &str) -> Option<Parts<'n>> {
    if node.is_null() {
        return Some(Parts(None));
    }
    reader.fields(node, name).map(|fields| Parts(Some(fields)))
}

fn port(
    reader: &mut Reader,
    fields: &mut Parts,
    check: &Node,
    has_port: bool,
) -> Option<Option<u16>> {
    match fields.optional("port") {
        Some(node) => reader.port(node, "port").map(Some),
        None if has_port => Some(None),
        None => {
            reader
                .error(check.place, "the health check needs a `port`")
                .label("the VIP has all ports");
            None
        }
    }
}

fn http(
    reader: &mut Reader,
    check: &Node,
    node: &Node,
    scheme: &str,
    has_port: bool,
) -> Option<HttpProbe> {
    let mut fields = parts(reader, node, scheme)?;
    let port = port(reader, &mut fields, check, has_port);
    let path = match fields.optional("path") {
        Some(node) => reader.text(node, "path").and_then(|path| {
            if path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic()) {
                return Some(path.to_owned());
            }
            reader
                .error(node.place, format_args!("`{}` is not a path", shorten(path)))
                .help("it begins with `/` and has no spaces");
            None
        }),
        None => Some("/".to_owned()),
    };
    let host = match fields.optional("host") {
        Some(node) => reader.text(node, "host").and_then(|host| {
            if !host.is_empty() && host.bytes().all(|b| b.is_ascii_graphic()) {
                return Some(Some(host.to_owned()));
            }
            reader.error(node.place, "`host` is not a host name");
            None
        }),
        None => Some(None),
    };
    let status = match fields.optional("status") {
        Some(node) => status(reader, node),
        None => Some((200, 399)),
    };
    fields.finish_if(reader);
    Some(HttpProbe {
        tls: scheme == "https",
        port: port?,
        path: path?,
        host: host?,
        status: status?,
    })
}

/// `200`, or `200-299`.
fn status(reader: &mut Reader, node: &Node) -> Option<(u16, u16)> {
    let text = match &node.value {
        Value::Scalar { text, .. } => text,
        _ => "",
    };
    let code = |text: &str| text.parse::<u16>().ok().filter(|code| (100..600).contains(code));
    let range = match text.split_once('-') {
        Some((first, last)) => code(first).zip(code(last)),
        None => code(text).map(|code| (code, code)),
    };
    match range {
        Some((first, last)) if first <= last => Some((first, last)),
        _ => {
            reader
                .error(node.place, "`status` is neither a status nor a range")
                .help("write it like 200 or 200-399");
            None
        }
    }
}

fn script(reader: &mut Reader, node: &Node) -> Option<Probe> {
    let mut fields = reader.fields(node, "script")?;
    let command_node = fields.required(reader, "command");
    let command = each(reader, command_node, "command", |reader, node| {
        reader.text(node, "command[]").map(str::to_owned)
    });
    fields.finish(reader);
    let (node, command) = (command_node?, command?);
    if !command.first().is_some_and(|program| program.starts_with('/')) {
        reader
            .error(node.place, "`command` must begin with the absolute path of a program")
            .help("write it like [/usr/lib/checks/web, --quick]");
        return None;
    }
    Some(Probe::Script { command })
}
