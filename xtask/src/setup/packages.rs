//! The programs of the distribution that the demo and the tests use.
//!
//! What counts is whether the program is there, so other distributions work once their package is
//! installed; only Debian's are installed from here, and only by root.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::report::Step;
use crate::workspace::{find_program, last_lines};

/// Who needs a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Demo,
    Tests,
    /// The QEMU matrix of `cargo xtask test --kernels`.
    Kernels,
    /// The kernel's own tests of its verifier: `cargo xtask conformance verifier`.
    Selftests,
    /// Programs for AArch64 on other processors.
    Foreign,
}

struct Requirement {
    program: &'static str,
    debian: &'static str,
    fedora: &'static str,
    arch: &'static str,
    suse: &'static str,
    groups: &'static [Group],
}

const BOTH: &[Group] = &[Group::Demo, Group::Tests];
const TESTS: &[Group] = &[Group::Tests];
const KERNELS: &[Group] = &[Group::Kernels];
const KERNELS_SELFTESTS: &[Group] = &[Group::Kernels, Group::Selftests];
const TESTS_SELFTESTS: &[Group] = &[Group::Tests, Group::Selftests];
const SELFTESTS: &[Group] = &[Group::Selftests];
const FOREIGN: &[Group] = &[Group::Foreign];

#[rustfmt::skip]
const REQUIREMENTS: &[Requirement] = &[
    Requirement { program: "ip", debian: "iproute2", fedora: "iproute", arch: "iproute2", suse: "iproute2", groups: BOTH },
    Requirement { program: "nginx", debian: "nginx-light", fedora: "nginx", arch: "nginx", suse: "nginx", groups: BOTH },
    Requirement { program: "redis-server", debian: "redis-server", fedora: "redis", arch: "redis", suse: "redis", groups: BOTH },
    Requirement { program: "curl", debian: "curl", fedora: "curl", arch: "curl", suse: "curl", groups: BOTH },
    Requirement { program: "iperf3", debian: "iperf3", fedora: "iperf3", arch: "iperf3", suse: "iperf", groups: TESTS },
    Requirement { program: "nft", debian: "nftables", fedora: "nftables", arch: "nftables", suse: "nftables", groups: TESTS },
    Requirement { program: "socat", debian: "socat", fedora: "socat", arch: "socat", suse: "socat", groups: TESTS },
    Requirement { program: "tcpdump", debian: "tcpdump", fedora: "tcpdump", arch: "tcpdump", suse: "tcpdump", groups: TESTS },
    Requirement { program: "bpftool", debian: "bpftool", fedora: "bpftool", arch: "bpf", suse: "bpftool", groups: TESTS_SELFTESTS },
    Requirement { program: "qemu-system-x86_64", debian: "qemu-system-x86", fedora: "qemu-system-x86-core", arch: "qemu-system-x86", suse: "qemu-x86", groups: KERNELS },
    Requirement { program: "qemu-aarch64", debian: "qemu-user", fedora: "qemu-user", arch: "qemu-user", suse: "qemu-linux-user", groups: FOREIGN },
    Requirement { program: "xz", debian: "xz-utils", fedora: "xz", arch: "xz", suse: "xz", groups: KERNELS_SELFTESTS },
    Requirement { program: "clang-19", debian: "clang-19", fedora: "clang19", arch: "clang19", suse: "clang19", groups: SELFTESTS },
    Requirement { program: "python3", debian: "python3-minimal", fedora: "python3", arch: "python", suse: "python3", groups: SELFTESTS },
    Requirement { program: "tar", debian: "tar", fedora: "tar", arch: "tar", suse: "tar", groups: SELFTESTS },
    Requirement { program: "dpkg-deb", debian: "dpkg", fedora: "dpkg", arch: "dpkg", suse: "dpkg", groups: KERNELS_SELFTESTS },
];

/// Installs what it can and returns the programs that are still missing.
pub fn ensure(groups: &[Group]) -> Result<Vec<String>> {
    let step = Step::start("packages");
    let wanted: Vec<_> = REQUIREMENTS
        .iter()
        .filter(|requirement| requirement.groups.iter().any(|group| groups.contains(group)))
        .collect();
    let absent = || wanted.iter().copied().filter(|r| find_program(r.program).is_none());
    let programs = |some: &[&Requirement]| some.iter().map(|r| r.program).collect::<Vec<_>>();

    let mut missing: Vec<_> = absent().collect();
    if missing.is_empty() {
        step.done(programs(&wanted).join(", "));
        return Ok(Vec::new());
    }
    let apt = find_program("apt-get");
    let is_root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    if let (Some(apt), true) = (&apt, is_root) {
        let before = missing;
        step.doing(format!("installing {} (apt-get)", join(&before, |r| r.debian, ", ")));
        let problem = install(apt, &before);
        missing = absent().collect();
        if missing.is_empty() {
            step.done(format!("installed {}", join(&before, |r| r.debian, ", ")));
            return Ok(Vec::new());
        }
        if let Err(problem) = problem {
            println!("{problem:#}");
        }
    }
    step.missing(format!("not found: {}", programs(&missing).join(", ")));
    println!("  {}", advice(&missing));
    Ok(programs(&missing).into_iter().map(str::to_owned).collect())
}

