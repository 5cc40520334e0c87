//! An object made by clang, linked against types made here. Skips, and says so, without clang.

use std::path::Path;
use std::process::Command;

use bpf_isa::{Callee, Instruction, Wide};
use bpf_object::btf::{Array, Btf, Composite, CoreKind, Enum, Int, Kind, Linkage, Member, TypeId};
use bpf_object::{
    Error, ExternSort, MapType, Need, Object, Origin, PointerTarget, Problem, Program,
};

/// The object, if there is a clang that can make it.
fn everything() -> Option<Vec<u8>> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/objects/everything.c");
    for clang in ["clang", "clang-19", "clang-18", "clang-17", "clang-16", "clang-15"] {
        let output = Command::new(clang)
            .args(["-g", "-O2", "-mcpu=v3", "--target=bpf", "-c", "-o", "-"])
            .arg(&source)
            .output();
        match output {
            Ok(output) if output.status.success() => return Some(output.stdout),
            Ok(output) => println!("{clang}: {}", String::from_utf8_lossy(&output.stderr)),
            Err(_) => {}
        }
    }
    println!("skipped: no clang that compiles for BPF is installed");
    None
}

/// The target's types: what `here`, `which` and the externs have become.
fn target() -> Btf {
    let mut types = Btf::new();
    let int = |size: u32, encoding| {
        Kind::Int(Int { size, encoding, bit_offset: 0, bits: size as u8 * 8 })
    };
    let signed = types.add("int", int(4, Int::SIGNED));
    let unsigned = types.add("unsigned int", int(4, 0));
    let long = types.add("unsigned long long", int(8, 0));
    let list = types.add("", Kind::Array(Array { element: signed, index: unsigned, count: 8 }));
    let member = |types: &mut Btf, name: &str, kind, bit_offset, bits| {
        let name = types.intern(name);
        Member { name, kind, bit_offset, bits }
    };
    let deep = member(&mut types, "deep", signed, 0, 0);
    let inner = Composite { size: 4, has_bit_fields: false, members: vec![deep] };
    let inner = types.add("", Kind::Struct(inner));
    let inner = member(&mut types, "", inner, 0, 0);
    let union = Composite { size: 4, has_bit_fields: false, members: vec![inner] };
    let union = types.add("", Kind::Union(union));
    let members = vec![
        member(&mut types, "before", signed, 0, 0),
        member(&mut types, "moved", signed, 32, 0),
        member(&mut types, "wider", long, 64, 0),
        member(&mut types, "", union, 128, 0),
        member(&mut types, "flag", unsigned, 197, 3),
        member(&mut types, "list", list, 256, 0),
    ];
    types.add("here", Kind::Struct(Composite { size: 64, has_bit_fields: true, members }));
    let two = types.intern("WHICH_TWO");
    types.add("which", Kind::Enum(Enum { size: 4, signed: false, values: vec![(two, 9)] }));
    let prototype = types.add("", Kind::Prototype { returns: signed, parameters: Vec::new() });
    types.add("kernel_function", Kind::Function { prototype, linkage: Linkage::Static });
    types.add("kernel_variable", Kind::Variable { kind: signed, linkage: Linkage::Global });
    types
}

