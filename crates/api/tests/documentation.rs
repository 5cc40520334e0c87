//! docs/flow-json.md names every field and every value that a flow can have.

use prost_reflect::{DescriptorPool, Kind, MessageDescriptor};
use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn flow_json_is_documented_completely() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/flow-json.md");
    let text = std::fs::read_to_string(path).unwrap();
    let pool = DescriptorPool::decode(api::DESCRIPTORS).unwrap();
    let mut names = BTreeSet::new();
    collect(&pool.get_message_by_name("skep.v1.Flow").unwrap(), &mut names);
    let is_documented = |name: &str| {
        // As `name`, or as the last part of a path such as `process.name`.
        text.contains(&format!("`{name}`")) || text.contains(&format!(".{name}`"))
    };
    let missing: Vec<&String> = names.iter().filter(|name| !is_documented(name)).collect();
    assert!(missing.is_empty(), "docs/flow-json.md lacks {missing:?}");
}

fn collect(message: &MessageDescriptor, names: &mut BTreeSet<String>) {
    for field in message.fields() {
        names.insert(field.name().to_owned());
        match field.kind() {
            Kind::Message(inner) if inner.is_map_entry() => {}
            Kind::Message(inner) if inner.package_name() == "skep.v1" => collect(&inner, names),
            // The value 0 means unknown and is left out.
            Kind::Enum(values) => {
                names.extend(
                    values.values().filter(|v| v.number() != 0).map(|v| v.name().to_owned()),
                );
            }
            _ => {}
        }
    }
}