/// One apt-get for all; when that fails (a name that this release doesn't have fails the whole
/// call), one each, so that a missing package costs only itself.
fn install(apt: &Path, missing: &[&Requirement]) -> Result<()> {
    let names: Vec<_> = missing.iter().map(|requirement| requirement.debian).collect();
    if has_lists() && apt_install(apt, &names).is_ok() {
        return Ok(());
    }
    let updated = apt_get(apt, &["update"]);
    if apt_install(apt, &names).is_ok() {
        return Ok(());
    }
    let mut result = updated;
    for name in names {
        result = apt_install(apt, &[name]).and(result);
    }
    result
}

fn has_lists() -> bool {
    let Ok(lists) = fs::read_dir("/var/lib/apt/lists") else { return false };
    lists.flatten().any(|list| list.file_name().to_string_lossy().contains("_Packages"))
}

fn apt_install(apt: &Path, names: &[&str]) -> Result<()> {
    let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
    arguments.extend(names);
    apt_get(apt, &arguments)
}

/// Debian starts a service as soon as it is installed. We run our own nginx and Redis in their own
/// namespaces; the machine's shall not gain any. Debian asks the program `policy-rc.d` first, so
/// there is one that says no (101 is "forbidden by policy") while apt-get runs. A shell does this
/// because its traps also put things right after Ctrl-C.
const APT_GET_WITHOUT_SERVICES: &str = r#"
policy=/usr/sbin/policy-rc.d
aside=$policy.before-skep
mark='# Put here by cargo xtask setup while it installs packages.'
restore() {
    rm -f "$policy"
    if [ -e "$aside" ]; then mv "$aside" "$policy"; fi
}
# One of ours can only be left from a setup that was killed.
if [ -e "$policy" ] && ! grep -qF "$mark" "$policy"; then mv "$policy" "$aside" || exit; fi
trap restore EXIT
trap 'exit 130' INT TERM HUP
printf '#!/bin/sh\n%s\nexit 101\n' "$mark" > "$policy" && chmod 755 "$policy" || exit
"$@"
"#;

fn apt_get(apt: &Path, arguments: &[&str]) -> Result<()> {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", APT_GET_WITHOUT_SERVICES, "sh"])
        .arg(apt)
        .args(["-q", "-o", "DPkg::Lock::Timeout=120", "-o", "Dpkg::Use-Pty=0"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive");
    // Not through `workspace::output`: its error would name the whole script.
    let output = shell.stdin(Stdio::null()).output().context("cannot run sh")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("apt-get {} failed:\n{}", arguments.join(" "), last_lines(&said, 10));
    }
    Ok(())
}

/// What to type on this distribution, or the packages' names where that is not known.
fn advice(missing: &[&Requirement]) -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let family = |name: &str| is_family(&release, name);
    if family("debian") || family("ubuntu") {
        format!("install them with: sudo apt-get install {}", join(missing, |r| r.debian, " "))
    } else if family("fedora") || family("rhel") {
        format!("install them with: sudo dnf install {}", join(missing, |r| r.fedora, " "))
    } else if family("arch") {
        format!("install them with: sudo pacman -S {}", join(missing, |r| r.arch, " "))
    } else if family("suse") || family("opensuse") {
        format!("install them with: sudo zypper install {}", join(missing, |r| r.suse, " "))
    } else {
        format!("install them; Debian's packages are called {}", join(missing, |r| r.debian, " "))
    }
}

/// Whether os-release(5) names this family in `ID` or `ID_LIKE`.
fn is_family(release: &str, family: &str) -> bool {
    release
        .lines()
        .filter_map(|line| line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE=")))
        .flat_map(|value| value.trim_matches('"').split(' '))
        .any(|id| id == family)
}

fn join(some: &[&Requirement], name: fn(&Requirement) -> &'static str, separator: &str) -> String {
    some.iter().map(|requirement| name(requirement)).collect::<Vec<_>>().join(separator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_read_from_os_release() {
        let rocky = "NAME=\"Rocky Linux\"\nID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n";
        assert!(is_family(rocky, "rhel") && is_family(rocky, "rocky"));
        assert!(!is_family(rocky, "debian"));
        assert!(is_family("ID=debian\n", "debian"));
    }

    #[test]
    fn every_program_is_required_once() {
        for (index, requirement) in REQUIREMENTS.iter().enumerate() {
            let earlier = &REQUIREMENTS[..index];
            assert!(earlier.iter().all(|other| other.program != requirement.program));
        }
    }
}
