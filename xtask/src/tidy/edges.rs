//! Which crate may depend on which.

use super::Finding;
use super::layers::{
    ANYHOW, FOR_EBPF, FOR_TESTS, FROM_LAYER, HOMES, LAYERS, Layer, SIDEWAYS, UNREACHABLE,
};
use super::metadata::{Kind, Member};

pub fn check(members: &[Member]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let is_member = |name: &str| members.iter().any(|member| member.name == name);
    for member in members {
        let Some(from) = layer(&member.name) else {
            findings.push(Finding::problem(
                &member.manifest,
                None,
                format!("{} is in no layer: add it to xtask/src/tidy/layers.rs", member.name),
            ));
            continue;
        };
        for dependency in &member.dependencies {
            let wrong = if is_member(&dependency.name) {
                own(&member.name, from, &dependency.name, dependency.kind)
            } else {
                foreign(&member.name, from, &dependency.name, dependency.kind)
            };
            findings.extend(wrong.map(|text| Finding::problem(&member.manifest, None, text)));
        }
    }
    for (from, to, why) in UNREACHABLE {
        if let Some(path) = path(members, from, to) {
            let text = format!("{} must not be reached ({}): {why}", to, path.join(" -> "));
            findings.push(Finding::problem(*from, None, text));
        }
    }
    findings
}

fn layer(name: &str) -> Option<Layer> {
    LAYERS.iter().find(|(member, _)| *member == name).map(|(_, layer)| *layer)
}

/// Why this edge between two of our crates is wrong, if it is.
fn own(from: &str, from_layer: Layer, to: &str, kind: Kind) -> Option<String> {
    // The missing place of `to` is reported at `to` itself.
    let to_layer = layer(to)?;
    if SIDEWAYS.contains(&(from, to)) {
        return None;
    }
    if kind == Kind::Dev && FOR_TESTS.contains(&to) {
        return None;
    }
    match (from_layer, to_layer) {
        (Layer::Host(above), Layer::Host(below)) if above > below => None,
        (Layer::Host(above), Layer::Host(below)) if above == below => Some(format!(
            "{from} and {to} are both in layer {above}; crates of one layer don't know each other"
        )),
        (Layer::Host(above), Layer::Host(below)) => Some(format!(
            "{from} (layer {above}) must not depend on {to} (layer {below}): arrows point down"
        )),
        (Layer::Ebpf, Layer::Host(_)) if FOR_EBPF.contains(&to) => None,
        (Layer::Ebpf, _) => Some(format!("{from} is an eBPF crate: {to} is not for the kernel")),
        (_, Layer::Ebpf) => Some(format!("{to} is an eBPF crate: use it through `objects`")),
        (Layer::Tool, Layer::Host(_)) => None,
        (_, Layer::Tool) => Some(format!("{to} is a tool, not a library")),
    }
}

/// Why this use of a foreign crate is wrong, if it is.
fn foreign(from: &str, layer: Layer, to: &str, kind: Kind) -> Option<String> {
    if let Some((_, homes)) = HOMES.iter().find(|(name, _)| matches(name, to))
        && !homes.contains(&from)
    {
        return Some(format!("{to} is at home in {}, not in {from}", homes.join(", ")));
    }
    if kind == Kind::Dev {
        return None;
    }
    if to == "anyhow" && !ANYHOW.contains(&from) {
        return Some(format!("{from} is a library: its errors are a thiserror enum, not anyhow"));
    }
    let (_, lowest, why) = FROM_LAYER.iter().find(|(name, ..)| matches(name, to))?;
    match layer {
        Layer::Host(layer) if layer < *lowest => {
            Some(format!("{from} (layer {layer}) must not use {to}: {why}"))
        }
        _ => None,
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => pattern == name,
    }
}

