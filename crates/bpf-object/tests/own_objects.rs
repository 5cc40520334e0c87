//! Skep's own objects, as rustc and bpf-linker make them, against what the kernel's loader makes
//! of them.

use std::collections::{HashMap, HashSet};

use bpf_isa::{Callee, Instruction, Wide};
use bpf_object::{Object, Role};

#[test]
fn every_program_links_to_what_the_kernel_loader_loads() {
    for (name, bytes) in objects::ALL {
        let object = Object::parse(bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(!object.license.is_empty(), "{name}");
        let programs = object.link_all(None).unwrap_or_else(|e| panic!("{name}: {e}"));
        let loader = Loader::read(bytes);
        assert_eq!(programs.len(), loader.programs.len(), "{name}");
        for program in &programs {
            let slots = loader.programs[program.name.as_str()];
            assert_eq!(program.code.len() / 8, slots, "{name}: {}", program.name);
            assert!(program.kind.is_some(), "{name}: {} in {}", program.name, program.section);
            check_references(&object, program);
        }
        for map in object.maps.iter().filter(|map| !map.name.starts_with('.')) {
            let known = loader.maps[map.name.as_str()];
            let own = [map.kind.0, map.key_size, map.value_size, map.max_entries, map.flags];
            assert_eq!(own, known, "{name}: map {}", map.name);
        }
    }
}

fn check_references(object: &Object, program: &bpf_object::Program) {
    let starts: HashSet<usize> = program.functions.iter().map(|f| f.slot).collect();
    for placed in &program.instructions {
        let target = |distance: i32| (placed.slot as i64 + 1 + i64::from(distance)) as usize;
        match placed.instruction {
            Instruction::Call { callee: Callee::Local(distance) }
            | Instruction::LoadWide { value: Wide::Code(distance), .. } => {
                assert!(starts.contains(&target(distance)), "{}", placed.slot);
            }
            Instruction::LoadWide { value: Wide::MapByIndex(map), .. } => {
                assert!(!object.maps[map as usize].name.starts_with('.'));
            }
            Instruction::LoadWide { value: Wide::MapValueByIndex { map, offset }, .. } => {
                assert!((offset as u32) < object.maps[map as usize].value_size);
            }
            Instruction::LoadWide {
                value: Wide::MapByFd(_) | Wide::MapValueByFd { .. }, ..
            } => {
                panic!("slot {} still names a file", placed.slot);
            }
            _ => {}
        }
    }
    let functions = program.function_info();
    assert_eq!(functions.len(), program.functions.len() * 8);
    assert_eq!(functions[..4], [0; 4]);
    assert_eq!(program.line_info().len(), program.lines.len() * 16);
    assert!(program.lines.is_sorted_by(|left, right| left.slot < right.slot));
    let line = program.line(0).expect("the entry point has a line");
    assert!(line.file.ends_with(".rs") && line.line > 0, "{line:?}");
}

#[test]
fn variables_can_be_set_and_are_where_the_code_looks() {
    for (name, bytes) in objects::ALL {
        let mut object = Object::parse(bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        let variable = object.variables.iter().find(|variable| variable.size == 4).cloned();
        let variable = variable.unwrap_or_else(|| panic!("{name} has no constant of 4 bytes"));
        object.set_variable(&variable.name, &0x1234_5678u32.to_le_bytes()).unwrap();
        assert_eq!(object.variable(&variable.name), Some(&0x1234_5678u32.to_le_bytes()[..]));
        assert!(object.set_variable(&variable.name, &[0; 5]).is_err());
        assert!(object.set_variable("no such variable", &[0; 4]).is_err());
    }
}

#[test]
fn the_types_are_written_as_they_were_read() {
    for (name, bytes) in objects::ALL {
        let object = Object::parse(bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        let types = object.types.expect("our objects have types");
        assert_eq!(bpf_object::btf::Btf::parse(&types.to_bytes()).as_ref(), Ok(&types), "{name}");
    }
}

#[test]
fn the_inspection_names_what_is_needed() {
    for (name, bytes) in objects::ALL {
        let object = Object::parse(bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        let programs = object.link_all(None).unwrap_or_else(|e| panic!("{name}: {e}"));
        let inspection = object.inspect(&programs);
        assert_eq!(inspection.programs.len(), object.programs().count(), "{name}");
        assert!(inspection.needs.contains(&bpf_object::Need::Helper(1)), "{name} looks nothing up");
        assert!(inspection.needs.contains(&bpf_object::Need::GlobalVariables), "{name}");
        assert!(inspection.types.kinds["struct"] > 10, "{name}");
        assert!(inspection.core.is_empty(), "{name}: rustc writes no CO-RE relocations");
    }
}

#[test]
fn sections_say_what_programs_are() {
    let (_, sock) = objects::ALL.iter().find(|(name, _)| *name == "sock").unwrap();
    let object = Object::parse(sock).unwrap();
    let function = object.functions.iter().find(|f| f.name == "connect6").unwrap();
    let Role::Program(Some(kind)) = &function.role else { panic!("{:?}", function.role) };
    assert_eq!(kind.program, bpf_object::ProgramType::CGROUP_SOCK_ADDR);
    assert_eq!(kind.attach, Some(bpf_object::AttachType::CGROUP_INET6_CONNECT));
}

/// What aya's reader, which our kernel loader is built on, makes of an object.
struct Loader {
    /// Slots by program.
    programs: HashMap<String, usize>,
    maps: HashMap<String, [u32; 5]>,
}

impl Loader {
    fn read(bytes: &[u8]) -> Self {
        let mut parsed = aya_obj::Object::parse(bytes).unwrap();
        let definitions: Vec<_> = parsed.maps.drain().collect();
        let text: HashSet<usize> = parsed.functions.keys().map(|(section, _)| *section).collect();
        let by_name = definitions.iter().map(|(name, map)| (name.as_str(), 3, map));
        parsed.relocate_maps(by_name, &text).unwrap();
        parsed.relocate_calls(&text).unwrap();
        let slots = |program: &aya_obj::Program| {
            parsed.functions[&program.function_key()].instructions.len()
        };
        let programs = parsed.programs.iter().map(|(name, program)| (name.clone(), slots(program)));
        let map = |map: &aya_obj::Map| {
            [map.map_type(), map.key_size(), map.value_size(), map.max_entries(), map.map_flags()]
        };
        Self {
            programs: programs.collect(),
            maps: definitions.iter().map(|(name, m)| (name.clone(), map(m))).collect(),
        }
    }
}
