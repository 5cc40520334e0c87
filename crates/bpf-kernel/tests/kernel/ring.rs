use std::{
    os::fd::{AsFd as _, AsRawFd as _},
    time::Duration,
};

use bpf_kernel::{Map, MapKind, MapLayout, Program, ProgramKind, Ring, TestRun};

use crate::host::{EXIT, Host, instruction};

const SIZE: u32 = 4096 * 4;
const NO_WAKEUP: i32 = 1;
const FORCE_WAKEUP: i32 = 2;

fn ring() -> Map {
    let layout = MapLayout {
        kind: MapKind::RingBuffer,
        key_size: 0,
        value_size: 0,
        max_entries: SIZE,
        flags: 0,
    };
    Map::create("events", layout).unwrap()
}

/// A program that writes 16 bytes, the first 8 of them `value`.
fn writer(map: &Map, value: i32, flags: i32) -> Program {
    let fd = map.as_fd().as_raw_fd();
    Program::from_instructions(
        "writer",
        ProgramKind::CLASSIFIER,
        &[
            instruction(0x7a, 10, 0, -16, value), // *(u64 *)(r10 - 16) = value
            instruction(0x7a, 10, 0, -8, 0),      // *(u64 *)(r10 - 8) = 0
            instruction(0x18, 1, 1, 0, fd),       // r1 = map
            instruction(0, 0, 0, 0, 0),
            instruction(0xbf, 2, 10, 0, 0),  // r2 = r10
            instruction(0x07, 2, 0, 0, -16), // r2 -= 16
            instruction(0xb7, 3, 0, 0, 16),  // r3 = 16
            instruction(0xb7, 4, 0, 0, flags),
            instruction(0x85, 0, 0, 0, 130), // bpf_ringbuf_output
            EXIT,
        ],
    )
    .unwrap()
}

fn write(program: &Program, times: u32) -> u32 {
    program.test_run(TestRun { data: &[0; 64], context: &[], repeat: times }).unwrap().action
}

#[test]
fn records_come_in_order_and_only_once() {
    let Some(_host) = Host::new() else { return };
    let map = ring();
    let mut ring = Ring::new(&map).unwrap();
    // Several times around the buffer.
    for round in 0..20 {
        assert_eq!(write(&writer(&map, round, NO_WAKEUP), 300), 0);
        assert_eq!(ring.waiting(), 300 * 24);
        let mut records = 0;
        assert_eq!(
            ring.drain(200, |record| {
                assert_eq!(record.len(), 16);
                assert_eq!(record[0], round as u8);
                records += 1;
            }),
            200
        );
        assert_eq!(ring.drain(usize::MAX, |_| records += 1), 100);
        assert_eq!(records, 300);
        assert_eq!(ring.drain(usize::MAX, |_| ()), 0);
    }
}

#[test]
fn a_full_buffer_refuses_and_recovers() {
    let Some(_host) = Host::new() else { return };
    let map = ring();
    let mut ring = Ring::new(&map).unwrap();
    let program = writer(&map, 1, NO_WAKEUP);
    assert_eq!(write(&program, 2000) as i32, -libc::EAGAIN);
    let fitted = ring.drain(usize::MAX, |_| ());
    assert!(fitted > 600, "{fitted}");
    assert_eq!(write(&program, 1), 0);
    assert_eq!(ring.drain(usize::MAX, |_| ()), 1);
}

#[tokio::test]
async fn the_reader_wakes_by_the_program_or_by_the_clock() {
    let Some(_host) = Host::new() else { return };
    let map = ring();
    let mut ring = Ring::new(&map).unwrap().into_async().unwrap();
    write(&writer(&map, 1, NO_WAKEUP), 5);
    let short = Duration::from_millis(20);
    assert_eq!(ring.next(short, |_| ()).await.unwrap(), 5);
    assert_eq!(ring.next(short, |_| ()).await.unwrap(), 0);

    let forced = writer(&map, 2, FORCE_WAKEUP);
    let start = std::time::Instant::now();
    let (count, ()) = tokio::join!(ring.next(Duration::from_secs(20), |_| ()), async {
        tokio::time::sleep(short).await;
        write(&forced, 1);
    });
    assert_eq!(count.unwrap(), 1);
    assert!(start.elapsed() < Duration::from_secs(10));
}
