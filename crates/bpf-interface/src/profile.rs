//! What one kernel has: a feature profile.
//!
//! Profiles are made by trying on a running kernel, since versions say little: distributions take
//! features to older kernels and leave others out. Those of Debian's kernels are embedded; how each
//! was made is in its `source`. The text form is one fact a line, to be read and compared by people.

mod embedded;
mod text;

pub use embedded::{KNOWN, embedded};
pub use text::ParseError;

use std::collections::{BTreeMap, BTreeSet};

use bpf_object::{AttachType, MapType, ProgramType};

use crate::{
    feature::{Ability, Feature},
    version::Version,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// `uname -r`, or the version if there is no such kernel.
    pub release: String,
    pub version: Version,
    /// How it was made, in words.
    pub source: String,
    pub programs: BTreeSet<ProgramType>,
    pub attaches: BTreeSet<AttachType>,
    pub maps: BTreeSet<MapType>,
    pub abilities: BTreeSet<Ability>,
    /// Helpers of each type of program. A type that is missing couldn't be tried.
    pub helpers: BTreeMap<ProgramType, BTreeSet<u32>>,
    /// Kernel functions that programs of each type may call. Those of modules that were not loaded
    /// are missing.
    pub functions: BTreeMap<ProgramType, BTreeSet<String>>,
}

/// Whether a kernel has something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Has {
    Yes,
    No,
    /// It could not be tried; its version speaks for it.
    Probably,
    /// It could not be tried; its version speaks against it, or nothing is known.
    Hardly,
}

impl Has {
    pub fn is_likely(self) -> bool {
        matches!(self, Self::Yes | Self::Probably)
    }
}

impl Profile {
    pub fn new(release: &str, version: Version, source: &str) -> Self {
        Self {
            release: release.to_owned(),
            version,
            source: source.to_owned(),
            programs: BTreeSet::new(),
            attaches: BTreeSet::new(),
            maps: BTreeSet::new(),
            abilities: BTreeSet::new(),
            helpers: BTreeMap::new(),
            functions: BTreeMap::new(),
        }
    }

    /// It was made by versions from those of other kernels, not by trying.
    pub fn is_derived(&self) -> bool {
        self.source.starts_with("derived")
    }

    pub fn has(&self, feature: &Feature) -> Has {
        let tried = |has: bool| if has { Has::Yes } else { Has::No };
        match feature {
            Feature::Program(program) => tried(self.programs.contains(program)),
            Feature::Attach(attach) => tried(self.attaches.contains(attach)),
            Feature::Map(map) => tried(self.maps.contains(map)),
            Feature::Ability(ability) => tried(self.abilities.contains(ability)),
            Feature::Helper { program, helper } => match self.helpers.get(program) {
                Some(helpers) => tried(helpers.contains(helper)),
                None => self.by_version(feature),
            },
            Feature::KernelFunction { program, name } => match self.functions.get(program) {
                Some(functions) if functions.contains(name) => Has::Yes,
                // It may be of a module.
                _ => match self.by_version(feature) {
                    Has::Probably if is_of_module(name) => Has::Probably,
                    _ if self.functions.contains_key(program) => Has::No,
                    other => other,
                },
            },
        }
    }

    fn by_version(&self, feature: &Feature) -> Has {
        match feature.since() {
            Some(since) if since <= self.version => Has::Probably,
            _ => Has::Hardly,
        }
    }
}

/// Functions that Debian builds as modules: connection tracking, NAT, flow tables, xfrm, FOU.
fn is_of_module(name: &str) -> bool {
    ["bpf_ct_", "bpf_xdp_ct_", "bpf_skb_ct_", "bpf_xdp_flow_", "bpf_skb_set_", "bpf_skb_get_"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests;
