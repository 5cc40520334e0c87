//! Whatever bytes come, there is an answer or an error.

use std::sync::OnceLock;

use bpf_object::Object;
use bpf_object::btf::{
    Array, Btf, Composite, CoreKind, CoreRecord, Enum, Enum64, Extension, Int, Kind, Linkage,
    Member, Parameter, Placement, StringId, TypeId,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// Everything that can be asked.
fn ask(types: &Btf) {
    for (id, _) in types.own_types().take(2000) {
        types.describe(id);
        types.size(id);
        types.member(id, "field");
        types.field_of(id, ".a[1].b");
    }
    types.field("task_struct.pid");
    types.named_essentially("Key");
}

/// Reads and links.
fn use_object(bytes: &[u8]) {
    static TARGET: OnceLock<Btf> = OnceLock::new();
    let Ok(object) = Object::parse(bytes) else { return };
    let target = TARGET.get_or_init(Btf::new);
    for function in &object.functions {
        for target in [None, Some(target), object.types.as_ref()] {
            if let Ok(program) = object.link(&function.name, target) {
                object.inspect(std::slice::from_ref(&program));
                for placed in &program.instructions {
                    program.line(placed.slot);
                }
            }
        }
    }
    object.types.as_ref().map(ask);
}

fn sock() -> &'static [u8] {
    objects::ALL.iter().find(|(name, _)| *name == "sock").expect("there is `sock`").1
}

/// The section `.BTF` of an object of ours, and its `.BTF.ext`.
fn types() -> &'static (Vec<u8>, Vec<u8>) {
    static TYPES: OnceLock<(Vec<u8>, Vec<u8>)> = OnceLock::new();
    TYPES.get_or_init(|| {
        // Both begin with the magic number, version 1, no flags, and a header of 24 or 32 bytes.
        let find = |header: u8| {
            let start = [0x9f, 0xeb, 1, 0, header, 0, 0, 0];
            let at = sock().windows(8).position(|bytes| bytes == start);
            sock()[at.expect("our objects have types")..].to_vec()
        };
        (find(24), find(32))
    })
}

fn mutated(bytes: &[u8], changes: &[(prop::sample::Index, u8)], cut: Option<usize>) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (at, value) in changes {
        let at = at.index(bytes.len());
        bytes[at] = *value;
    }
    bytes.truncate(cut.map_or(usize::MAX, |cut| cut % bytes.len()));
    bytes
}

fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    vec((any::<prop::sample::Index>(), any::<u8>()), 1..24)
}

