//! Objects and diagnostics as messages.

use crate::node::Node;
use api::v1;
use datapath::State;
use model::{Labels, Object, ObjectRef};
use std::time::SystemTime;
use store::{Diagnostic, Severity, emit};

pub fn object_ref(reference: &ObjectRef) -> v1::ObjectRef {
    v1::ObjectRef {
        kind: reference.kind.name().to_owned(),
        namespace: reference.name.namespace.to_string(),
        name: reference.name.name.to_string(),
    }
}

/// Notes are for the log only.
pub fn diagnostic(diagnostic: &Diagnostic) -> Option<v1::Diagnostic> {
    let severity = match diagnostic.severity {
        Severity::Error => v1::diagnostic::Severity::Error,
        Severity::Warning => v1::diagnostic::Severity::Warning,
        Severity::Note => return None,
    };
    Some(v1::Diagnostic {
        severity: severity.into(),
        file: diagnostic.file.clone(),
        line: diagnostic.line,
        column: diagnostic.column,
        end_column: match diagnostic.column {
            0 => 0,
            column => column.saturating_add(diagnostic.length),
        },
        message: diagnostic.message.clone(),
        label: diagnostic.label.clone(),
        help: diagnostic.help.clone().unwrap_or_default(),
        object: None,
        source_line: String::new(),
    })
}

/// The labels that selectors are matched with.
pub fn labels_of(object: &Object) -> Labels {
    match object {
        Object::Namespace(namespace) => namespace.labels.clone(),
        Object::Workload(workload) => workload.labels.clone(),
        _ => Labels::default(),
    }
}

pub fn object(node: &Node, object: &Object) -> v1::Object {
    let reference = object.reference();
    let from_file = node.desired().file_origin(&reference).is_some();
    let age = node.changed_at(&reference).and_then(|at| SystemTime::now().duration_since(at).ok());
    v1::Object {
        kind: reference.kind.name().to_owned(),
        namespace: reference.name.namespace.to_string(),
        name: reference.name.name.to_string(),
        labels: labels_of(object).0.into_iter().collect(),
        file: if from_file { object.origin().file.to_string() } else { "api".to_owned() },
        line: object.origin().line,
        yaml: emit::to_yaml(object),
        json: emit::to_json(object).to_string(),
        status: status(node, object),
        age: age.and_then(|age| age.try_into().ok()),
    }
}

/// In a few words.
fn status(node: &Node, object: &Object) -> String {
    let reference = object.reference();
    if let Some(problem) = node.problems_of(&reference).first() {
        return problem.message.clone();
    }
    match object {
        Object::Workload(workload) => match node.datapath.endpoint(&workload.name) {
            Some(endpoint) if endpoint.state == State::Ready && !endpoint.message.is_empty() => {
                format!("ready; {}", endpoint.message)
            }
            Some(endpoint) if endpoint.state == State::Ready => "ready".to_owned(),
            Some(endpoint) => endpoint.message.clone(),
            None => "waiting".to_owned(),
        },
        Object::NetworkPolicy(_) => "enforced".to_owned(),
        Object::Service(service) if service.cluster_ips.is_empty() => "headless".to_owned(),
        Object::Service(service) => {
            let backends = super::tables::backends_of(node, &service.name);
            format!("{backends} {}", if backends == 1 { "backend" } else { "backends" })
        }
        Object::EndpointSlice(slice) => format!("{} endpoints", slice.endpoints.len()),
        Object::LoadBalancer(balancer) => match balancer.vips.len() {
            1 => "1 VIP".to_owned(),
            vips => format!("{vips} VIPs"),
        },
        Object::Namespace(_) => String::new(),
    }
}
