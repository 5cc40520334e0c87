//! Which of the target's types answers a CO-RE relocation.

use bpf_object::btf::{Btf, Composite, CoreKind, CoreRecord, Int, Kind, Member, TypeId};
use bpf_object::{CoreError, answer};

struct Types(Btf);

impl Types {
    fn new() -> Self {
        Self(Btf::new())
    }

    fn int(&mut self, name: &str, size: u32, encoding: u8) -> TypeId {
        let bits = size as u8 * 8;
        self.0.add(name, Kind::Int(Int { size, encoding, bit_offset: 0, bits }))
    }

    /// Members of 8 bytes each, one after the other.
    fn composite(&mut self, name: &str, union: bool, members: &[(&str, TypeId)]) -> TypeId {
        let member = |(index, (name, kind)): (u32, &(&str, TypeId))| Member {
            name: self.0.intern(name),
            kind: *kind,
            bit_offset: if union { 0 } else { index * 64 },
            bits: 0,
        };
        let members: Vec<Member> = (0..).zip(members).map(member).collect();
        let size = if union { 8 } else { 8 * members.len() as u32 };
        let composite = Composite { size, has_bit_fields: false, members };
        self.0.add(name, if union { Kind::Union(composite) } else { Kind::Struct(composite) })
    }

    fn ask(
        &mut self,
        kind: CoreKind,
        root: TypeId,
        path: &str,
        target: &Self,
    ) -> Result<Option<u64>, CoreError> {
        let path = self.0.intern(path);
        let record = CoreRecord { offset: 0, root, path, kind };
        answer(&record, &self.0, &target.0).map(|answer| answer.target)
    }
}

/// `struct thing___mine { long a; long b; }`, asked for `b`.
fn local() -> (Types, TypeId) {
    let mut types = Types::new();
    let long = types.int("long", 8, Int::SIGNED);
    let root = types.composite("thing___mine", false, &[("a", long), ("b", long)]);
    (types, root)
}

#[test]
fn candidates_must_agree() {
    let (mut local, root) = local();
    let mut target = Types::new();
    let long = target.int("long", 8, 0);
    target.composite("thing", false, &[("b", long)]);
    assert_eq!(local.ask(CoreKind::FieldOffset, root, "0:1", &target), Ok(Some(0)));
    // One without the field says nothing, one of another kind or name isn't asked.
    target.composite("thing", false, &[("other", long)]);
    target.composite("thing", true, &[("a", long), ("b", long)]);
    target.composite("thing_", false, &[("a", long), ("b", long)]);
    assert_eq!(local.ask(CoreKind::FieldOffset, root, "0:1", &target), Ok(Some(0)));
    target.composite("thing___other", false, &[("x", long), ("b", long)]);
    let ambiguous = Err(CoreError::Ambiguous("thing___mine".to_owned()));
    assert_eq!(local.ask(CoreKind::FieldOffset, root, "0:1", &target), ambiguous);
    assert_eq!(local.ask(CoreKind::FieldExists, root, "0:0", &target), Ok(Some(0)));
}

#[test]
fn a_field_of_another_kind_is_not_the_field() {
    let (mut local, root) = local();
    let mut target = Types::new();
    let long = target.int("long", 8, 0);
    let pointer = target.0.add("", Kind::Pointer(long));
    let typedef = target.0.add("long_t", Kind::Typedef(long));
    target.composite("thing", false, &[("a", typedef), ("b", pointer)]);
    assert_eq!(local.ask(CoreKind::FieldOffset, root, "0:0", &target), Ok(Some(0)));
    assert_eq!(local.ask(CoreKind::FieldOffset, root, "0:1", &target), Ok(None));
    assert_eq!(local.ask(CoreKind::FieldExists, root, "0:1", &target), Ok(Some(0)));
    assert_eq!(local.ask(CoreKind::TypeExists, root, "0", &target), Ok(Some(1)));
    assert_eq!(local.ask(CoreKind::TypeMatches, root, "0", &target), Ok(Some(0)));
}

#[test]
fn members_are_found_through_anonymous_structs() {
    let (mut local, root) = local();
    let mut target = Types::new();
    let long = target.int("long", 8, Int::SIGNED);
    let inner = target.composite("", false, &[("x", long), ("b", long)]);
    let union = target.composite("", true, &[("c", long), ("", inner)]);
    target.composite("thing", false, &[("a", long), ("", union)]);
    assert_eq!(local.ask(CoreKind::FieldOffset, root, "0:1", &target), Ok(Some(16)));
    // The second element of an array of things.
    assert_eq!(local.ask(CoreKind::FieldOffset, root, "1:1", &target), Ok(Some(32)));
    assert_eq!(local.ask(CoreKind::FieldSigned, root, "0:1", &target), Ok(Some(1)));
}

#[test]
fn paths_that_lead_nowhere_are_refused() {
    let (mut local, root) = local();
    let target = Types::new();
    for path in ["", ":", "0:2", "0:x", "0:0:0", "-1", "0:1:", "4294967296"] {
        let refused = Err(CoreError::Path(path.to_owned()));
        assert_eq!(local.ask(CoreKind::FieldOffset, root, path, &target), refused);
    }
    let nameless = local.composite("", false, &[("a", TypeId(1))]);
    let refused = local.ask(CoreKind::FieldOffset, nameless, "0:0", &target);
    assert_eq!(refused, Err(CoreError::Anonymous));
}
