//! `skep policy explain`.

use crate::node::Node;
use api::v1;
use model::Protocol;
use policy::explain::{DirectionReport, DirectionState, ExplainError, Mismatch};
use policy::{Direction, Party, RuleRef};
use tonic::Status;

pub fn explain(
    node: &mut Node,
    request: &v1::ExplainPolicyRequest,
) -> Result<v1::ExplainPolicyResponse, Status> {
    let party = |text: &str| match text.parse::<Party>() {
        Ok(party) => party,
        Err(never) => match never {},
    };
    let protocol = match request.protocol.as_str() {
        "" => Protocol::Tcp,
        text => Protocol::ALL
            .into_iter()
            .find(|protocol| protocol.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| {
                let message = format!("protocol `{text}`: expected tcp, udp or sctp");
                Status::invalid_argument(message)
            })?,
    };
    let port = u16::try_from(request.port)
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(|| Status::invalid_argument("port: expected 1 to 65535"))?;
    let (to, port, protocol) = match request.to.strip_prefix("service:") {
        Some(service) => behind_service(node, service, port, protocol)?,
        None => (party(&request.to), port, protocol),
    };
    let explanation = node
        .datapath
        .policy_mut()
        .explain(&party(&request.from), &to, protocol.number(), port)
        .map_err(|error| match error {
            ExplainError::NoWorkload(_) => Status::not_found(error.to_string()),
        })?;
    Ok(v1::ExplainPolicyResponse {
        allowed: explanation.allowed,
        directions: [&explanation.egress, &explanation.ingress]
            .into_iter()
            .filter(|report| report.state != DirectionState::NotEnforced)
            .map(direction)
            .collect(),
        hint: explanation.hint.clone().unwrap_or_default(),
        text: explanation.to_string(),
    })
}

/// Policy sees backends, not services: the first backend stands for all, which the selector gives
/// the same labels in all but odd cases.
fn behind_service(
    node: &Node,
    service: &str,
    port: u16,
    protocol: Protocol,
) -> Result<(Party, u16, Protocol), Status> {
    let (namespace, name) = service.split_once('/').unwrap_or(("default", service));
    let name = model::ObjectName::new(namespace, name);
    super::tables::first_backend(node, &name, port, protocol)
        .map(|(address, port)| (Party::Address(address), port, protocol))
        .ok_or_else(|| {
            let message = format!("service {name} has no backend at port {port}/{protocol}");
            Status::not_found(message)
        })
}

fn direction(report: &DirectionReport) -> v1::DirectionExplanation {
    let mut message = v1::DirectionExplanation {
        direction: direction_number(report.direction).into(),
        subject: report.subject.clone(),
        allowed: report.allowed(),
        ..Default::default()
    };
    match &report.state {
        DirectionState::NotEnforced | DirectionState::NotRestricted => {}
        DirectionState::NodeItself => {
            message.note =
                "traffic between the node and its workloads is always allowed".to_owned();
        }
        DirectionState::Restricted { decided_by, policies, .. } => {
            message.restricted = true;
            message.decided_by = decided_by.as_ref().map(rule);
            message.policies = policies
                .iter()
                .map(|policy| v1::PolicyExplanation {
                    kind: "NetworkPolicy".to_owned(),
                    namespace: policy.policy.namespace.to_string(),
                    name: policy.policy.name.to_string(),
                    file: policy.origin.file.to_string(),
                    line: policy.origin.line,
                    rules: policy.rules.iter().map(rule_report).collect(),
                })
                .collect();
        }
    }
    message
}

fn rule_report(report: &policy::explain::RuleReport) -> v1::RuleExplanation {
    let ports = match report.ports.as_str() {
        "" => "every port".to_owned(),
        ports => format!("port {ports}"),
    };
    v1::RuleExplanation {
        rule: report.index,
        file: report.origin.file.to_string(),
        line: report.origin.line,
        text: format!("{}, {ports}", report.peers),
        peer_matches: !matches!(report.mismatch, Some(Mismatch::Peer(_))),
        port_matches: !matches!(report.mismatch, Some(Mismatch::Port(_))),
        deny: false,
        mismatch: match &report.mismatch {
            Some(Mismatch::Peer(why) | Mismatch::Port(why)) => why.clone(),
            None => String::new(),
        },
    }
}

fn rule(rule: &RuleRef) -> v1::PolicyRule {
    v1::PolicyRule {
        kind: "NetworkPolicy".to_owned(),
        namespace: rule.policy.namespace.to_string(),
        name: rule.policy.name.to_string(),
        direction: direction_number(rule.direction).into(),
        rule: Some(rule.index),
        file: rule.origin.file.to_string(),
        line: rule.origin.line,
    }
}

fn direction_number(direction: Direction) -> v1::Direction {
    match direction {
        Direction::Ingress => v1::Direction::Ingress,
        Direction::Egress => v1::Direction::Egress,
    }
}
