//! Annotations of a Service that mean something here: Skep's own, and those of peers.

use crate::manifest::metadata::Metadata;
use crate::manifest::node::Node;
use crate::manifest::reader::Reader;
use crate::manifest::selector::one_of;
use model::{Algorithm, Forwarding};

/// How a backend is chosen.
pub const ALGORITHM: &str = "skep.dev/lb-algorithm";
const ALGORITHMS: [&str; 2] = [ALGORITHM, "service.cilium.io/lb-algorithm"];

/// How traffic comes to backends on other nodes.
pub const FORWARDING: &str = "skep.dev/lb-mode";
const FORWARDINGS: [&str; 2] = [FORWARDING, "service.cilium.io/forwarding-mode"];

/// At which kinds of its addresses it answers; at all without it.
pub const ANSWERS: &str = "skep.dev/answers-at";
const ANSWERS_AT: [&str; 2] = [ANSWERS, "service.cilium.io/type"];
const KINDS: [&str; 4] = ["ClusterIP", "NodePort", "LoadBalancer", "ExternalIPs"];

pub fn algorithm(reader: &mut Reader, metadata: &Metadata) -> Option<Algorithm> {
    let Some((name, node)) = find(metadata, ALGORITHMS) else { return Some(Algorithm::default()) };
    Some(match one_of(reader, node, name, &["random", "maglev"])? {
        "maglev" => Algorithm::Maglev,
        _ => Algorithm::Random,
    })
}

/// What the service says of itself. A wrong value counts as none: the node's own way is right, too.
pub fn forwarding(reader: &mut Reader, metadata: &Metadata) -> Option<Forwarding> {
    let (name, node) = find(metadata, FORWARDINGS)?;
    let text = reader.text(node, name)?;
    let found = Forwarding::from_name(text);
    if found.is_none() {
        let names = Forwarding::ALL.map(Forwarding::name).join(", ");
        reader
            .warn(
                node.place,
                format_args!("`{name}` cannot be `{text}`: the node's `--lb-mode` holds"),
            )
            .help(format_args!("it is one of {names}"));
    }
    found
}

/// `None` after an error, `Some(None)` for everywhere.
pub fn answers(reader: &mut Reader, metadata: &Metadata) -> Option<Option<Vec<&'static str>>> {
    let Some((name, node)) = find(metadata, ANSWERS_AT) else { return Some(None) };
    let mut kinds = Vec::new();
    for word in reader.text(node, name)?.split(',').map(str::trim) {
        let Some(kind) = KINDS.iter().find(|kind| **kind == word) else {
            reader
                .error(
                    node.place,
                    format_args!("`{name}` has something that is no kind of address"),
                )
                .help(format_args!("give some of {}, separated by commas", KINDS.join(", ")));
            return None;
        };
        kinds.push(*kind);
    }
    Some(Some(kinds))
}

/// The first of the annotations that is there.
fn find<'n>(metadata: &Metadata<'n>, names: [&'static str; 2]) -> Option<(&'static str, &'n Node)> {
    let annotations = metadata.annotations?;
    names.into_iter().find_map(|name| Some((name, annotations.field(name)?)))
}
