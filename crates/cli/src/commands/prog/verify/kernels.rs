//! What each kernel that was asked for says: by its own rules, and by what it has.

use bpf_interface::caller::Caller;
use bpf_interface::needs::{missing, needs_of};
use bpf_interface::profile::{Has, Profile};
use bpf_interface::typed::{Missing, check_target};
use bpf_object::btf::Btf;
use bpf_object::{Object, Program, ProgramKind};
use bpf_verifier::{Refusal, Verdict};

/// A kernel that was asked for.
pub struct Asked {
    /// What to call it.
    pub name: String,
    pub profile: Profile,
    /// Its own types, if there are any; else those that all kernels share.
    pub types: Option<Btf>,
}

/// A kernel, what it lacks for one program, and what its rules say of it.
pub struct Kernel {
    pub name: String,
    pub lacks: Vec<Lack>,
    pub told: Told,
}

pub enum Told {
    Accepted,
    Refused(Box<Refusal>),
    /// Neither: why.
    Open(String),
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

impl Kernel {
    /// It would not take the program.
    pub fn refuses(&self) -> bool {
        !self.lacks.is_empty() || matches!(self.told, Told::Refused(_))
    }
}

/// `verdict`: by the rules of that kernel. What no path reaches no kernel looks at.
pub fn kernel(asked: &Asked, program: &Program, object: &Object, verdict: &Verdict) -> Kernel {
    let visits = match verdict {
        Verdict::Accepted(verified) => Some(&verified.facts().visits),
        _ => None,
    };
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
    let lacks = missing(&needs, &asked.profile).into_iter().map(lack).collect();
    let told = match verdict {
        Verdict::Accepted(_) => Told::Accepted,
        Verdict::Refused(refusal) => Told::Refused(Box::new(refusal.clone())),
        Verdict::NotModelled(what) => Told::Open(format!("not modelled: {}", what.what)),
    };
    Kernel { name: asked.name.clone(), lacks, told }
}

/// The program can't be linked for that kernel.
pub fn not_linked(asked: &Asked, reason: String) -> Kernel {
    Kernel { name: asked.name.clone(), lacks: Vec::new(), told: Told::Open(reason) }
}

/// What the kernel's own types don't have of what the program attaches to.
pub fn missing_target(asked: &Asked, kind: &ProgramKind) -> Option<Kernel> {
    let what = match check_target(asked.types.as_ref()?, &Caller::of(kind)) {
        Ok(()) => return None,
        Err(Missing::Target(name)) => format!("{name}, which the program attaches to"),
        Err(other) => other.to_string(),
    };
    let lack = Lack {
        what,
        since: None,
        by_version: false,
        slot: None,
        file: String::new(),
        line: 0,
        text: String::new(),
    };
    Some(Kernel { name: asked.name.clone(), lacks: vec![lack], told: Told::Accepted })
}
