//! Manifests: YAML or JSON text to `model` objects, and everything that is wrong with it.
//!
//! A text holds any number of documents; each is an object, a list of objects, or a `kind: List`.
//! What is wrong in one object doesn't hide what is wrong in the next, and an object comes out
//! only if nothing is wrong with it. Field names, defaults and rules are those of the Kubernetes
//! API; a field that would change what happens and isn't supported is a warning that says so.

mod endpoint_slice;
mod load_balancer;
mod metadata;
mod network_policy;
mod node;
mod reader;
mod selector;
mod service;
mod suggest;
mod syntax;
mod workload;
mod yaml;

#[cfg(test)]
mod tests;

pub use endpoint_slice::SERVICE_NAME_LABEL;
pub use service::annotations::{
    ALGORITHM as ALGORITHM_ANNOTATION, FORWARDING as FORWARDING_ANNOTATION,
};
pub use yaml::MAX_BYTES;

use crate::diagnostic::{Diagnostic, Severity};
use model::{Kind, Namespace, Object, ObjectRef, Origin};
use node::{Node, Scalar, Value};
use reader::{Fields, Reader};
use std::collections::HashMap;
use std::ops::Range;
use suggest::nearest;

/// What a text holds.
#[derive(Debug, Default)]
pub struct Parsed {
    /// The objects that nothing is wrong with, each name once.
    pub manifests: Vec<Manifest>,
    pub diagnostics: Vec<Diagnostic>,
}

/// An object and the part of the text that says it.
#[derive(Clone, Debug)]
pub struct Manifest {
    pub object: Object,
    /// In bytes.
    pub source: Range<usize>,
    /// The line (from 1) that `source` begins on.
    pub line: u32,
}

impl Parsed {
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }

    pub fn objects(&self) -> impl Iterator<Item = &Object> {
        self.manifests.iter().map(|manifest| &manifest.object)
    }

    pub fn into_objects(self) -> Vec<Object> {
        self.manifests.into_iter().map(|manifest| manifest.object).collect()
    }
}

/// Reads a text. `file` is what its places are called.
pub fn parse(file: &str, text: &str) -> Parsed {
    parse_from_line(file, text, 1)
}

/// Reads bytes that should be UTF-8.
pub fn parse_bytes(file: &str, bytes: &[u8]) -> Parsed {
    match std::str::from_utf8(bytes) {
        Ok(text) => parse(file, text),
        Err(error) => {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            let message = format!("line {line} is not valid UTF-8 text");
            Parsed {
                manifests: Vec::new(),
                diagnostics: vec![Diagnostic::about_file(Severity::Error, file, message)],
            }
        }
    }
}

/// Reads a part of a file that begins on its line `line` (from 1).
pub(crate) fn parse_from_line(file: &str, text: &str, line: u32) -> Parsed {
    if text.len() > MAX_BYTES {
        let message = format!("longer than {} MiB", MAX_BYTES >> 20);
        let diagnostic = Diagnostic::about_file(Severity::Error, file, message)
            .with_help("split it into several files");
        return Parsed { manifests: Vec::new(), diagnostics: vec![diagnostic] };
    }
    let lines_before = line.saturating_sub(1);
    let mut walk = Walk {
        reader: Reader::new(file, text, lines_before),
        manifests: Vec::new(),
        names: HashMap::new(),
    };
    yaml::documents(text, |document| {
        let broken = !document.problems.is_empty();
        for problem in document.problems {
            let draft = walk.reader.error(problem.place, problem.message).label(problem.label);
            if let Some(help) = problem.help {
                draft.help(help);
            }
        }
        if let Some(root) = document.root {
            let kept = walk.manifests.len();
            walk.document(&root, document.range, document.line.saturating_add(lines_before));
            // Read for what else is wrong with it.
            if broken {
                walk.manifests.truncate(kept);
            }
        }
    });
    let mut diagnostics = walk.reader.diagnostics;
    diagnostics.sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column));
    Parsed { manifests: walk.manifests, diagnostics }
}

struct Walk<'t> {
    reader: Reader<'t>,
    manifests: Vec<Manifest>,
    names: HashMap<ObjectRef, Origin>,
}

