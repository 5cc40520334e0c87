//! `cargo xtask kernels profile`: feature profiles made by booting kernels.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use super::{Fetched, TIME_LIMIT, debian::Kernel, fetch, guest, guest_program, initramfs};
use crate::{report, workspace};

/// Where the crate that embeds them has them.
const FOLDER: &str = "crates/bpf-interface/profiles";
/// Guests under emulation crash now and then, whatever they do.
const ATTEMPTS: usize = 3;

pub fn run(only: &[String]) -> Result<()> {
    let kernels = fetch(only)?;
    let program = guest_program()?;
    for Fetched { name, kernel, folder } in kernels {
        let initramfs = folder.join("initramfs-profile");
        initramfs::write(&initramfs, &program, &kernel.modules, &[])?;
        println!("… {name:<12} {}", kernel.release);
        let started = Instant::now();
        let lines =
            probe(&kernel, &initramfs).with_context(|| format!("kernel {name} gave no profile"))?;
        let source = format!("source: probed by booting Debian's {} in QEMU", kernel.release);
        let lines = lines.iter().map(|line| {
            if line.starts_with("source: ") { source.as_str() } else { line.trim_end() }
        });
        let text = lines.collect::<Vec<_>>().join("\n") + "\n";
        let path = workspace::root().join(FOLDER).join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        println!("✓ {name:<12} {FOLDER}/{name}   {}", report::duration(started.elapsed()));
    }
    Ok(())
}

fn probe(kernel: &Kernel, initramfs: &Path) -> Result<Vec<String>> {
    for attempt in 1..=ATTEMPTS {
        let outcome = guest::run(&kernel.image, initramfs, "profile", TIME_LIMIT)?;
        if let Some(lines) = outcome.detail("profile") {
            return Ok(lines.to_vec());
        }
        println!("  attempt {attempt} of {ATTEMPTS} failed:");
        outcome.print(true);
    }
    bail!("the guest did not get to its end")
}
