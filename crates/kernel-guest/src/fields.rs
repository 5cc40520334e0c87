//! Kernel structures read through the offsets, held against what we know of ourselves: this process
//! is number 1, called `init`, and was started from `/init` by root.

use anyhow::{Result, ensure};
use bpf_kernel::{KernelOffsets, Program, ProgramKind, TestRun};

use crate::report::Report;

pub fn check(report: &mut Report, offsets: &KernelOffsets) {
    report.tell("fields of processes", process(offsets));
    report.tell("fields of paths", path(offsets));
}

fn process(offsets: &KernelOffsets) -> Result<String> {
    let at = |field| field_offset(offsets, field);
    let [tgid, comm] = [at("task_struct.tgid")?, at("task_struct.comm")?];
    expect("tgid", read(&[tgid])?, 1)?;
    expect("comm", read(&[comm])?, word(b"init"))?;
    expect("group_leader", read(&[at("task_struct.group_leader")?, tgid])?, 1)?;
    expect("parent", read(&[at("task_struct.real_parent")?, tgid])?, 0)?;
    expect("uid", read(&[at("task_struct.cred")?, at("cred.uid")?])?, 0)?;
    // The kernel started us some milliseconds after itself: the upper half counts 4.3 seconds.
    let start = at("task_struct.start_boottime")?;
    ensure!(read(&[start])? > 0 && read(&[start + 4])? < 60, "start_boottime");
    // Once for every program this process became; the kernel's thread became us.
    let executions = read(&[at("task_struct.self_exec_id")?])?;
    ensure!((1..10).contains(&executions), "self_exec_id is {executions}");
    Ok("tgid, comm, parent, leader, uid, start, exec id".to_owned())
}

fn path(offsets: &KernelOffsets) -> Result<String> {
    let at = |field| field_offset(offsets, field);
    let path = at("file.f_path")?;
    let file = [at("task_struct.mm")?, at("mm_struct.exe_file")?];
    let dentry = [file[0], file[1], path + at("path.dentry")?];
    let vfsmount = [file[0], file[1], path + at("path.mnt")?];
    let name = at("dentry.d_name")? + at("qstr.name")?;
    let (parent, root) = (at("dentry.d_parent")?, at("vfsmount.mnt_root")?);
    let follow = |start: &[u32], rest: &[u32]| read(&[start, rest].concat());

    expect("file name", follow(&dentry, &[name, 0])?, word(b"init"))?;
    expect("its length", follow(&dentry, &[at("dentry.d_name")? + at("qstr.len")?])?, 4)?;
    expect("folder", follow(&dentry, &[parent, name, 0])? & 0xffff, word(b"/\0\0\0"))?;
    ensure!(follow(&dentry, &[at("dentry.d_inode")?])? != 0, "no inode");
    expect("root of the mount", follow(&vfsmount, &[root, name, 0])? & 0xffff, word(b"/\0\0\0"))?;
    // The pointer is to the `mnt` inside `struct mount`; the others lie around it.
    let around = |field| Ok::<_, anyhow::Error>(at(field)?.wrapping_sub(at("mount.mnt")?));
    let up = around("mount.mnt_parent")?;
    ensure!(follow(&vfsmount, &[up])? != 0, "no parent of the mount");
    let on = around("mount.mnt_mountpoint")?;
    expect("mount point", follow(&vfsmount, &[on, name, 0])? & 0xffff, word(b"/\0\0\0"))?;
    Ok("binary, folder, mount".to_owned())
}

fn field_offset(offsets: &KernelOffsets, field: &str) -> Result<u32> {
    offsets.offset(field).ok_or_else(|| anyhow::anyhow!("this kernel has no {field}"))
}

fn expect(what: &str, found: u32, expected: u32) -> Result<()> {
    ensure!(found == expected, "{what}: {found:#x} instead of {expected:#x}");
    Ok(())
}

fn word(text: &[u8; 4]) -> u32 {
    u32::from_le_bytes(*text)
}

/// Follows pointers from the current task, each at its offset, and returns the 4 bytes at the last.
fn read(offsets: &[u32]) -> Result<u32> {
    const EXIT: [u8; 8] = [0x95, 0, 0, 0, 0, 0, 0, 0];
    let instruction = |code, registers, offset: i16, immediate: u32| {
        let ([a, b], [c, d, e, f]) = (offset.to_le_bytes(), immediate.to_le_bytes());
        [code, registers, a, b, c, d, e, f]
    };
    let mut program = vec![instruction(0x85, 0, 0, 35), instruction(0xbf, 0x06, 0, 0)];
    for (step, offset) in offsets.iter().enumerate() {
        let size = if step + 1 == offsets.len() { 4 } else { 8 };
        program.extend([
            instruction(0x7a, 0x0a, -8, 0),      // *(u64 *)(r10 - 8) = 0
            instruction(0xbf, 0x63, 0, 0),       // r3 = r6
            instruction(0x07, 0x03, 0, *offset), // r3 += offset
            instruction(0xbf, 0xa1, 0, 0),       // r1 = r10
            instruction(0x07, 0x01, 0, -8i32 as u32),
            instruction(0xb7, 0x02, 0, size),
            instruction(0x85, 0, 0, 113),   // bpf_probe_read_kernel
            instruction(0x79, 0xa6, -8, 0), // r6 = *(u64 *)(r10 - 8)
        ]);
    }
    program.extend([instruction(0xbf, 0x60, 0, 0), EXIT]);
    let program = Program::from_instructions("read", ProgramKind::CLASSIFIER, &program)?;
    let input = TestRun { data: &[0; 64], context: &[], repeat: 1 };
    Ok(program.test_run(input)?.action)
}