/// A chain of ordinary dependencies between two of our crates.
fn path<'a>(members: &'a [Member], from: &'a str, to: &str) -> Option<Vec<&'a str>> {
    if from == to {
        return Some(vec![from]);
    }
    let member = members.iter().find(|member| member.name == from)?;
    // Cargo allows no cycle among these, so this ends.
    let ordinary = member.dependencies.iter().filter(|dependency| dependency.kind != Kind::Dev);
    let rest = ordinary.into_iter().find_map(|dependency| path(members, &dependency.name, to))?;
    Some([vec![from], rest].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::metadata::Dependency;

    fn member(name: &str, dependencies: &[(&str, Kind)]) -> Member {
        Member {
            name: name.to_owned(),
            folder: format!("crates/{name}"),
            manifest: format!("crates/{name}/Cargo.toml"),
            dependencies: dependencies
                .iter()
                .map(|(name, kind)| Dependency { name: (*name).to_owned(), kind: *kind })
                .collect(),
            roots: Vec::new(),
        }
    }

    /// All members exist without dependencies; `from` has one.
    fn check_edge(from: &str, to: &str, kind: Kind, expect: Option<&str>) {
        let edge = [(to, kind)];
        let members: Vec<_> = LAYERS
            .iter()
            .map(|(name, _)| member(name, if *name == from { &edge } else { &[] }))
            .collect();
        let findings = check(&members);
        match expect {
            None => assert_eq!(findings, [], "{from} -> {to}"),
            Some(part) => assert!(
                findings.iter().any(|finding| finding.text.contains(part)),
                "{from} -> {to}: {findings:?}"
            ),
        }
    }

    #[test]
    fn arrows_point_down() {
        check_edge("datapath", "bpf-kernel", Kind::Normal, None);
        check_edge("agent", "abi", Kind::Normal, None);
        check_edge("bpf-kernel", "datapath", Kind::Normal, Some("arrows point down"));
        check_edge("model", "store", Kind::Build, Some("arrows point down"));
    }

    #[test]
    fn crates_of_one_layer_do_not_know_each_other_unless_listed() {
        check_edge("datapath", "store", Kind::Normal, Some("both in layer 4"));
        check_edge("policy", "services", Kind::Normal, Some("both in layer 2"));
        check_edge("agent", "api", Kind::Normal, None);
        check_edge("api", "agent", Kind::Normal, Some("both in layer 5"));
    }

    #[test]
    fn tests_may_use_the_testkit_and_nothing_else_from_above() {
        check_edge("datapath", "testkit", Kind::Dev, None);
        check_edge("datapath", "testkit", Kind::Normal, Some("arrows point down"));
        check_edge("policy", "agent", Kind::Dev, Some("arrows point down"));
    }

    #[test]
    fn the_kernel_side_uses_only_what_runs_there() {
        check_edge("net", "kit", Kind::Normal, None);
        check_edge("net", "dataplane", Kind::Normal, None);
        check_edge("net", "model", Kind::Normal, Some("not for the kernel"));
        check_edge("datapath", "net", Kind::Normal, Some("through `objects`"));
    }

    #[test]
    fn foreign_crates_stay_at_home() {
        check_edge("bpf-kernel", "aya", Kind::Normal, None);
        check_edge("datapath", "aya", Kind::Normal, Some("at home in bpf-kernel"));
        check_edge("agent", "netlink-packet-route", Kind::Dev, Some("at home in host"));
        check_edge("store", "anyhow", Kind::Normal, Some("thiserror"));
        check_edge("store", "anyhow", Kind::Dev, None);
        check_edge("model", "serde", Kind::Normal, Some("don't serialise"));
        check_edge("model", "serde_json", Kind::Dev, None);
    }

    #[test]
    fn the_tool_that_builds_the_linker_does_not_need_it() {
        let members = [
            member("xtask", &[("testkit", Kind::Normal)]),
            member("testkit", &[("agent", Kind::Normal)]),
            member("agent", &[("objects", Kind::Normal)]),
            member("objects", &[]),
        ];
        let findings = check(&members);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].text.contains("xtask -> testkit -> agent -> objects"));
    }

    #[test]
    fn a_crate_without_a_layer_is_found() {
        let findings = check(&[member("novel", &[])]);
        assert!(findings[0].text.contains("in no layer"), "{findings:?}");
    }
}
