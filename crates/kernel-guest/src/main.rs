//! The first and only process of a guest of the kernel matrix (`cargo xtask test --kernels` and
//! `cargo xtask kernels`). What it does is its first argument.
//!
//! It sets up the little a kernel needs. To `check` it loads every object of this build, attaches its programs
//! where that is harmless, tries what `bpf-kernel` promises, tells it on the console and powers off.
//! It knows nothing of what the programs do: only that this kernel takes them.

#![forbid(unsafe_code)]

mod attach;
mod boot;
mod fields;
mod programs;
mod report;
mod tables;
mod verdicts;

use bpf_kernel::{Features, KernelOffsets, privilege};

use crate::report::Report;

fn main() {
    let mut report = Report::new();
    match boot::prepare(&mut report) {
        Ok(()) => match std::env::args().nth(1).as_deref() {
            Some("profile") => {
                report.tell("profile", bpf_kernel::profile::probe().map(|it| it.to_string()));
            }
            Some("verdicts") => verdicts::tell(&mut report),
            _ => check(&mut report),
        },
        Err(error) => report.failed("boot", &format!("{error:#}")),
    }
    report.end();
    boot::power_off();
}

fn check(report: &mut Report) {
    report.tell("privilege", privilege::check().map(|()| "programs may be loaded".to_owned()));
    features(report);
    let offsets = match KernelOffsets::of_this_kernel() {
        Ok(offsets) => offsets,
        Err(error) => return report.failed("offsets", &error.to_string()),
    };
    let absent: Vec<_> = offsets.absent().collect();
    if absent.is_empty() {
        report.ok("offsets", "all fields found");
    } else {
        report.failed("offsets", &format!("not found: {}", absent.join(", ")));
    }
    fields::check(report, &offsets);
    tables::check(report);
    let loaded = programs::load(report, &offsets);
    attach::check(report, &loaded);
}

/// A feature is expected exactly from the kernel on that is said to have brought it.
fn features(report: &mut Report) {
    let features = Features::probe();
    let release = version(&features.release);
    for (feature, available) in features.list() {
        let description = feature.description();
        let found = if available { "there" } else { "not there" };
        let text = format!("{found}, since {}", description.since);
        let name = format!("feature {}", description.name);
        if available == (release >= version(description.since)) {
            report.ok(&name, &text);
        } else {
            report.failed(&name, &text);
        }
    }
}

fn version(text: &str) -> Vec<u32> {
    text.split(['.', '-', '+']).map_while(|part| part.parse().ok()).take(2).collect()
}
