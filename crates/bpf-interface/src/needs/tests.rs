use bpf_object::{MapType, ProgramKind, object_of_code};

use super::*;
use crate::profile::embedded;

/// A program of these instructions, in an object with nothing else.
fn program(section: &str, slots: &[[u8; 8]]) -> (Object, Program) {
    let object = object_of_code("program", section, "GPL", slots.as_flattened());
    let object = Object::parse(&object).expect("an object");
    let mut program = object.link("program", None).expect("a program");
    program.kind = ProgramKind::of_section(section);
    program.section = section.to_owned();
    (object, program)
}

const EXIT: [u8; 8] = [0x95, 0, 0, 0, 0, 0, 0, 0];

fn slot(code: u8, registers: u8, offset: i16, immediate: i32) -> [u8; 8] {
    let ([a, b], [c, d, e, f]) = (offset.to_le_bytes(), immediate.to_le_bytes());
    [code, registers, a, b, c, d, e, f]
}

fn call(helper: i32) -> [u8; 8] {
    slot(0x85, 0, 0, helper)
}

#[track_caller]
fn check(section: &str, slots: &[[u8; 8]], expected: &[(&str, Option<usize>)]) {
    let (object, program) = program(section, slots);
    let found: Vec<_> =
        needs(&program, &object).iter().map(|need| (need.feature.to_string(), need.slot)).collect();
    let expected: Vec<_> =
        expected.iter().map(|(text, slot)| ((*text).to_owned(), *slot)).collect();
    assert_eq!(found, expected, "{section}");
}

#[test]
fn programs_need_their_type_helpers_and_instructions() {
    check(
        "xdp",
        &[call(5), call(181), call(5), EXIT],
        &[
            ("program type xdp", None),
            ("bpf_ktime_get_ns in xdp programs", Some(0)),
            ("bpf_loop in xdp programs", Some(1)),
        ],
    );
    // A backward jump on half a register needs two things.
    check(
        "tc",
        &[slot(0xb7, 0, 0, 0), slot(0x07, 0, 0, 1), slot(0xa6, 0, -2, 9), EXIT],
        &[("program type sched_cls", None), ("32-bit jumps", Some(2)), ("loops", Some(2))],
    );
    check(
        "tcx/ingress",
        &[slot(0x37, 0, 1, 1), EXIT],
        &[
            ("program type sched_cls", None),
            ("attach type tcx_ingress", None),
            ("instructions of cpu v4", Some(0)),
        ],
    );
    check(
        "fentry.s/do_exit",
        &[EXIT],
        &[
            ("program type tracing", None),
            ("attach type trace_fentry", None),
            ("sleepable programs", None),
        ],
    );
}

#[test]
fn what_is_not_reached_is_not_needed() {
    let (object, program) = program("xdp", &[call(5), EXIT, call(181), EXIT]);
    let needs = needs_of(&program, &object, |slot| slot < 2);
    assert!(needs.iter().all(|need| need.feature.to_string() != "bpf_loop in xdp programs"));
}

#[test]
fn kernels_lack_what_came_later() {
    let (mut object, program) = program("xdp", &[call(181), call(12), EXIT]);
    let mut map = object.maps.first().cloned().unwrap_or_else(|| bpf_object::Map {
        name: "map".to_owned(),
        origin: bpf_object::Origin::Types,
        kind: MapType::BLOOM_FILTER,
        key_size: 0,
        value_size: 4,
        max_entries: 1,
        flags: 0,
        extra: 0,
        numa_node: None,
        pinned_by_name: false,
        key_type: None,
        value_type: None,
        inner: None,
        values: Vec::new(),
        contents: None,
        pointers: Vec::new(),
    });
    map.kind = MapType::BLOOM_FILTER;
    object.maps = vec![map];
    let needs = needs(&program, &object);
    let lacks = |name: &str| -> Vec<String> {
        let profile = embedded(name).expect("a profile");
        missing(&needs, &profile).iter().map(|(need, _)| need.feature.to_string()).collect()
    };
    let both = ["bpf_loop in xdp programs", "map type bloom_filter"];
    assert_eq!(lacks("5.10"), both);
    assert_eq!(lacks("5.15"), both);
    assert!(lacks("6.1").is_empty());
    assert!(lacks("newest").is_empty());
}
