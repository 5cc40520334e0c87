//! systemd units.

use std::path::Path;
use std::time::Duration;

use tokio::process::Command;

use crate::cgroup::{Cgroup, Root};
use crate::{Error, Result};

const PATIENCE: Duration = Duration::from_secs(10);

/// The cgroup of a running unit; a name without a kind is a service's. A service is where systemd puts it by default,
/// `system.slice/UNIT`; for others systemd is asked, if it runs.
pub async fn unit_cgroup(root: &Root, unit: &str) -> Result<Cgroup> {
    let missing = |reason: String| Error::UnitMissing { unit: unit.to_owned(), reason };
    if unit.is_empty() || unit.starts_with('-') || unit.contains('/') {
        return Err(missing("that can't be the name of a unit".into()));
    }
    let service = format!("{unit}.service");
    let unit = if unit.contains('.') { unit } else { &service };
    let usual = Path::new("system.slice").join(unit);
    match root.open(&usual) {
        Err(Error::CgroupMissing { .. }) => {}
        found => return found,
    }
    // The test systemd's own sd_booted(3) makes.
    if !Path::new("/run/systemd/system").exists() {
        return Err(missing(format!(
            "{} doesn't exist and systemd doesn't run here to be asked; name the cgroup instead",
            root.resolve(&usual).display()
        )));
    }
    let unknown = |reason: String| Error::UnitUnknown { unit: unit.to_owned(), reason };
    let asked = Command::new("systemctl")
        .args(["show", "--property=ControlGroup", "--value", "--", unit])
        .kill_on_drop(true)
        .output();
    let shown = tokio::time::timeout(PATIENCE, asked)
        .await
        .map_err(|_| unknown("systemctl took longer than 10 s".into()))?
        .map_err(|source| Error::system("run systemctl", source))?;
    let group = String::from_utf8_lossy(&shown.stdout).trim().to_owned();
    if !shown.status.success() {
        return Err(unknown(String::from_utf8_lossy(&shown.stderr).trim().to_owned()));
    }
    if group.is_empty() {
        return Err(missing("it isn't running".into()));
    }
    root.open(group)
}
