//! One event with its names, as it is kept; and as the API sends it.

use super::names::{EndpointNames, IdentityNames, ProcessNames, RuleNames, ServiceNames};
use abi::conntrack::conn_flags;
use abi::drop_reason::DropReason;
use abi::event::{Direction, FlowEvent, FlowKind};
use abi::policy::NO_RULE;
use api::flow::exec_id;
use api::v1;
use host::process::BootClock;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

/// What is kept per event: the event itself, and shared names.
#[derive(Clone, Debug)]
pub struct Record {
    /// Position in the history, from 1.
    pub sequence: u64,
    pub time: SystemTime,
    pub body: Body,
}

#[derive(Clone, Debug)]
pub enum Body {
    Flow(Box<FlowRecord>),
    Lost { count: u64, cpu: Option<u32>, cause: v1::lost_events::Cause },
}

#[derive(Clone, Debug)]
pub struct FlowRecord {
    pub event: FlowEvent,
    pub source: End,
    pub destination: End,
    pub service: Option<Arc<ServiceNames>>,
    pub egress_rule: Option<Arc<RuleNames>>,
    pub ingress_rule: Option<Arc<RuleNames>>,
    pub interface: Option<Arc<str>>,
}

#[derive(Clone, Debug, Default)]
pub struct End {
    pub endpoint: Option<Arc<EndpointNames>>,
    pub identity: Option<Arc<IdentityNames>>,
    pub process: Option<Arc<ProcessNames>>,
}

impl FlowRecord {
    pub fn kind(&self) -> v1::FlowKind {
        FlowKind::from_number(self.event.kind).map_or(v1::FlowKind::Unknown, Into::into)
    }

    pub fn verdict(&self) -> v1::Verdict {
        match self.kind() {
            v1::FlowKind::Drop | v1::FlowKind::Cut => v1::Verdict::Dropped,
            _ => v1::Verdict::Forwarded,
        }
    }

    pub fn drop_reason(&self) -> Option<DropReason> {
        DropReason::from_number(self.event.reason)
    }

    pub fn direction(&self) -> v1::Direction {
        match self.event.direction {
            d if d == Direction::Ingress as u8 => v1::Direction::Ingress,
            d if d == Direction::Egress as u8 => v1::Direction::Egress,
            // Not decided by a policy: seen from the local end, the sender's if both are.
            _ if self.event.source_endpoint != 0 => v1::Direction::Egress,
            _ if self.event.destination_endpoint != 0 => v1::Direction::Ingress,
            _ => v1::Direction::Unknown,
        }
    }

    /// Rules that denied it: the one that says so, or the policies that restrict the direction.
    pub fn denied_by(&self) -> Vec<&Arc<RuleNames>> {
        if self.verdict() != v1::Verdict::Dropped {
            return Vec::new();
        }
        let ingress = self.event.direction == Direction::Ingress as u8;
        let rule = if ingress { &self.ingress_rule } else { &self.egress_rule };
        match (self.drop_reason(), rule) {
            (Some(DropReason::PolicyDenied), Some(rule)) => vec![rule],
            (Some(DropReason::PolicyDefault | DropReason::PolicyDenied), _) => {
                let end = if ingress { &self.destination } else { &self.source };
                end.endpoint.iter().flat_map(|endpoint| endpoint.policies(ingress)).collect()
            }
            _ => Vec::new(),
        }
    }

    fn allowed_by(&self) -> Vec<&Arc<RuleNames>> {
        let rules = self.egress_rule.iter().chain(&self.ingress_rule);
        match self.verdict() {
            v1::Verdict::Forwarded => rules.collect(),
            // The first direction's rule allowed it, the second's denied.
            _ if self.event.direction == Direction::Ingress as u8 => {
                self.egress_rule.iter().collect()
            }
            _ => Vec::new(),
        }
    }
}

impl EndpointNames {
    fn policies(&self, ingress: bool) -> &[Arc<RuleNames>] {
        if ingress { &self.ingress_policies } else { &self.egress_policies }
    }
}

/// What turning a record into a message takes from the node.
#[derive(Clone, Debug)]
pub struct Conversion {
    pub node: Arc<str>,
    /// Identifies this run of the agent in uuids.
    pub run: u64,
    pub clock: BootClock,
}

impl Conversion {
    pub fn message(&self, record: &Record) -> v1::Flow {
        let mut message = self.without_summary(record);
        message.summary = message.summary_text();
        message
    }

    fn without_summary(&self, record: &Record) -> v1::Flow {
        let common = v1::Flow {
            time: Some(record.time.into()),
            uuid: format!("{}-{:016x}-{:016x}", self.node, self.run, record.sequence),
            sequence: record.sequence,
            node_name: self.node.to_string(),
            ..Default::default()
        };
        match &record.body {
            Body::Flow(flow) => self.flow(flow, common),
            Body::Lost { count, cpu, cause } => v1::Flow {
                kind: v1::FlowKind::Lost.into(),
                lost: Some(v1::LostEvents { count: *count, cpu: *cpu, cause: (*cause).into() }),
                ..common
            },
        }
    }

