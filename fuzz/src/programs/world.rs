//! What generated programs find around them: two maps and a packet.

use bpf_isa::{encode, place};
use bpf_object::btf::{Btf, Int, Kind, Linkage, Parameter, TypeId};
use bpf_object::{
    AttachType, LinkedFunction, Map, MapType, Object, Origin, Program, ProgramKind, ProgramType,
    object_of_code,
};

use super::generate::Generated;

/// Index of the array in the list of maps.
pub const ARRAY: usize = 0;
/// Index of the hash map.
pub const HASH: usize = 1;
/// Bytes of the values of both.
pub const VALUE_SIZE: u32 = 64;
pub const ENTRIES: u32 = 4;
/// Bytes of the packet. Test runs of the kernel want an Ethernet header.
pub const PACKET: usize = 64;

/// An object with the maps; its own program is of no interest.
pub fn object() -> Object {
    let exit = [0xb7, 0, 0, 0, 1, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
    let bytes = object_of_code("pass", "xdp", "GPL", &exit);
    let mut object = Object::parse(&bytes).expect("what was written is read");
    for (name, kind) in [("array", MapType::ARRAY), ("hash", MapType::HASH)] {
        object.maps.push(Map {
            name: name.to_owned(),
            origin: Origin::Legacy,
            kind,
            key_size: 4,
            value_size: VALUE_SIZE,
            max_entries: ENTRIES,
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
    }
    object.types = Some(types());
    object
}

/// The kernel wants to know the types of functions, if one's address is taken. These are those of
/// up to four functions, the main one first, with consecutive numbers.
fn types() -> Btf {
    let mut types = Btf::new();
    let int = Kind::Int(Int { size: 8, encoding: 0, bit_offset: 0, bits: 64 });
    let number = types.add("u64", int);
    let pointer = types.add("", Kind::Pointer(TypeId::VOID));
    let mut function = |name: &str, parameters: &[(&str, TypeId)], linkage| {
        let parameters =
            parameters.iter().map(|(name, kind)| (types.intern(name), *kind)).collect::<Vec<_>>();
        let parameters =
            parameters.into_iter().map(|(name, kind)| Parameter { name, kind }).collect();
        let prototype = types.add("", Kind::Prototype { returns: number, parameters });
        types.add(name, Kind::Function { prototype, linkage })
    };
    // Alternating with their prototypes.
    function("f0", &[("context", pointer)], Linkage::Global);
    for name in ["f1", "f2", "f3"] {
        function(name, &[("one", number), ("two", number)], Linkage::Static);
    }
    types
}

/// The number of the function's type in [`types`].
fn type_of(function: usize) -> TypeId {
    TypeId(4 + 2 * function as u32)
}

/// The program as the linker would give it.
pub fn linked(generated: &Generated) -> Program {
    let code = encode(&generated.instructions);
    let slots = code.len() / bpf_isa::SLOT;
    let ends = generated.functions[1..].iter().copied().chain([slots]);
    let function = |(index, (slot, end)): (usize, (&usize, usize))| LinkedFunction {
        name: format!("f{index}"),
        slot: *slot,
        slots: end - slot,
        linkage: if index == 0 { Linkage::Global } else { Linkage::Static },
        kind: Some(type_of(index)),
    };
    Program {
        name: "f0".to_owned(),
        section: "xdp".to_owned(),
        kind: Some(kind()),
        instructions: place(generated.instructions.iter().copied()),
        functions: generated.functions.iter().zip(ends).enumerate().map(function).collect(),
        lines: Vec::new(),
        externs: Vec::new(),
        core: Vec::new(),
        code,
    }
}

pub fn kind() -> ProgramKind {
    ProgramKind {
        program: ProgramType::XDP,
        attach: Some(AttachType::XDP),
        sleepable: false,
        fragments: false,
        target: String::new(),
        on_request: false,
    }
}

pub fn packet() -> [u8; PACKET] {
    // IPv4 as far as the Ethernet header; then bytes that are all different.
    let mut packet = [0; PACKET];
    for (at, byte) in packet.iter_mut().enumerate() {
        *byte = at as u8;
    }
    packet[12..14].copy_from_slice(&[0x08, 0x00]);
    packet
}
