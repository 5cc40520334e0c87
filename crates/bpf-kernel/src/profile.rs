//! What this kernel has, found by trying: its feature profile.
//!
//! Helpers and kernel functions are tried by loading a program that calls them: the verifier says
//! that a function is unknown or not for this type before it looks at the arguments. Maps are made
//! and thrown away. Nothing is attached or pinned.

mod abilities;
mod attempt;
mod maps;
mod types;

use std::{collections::BTreeSet, fs, path::Path};

use bpf_interface::{Version, kfunc, profile::Profile};
use bpf_object::{
    AttachType, ProgramType,
    btf::{Btf, Kind},
};

use self::{
    attempt::{Answer, Attempt, EXIT, ZERO},
    types::{Form, forms},
};
use crate::{Error, privilege};

const KERNEL_TYPES: &str = "/sys/kernel/btf/vmlinux";

/// Tries everything: some ten thousand programs, in less than a second.
pub fn probe() -> Result<Profile, Error> {
    privilege::check().map_err(Error::Unprivileged)?;
    let release = nix::sys::utsname::uname()
        .map(|name| name.release().to_string_lossy().into_owned())
        .map_err(|errno| Error::Read { path: "uname".into(), source: errno.into() })?;
    let version = release.parse().unwrap_or(Version::new(0, 0));
    let kernel = kernel_types()?;
    let mut profile = Profile::new(&release, version, "probed on the running kernel");
    let all = forms(&kernel);
    profile.programs = all.iter().map(|form| form.program).collect();
    // Extensions need a program to extend.
    if named_values(&kernel, "BPF_PROG_TYPE_EXT").is_some() {
        profile.programs.insert(ProgramType::EXTENSION);
    }
    profile.attaches = attach_types(&kernel);
    profile.maps = maps::probe(&kernel);
    profile.abilities = abilities::probe(&kernel, &all);
    let last = named_values(&kernel, "__BPF_FUNC_MAX_ID").unwrap_or(LAST_HELPER + 1);
    let functions = functions(&kernel);
    for form in &all {
        let helpers = profile.helpers.entry(form.program).or_default();
        helpers.extend((1..last).filter(|helper| has_helper(form, *helper)));
        let own = profile.functions.entry(form.program).or_default();
        let callable = functions.iter().filter(|(_, id)| has_function(form, *id));
        own.extend(callable.map(|(name, _)| name.clone()));
    }
    Ok(profile)
}

/// cgrp_storage_delete; no kernel up to 7.2 has more.
const LAST_HELPER: u32 = 211;

fn kernel_types() -> Result<Btf, Error> {
    let path = Path::new(KERNEL_TYPES);
    let bytes = fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    Btf::parse(&bytes).map_err(Error::KernelTypes)
}

/// The number that an enum of the kernel gives a name.
fn named_values(kernel: &Btf, name: &str) -> Option<u32> {
    kernel.own_types().find_map(|(_, entry)| match &entry.kind {
        Kind::Enum(kind) => kind
            .values
            .iter()
            .find(|(known, _)| kernel.string(*known) == Some(name))
            .map(|(_, number)| *number),
        _ => None,
    })
}

/// All values of `enum bpf_attach_type`.
fn attach_types(kernel: &Btf) -> BTreeSet<AttachType> {
    let last = named_values(kernel, "__MAX_BPF_ATTACH_TYPE").unwrap_or(0);
    (0..last).map(AttachType).collect()
}

/// Functions that programs may call, by what we know and by what the kernel's types say.
fn functions(kernel: &Btf) -> Vec<(String, u32)> {
    let mut names: BTreeSet<String> = kfunc::names().into_iter().map(str::to_owned).collect();
    for (id, entry) in kernel.own_types() {
        if let Kind::DeclarationTag { target, component: -1, .. } = entry.kind
            && kernel.name(id) == "bpf_kfunc"
        {
            names.insert(kernel.name(target).to_owned());
        }
    }
    let is_function = |kind: &Kind| matches!(kind, Kind::Function { .. });
    names
        .into_iter()
        .filter_map(|name| {
            let id = kernel.find(&name, is_function)?;
            Some((name, id.0))
        })
        .collect()
}

fn has_helper(form: &Form, helper: u32) -> bool {
    let [a, b, c, d] = helper.to_le_bytes();
    let call = [0x85, 0, 0, 0, a, b, c, d];
    match (Attempt { instructions: &[call, ZERO, EXIT], ..form.attempt() }).load() {
        Answer::Loaded => true,
        // kernel/bpf/verifier.c, check_helper_call: all other complaints come later.
        Answer::Refused(log) => {
            let signs = ["invalid func ", "unknown func ", "cannot use helper"];
            !signs.iter().any(|sign| log.contains(sign))
        }
        Answer::Failed => false,
    }
}

fn has_function(form: &Form, id: u32) -> bool {
    let [a, b, c, d] = id.to_le_bytes();
    let call = [0x85, 0x20, 0, 0, a, b, c, d];
    match (Attempt { instructions: &[call, ZERO, EXIT], ..form.attempt() }).load() {
        Answer::Loaded => true,
        // Kernels without such calls don't know the instruction; the others look for the function,
        // then whether it is for this type of program, and then at the arguments.
        Answer::Refused(log) => {
            // Functions for what a device told are for XDP programs that are bound to one; the
            // kernel says so whatever the type.
            if log.contains("device-bound") {
                return form.program == ProgramType::XDP;
            }
            let signs = [
                "is not allowed",
                "reserved fields",
                "JIT does not support",
                "cannot find",
                "btf_id",
            ];
            !signs.iter().any(|sign| log.contains(sign))
        }
        Answer::Failed => false,
    }
}
