//! The running kernel's types. Skips, and says so, where there are none.

use std::sync::Arc;

use bpf_object::answer;
use bpf_object::btf::{
    Btf, BtfError, Composite, CoreKind, CoreRecord, Int, Kind, Member, TypeId, essential_name,
};

fn kernel() -> Option<(Vec<u8>, Btf)> {
    match std::fs::read("/sys/kernel/btf/vmlinux") {
        Ok(bytes) => {
            let types = Btf::parse(&bytes).unwrap();
            Some((bytes, types))
        }
        Err(error) => {
            println!("skipped: /sys/kernel/btf/vmlinux: {error}");
            None
        }
    }
}

#[test]
fn it_is_written_as_it_was_read() {
    let Some((bytes, types)) = kernel() else { return };
    assert!(types.count() > 10_000);
    assert!(types.to_bytes() == bytes, "other bytes come out");
}

#[test]
fn everything_in_it_has_a_meaning() {
    let Some((_, types)) = kernel() else { return };
    for (id, entry) in types.own_types() {
        assert!(!types.describe(id).contains('?'), "{id:?} is {}", types.describe(id));
        if let Kind::Struct(composite) | Kind::Union(composite) = &entry.kind {
            assert_eq!(types.size(id), Some(composite.size.into()));
            for member in &composite.members {
                // The last member's length may be unknown, never its kind.
                let end = u64::from(member.bit_offset) + u64::from(member.bits);
                assert!(end <= u64::from(composite.size) * 8, "{}", types.describe(id));
            }
        }
    }
}

#[test]
fn fields_are_found_by_path() {
    let Some((_, types)) = kernel() else { return };
    let comm = types.field("task_struct.comm").unwrap();
    assert_eq!(types.size(comm.kind), Some(16));
    let third = types.field("task_struct.comm[3]").unwrap();
    assert_eq!(third.bit_offset, comm.bit_offset + 24);
    assert!(types.offset("task_struct.se.vruntime") > types.offset("task_struct.se"));
    // In an anonymous union.
    assert!(types.offset("sock_common.skc_daddr").is_some());
    assert_eq!(types.offset("sock.__sk_common.skc_daddr"), types.offset("sock_common.skc_daddr"));
    for absent in [
        "",
        "task_struct",
        "task_struct.",
        "task_struct.nothing",
        "nothing.pid",
        "task_struct.comm[99]",
        "task_struct.comm[",
        "task_struct.pid.x",
        ".",
        "[0]",
    ] {
        assert_eq!(types.offset(absent), None, "{absent}");
    }
}

#[test]
fn relocations_agree_with_the_paths() {
    let Some((_, types)) = kernel() else { return };
    let mut local = Btf::new();
    let int = Kind::Int(Int { size: 4, encoding: Int::SIGNED, bit_offset: 0, bits: 32 });
    let int = local.add("int", int);
    for (name, fields) in [
        ("task_struct___mine", ["tgid", "pid", "exit_code"]),
        ("sock_common", ["skc_daddr", "skc_rcv_saddr", "skc_bound_dev_if"]),
    ] {
        let member = |(index, name): (u32, &str)| Member {
            name: local.intern(name),
            kind: int,
            bit_offset: index * 32,
            bits: 0,
        };
        let members = (0..).zip(fields).map(member).collect();
        let composite = Composite { size: 12, has_bit_fields: false, members };
        let root = local.add(name, Kind::Struct(composite));
        for (index, field) in fields.iter().enumerate() {
            let path = local.intern(&format!("0:{index}"));
            let record = CoreRecord { offset: 0, root, path, kind: CoreKind::FieldOffset };
            let found = answer(&record, &local, &types).unwrap();
            let expected = types.offset(&format!("{}.{field}", essential_name(name))).unwrap();
            assert_eq!(found.target, Some(expected.into()), "{name}.{field}");
            assert_eq!(found.local, index as u64 * 4);
        }
    }
}

#[test]
fn a_modules_types_go_on_where_the_kernels_end() {
    let mut base = Btf::new();
    let int = Kind::Int(Int { size: 4, encoding: 0, bit_offset: 0, bits: 32 });
    let int = base.add("int", int);
    let base = Arc::new(base);
    let mut module = Btf::on(base.clone());
    let name = module.intern("field");
    let member = Member { name, kind: int, bit_offset: 32, bits: 0 };
    let composite = Composite { size: 8, has_bit_fields: false, members: vec![member] };
    let id = module.add("int_pair", Kind::Struct(composite));
    assert_eq!(id, TypeId(2));
    let read = Btf::parse_split(&module.to_bytes(), base.clone()).unwrap();
    assert_eq!(read, module);
    assert_eq!((read.name(id), read.name(int)), ("int_pair", "int"));
    assert_eq!(read.offset("int_pair.field"), Some(4));
    assert_eq!((read.named("int"), read.named("int_pair")), (vec![int], vec![id]));
    let alone: Result<Btf, BtfError> = Btf::parse(&module.to_bytes());
    assert!(alone.is_err(), "its strings are not its own");
}

#[test]
fn names_without_flavour() {
    for (name, essential) in [
        ("task_struct", "task_struct"),
        ("task_struct___v5", "task_struct"),
        ("a___b___c", "a___b"),
        ("a____b", "a____b"),
        ("___b", "___b"),
        ("a___", "a___"),
        ("a__b", "a__b"),
        ("", ""),
    ] {
        assert_eq!(essential_name(name), essential, "{name}");
    }
}