    fn flow(&self, record: &FlowRecord, common: v1::Flow) -> v1::Flow {
        let event = &record.event;
        let started = self.clock.wall(event.started_ns);
        let lasted =
            std::time::Duration::from_nanos(event.time_ns.saturating_sub(event.started_ns));
        let known_flow = event.started_ns != 0;
        let translation = match event.flags & conn_flags::SOCKET_TRANSLATED {
            _ if event.vip.is_none() => v1::Translation::None,
            0 => v1::Translation::InPacket,
            _ => v1::Translation::AtSocket,
        };
        v1::Flow {
            kind: record.kind().into(),
            verdict: record.verdict().into(),
            drop_reason: record
                .drop_reason()
                .map_or(0, |reason| v1::DropReason::from(reason).into()),
            ip: Some(v1::Ip {
                source: IpAddr::from(event.source).to_string(),
                destination: IpAddr::from(event.destination).to_string(),
                version: if event.source.is_v4() { 4 } else { 6 },
            }),
            l4: Some(v1::Layer4::new(
                event.protocol,
                (event.source_port.number(), event.destination_port.number()),
                (event.icmp_type, event.icmp_code),
                event.tcp_flags,
            )),
            source: Some(self.end(
                &record.source,
                event.source_endpoint,
                event.source_identity,
                &event.source_process,
            )),
            destination: Some(self.end(
                &record.destination,
                event.destination_endpoint,
                event.destination_identity,
                &event.destination_process,
            )),
            destination_service: record.service.as_ref().map(|service| v1::ServiceName {
                namespace: service.service.namespace.to_string(),
                name: service.service.name.to_string(),
                port_name: service.port.clone(),
            }),
            vip: (!event.vip.is_none()).then(|| v1::SocketAddress {
                address: IpAddr::from(event.vip).to_string(),
                port: event.vip_port.number().into(),
            }),
            translation: translation.into(),
            direction: record.direction().into(),
            is_reply: known_flow.then_some(event.is_reply != 0),
            allowed_by: record.allowed_by().into_iter().map(policy_rule).collect(),
            denied_by: record.denied_by().into_iter().map(policy_rule).collect(),
            interface: (event.ifindex != 0).then(|| v1::Interface {
                index: event.ifindex,
                name: record.interface.as_deref().unwrap_or_default().to_owned(),
            }),
            length: event.length,
            forward: Some(v1::Counters {
                packets: event.original.packets,
                bytes: event.original.bytes,
            }),
            reverse: Some(v1::Counters { packets: event.reply.packets, bytes: event.reply.bytes }),
            start_time: known_flow.then(|| started.into()),
            duration: known_flow.then(|| lasted.try_into().unwrap_or_default()),
            cpu: event.cpu.into(),
            ..common
        }
    }

    fn end(
        &self,
        end: &End,
        endpoint: u32,
        identity: u32,
        process: &abi::process::ProcessKey,
    ) -> v1::FlowEnd {
        let names = end.identity.as_deref();
        let workload = end.endpoint.as_deref().map(|endpoint| &endpoint.workload);
        v1::FlowEnd {
            endpoint,
            identity,
            identity_name: names.map(|names| names.name.clone()).unwrap_or_default(),
            namespace: workload
                .map(|workload| workload.namespace.to_string())
                .or_else(|| names.map(|names| names.namespace.clone()))
                .unwrap_or_default(),
            workload: workload.map(|workload| workload.name.to_string()).unwrap_or_default(),
            labels: names
                .map(|names| names.labels.clone().into_iter().collect())
                .unwrap_or_default(),
            node_name: if endpoint == 0 { String::new() } else { self.node.to_string() },
            process: (!process.is_none()).then(|| self.process(process, end.process.as_deref())),
        }
    }

    fn process(&self, key: &abi::process::ProcessKey, names: Option<&ProcessNames>) -> v1::Process {
        let mut process = v1::Process {
            exec_id: exec_id(&self.node, key.start_ns, key.pid),
            pid: key.pid,
            start_time: Some(self.clock.wall(key.start_ns).into()),
            ..Default::default()
        };
        if let Some(names) = names {
            process.binary = names.binary.clone();
            process.comm = names.comm.clone();
            process.uid = names.uid;
            process.parent_pid = names.parent.pid;
            if !names.parent.is_none() {
                process.parent_exec_id =
                    exec_id(&self.node, names.parent.start_ns, names.parent.pid);
            }
        }
        process
    }
}

pub fn policy_rule(rule: &Arc<RuleNames>) -> v1::PolicyRule {
    let direction = if rule.ingress { v1::Direction::Ingress } else { v1::Direction::Egress };
    v1::PolicyRule {
        kind: "NetworkPolicy".to_owned(),
        namespace: rule.policy.namespace.to_string(),
        name: rule.policy.name.to_string(),
        direction: direction.into(),
        rule: rule.rule,
        file: rule.origin.file.to_string(),
        line: rule.origin.line,
    }
}

/// Rules by their number in an event.
pub fn rule_number(number: u32) -> Option<u32> {
    (number != NO_RULE).then_some(number)
}
