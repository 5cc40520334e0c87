//! `skep describe`: one object with all that the agent knows about it.

use super::{convert, tables};
use crate::flows::history::History;
use crate::flows::record::{Body, Conversion};
use crate::node::Node;
use api::v1;
use model::{Kind, NetworkPolicy, Object, ObjectName, ObjectRef};

pub fn describe(node: &mut Node, reference: &ObjectRef) -> Option<v1::DescribeResponse> {
    let object = node.find(reference)?;
    let mut described = v1::DescribeResponse {
        object: Some(convert::object(node, &object)),
        diagnostics: node
            .diagnostics_of(reference)
            .iter()
            .filter_map(convert::diagnostic)
            .collect(),
        ..Default::default()
    };
    match &object {
        Object::Workload(workload) => {
            let name = &workload.name;
            if let Some(endpoint) = node.datapath.endpoint(name).cloned() {
                described.endpoint = Some(tables::endpoint(node, &endpoint));
            }
            let policy = node.datapath.policy();
            if let Some(number) = policy.endpoint_identity(name)
                && let Some(identity) = policy.identity(number)
            {
                described.identity = Some(tables::identity(node, number, &identity));
            }
            described.policies = node
                .model
                .network_policies
                .values()
                .filter(|policy| selects(policy, name, &workload.labels))
                .map(|policy| selecting(policy))
                .collect();
            described.services = tables::services(node, |_| true)
                .into_iter()
                .filter(|service| {
                    service.backends.iter().any(|backend| {
                        *backend.workload == *name.name && *backend.namespace == *name.namespace
                    })
                })
                .collect();
        }
        Object::Service(service) => {
            described.services = tables::services(node, |name| *name == service.name);
        }
        Object::EndpointSlice(slice) => {
            let service = slice.service.as_deref().unwrap_or_default();
            let service = ObjectName::new(slice.name.namespace.clone(), service);
            described.services = tables::services(node, |name| *name == service);
        }
        Object::NetworkPolicy(policy) => {
            described.policies = vec![selecting(policy)];
            let selected: Vec<_> = node
                .datapath
                .endpoints()
                .filter(|one| selects(policy, &one.workload.name, &one.workload.labels))
                .cloned()
                .collect();
            described.endpoints =
                selected.iter().map(|endpoint| tables::endpoint(node, endpoint)).collect();
        }
        Object::Namespace(namespace) => {
            let everything = model::Selector::everything();
            described.endpoints = tables::endpoints(node, &namespace.name.name, &everything);
        }
        // `skep lb describe` tells what there is to tell.
        Object::LoadBalancer(_) => {}
    }
    Some(described)
}

/// The latest drops from or to the object, newest first.
pub fn drops(
    history: &History,
    conversion: &Conversion,
    object: &ObjectRef,
    most: usize,
) -> Vec<v1::Flow> {
    let mut drops = Vec::new();
    history.newest_first(|record| {
        if let Body::Flow(flow) = &record.body
            && flow.verdict() == v1::Verdict::Dropped
            && concerns(flow, object)
        {
            drops.push(conversion.message(record));
        }
        drops.len() < most
    });
    drops
}

fn concerns(flow: &crate::flows::record::FlowRecord, object: &ObjectRef) -> bool {
    let ends = [&flow.source, &flow.destination];
    let mut workloads = ends.iter().filter_map(|end| end.endpoint.as_ref()).map(|it| &it.workload);
    match object.kind {
        Kind::Workload => workloads.any(|workload| *workload == object.name),
        Kind::Namespace => workloads.any(|workload| workload.namespace == object.name.name),
        Kind::Service => flow.service.as_ref().is_some_and(|it| it.service == object.name),
        Kind::NetworkPolicy => flow.denied_by().iter().any(|rule| rule.policy == object.name),
        Kind::EndpointSlice | Kind::LoadBalancer => false,
    }
}

fn selects(policy: &NetworkPolicy, name: &ObjectName, labels: &model::Labels) -> bool {
    policy.name.namespace == name.namespace && policy.subjects.matches(labels)
}

fn selecting(policy: &NetworkPolicy) -> v1::SelectingPolicy {
    let reference = ObjectRef { kind: Kind::NetworkPolicy, name: policy.name.clone() };
    let rules = |rules: &Option<Vec<_>>| rules.as_ref().map_or(0, Vec::len) as u32;
    v1::SelectingPolicy {
        policy: Some(convert::object_ref(&reference)),
        file: policy.origin.file.to_string(),
        line: policy.origin.line,
        ingress: policy.ingress.is_some(),
        egress: policy.egress.is_some(),
        ingress_rules: rules(&policy.ingress),
        egress_rules: rules(&policy.egress),
    }
}
