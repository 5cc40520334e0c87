//! Debian's kernels, and other packages: found and fetched with an apt that has its lists and state
//! to itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::workspace;

/// The smallest flavour: built for virtual machines.
const PACKAGE: &str = "linux-image-cloud-amd64";
/// What our programs need beyond the image: tc filters on the queueing discipline for them.
const MODULES: &[&str] = &["sch_ingress", "cls_bpf"];
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// An unpacked kernel.
#[derive(Debug)]
pub struct Kernel {
    pub release: String,
    pub image: PathBuf,
    /// In the order to load them in.
    pub modules: Vec<PathBuf>,
}

/// The kernel of a release, from `folder` if it is there already.
pub fn fetch(folder: &Path, suite: &str) -> Result<Kernel> {
    let root = folder.join("root");
    if !root.is_dir() {
        // Unpacked beside and then moved, so that a folder that is there is whole.
        let unpacked = folder.join("unpacking");
        remove(&unpacked)?;
        let apt = Apt::new(folder, suite)?;
        let packages = apt.kernel_packages()?;
        apt.unpack(&packages, &unpacked)?;
        fs::rename(&unpacked, &root)?;
    }
    find(&root)
}

/// Packages of a release that aren't kernels, unpacked into `to`; `folder` is apt's to work in.
pub fn unpack(folder: &Path, suite: &str, packages: &[&str], to: &Path) -> Result<()> {
    let packages: Vec<String> = packages.iter().map(|name| (*name).to_owned()).collect();
    Apt::new(folder, suite)?.unpack(&packages, to)
}

fn find(root: &Path) -> Result<Kernel> {
    let files = files_under(root)?;
    let image = files
        .iter()
        .find(|path| name_of(path).starts_with("vmlinuz"))
        .with_context(|| format!("no kernel image in {}", root.display()))?;
    let modules = MODULES
        .iter()
        .map(|module| {
            let found = files.iter().find(|path| {
                let name = name_of(path);
                name.strip_prefix(module).is_some_and(|rest| rest.starts_with(".ko"))
            });
            found.cloned().with_context(|| format!("the kernel has no module {module}"))
        })
        .collect::<Result<_>>()?;
    // .../lib/modules/<release>/kernel/...
    let release = files
        .iter()
        .find_map(|path| {
            let path = path.strip_prefix(root).ok()?.to_string_lossy().into_owned();
            let (_, rest) = path.split_once("lib/modules/")?;
            Some(rest.split('/').next()?.to_owned())
        })
        .context("the kernel has no modules")?;
    Ok(Kernel { release, image: image.clone(), modules })
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn files_under(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("in {}", folder.display()))? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

fn remove(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        fs::remove_dir_all(folder)?;
    }
    Ok(())
}

/// Where this machine gets Debian's packages from: it has the kernels of other releases, too.
fn mirror() -> Result<String> {
    let mut apt = Command::new("apt-get");
    apt.args(["indextargets", "--format", "$(REPO_URI)", "Origin: Debian", "Label: Debian"]);
    let targets = workspace::output(&mut apt)?;
    let first = targets.lines().map(str::trim).find(|line| !line.is_empty());
    first.map(str::to_owned).context(
        "apt knows no source of Debian's own packages: run `apt-get update` on a Debian, or unpack \
         the kernel packages yourself",
    )
}

/// An apt that reads and writes nothing of the machine's own but where packages come from.
struct Apt {
    folder: PathBuf,
    options: Vec<String>,
}

impl Apt {
    fn new(folder: &Path, suite: &str) -> Result<Self> {
        if workspace::find_program("apt-get").is_none() {
            bail!(
                "packages are fetched with apt-get, which is not here; unpack them into {} yourself",
                folder.join("root").display()
            );
        }
        for part in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(part))?;
        }
        let signed =
            if Path::new(KEYRING).exists() { format!("[signed-by={KEYRING}] ") } else { "".into() };
        let sources = folder.join("sources.list");
        fs::write(&sources, format!("deb {signed}{} {suite} main\n", mirror()?))?;
        let path = |part: &str| folder.join(part).display().to_string();
        let options = [
            format!("Dir::Etc::sourcelist={}", sources.display()),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            "Dir::State::status=/dev/null".to_owned(),
            format!("Dir::State={}", path("state")),
            format!("Dir::Cache={}", path("cache")),
            "Acquire::Languages=none".to_owned(),
            // The lists of old releases are no longer renewed.
            "Acquire::Check-Valid-Until=false".to_owned(),
            // Another user may not write into our cache.
            "APT::Sandbox::User=root".to_owned(),
        ];
        let apt = Self { folder: folder.to_owned(), options: options.to_vec() };
        workspace::output(apt.command("apt-get").args(["-qq", "update"]))?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.folder);
        for option in &self.options {
            command.args(["-o", option]);
        }
        command
    }

    /// The packages that hold image and modules.
    fn kernel_packages(&self) -> Result<Vec<String>> {
        let mut wanted: Vec<String> = self.dependencies(PACKAGE)?;
        // Newer releases split the image into parts of its own version.
        let parts: Vec<String> = wanted
            .iter()
            .map(|package| self.dependencies(package))
            .collect::<Result<Vec<_>>>()?
            .concat();
        wanted.extend(parts);
        if wanted.is_empty() {
            bail!("{PACKAGE} depends on no kernel");
        }
        Ok(wanted)
    }

    fn unpack(&self, packages: &[String], to: &Path) -> Result<()> {
        workspace::output(self.command("apt-get").args(["-qq", "download"]).args(packages))?;
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "deb") {
                let mut dpkg = Command::new("dpkg-deb");
                workspace::output(dpkg.arg("-x").arg(&path).arg(to))?;
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// The kernel's parts among the dependencies of a package.
    fn dependencies(&self, package: &str) -> Result<Vec<String>> {
        let shown = workspace::output(self.command("apt-cache").args([
            "show",
            "--no-all-versions",
            package,
        ]))?;
        let depends = shown.lines().find_map(|line| line.strip_prefix("Depends:"));
        Ok(depends.map(kernel_parts).unwrap_or_default())
    }
}

/// `linux-image-6.1.0-50-cloud-amd64 (= 6.1.176-1), kmod` names one.
fn kernel_parts(depends: &str) -> Vec<String> {
    let names = depends.split([',', '|']).filter_map(|one| one.split_whitespace().next());
    names
        .filter(|name| {
            ["linux-image-", "linux-binary-", "linux-modules-"].iter().any(|prefix| {
                let rest = name.strip_prefix(prefix).unwrap_or_default();
                rest.starts_with(|first: char| first.is_ascii_digit())
            })
        })
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_kernel_are_found_among_its_dependencies() {
        let old = " linux-image-6.1.0-50-cloud-amd64 (= 6.1.176-1)";
        assert_eq!(kernel_parts(old), ["linux-image-6.1.0-50-cloud-amd64"]);
        let new = " dracut | initramfs-tools (>= 0.120), linux-base-7.2-cloud-amd64 (= 7.2-1), \
                   linux-binary-7.2-cloud-amd64 (= 7.2-1), linux-modules-7.2-cloud-amd64 (= 7.2-1)";
        assert_eq!(
            kernel_parts(new),
            ["linux-binary-7.2-cloud-amd64", "linux-modules-7.2-cloud-amd64"]
        );
        assert!(kernel_parts(" kmod, linux-base (>= 4.3)").is_empty());
    }
}
