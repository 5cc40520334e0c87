//! What generated programs find around them: a hook, maps, packets.

use bpf_isa::{encode, place};
use bpf_object::btf::{Btf, Composite, Int, Kind, Linkage, Member, Parameter, TypeId};
use bpf_object::{
    AttachType, LinkedFunction, Map, MapType, Object, Origin, Program, ProgramKind, ProgramType,
    object_of_code,
};

use super::generate::Generated;
use crate::Random;

/// What a program is for. The kernel has test runs for these, and our runtime runs them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    Xdp,
    Classifier,
    CgroupFilter,
    SocketFilter,
}

impl Setting {
    pub const ALL: [Self; 4] =
        [Self::Xdp, Self::Classifier, Self::CgroupFilter, Self::SocketFilter];

    pub fn kind(self) -> ProgramKind {
        let (program, attach) = match self {
            Self::Xdp => (ProgramType::XDP, Some(AttachType::XDP)),
            Self::Classifier => (ProgramType::CLASSIFIER, None),
            Self::CgroupFilter => (ProgramType::CGROUP_SKB, Some(AttachType::CGROUP_INET_EGRESS)),
            Self::SocketFilter => (ProgramType::SOCKET_FILTER, None),
        };
        ProgramKind {
            program,
            attach,
            sleepable: false,
            fragments: false,
            target: String::new(),
            on_request: false,
        }
    }

    fn section(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::Classifier => "tc",
            Self::CgroupFilter => "cgroup_skb/egress",
            Self::SocketFilter => "socket",
        }
    }

    /// Bytes of the packet that the program doesn't see: test runs show filters of cgroups and of
    /// sockets what begins with the network header.
    pub fn hidden(self) -> usize {
        match self {
            Self::Xdp | Self::Classifier => 0,
            Self::CgroupFilter | Self::SocketFilter => 14,
        }
    }

    pub fn has_skb(self) -> bool {
        self != Self::Xdp
    }

    /// Offsets of `data` and `data_end` in the context, where programs may have them.
    pub fn packet_pointers(self) -> Option<(i16, i16)> {
        match self {
            Self::Xdp => Some((0, 4)),
            Self::Classifier | Self::CgroupFilter => Some((76, 80)),
            Self::SocketFilter => None,
        }
    }
}

/// The maps, by their index in the object's list. Values have [`VALUE_SIZE`] bytes.
pub const ARRAY: usize = 0;
pub const HASH: usize = 1;
pub const PER_CPU: usize = 2;
pub const TRIE: usize = 3;
pub const QUEUE: usize = 4;
pub const RING: usize = 5;
/// An array whose values begin with a lock.
pub const LOCKED: usize = 6;
/// Programs for tail calls: [`TARGET_SLOT`] has one.
pub const PROGRAMS: usize = 7;
/// An array of one value, as variables are: programs may have its address.
pub const VARIABLES: usize = 8;
pub const MAPS: usize = 9;

pub const VALUE_SIZE: u32 = 64;
pub const ENTRIES: u32 = 4;
pub const TARGET_SLOT: u32 = 1;

const MAP_KINDS: [(&str, MapType, u32); MAPS] = [
    ("array", MapType::ARRAY, 4),
    ("hash", MapType::HASH, 4),
    ("per_cpu", MapType::PER_CPU_ARRAY, 4),
    ("trie", MapType::LPM_TRIE, 8),
    ("queue", MapType::QUEUE, 0),
    ("ring", MapType::RING_BUFFER, 0),
    ("locked", MapType::ARRAY, 4),
    ("programs", MapType::PROGRAM_ARRAY, 4),
    ("variables", MapType::ARRAY, 4),
];

/// `BPF_F_NO_PREALLOC`, without which there is no trie.
const NOT_ALLOCATED: u32 = 1;

/// Name of the program that tail calls lead to. Each hook may return what it does.
pub const TARGET: &str = "target";

