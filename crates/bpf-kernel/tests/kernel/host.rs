//! Where a test does its work, and the few instructions it loads.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use bpf_kernel::{mount, privilege};
use nix::{
    sched::{CloneFlags, unshare},
    unistd::{Uid, gettid},
};

/// A network namespace for the calling thread, a BPF file system and a cgroup, gone with it.
pub struct Host {
    folder: tempfile::TempDir,
    cgroup: Option<PathBuf>,
}

impl Host {
    /// `None`, with a printed reason, without the privilege.
    pub fn new() -> Option<Self> {
        if !Uid::effective().is_root() {
            eprintln!("skipped: needs root");
            return None;
        }
        if let Err(error) = privilege::check() {
            eprintln!("skipped: {error}");
            return None;
        }
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace of our own");
        run("ip link set lo up");
        let folder = tempfile::tempdir().expect("a temporary folder");
        mount::ensure_bpffs(&folder.path().join("bpf")).expect("a BPF file system");
        Some(Self { folder, cgroup: None })
    }

    pub fn bpffs(&self) -> PathBuf {
        self.folder.path().join("bpf")
    }

    /// A fresh cgroup of version 2; `None`, with a printed reason, where there is none.
    pub fn cgroup(&mut self) -> Option<PathBuf> {
        let mounts = fs::read_to_string("/proc/mounts").expect("the mount table");
        let root = mounts
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .find(|fields| fields[2] == "cgroup2")
            .map(|fields| PathBuf::from(fields[1]));
        let Some(root) = root else {
            eprintln!("skipped: cgroup2 is not mounted");
            return None;
        };
        let path = root.join(format!("bpf-kernel-test-{}", gettid()));
        fs::create_dir(&path).expect("a cgroup");
        self.cgroup = Some(path.clone());
        Some(path)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        mount::unmount_bpffs(&self.bpffs()).expect("unmounting");
        if let Some(cgroup) = &self.cgroup {
            fs::remove_dir(cgroup).expect("removing the cgroup");
        }
    }
}

pub fn run(command: &str) {
    let status = Command::new("sh").args(["-c", command]).status().expect("a shell");
    assert!(status.success(), "{command}: {status}");
}

/// Whether a UDP packet to ourselves over `lo` arrives.
pub fn packet_arrives() -> bool {
    let receiver = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    receiver.set_read_timeout(Some(std::time::Duration::from_millis(100))).unwrap();
    let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    // Dropped on the way out, the packet may fail to be sent.
    let _ = sender.send_to(b"ping", receiver.local_addr().unwrap());
    receiver.recv(&mut [0; 16]).is_ok()
}

/// Whether a process in `cgroup` may connect a UDP socket.
pub fn connect_allowed(cgroup: &Path) -> bool {
    let script =
        format!("echo $$ > {}/cgroup.procs && exec 3<>/dev/udp/127.0.0.1/9", cgroup.display());
    let output = Command::new("bash").args(["-c", &script]).output().expect("bash");
    output.status.success()
}

pub const EXIT: [u8; 8] = [0x95, 0, 0, 0, 0, 0, 0, 0];

/// `r0 = value; exit`
pub fn returning(value: i32) -> [[u8; 8]; 2] {
    [instruction(0xb7, 0, 0, 0, value), EXIT]
}

pub fn instruction(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> [u8; 8] {
    let (offset, immediate) = (offset.to_le_bytes(), immediate.to_le_bytes());
    [
        code,
        to | from << 4,
        offset[0],
        offset[1],
        immediate[0],
        immediate[1],
        immediate[2],
        immediate[3],
    ]
}
