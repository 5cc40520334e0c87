//! Removing all that belongs to a node, knowing nothing but its name.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use host::{NetNamespace, cgroup, netns};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};

/// Nodes of this process that are up.
static ACTIVE: Mutex<Vec<String>> = Mutex::new(Vec::new());

const TEST_PREFIX: &str = "skt";

pub(crate) fn test_name(number: u32) -> String {
    format!("{TEST_PREFIX}{}-{number}", process::id())
}

pub(crate) fn register(name: &str) {
    lock().push(name.to_owned());
}

/// To be called before a node is removed. Once [`remove_on_interrupt`] is at it this doesn't
/// return: the process is about to end.
pub(crate) fn unregister(name: &str) {
    while INTERRUPTION.load(Ordering::SeqCst) {
        std::thread::park();
    }
    lock().retain(|active| active != name);
}

static INTERRUPTION: AtomicBool = AtomicBool::new(false);

fn lock() -> std::sync::MutexGuard<'static, Vec<String>> {
    ACTIVE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Removes every node of this process; for an end that runs no destructors.
pub fn remove_active() {
    let names = std::mem::take(&mut *lock());
    for name in names {
        remove(&name);
    }
}

/// From now on Ctrl-C and SIGTERM end this process only after its nodes are removed.
pub fn remove_on_interrupt() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _entered = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        INTERRUPTION.store(true, Ordering::SeqCst);
        eprintln!("interrupted, cleaning up");
        remove_active();
        process::exit(INTERRUPTED);
    });
    Ok(())
}

/// Exit code of a process that Ctrl-C ended, as shells have it.
const INTERRUPTED: i32 = 130;

/// Removes what test runs left behind whose process is gone.
pub fn sweep() {
    let mut names: Vec<String> = Vec::new();
    let cgroups = cgroup::mount_point().ok().map(entries).unwrap_or_default();
    let namespaces = netns::names().unwrap_or_default();
    for entry in cgroups.into_iter().chain(namespaces).chain(entries(std::env::temp_dir())) {
        if let Some((name, pid)) = test_node(&entry)
            && !Path::new("/proc").join(pid).exists()
        {
            names.push(name);
        }
    }
    names.sort();
    names.dedup();
    names.iter().for_each(|name| remove(name));
}

fn entries(folder: PathBuf) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Node and pid in a name that starts as [`test_name`] says.
fn test_node(entry: &str) -> Option<(String, &str)> {
    let rest = entry.strip_prefix(TEST_PREFIX)?;
    let (pid, rest) = rest.split_once('-')?;
    let number = rest.split('-').next()?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (digits(pid) && digits(number)).then(|| (format!("{TEST_PREFIX}{pid}-{number}"), pid))
}

/// Ends the node's processes and removes its namespaces, mounts, cgroups and folder. What is not
/// there is fine; what can't be removed is said, since it can't be mended here.
pub fn remove(name: &str) {
    // More than once, since whoever is being interrupted may be making something.
    const ATTEMPTS: usize = 5;
    for attempt in 1..=ATTEMPTS {
        let complaints = remove_once(name);
        if complaints.is_empty() {
            return;
        }
        if attempt == ATTEMPTS {
            complaints.iter().for_each(|text| eprintln!("cleaning up {name}: {text}"));
        }
        sleep(Duration::from_millis(20));
    }
}

fn remove_once(name: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let cgroup = cgroup::mount_point().ok().map(|mount| mount.join(name));
    let cgroup = cgroup.filter(|cgroup| cgroup.exists());
    if let Some(Err(error)) = cgroup.as_deref().map(end_processes) {
        complaints.push(format!("its processes: {error}"));
    }
    let folder = folder(name);
    let bpffs = folder.join("bpf");
    if bpffs.exists() {
        // Once per mount; fails as soon as it is none.
        while umount2(&bpffs, MntFlags::MNT_DETACH).is_ok() {}
    }
    let own = |namespace: &&String| {
        namespace.strip_prefix(name).is_some_and(|rest| rest.starts_with('-'))
    };
    for namespace in netns::names().unwrap_or_default().iter().filter(own) {
        if let Err(error) = NetNamespace::delete(namespace) {
            complaints.push(format!("a namespace: {error}"));
        }
    }
    if let Some(Err(error)) = cgroup.as_deref().map(remove_cgroups) {
        complaints.push(format!("its cgroups: {error}"));
    }
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            complaints.push(format!("its folder: {error}"));
        }
        _ => {}
    }
    complaints
}

/// Where the node named `name` keeps its files.
pub fn folder(name: &str) -> PathBuf {
    std::env::temp_dir().join(name)
}

fn end_processes(cgroup: &Path) -> io::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let pids = pids_below(cgroup)?;
        if pids.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(io::Error::other(format!("processes {pids:?} don't end")));
        }
        for pid in pids {
            // One that has ended meanwhile is what we want.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        sleep(Duration::from_millis(5));
    }
}

fn pids_below(cgroup: &Path) -> io::Result<Vec<i32>> {
    let list = fs::read_to_string(cgroup.join("cgroup.procs"))?;
    let mut pids: Vec<i32> = list.lines().filter_map(|line| line.parse().ok()).collect();
    for child in children(cgroup)? {
        pids.extend(pids_below(&child)?);
    }
    Ok(pids)
}

fn children(cgroup: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(cgroup)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            folders.push(entry.path());
        }
    }
    Ok(folders)
}

fn remove_cgroups(cgroup: &Path) -> io::Result<()> {
    for child in children(cgroup)? {
        remove_cgroups(&child)?;
    }
    fs::remove_dir(cgroup)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_test_nodes() {
        let check = |entry, expect: Option<(&str, &str)>| {
            let expect = expect.map(|(name, pid)| (name.to_owned(), pid));
            assert_eq!(test_node(entry), expect, "{entry}");
        };
        check("skt12-3", Some(("skt12-3", "12")));
        check("skt12-3-x.a", Some(("skt12-3", "12")));
        check("skt12", None);
        check("skt-3-x", None);
        check("skep-demo-node", None);
        check("sktx-1", None);
    }
}
