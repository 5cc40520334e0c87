//! What a kernel may have or lack, each with the version that brought it.

mod ability;
mod since;

pub use ability::Ability;

use std::fmt;

use bpf_object::{AttachType, MapType, ProgramType};

use crate::{helper, version::Version};

/// Something that a program needs of a kernel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feature {
    Program(ProgramType),
    Attach(AttachType),
    Map(MapType),
    /// That programs of this type can call it.
    Helper {
        program: ProgramType,
        helper: u32,
    },
    KernelFunction {
        program: ProgramType,
        name: String,
    },
    Ability(Ability),
}

impl Feature {
    /// The version that brought it; for helpers and kernel functions the one that brought it to the
    /// first kind of programs. Distributions bring some of it to older kernels.
    pub fn since(&self) -> Option<Version> {
        match self {
            Self::Program(program) => since::program(*program),
            Self::Attach(attach) => since::attach(*attach),
            Self::Map(map) => since::map(*map),
            Self::Helper { helper, .. } => since::helper(*helper),
            Self::KernelFunction { name, .. } => since::kernel_function(name),
            Self::Ability(ability) => Some(ability.since()),
        }
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Program(program) => write!(f, "program type {program}"),
            Self::Attach(attach) => write!(f, "attach type {attach}"),
            Self::Map(map) => write!(f, "map type {map}"),
            Self::Helper { program, helper } => match helper::by_id(*helper) {
                Some(prototype) => write!(f, "{} in {program} programs", prototype.name),
                None => write!(f, "helper {helper} in {program} programs"),
            },
            Self::KernelFunction { program, name } => {
                write!(f, "kernel function {name} in {program} programs")
            }
            Self::Ability(ability) => f.write_str(ability.describe()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        let at = |major, minor| Some(Version::new(major, minor));
        let helper = |helper| Feature::Helper { program: ProgramType::XDP, helper };
        let function = |name: &str| Feature::KernelFunction {
            program: ProgramType::XDP,
            name: name.to_owned(),
        };
        for (feature, expected) in [
            (Feature::Program(ProgramType::SK_LOOKUP), at(5, 9)),
            (Feature::Map(MapType::RING_BUFFER), at(5, 8)),
            (Feature::Attach(AttachType::TCX_INGRESS), at(6, 6)),
            (helper(1), at(3, 19)),
            (helper(181), at(5, 17)),
            (helper(211), at(6, 2)),
            (helper(212), None),
            (function("bpf_iter_num_new"), at(6, 4)),
            (function("bpf_ct_release"), at(5, 18)),
            (function("no_such"), None),
            (Feature::Ability(Ability::Atomics), at(5, 12)),
        ] {
            assert_eq!(feature.since(), expected, "{feature}");
        }
    }

    #[test]
    fn every_helper_and_function_of_the_tables_has_a_version() {
        for prototype in helper::all() {
            let feature = Feature::Helper { program: ProgramType::XDP, helper: prototype.id };
            assert!(feature.since().is_some(), "{}", prototype.name);
        }
        for name in crate::kfunc::names() {
            assert!(since::kernel_function(name).is_some(), "{name}");
        }
    }
}
