//! Every program of every object.

use std::path::PathBuf;

use bpf_kernel::{KernelOffsets, Loader, Object};

use crate::{boot::BPFFS, report::Report};

/// Programs that need a helper which older kernels lack, with what their verifiers say of it. The agent
/// loads them when somebody asks for what they do.
const OPTIONAL: [(&str, &str); 1] = [
    // `bpf_xdp_load_bytes`, since Linux 5.18.
    ("balance_and_capture", "unknown#189"),
];

/// Loads all objects, sharing their maps through pins as the agent does, and returns those that were
/// loaded, if only in parts.
pub fn load(report: &mut Report, offsets: &KernelOffsets) -> Vec<(&'static str, Object)> {
    let mut loaded = Vec::new();
    if objects::ALL.is_empty() {
        report.failed("objects", "there is none in this build");
    }
    for (name, bytes) in objects::ALL {
        let loader =
            Loader::new(name).pin_maps(PathBuf::from(BPFFS).join("maps")).kernel_offsets(offsets);
        let (object, failures) = match loader.load_each(bytes) {
            Ok(result) => result,
            Err(error) => {
                report.failed(&format!("object {name}"), &error.to_string());
                continue;
            }
        };
        for failure in failures {
            let (what, said) = (format!("program {name}/{}", failure.program), failure.to_string());
            let is_known = |(program, lacks): &(&str, &str)| {
                failure.program == *program && said.contains(lacks)
            };
            match OPTIONAL.iter().any(is_known) {
                true => report.ok(&what, "needs a helper that this kernel lacks"),
                false => report.failed(&what, &said),
            }
        }
        for program in object.programs() {
            let info = program.info().map(|info| {
                let verified = info
                    .verified_instructions
                    .map_or_else(String::new, |count| format!(", {count} verified"));
                format!("loaded: {} instructions{verified}", info.translated / 8)
            });
            report.tell(&format!("program {name}/{}", program.name()), info);
        }
        loaded.push((*name, object));
    }
    loaded
}
