//! What a kernel lacks for a program.

use bpf_interface::needs::{missing, needs_of};
use bpf_interface::profile::{Has, Profile};
use bpf_object::{Object, Program};

/// A kernel, and what it lacks for one program.
pub struct Kernel {
    pub name: String,
    pub lacks: Vec<Lack>,
}

pub struct Lack {
    /// Such as `bpf_loop in xdp programs`.
    pub what: String,
    /// The version that brought it.
    pub since: Option<String>,
    /// It could not be tried: the version speaks against it.
    pub by_version: bool,
    pub slot: Option<usize>,
    pub file: String,
    pub line: u32,
    pub text: String,
}

/// `visits`: how often the verifier looked at each slot. What no path reaches no kernel looks at.
pub fn lacks(
    name: &str,
    profile: &Profile,
    program: &Program,
    object: &Object,
    visits: Option<&[u32]>,
) -> Kernel {
    let reached =
        |slot: usize| visits.is_none_or(|visits| visits.get(slot).is_none_or(|count| *count > 0));
    let needs = needs_of(program, object, reached);
    let lack = |(need, has): (&bpf_interface::needs::Need, Has)| {
        let line = need.line(program);
        Lack {
            what: need.feature.to_string(),
            since: need.feature.since().map(|version| version.to_string()),
            by_version: has == Has::Hardly,
            slot: need.slot,
            file: line.map(|line| line.file.clone()).unwrap_or_default(),
            line: line.map_or(0, |line| line.line),
            text: line.map(|line| line.text.trim().to_owned()).unwrap_or_default(),
        }
    };
    let lacks = missing(&needs, profile).into_iter().map(lack).collect();
    Kernel { name: name.to_owned(), lacks }
}
