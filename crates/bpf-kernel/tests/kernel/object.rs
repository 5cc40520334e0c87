use std::{fs, os::fd::AsFd as _};

use ::object::{
    Architecture, BinaryFormat, Endianness, RelocationFlags, SectionKind, SymbolFlags, SymbolKind,
    SymbolScope,
    write::{Object as Writer, Relocation, StandardSection, Symbol, SymbolSection},
};
use bpf_kernel::{Error, Loader, Program, Table, TestRun};

use crate::host::{EXIT, Host, instruction};

/// An object such as a compiler makes, with an array `counts` of `max_entries`, a constant `ADDEND`
/// and the programs `count` (adds the constant to entry 0 and returns the sum), `broken` (reads
/// beyond the packet).
fn elf(max_entries: u32) -> Vec<u8> {
    let mut object = Writer::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    let license = object.add_section(vec![], b"license".to_vec(), SectionKind::Data);
    object.append_section_data(license, b"GPL\0", 1);

    let symbol = |name: &str, size, kind, section| Symbol {
        name: name.as_bytes().to_vec(),
        value: 0,
        size,
        kind,
        scope: SymbolScope::Linkage,
        weak: false,
        section: SymbolSection::Section(section),
        flags: SymbolFlags::None,
    };
    let maps = object.add_section(vec![], b"maps".to_vec(), SectionKind::Data);
    // struct bpf_map_def: an array of u32 to u32.
    let definition: Vec<u8> =
        [2u32, 4, 4, max_entries, 0].iter().flat_map(|word| word.to_le_bytes()).collect();
    object.append_section_data(maps, &definition, 4);
    let counts = object.add_symbol(symbol("counts", 20, SymbolKind::Data, maps));

    let constants = object.section_id(StandardSection::ReadOnlyData);
    object.append_section_data(constants, &1u32.to_le_bytes(), 4);
    let addend = object.add_symbol(symbol("ADDEND", 4, SymbolKind::Data, constants));

    let zero = instruction(0, 0, 0, 0, 0);
    let count = [
        instruction(0x62, 10, 0, -4, 0), // *(u32 *)(r10 - 4) = 0
        instruction(0x18, 1, 0, 0, 0),   // r1 = counts
        zero,
        instruction(0xbf, 2, 10, 0, 0),
        instruction(0x07, 2, 0, 0, -4),
        instruction(0x85, 0, 0, 0, 1), // bpf_map_lookup_elem
        instruction(0x55, 0, 0, 2, 0), // if r0 != 0 goto +2
        instruction(0xb7, 0, 0, 0, -1),
        EXIT,
        instruction(0x18, 2, 0, 0, 0), // r2 = &ADDEND
        zero,
        instruction(0x61, 3, 2, 0, 0), // r3 = *r2
        instruction(0x61, 4, 0, 0, 0),
        instruction(0x0f, 3, 4, 0, 0),
        instruction(0x63, 0, 3, 0, 0),
        instruction(0xbf, 0, 3, 0, 0),
        EXIT,
    ];
    let broken = [
        instruction(0x61, 2, 1, 76, 0), // r2 = skb->data
        instruction(0x61, 0, 2, 36, 0), // r0 = *(u32 *)(r2 + 36)
        EXIT,
    ];
    for (name, code) in [("count", &count[..]), ("broken", &broken[..])] {
        let section =
            object.add_section(vec![], format!("classifier/{name}").into(), SectionKind::Text);
        object.append_section_data(section, code.as_flattened(), 8);
        object.add_symbol(symbol(name, code.len() as u64 * 8, SymbolKind::Text, section));
        if name == "count" {
            for (offset, symbol) in [(8, counts), (72, addend)] {
                let flags = RelocationFlags::Elf { r_type: ::object::elf::R_BPF_64_64 };
                let relocation = Relocation { offset, symbol, addend: 0, flags };
                object.add_relocation(section, relocation).unwrap();
            }
        }
    }
    object.write().unwrap()
}

fn count(program: &Program) -> u32 {
    program.test_run(TestRun { data: &[0; 64], context: &[], repeat: 1 }).unwrap().action
}