fn kind() -> impl Strategy<Value = Kind> {
    let id = || (0u32..60).prop_map(TypeId);
    let name = || (0u32..40).prop_map(StringId);
    let linkage =
        || prop_oneof![Just(Linkage::Static), Just(Linkage::Global), Just(Linkage::Extern)];
    let composite = || {
        let member = (name(), id(), 0u32..1 << 24, any::<u8>());
        (any::<u32>(), any::<bool>(), vec(member, 0..5)).prop_map(|(size, flag, members)| {
            let member = |(name, kind, bit_offset, bits)| Member {
                name,
                kind,
                bit_offset,
                bits: if flag { bits } else { 0 },
            };
            let members = members.into_iter().map(member).collect();
            Composite { size, has_bit_fields: flag, members }
        })
    };
    let plain = prop_oneof![
        (any::<u32>(), any::<u8>(), any::<u8>(), any::<u8>()).prop_map(
            |(size, encoding, bit_offset, bits)| Kind::Int(Int {
                size,
                encoding,
                bit_offset,
                bits
            })
        ),
        id().prop_map(Kind::Pointer),
        (id(), id(), any::<u32>()).prop_map(|(element, index, count)| Kind::Array(Array {
            element,
            index,
            count
        })),
        composite().prop_map(Kind::Struct),
        composite().prop_map(Kind::Union),
        any::<bool>().prop_map(|union| Kind::Forward { union }),
        any::<u32>().prop_map(|size| Kind::Float { size }),
    ];
    let named = prop_oneof![
        id().prop_map(Kind::Typedef),
        id().prop_map(Kind::Volatile),
        id().prop_map(Kind::Const),
        id().prop_map(Kind::Restrict),
        (id(), any::<bool>()).prop_map(|(target, attribute)| Kind::TypeTag { target, attribute }),
        (id(), any::<i32>(), any::<bool>()).prop_map(|(target, component, attribute)| {
            Kind::DeclarationTag { target, component, attribute }
        }),
        (id(), linkage()).prop_map(|(prototype, linkage)| Kind::Function { prototype, linkage }),
        (id(), linkage()).prop_map(|(kind, linkage)| Kind::Variable { kind, linkage }),
    ];
    let lists = prop_oneof![
        (id(), vec((name(), id()), 0..4)).prop_map(|(returns, list)| {
            let parameter = |(name, kind)| Parameter { name, kind };
            Kind::Prototype { returns, parameters: list.into_iter().map(parameter).collect() }
        }),
        (any::<u32>(), any::<bool>(), vec((name(), any::<u32>()), 0..4))
            .prop_map(|(size, signed, values)| Kind::Enum(Enum { size, signed, values })),
        (any::<u32>(), any::<bool>(), vec((name(), any::<u64>()), 0..4))
            .prop_map(|(size, signed, values)| Kind::Enum64(Enum64 { size, signed, values })),
        (any::<u32>(), vec((id(), any::<u32>(), any::<u32>()), 0..4)).prop_map(|(size, list)| {
            let place = |(variable, offset, size)| Placement { variable, offset, size };
            Kind::DataSection { size, variables: list.into_iter().map(place).collect() }
        }),
    ];
    prop_oneof![plain, named, lists]
}

fn built(list: Vec<(String, Kind)>) -> Btf {
    let mut types = Btf::new();
    for (name, kind) in list {
        types.add(&name, kind);
    }
    types
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes(bytes in vec(any::<u8>(), 0..600)) {
        use_object(&bytes);
        let _ = Btf::parse(&bytes).map(|types| ask(&types));
        let _ = Extension::parse(&bytes);
    }

    #[test]
    fn damaged_objects(changes in changes(), cut in any::<Option<usize>>()) {
        use_object(&mutated(sock(), &changes, cut));
        use_object(&mutated(sock(), &changes, None));
    }

    #[test]
    fn damaged_types(changes in changes(), cut in any::<Option<usize>>()) {
        let (types, extension) = types();
        for cut in [cut, None] {
            let _ = Extension::parse(&mutated(extension, &changes, cut));
            if let Ok(types) = Btf::parse(&mutated(types, &changes, cut)) {
                ask(&types);
                prop_assert_eq!(Btf::parse(&types.to_bytes()), Ok(types));
            }
        }
    }

    #[test]
    fn types_are_read_as_they_were_written(list in vec(("[a-e_]{0,6}", kind()), 0..50)) {
        let types = built(list);
        let read = Btf::parse(&types.to_bytes()).unwrap();
        ask(&read);
        prop_assert_eq!(read, types);
    }

    #[test]
    fn relocations_between_arbitrary_types(
        local in vec(("[a-c]{0,1}(___x)?", kind()), 1..50),
        target in vec(("[a-c]{0,1}", kind()), 1..50),
        path in "[0-4](:[0-4]){0,3}",
        root in 0u32..60,
        kind in prop::sample::select(CoreKind::ALL.to_vec()),
    ) {
        let (mut local, target) = (built(local), built(target));
        let path = local.intern(&path);
        let record = CoreRecord { offset: 0, root: TypeId(root), path, kind };
        let _ = bpf_object::answer(&record, &local, &target);
        // Against its own types, a type that is found is as it was.
        if let Ok(answer) = bpf_object::answer(&record, &local, &local)
            && kind == CoreKind::TypeIdLocal
        {
            prop_assert_eq!(answer.target, Some(u64::from(root)));
        }
    }
}