impl Walk<'_> {
    fn document(&mut self, root: &Node, range: Range<usize>, line: u32) {
        if let Value::Sequence(items) = &root.value {
            self.items(items);
        } else if root.field("kind").and_then(Node::scalar) == Some(Scalar::Text("List")) {
            let Some(mut list) = self.reader.fields(root, "List") else { return };
            list.ignore(&["kind", "apiVersion", "metadata"]);
            let items = list.required(&mut self.reader, "items");
            let items = items.and_then(|node| self.reader.items(node, "items"));
            self.items(items.unwrap_or_default());
            list.finish(&mut self.reader);
        } else {
            self.object(root, range, line);
        }
    }

    fn items(&mut self, items: &[Node]) {
        for item in items {
            let line = self.reader.origin(item.place).line;
            self.object(item, item.place.start..item.place.end, line);
        }
    }

    fn object(&mut self, node: &Node, source: Range<usize>, line: u32) {
        let before = self.reader.diagnostics.len();
        let read = object(&mut self.reader, node);
        let reported = self.reader.diagnostics.get(before..).unwrap_or_default();
        let Some((object, name)) = read.filter(|_| !reported.iter().any(Diagnostic::is_error))
        else {
            return;
        };
        let reference = object.reference();
        if let Some(first) = self.names.get(&reference) {
            let first = first.to_string();
            self.reader
                .error(name, format_args!("{reference} is given twice"))
                .label(format_args!("first at {first}"))
                .help("rename or remove one of them");
            return;
        }
        self.names.insert(reference, object.origin().clone());
        self.manifests.push(Manifest { object, source, line });
    }
}

fn object(reader: &mut Reader, node: &Node) -> Option<(Object, node::Place)> {
    if !matches!(node.value, Value::Mapping(_)) {
        reader
            .error(node.place, "this is not a manifest")
            .label(format_args!("a manifest is a mapping, this is {}", node.describe()));
        return None;
    }
    let mut fields = reader.fields(node, "manifest")?;
    let kind = kind(reader, &mut fields)?;
    let metadata = metadata::read(reader, kind, node.place, &mut fields);
    let name_place = metadata.as_ref().map(|metadata| metadata.name_place);
    let object = match kind {
        Kind::Namespace => {
            fields.ignore(&["spec"]);
            metadata.map(|metadata| {
                Object::Namespace(Namespace {
                    name: metadata.name,
                    labels: metadata.labels,
                    origin: metadata.origin,
                })
            })
        }
        Kind::Workload => workload::read(reader, metadata, &mut fields).map(Object::Workload),
        Kind::Service => service::read(reader, metadata, &mut fields)
            .map(|service| Object::Service(service.into())),
        Kind::EndpointSlice => endpoint_slice::read(reader, metadata, &mut fields)
            .map(|slice| Object::EndpointSlice(slice.into())),
        Kind::NetworkPolicy => network_policy::read(reader, metadata, &mut fields)
            .map(|policy| Object::NetworkPolicy(policy.into())),
        Kind::LoadBalancer => load_balancer::read(reader, metadata, &mut fields)
            .map(|balancer| Object::LoadBalancer(balancer.into())),
    };
    // What Kubernetes reports about an object says nothing of what it should be.
    fields.ignore(&["status"]);
    fields.finish(reader);
    object.zip(name_place)
}

fn kind(reader: &mut Reader, fields: &mut Fields) -> Option<Kind> {
    let version_node = fields.required(reader, "apiVersion");
    let kind_node = fields.required(reader, "kind");
    let version = version_node.and_then(|node| reader.text(node, "apiVersion"));
    let name = kind_node.and_then(|node| reader.text(node, "kind"));
    let (kind_node, name) = (kind_node?, name?);
    let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.name() == name) else {
        let known = Kind::ALL.map(Kind::name);
        let draft = reader
            .error(kind_node.place, format_args!("unknown kind `{}`", selector::shorten(name)));
        let draft = match nearest(name, &known) {
            Some(near) => draft.label(format_args!("did you mean `{near}`?")),
            None => draft,
        };
        draft.help(format_args!("Skep reads {} and List", known.join(", ")));
        return None;
    };
    let (node, version) = (version_node?, version?);
    if version != kind.api_version() {
        reader
            .error(
                node.place,
                format_args!("unknown version `{}` of {kind}", selector::shorten(version)),
            )
            .label(format_args!("Skep reads `{}`", kind.api_version()));
        return None;
    }
    Some(kind)
}