fn link(object: &Object, name: &str, target: &Btf) -> Program {
    object.link(name, Some(target)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

#[test]
fn maps_variables_and_what_they_hold() {
    let Some(bytes) = everything() else { return };
    let object = Object::parse(&bytes).unwrap();
    assert_eq!((object.license.as_str(), object.version), ("Dual MIT/GPL", Some(0x50a00)));
    let index = |name: &str| object.maps.iter().position(|map| map.name == name).unwrap();
    let map = |name: &str| &object.maps[index(name)];

    let pairs = map("pairs");
    assert_eq!((pairs.kind, pairs.key_size, pairs.value_size), (MapType::HASH, 4, 16));
    assert_eq!((pairs.max_entries, pairs.flags, pairs.pinned_by_name), (1024, 1, true));
    let types = object.types.as_ref().unwrap();
    assert_eq!(types.describe(pairs.value_type.unwrap()), "struct pair");

    let outer = map("outer");
    let inner = outer.inner.as_ref().unwrap();
    assert_eq!((outer.kind, outer.key_size, outer.value_size), (MapType::ARRAY_OF_MAPS, 4, 4));
    assert_eq!((inner.kind, inner.value_size, inner.max_entries), (MapType::ARRAY, 8, 8));
    let values: Vec<_> = outer.values.iter().map(|v| (v.index, v.target.clone())).collect();
    let expected = [(0, "first"), (2, "second")];
    assert_eq!(values, expected.map(|(at, name)| (at, PointerTarget::Map(index(name)))));

    let jumps = &map("jumps").values;
    assert_eq!(jumps.len(), 1);
    assert_eq!((jumps[0].index, &jumps[0].target), (1, &PointerTarget::Function("tail".into())));

    let old = map("old");
    assert_eq!((old.origin, old.kind, old.value_size), (Origin::Legacy, MapType::ARRAY, 8));

    assert_eq!(object.variable("limit"), Some(&7u32.to_le_bytes()[..]));
    assert_eq!(object.variable("start"), Some(&42u64.to_le_bytes()[..]));
    assert_eq!(object.variable("counter"), Some(&[0; 8][..]));
    let address = object.variables.iter().find(|v| v.name == "address").unwrap();
    let pointer = object.maps[address.map].pointers.iter().find(|p| p.offset == address.offset);
    let limit = object.variables.iter().find(|v| v.name == "limit").unwrap();
    let expected = PointerTarget::Value { map: limit.map, offset: limit.offset };
    assert_eq!(pointer.map(|pointer| &pointer.target), Some(&expected));
}

#[test]
fn calls_and_callbacks_come_along_once() {
    let Some(bytes) = everything() else { return };
    let object = Object::parse(&bytes).unwrap();
    let program = link(&object, "calls", &target());
    let mut names: Vec<&str> = program.functions.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names.remove(0), "calls");
    names.sort_unstable();
    assert_eq!(names, ["callback", "global_function", "static_function"]);
    let called = |slot: usize, distance: i32| {
        let function = program.function((slot as i64 + 1 + i64::from(distance)) as usize);
        function.map(|function| function.name.as_str())
    };
    let mut calls = Vec::new();
    for placed in &program.instructions {
        match placed.instruction {
            Instruction::Call { callee: Callee::Local(distance) }
            | Instruction::LoadWide { value: Wide::Code(distance), .. } => {
                calls.push(called(placed.slot, distance).unwrap());
            }
            _ => {}
        }
    }
    let expected = ["static_function", "callback", "static_function", "global_function"];
    assert_eq!(calls, expected);
    assert!(program.functions.iter().all(|function| function.kind.is_some()));
    let line = program.line(program.functions[1].slot).unwrap();
    assert!(line.file.ends_with("everything.c") && line.text.contains("counter +="), "{line:?}");

    let inspection = object.inspect(std::slice::from_ref(&program));
    for need in [Need::Callbacks, Need::LocalCalls, Need::GlobalFunctions, Need::Helper(181)] {
        assert!(inspection.needs.contains(&need), "{need:?}");
    }
}

#[test]
fn externs_are_found_or_left_out() {
    let Some(bytes) = everything() else { return };
    let object = Object::parse(&bytes).unwrap();
    let types = target();
    let program = link(&object, "externs", &types);
    let number = |name: &str| types.named(name)[0].0 as i32;
    let has = |wanted: Instruction| program.instructions.iter().any(|p| p.instruction == wanted);
    let callee = Callee::Kernel { btf_id: number("kernel_function"), module: 0 };
    assert!(has(Instruction::Call { callee }));
    // The weak one isn't there: its address is zero, its call is one that can't be reached.
    let absent = program.externs.iter().filter(|used| used.target.is_none());
    let absent: Vec<_> = absent.map(|used| object.externs[used.external].name.as_str()).collect();
    // The address of a variable without a type isn't in the types.
    assert_eq!(absent, ["kernel_variable", "weak_function", "weak_function"]);
    let is_zero = |value| matches!(value, Wide::Value(0));
    assert!(
        program.instructions.iter().any(
            |p| matches!(p.instruction, Instruction::LoadWide { value, .. } if is_zero(value))
        )
    );

    let hz = object.externs.iter().find(|e| e.name == "CONFIG_HZ").unwrap();
    let ExternSort::Configuration { map, size, .. } = hz.sort else { panic!("{hz:?}") };
    assert_eq!((object.maps[map].origin, size), (Origin::Configuration, 4));
    link(&object, "tail", &types);

    let error = object.link("externs", Some(&Btf::new())).unwrap_err();
    let unresolved = |problem: &Problem| matches!(problem, Problem::Unresolved(_));
    assert!(
        matches!(&error, Error::At { section, problem, .. } if section == "tc" && unresolved(problem)),
        "{error}"
    );
    assert_eq!(object.link("externs", None).unwrap().externs.len(), program.externs.len());
}

#[test]
fn relocations_are_answered_by_the_targets_types() {
    let Some(bytes) = everything() else { return };
    let object = Object::parse(&bytes).unwrap();
    let types = target();
    let here = u64::from(types.named("here")[0].0);
    let program = link(&object, "core", &types);
    let local = object.types.as_ref().unwrap().named("here___local")[0].0;
    let answers: Vec<_> = program.core.iter().map(|r| (r.kind, r.answer.target)).collect();
    let expected = [
        (CoreKind::FieldOffset, 4),
        (CoreKind::FieldSize, 8),
        (CoreKind::FieldExists, 0),
        (CoreKind::FieldSigned, 0),
        (CoreKind::FieldShiftLeft, 56),
        (CoreKind::FieldShiftRight, 61),
        (CoreKind::FieldOffset, 16),
        (CoreKind::FieldOffset, 40),
        (CoreKind::TypeIdLocal, u64::from(local)),
        (CoreKind::TypeIdTarget, here),
        (CoreKind::TypeExists, 1),
        (CoreKind::TypeSize, 64),
        (CoreKind::TypeExists, 0),
        (CoreKind::EnumeratorExists, 1),
        (CoreKind::EnumeratorValue, 9),
    ];
    assert_eq!(answers, expected.map(|(kind, value)| (kind, Some(value))));
    assert!(program.core.iter().all(|r| r.root != TypeId::VOID));

    // A load of 4 bytes becomes one of 8, where the field now is.
    let loads = link(&object, "loads", &types);
    let at = loads.core[0].slot;
    let load = loads.instructions.iter().find(|placed| placed.slot == at).unwrap();
    let Instruction::Load { access, offset, .. } = load.instruction else { panic!("{load:?}") };
    assert_eq!((access.size().bytes(), offset), (8, 8));

    // What isn't there must not be reached.
    let gone = link(&object, "gone", &types);
    let poison = Instruction::Call { callee: Callee::Helper(0x0bad_2310) };
    assert!(gone.instructions.iter().any(|placed| placed.instruction == poison));

    let matches = link(&object, "matches", &types);
    assert_eq!(matches.core[0].answer.target, Some(0), "a member is missing");
    let own = link(&object, "matches", object.types.as_ref().unwrap());
    assert_eq!(own.core[0].answer.target, Some(1), "its own types match");

    let error = object.link("core", None).unwrap_err();
    assert!(matches!(&error, Error::At { problem: Problem::NoTarget(_), .. }), "{error}");
}