#[test]
fn maps_are_found_again_by_their_pins() {
    let Some(host) = Host::new() else { return };
    let loader = || Loader::new("test").pin_maps(host.bpffs().join("maps")).programs(&["count"]);
    let first = loader().load(&elf(8)).unwrap();
    assert_eq!(count(first.program("count").unwrap()), 1);
    assert_eq!(count(first.program("count").unwrap()), 2);
    drop(first);
    let second = loader().global("ADDEND", &40u32).load(&elf(8)).unwrap();
    assert_eq!(count(second.program("count").unwrap()), 42);
    let pin = host.bpffs().join("maps/counts");
    assert_eq!(Table::<u32, u32>::open(&pin).unwrap().get(&0).unwrap(), Some(42));
    assert_eq!(second.maps().map(|map| map.name()).collect::<Vec<_>>(), ["counts"]);
    assert_eq!(fs::read_dir(host.bpffs().join("maps")).unwrap().count(), 1);
}

#[test]
fn a_pinned_map_of_another_layout_is_refused_or_replaced() {
    let Some(host) = Host::new() else { return };
    let loader = || Loader::new("test").pin_maps(host.bpffs().join("maps")).programs(&["count"]);
    let old = loader().load(&elf(8)).unwrap();
    assert_eq!(count(old.program("count").unwrap()), 1);
    let error = loader().max_entries("counts", 16).load(&elf(8)).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "map `counts` pinned at {} has another layout: it is array, key 4 B, value 4 B, 8 \
             entries, this version needs array, key 4 B, value 4 B, 16 entries",
            host.bpffs().join("maps/counts").display()
        )
    );
    let new = loader().replace_mismatched(true).max_entries("counts", 16).load(&elf(8)).unwrap();
    assert_eq!(count(new.program("count").unwrap()), 1);
    assert_eq!(count(old.program("count").unwrap()), 2);
    assert_eq!(new.map("counts").unwrap().layout().max_entries, 16);
}

#[test]
fn a_refused_program_shows_the_verifiers_last_lines() {
    let Some(_host) = Host::new() else { return };
    let error = Loader::new("test").load(&elf(8)).unwrap_err();
    assert!(matches!(error, Error::Load(_)));
    let text = error.to_string();
    assert!(text.starts_with("the kernel refused program `broken` of object `test`: "), "{text}");
    assert!(text.contains("invalid access to packet, off=36 size=4"), "{text}");
    assert!(!text.contains("processed"), "{text}");

    let (object, failures) = Loader::new("test").load_each(&elf(8)).unwrap();
    assert_eq!(object.programs().map(|program| program.name()).collect::<Vec<_>>(), ["count"]);
    assert_eq!(failures.len(), 1);
}

#[test]
fn what_an_object_does_not_have_is_named() {
    let Some(_host) = Host::new() else { return };
    let check = |loader: Loader<'_>, expected: &str| {
        assert_eq!(loader.load(&elf(8)).unwrap_err().to_string(), expected);
    };
    check(
        Loader::new("test").programs(&["cuont"]),
        "eBPF object `test` has no program named `cuont`",
    );
    check(
        Loader::new("test").global("ADEND", &1u32),
        "eBPF object `test` has no constant named `ADEND`",
    );
    let loader = Loader::new("test").optional_global("ADEND", &1u32).programs(&["count"]);
    assert!(loader.load(&elf(8)).unwrap().map("nothing").is_err());
    check(
        Loader::new("test").global("ADDEND", &1u64),
        "eBPF object `test` is damaged: symbol ADDEND has size `4`, but provided data is of size `8`",
    );
}

#[test]
fn damaged_objects_are_errors() {
    let Some(_host) = Host::new() else { return };
    let whole = elf(8);
    for end in (0..whole.len()).step_by(7) {
        assert!(Loader::new("test").programs(&["count"]).load(&whole[..end]).is_err(), "{end}");
    }
}

#[test]
fn programs_are_pinned_and_opened() {
    let Some(host) = Host::new() else { return };
    let object = Loader::new("test").programs(&["count"]).load(&elf(8)).unwrap();
    let program = object.program("count").unwrap();
    let pin = host.bpffs().join("programs/count");
    program.pin(&pin).unwrap();
    program.pin(&pin).unwrap();
    let opened = Program::open(&pin).unwrap();
    assert_eq!(opened.info().unwrap(), program.info().unwrap());
    assert_eq!(opened.info().unwrap().name, "count");
    let by_id = Program::from_id(program.info().unwrap().id).unwrap();
    assert_eq!(by_id.info().unwrap(), program.info().unwrap());
    let error = program.pin(&std::env::temp_dir().join("none-here")).unwrap_err().to_string();
    assert!(error.contains("that is not in a BPF file system"), "{error}");
    assert!(bpf_kernel::Map::open(&pin).unwrap_err().to_string().ends_with("is not a map"));
    assert!(opened.as_fd().try_clone_to_owned().is_ok());
}
