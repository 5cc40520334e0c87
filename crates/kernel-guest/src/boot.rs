//! From nothing but an unpacked initramfs to a system one can load programs in, and back to nothing.

use std::{fs, path::Path, thread::sleep, time::Duration};

use anyhow::{Context as _, Result};
use bpf_kernel::mount::ensure_bpffs;
use nix::{
    errno::Errno,
    kmod::init_module,
    mount::{MsFlags, mount},
    sys::reboot::{RebootMode, reboot},
    unistd::sync,
};

use crate::report::Report;

pub const BPFFS: &str = "/sys/fs/bpf";
pub const CGROUPS: &str = "/sys/fs/cgroup";
/// Where the host put the modules, named so that their order is the order to load them in.
const MODULES: &str = "/modules";

pub fn prepare(report: &mut Report) -> Result<()> {
    for (kind, at) in [("proc", "/proc"), ("sysfs", "/sys"), ("cgroup2", CGROUPS)] {
        fs::create_dir_all(at).with_context(|| format!("making {at}"))?;
        mount(Some(kind), at, Some(kind), MsFlags::empty(), None::<&str>)
            .with_context(|| format!("mounting {kind}"))?;
    }
    ensure_bpffs(Path::new(BPFFS))?;
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").context("the kernel release")?;
    report.ok("kernel", release.trim());

    let mut modules: Vec<_> = fs::read_dir(MODULES)
        .context("listing the modules")?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    modules.sort();
    for module in modules {
        let image = fs::read(&module)?;
        match init_module(&image, c"") {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => {
                report.failed(&format!("module {}", module.display()), &error.to_string());
            }
        }
    }
    Ok(())
}

/// Ends the guest. QEMU is told not to reboot, so it ends with it.
pub fn power_off() -> ! {
    sync();
    // The serial line takes what we wrote with some delay.
    sleep(Duration::from_millis(200));
    let refused = reboot(RebootMode::RB_AUTOBOOT);
    println!("the guest cannot end itself: {refused:?}");
    loop {
        sleep(Duration::from_secs(3600));
    }
}
