//! What the crate finds out about the running kernel, held against other sources.

use std::{fs, process};

use bpf_kernel::{
    Feature, Features, InterfaceHook, KernelOffsets, Program, ProgramKind, TestRun, mount, offsets,
    privilege, probe,
};

use crate::host::{EXIT, Host, instruction};

/// Reads 8 bytes of the calling task at `offset`, as a program that runs on our behalf sees them.
/// A classifier returns 32 bits, so it takes two.
fn field_of_current_task(offset: u32) -> u64 {
    let half = |at: u32| {
        let program = [
            instruction(0x85, 0, 0, 0, 35), // bpf_get_current_task
            instruction(0xbf, 3, 0, 0, 0),
            instruction(0x07, 3, 0, 0, at as i32),
            instruction(0xbf, 1, 10, 0, 0),
            instruction(0x07, 1, 0, 0, -8),
            instruction(0xb7, 2, 0, 0, 4),
            instruction(0x85, 0, 0, 0, 113), // bpf_probe_read_kernel
            instruction(0x61, 0, 10, -8, 0),
            EXIT,
        ];
        let program =
            Program::from_instructions("read", ProgramKind::CLASSIFIER, &program).unwrap();
        let input = TestRun { data: &[0; 64], context: &[], repeat: 1 };
        u64::from(program.test_run(input).unwrap().action)
    };
    half(offset) | half(offset + 4) << 32
}

#[test]
fn the_offsets_lead_to_the_fields() {
    let Some(_host) = Host::new() else { return };
    let found = KernelOffsets::of_this_kernel().unwrap();
    assert_eq!(found.absent().collect::<Vec<_>>(), Vec::<&str>::new());
    let offset = |field| found.offset(field).unwrap();

    let tgid = field_of_current_task(offset("task_struct.tgid")) as u32;
    assert_eq!(tgid, process::id());
    let comm = field_of_current_task(offset("task_struct.comm")).to_le_bytes();
    let name = fs::read("/proc/thread-self/comm").unwrap();
    assert_eq!(comm, name[..8]);
    let start = field_of_current_task(offset("task_struct.start_boottime"));
    let stat = fs::read_to_string("/proc/thread-self/stat").unwrap();
    // Field 22, in ticks of 10 ms; the name before it may hold spaces.
    let ticks: u64 = stat.rsplit_once(") ").unwrap().1.split(' ').nth(19).unwrap().parse().unwrap();
    assert_eq!(start / 10_000_000, ticks);
}

#[test]
fn every_field_has_its_constant_once() {
    let mut names: Vec<_> = offsets::FIELDS.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), offsets::FIELDS.len());
    for (name, field) in offsets::FIELDS {
        assert_eq!(*name, field.replace('.', "_").to_uppercase());
    }
}

#[test]
fn features_are_found_by_trying() {
    let Some(_host) = Host::new() else { return };
    let features = Features::probe();
    println!("{features}");
    // Every kernel from the floor up has these.
    for feature in [
        Feature::RingBuffer,
        Feature::PeerNameHooks,
        Feature::RedirectPeer,
        Feature::RedirectNeighbour,
        Feature::LruHash,
        Feature::Batches,
        Feature::SocketStorageInClassifiers,
        Feature::SocketStorageInCgroups,
        Feature::SocketStorageClone,
        Feature::NetnsCookie,
        Feature::CurrentTaskInCgroups,
    ] {
        assert!(features.has(feature), "{features}");
    }
    let tcx = features.has(Feature::Tcx);
    assert_eq!(features.interface_hook() == InterfaceHook::Tcx, tcx);
    assert_eq!(features.list().count(), probe::ALL.len());
}

#[test]
fn root_may_load() {
    let Some(_host) = Host::new() else { return };
    privilege::check().unwrap();
}

#[test]
fn a_bpf_file_system_is_mounted_once() {
    let Some(host) = Host::new() else { return };
    let inside = host.bpffs().join("deeper");
    assert!(!mount::ensure_bpffs(&host.bpffs()).unwrap());
    assert!(!mount::ensure_bpffs(&inside).unwrap());
    assert!(mount::is_bpffs(&inside));
    assert!(!mount::is_bpffs(std::path::Path::new("/proc")));
    mount::unmount_bpffs(std::path::Path::new("/proc")).unwrap();
    let error = mount::ensure_bpffs("/proc/self/none".as_ref()).unwrap_err().to_string();
    assert!(error.contains("cannot mount a BPF file system at /proc/self/none"), "{error}");
}