/// An object with the maps, and the target of tail calls.
pub fn object(setting: Setting) -> Object {
    // r0 = 1; exit
    let code = [0xb7, 0, 0, 0, 1, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
    let bytes = object_of_code(TARGET, setting.section(), "GPL", &code);
    let mut object = Object::parse(&bytes).expect("what was written is read");
    let (types, locked) = types();
    for (index, (name, kind, key_size)) in MAP_KINDS.into_iter().enumerate() {
        let (value_size, max_entries) = match index {
            RING => (0, 4096),
            PROGRAMS => (4, ENTRIES),
            VARIABLES => (VALUE_SIZE, 1),
            _ => (VALUE_SIZE, ENTRIES),
        };
        object.maps.push(Map {
            name: name.to_owned(),
            origin: Origin::Legacy,
            kind,
            key_size,
            value_size,
            max_entries,
            flags: if index == TRIE { NOT_ALLOCATED } else { 0 },
            extra: 0,
            numa_node: None,
            pinned_by_name: false,
            key_type: (index == LOCKED).then_some(INT),
            value_type: (index == LOCKED).then_some(locked),
            inner: None,
            values: Vec::new(),
            contents: None,
            pointers: Vec::new(),
        });
    }
    object.types = Some(types);
    object
}

/// At most so many functions, the main one among them.
pub const FUNCTIONS: usize = 6;
/// Numbers of types: the first two, a function after its prototype from then on.
const INT: TypeId = TypeId(1);
const FIRST_FUNCTION: u32 = 4;

/// Types of functions, which the kernel wants to know if one's address is taken, and of the values
/// with locks.
fn types() -> (Btf, TypeId) {
    let mut types = Btf::new();
    let int = |size: u32| Kind::Int(Int { size, encoding: 0, bit_offset: 0, bits: 8 * size as u8 });
    let word = types.add("u32", int(4));
    let pointer = types.add("", Kind::Pointer(TypeId::VOID));
    for index in 0..FUNCTIONS {
        let main = index == 0;
        let names: &[&str] = if main { &["context"] } else { &["one", "two"] };
        let parameters = names
            .iter()
            .map(|name| Parameter {
                name: types.intern(name),
                kind: if main { pointer } else { word },
            })
            .collect();
        let prototype = types.add("", Kind::Prototype { returns: word, parameters });
        let linkage = if main { Linkage::Global } else { Linkage::Static };
        types.add(&format!("f{index}"), Kind::Function { prototype, linkage });
    }
    let double = types.add("u64", int(8));
    let member = |types: &mut Btf, name: &str, kind, bit_offset| Member {
        name: types.intern(name),
        kind,
        bit_offset,
        bits: 0,
    };
    let value = member(&mut types, "val", word, 0);
    let lock = Composite { size: 4, members: vec![value], has_bit_fields: false };
    let lock = types.add("bpf_spin_lock", Kind::Struct(lock));
    let mut members = vec![member(&mut types, "lock", lock, 0), member(&mut types, "a", word, 32)];
    for at in 1..VALUE_SIZE / 8 {
        members.push(member(&mut types, &format!("b{at}"), double, 64 * at));
    }
    let locked = types.add(
        "locked_value",
        Kind::Struct(Composite { size: VALUE_SIZE, members, has_bit_fields: false }),
    );
    (types, locked)
}

/// The number of the function's type in [`types`].
fn type_of(function: usize) -> TypeId {
    TypeId(FIRST_FUNCTION + 2 * function as u32)
}

/// The program as the linker would give it.
pub fn linked(generated: &Generated, setting: Setting) -> Program {
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
        section: setting.section().to_owned(),
        kind: Some(setting.kind()),
        instructions: place(generated.instructions.iter().copied()),
        functions: generated.functions.iter().zip(ends).enumerate().map(function).collect(),
        lines: Vec::new(),
        externs: Vec::new(),
        core: Vec::new(),
        code,
    }
}

/// What a program meets when it runs: what the maps hold at first, and packets one after another.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Values of the arrays, by index.
    pub values: Vec<Value>,
    /// So many of them are also in the hash, under the keys from 0 on, and in the trie.
    pub filled: usize,
    pub packets: Vec<Vec<u8>>,
}

/// A value of a map.
pub type Value = [u8; VALUE_SIZE as usize];

impl Surroundings {
    /// What an array's entries are at first; `None` for other maps.
    pub fn array(&self, map: usize) -> Option<&[Value]> {
        match map {
            ARRAY | PER_CPU | LOCKED => Some(&self.values),
            VARIABLES => Some(&self.values[..1]),
            _ => None,
        }
    }

    pub fn new(random: &mut Random) -> Self {
        let mut numbers = |bytes: &mut [u8]| {
            let (words, _) = bytes.as_chunks_mut::<8>();
            for word in words {
                *word = random.interesting().to_ne_bytes();
            }
        };
        let values = (0..ENTRIES)
            .map(|_| {
                let mut value = [0; VALUE_SIZE as usize];
                numbers(&mut value);
                value
            })
            .collect();
        let mut any = vec![0; 136];
        numbers(&mut any);
        let filled = random.below(ENTRIES as usize);
        // All bytes different; anything; as short as IPv4 can be.
        let counted: Vec<u8> = (0..64).collect();
        any.truncate(random.pick(&[60, 64, 72, 136]));
        let short = any[..34].to_vec();
        let packets = [counted, any, short].into_iter().map(with_header).collect();
        Self { values, filled, packets }
    }
}

/// Key of an entry of the trie: the length of the prefix and the data.
pub fn trie_key(index: usize) -> [u8; 8] {
    let mut key = [0; 8];
    key[0] = [0, 8, 30, 32][index % 4];
    key[4] = index as u8;
    key
}

/// Test runs of the kernel want an Ethernet header, here of IPv4.
fn with_header(mut packet: Vec<u8>) -> Vec<u8> {
    packet[..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00]);
    packet
}
