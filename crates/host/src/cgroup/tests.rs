use std::process::{Child, Command};

use super::*;

#[test]
fn mount_tables() {
    #[track_caller]
    fn check(table: &str, expect: Option<&str>) {
        assert_eq!(mount_point_in(table), expect.map(PathBuf::from));
    }
    check("cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n", Some("/sys/fs/cgroup"));
    let both = "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
                cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
    check(both, Some("/sys/fs/cgroup/unified"));
    check("none /a\\040b\\134c cgroup2 rw 0 0", Some("/a b\\c"));
    check("none /a\\9b\\ cgroup2 rw 0 0", Some("/a\\9b\\"));
    check("cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0", None);
    check("", None);
}

#[test]
fn resolving() {
    let root = Root::at("/sys/fs/cgroup/unified");
    for (cgroup, expect) in [
        ("demo/web-1", "/sys/fs/cgroup/unified/demo/web-1"),
        ("/system.slice/x.service", "/sys/fs/cgroup/unified/system.slice/x.service"),
        ("/sys/fs/cgroup/unified/demo", "/sys/fs/cgroup/unified/demo"),
        ("/", "/sys/fs/cgroup/unified"),
        ("../../etc", "/sys/fs/cgroup/unified/etc"),
    ] {
        assert_eq!(root.resolve(cgroup), Path::new(expect), "{cgroup}");
    }
}

#[test]
fn the_unified_line() {
    assert_eq!(unified_in("9:name=systemd:/\n4:memory:/x\n0::/a/b\n"), Some("/a/b"));
    assert_eq!(unified_in("9:name=systemd:/\n"), None);
}

/// A cgroup with a process in it, both gone with the value.
struct Group {
    cgroup: Cgroup,
    child: Child,
}

impl Drop for Group {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        // The kernel empties the cgroup a moment after the process was waited for.
        for _ in 0..100 {
            if self.cgroup.delete().is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        println!("{} is left behind", self.cgroup.path().display());
    }
}

#[test]
fn a_process_in_a_cgroup() {
    let root = match Root::find() {
        Ok(root) if nix::unistd::geteuid().is_root() => root,
        _ => {
            println!("a_process_in_a_cgroup: skipped, needs root and a mount of cgroup v2");
            return;
        }
    };
    let name = format!("skep-test-{}", std::process::id());
    let cgroup = root.create(&name).unwrap();
    let child = Command::new("sleep").arg("60").spawn().unwrap();
    let group = Group { cgroup, child };
    let pid = group.child.id();
    group.cgroup.add(pid).unwrap();
    assert_eq!(group.cgroup.pids().unwrap(), [pid]);
    assert_eq!(root.of_process(pid).unwrap(), group.cgroup);
    assert_eq!(root.open(&name).unwrap().id(), group.cgroup.id());
    assert!(group.cgroup.id() > 1);
    assert!(matches!(root.of_process(u32::MAX), Err(Error::ProcessMissing { .. })));
    let missing = root.open("skep-test-none");
    assert!(matches!(missing, Err(Error::CgroupMissing { .. })), "{missing:?}");
    assert!(matches!(Root::at("/tmp").open("/"), Err(Error::Malformed { .. })));
}
