//! `metadata`, the same for every kind.

use super::node::{Node, Place};
use super::reader::{Fields, Reader};
use super::selector::shorten;
use super::suggest::nearest;
use super::syntax;
use model::{Kind, Labels, ObjectName, Origin};

pub struct Metadata<'n> {
    pub name: ObjectName,
    pub name_place: Place,
    pub labels: Labels,
    pub annotations: Option<&'n Node>,
    pub origin: Origin,
}

/// Fields that Kubernetes writes and manifests carry along.
const CARRIED: [&str; 11] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// In which namespace an object is that names none.
pub const DEFAULT_NAMESPACE: &str = "default";

pub fn read<'n>(
    reader: &mut Reader,
    kind: Kind,
    place: Place,
    object: &mut Fields<'n>,
) -> Option<Metadata<'n>> {
    let node = object.required(reader, "metadata")?;
    let mut fields = reader.fields(node, "metadata")?;
    let name_node = fields.required(reader, "name");
    let name = name_node.and_then(|node| read_name(reader, node, kind));
    let namespace = read_namespace(reader, kind, &mut fields);
    let labels = match fields.optional("labels") {
        Some(node) => labels(reader, node, "labels"),
        None => Some(Labels::default()),
    };
    let annotations = fields.optional("annotations");
    if let Some(node) = annotations {
        for entry in reader.mapping(node, "annotations").unwrap_or_default() {
            reader.text(&entry.value, &shorten(&entry.key));
            check_annotation(reader, kind, &entry.key, entry.key_place);
        }
    }
    fields.ignore(&CARRIED);
    fields.finish(reader);
    Some(Metadata {
        name: ObjectName::new(namespace?, name?),
        name_place: name_node?.place,
        labels: labels?,
        annotations,
        origin: reader.origin(place),
    })
}

/// Annotations of Skep's own, by the kind that they mean something to.
const ANNOTATIONS: [(Kind, &str); 3] = [
    (Kind::Service, super::service::annotations::ALGORITHM),
    (Kind::Service, super::service::annotations::ANSWERS),
    (Kind::Service, super::service::annotations::FORWARDING),
];
const OWN: &str = "skep.dev/";

/// Others' annotations are theirs; one of ours that isn't known is a mistake.
fn check_annotation(reader: &mut Reader, kind: Kind, key: &str, place: Place) {
    let known: Vec<&str> =
        ANNOTATIONS.iter().filter(|(of, _)| *of == kind).map(|(_, name)| *name).collect();
    if !key.starts_with(OWN) || known.contains(&key) {
        return;
    }
    let draft = reader.warn(place, format_args!("a {kind} has no annotation `{}`", shorten(key)));
    let draft = match nearest(key, &known) {
        Some(near) => draft.label(format_args!("did you mean `{near}`?")),
        None => draft,
    };
    if !known.is_empty() {
        draft.help(format_args!("it has {}", known.join(", ")));
    }
}

fn read_name<'n>(reader: &mut Reader, node: &'n Node, kind: Kind) -> Option<&'n str> {
    let name = reader.text(node, "name")?;
    let form = match kind {
        Kind::Namespace | Kind::Service => syntax::label(name),
        Kind::Workload | Kind::EndpointSlice | Kind::NetworkPolicy | Kind::LoadBalancer => {
            syntax::subdomain(name)
        }
    };
    well_formed(reader, node, &format!("name of a {kind}"), form)?;
    Some(name)
}

fn read_namespace<'n>(reader: &mut Reader, kind: Kind, fields: &mut Fields<'n>) -> Option<&'n str> {
    let Some(node) = fields.optional("namespace") else {
        return Some(if kind == Kind::Namespace { "" } else { DEFAULT_NAMESPACE });
    };
    let namespace = reader.text(node, "namespace")?;
    if kind == Kind::Namespace {
        reader.error(node.place, "a Namespace is not in a namespace").help("remove the field");
        return None;
    }
    well_formed(reader, node, "namespace", syntax::label(namespace))?;
    Some(namespace)
}

pub fn well_formed(
    reader: &mut Reader,
    node: &Node,
    what: &str,
    form: Result<(), &'static str>,
) -> Option<()> {
    well_formed_at(reader, node.place, what, form)
}

pub fn well_formed_at(
    reader: &mut Reader,
    place: Place,
    what: &str,
    form: Result<(), &'static str>,
) -> Option<()> {
    form.map_err(|must| {
        reader.error(place, format_args!("not a valid {what}")).help(format_args!("it has {must}"))
    })
    .ok()
    .map(drop)
}

pub fn labels(reader: &mut Reader, node: &Node, name: &str) -> Option<Labels> {
    let mut labels = Labels::default();
    let mut right = true;
    for entry in reader.mapping(node, name)? {
        let key = syntax::label_key(&entry.key);
        right &= well_formed_at(reader, entry.key_place, "label key", key).is_some();
        let Some(value) = reader.text(&entry.value, &shorten(&entry.key)) else {
            right = false;
            continue;
        };
        let form = syntax::label_value(value);
        right &= well_formed(reader, &entry.value, "label value", form).is_some();
        labels.0.insert(entry.key.to_string(), value.to_owned());
    }
    right.then_some(labels)
}
