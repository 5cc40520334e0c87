//! Kernel structures, by the kernel's types, and objects of the program's own types
//! (kernel/bpf/btf.c, Linux 6.12: btf_struct_access).

use bpf_object::btf::{Btf, Kind as TypeKind, TypeId};

use super::*;
use crate::maps::{KptrSort, Record, SpecialField};
use crate::step::branch::is_trusted;

/// What lies at a place of a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Number,
    /// A pointer to a structure, with the tags of its type.
    Pointer {
        structure: TypeId,
        flags: Flags,
    },
}

impl Engine<'_> {
    pub(super) fn access_structure(
        &mut self,
        base: u8,
        register: &Register,
        off: i32,
        size: u8,
        direction: Direction,
    ) -> Check {
        let flags = register.flags;
        let local = flags.has(Flags::ALLOCATED);
        let name = self.structure_name(register);
        if !self.privileged() {
            return refuse(
                Rule::Leak,
                format!("'struct {name}' access is allowed only to CAP_PERFMON and CAP_SYS_ADMIN"),
            );
        }
        let types = if local { self.types } else { self.kernel };
        let Some(types) = types else {
            return unmodelled("structures of the kernel, without its types");
        };
        if !local && !self.licence_is_gpl_compatible() {
            return refuse(
                Rule::Licence,
                format!("Cannot access kernel 'struct {name}' from non-GPL compatible program"),
            );
        }
        if off < 0 {
            return refuse(
                Rule::InvalidAccess,
                format!("R{base} is ptr_{name} invalid negative access: off={off}"),
            );
        }
        if !register.number.is_zero() {
            return refuse(
                Rule::InvalidAccess,
                format!(
                    "R{base} is ptr_{name} invalid variable offset: off={off}, var_off={}",
                    offset_text(&register.number)
                ),
            );
        }
        for (flag, what) in [(Flags::USER, "user"), (Flags::PER_CPU, "percpu")] {
            if flags.has(flag) {
                return refuse(
                    Rule::InvalidAccess,
                    format!("R{base} is ptr_{name} access {what} memory: off={off}"),
                );
            }
        }
        if register.is_nullable() {
            return refuse(
                Rule::NullDereference,
                format!("R{base} invalid mem access '{}'", register.name()),
            );
        }
        if direction.is_write() && !local {
            return self.write_kernel_structure(base, register, &name, off, size);
        }
        if local {
            self.check_special_fields(register, off, size)?;
            if direction.is_write() {
                let owned =
                    register.reference != 0 || flags.has(Flags::NOT_OWNED) || flags.has(Flags::RCU);
                if !owned {
                    return refuse(
                        Rule::InvalidAccess,
                        format!("allocated object must be referenced R{base}"),
                    );
                }
            }
        }
        let member =
            self.member_at(types, TypeId(register.what), off.cast_unsigned(), size.into(), &name)?;
        self.touch(if is_trusted(register) || flags.has(Flags::RCU) {
            Touched::Kernel
        } else {
            // Loads of pointers that may be wrong are guarded by the kernel.
            Touched::Untrusted
        });
        let value = match member {
            Member::Number => Register::UNKNOWN,
            Member::Pointer { .. } if local => Register::UNKNOWN,
            Member::Pointer { structure, flags: tags } => {
                let mut result = tags;
                if flags.has(Flags::UNTRUSTED) {
                    result = result.with(Flags::UNTRUSTED);
                } else if tags.has(Flags::RCU) {
                    // Tagged `__rcu`: good inside a section that protects it.
                    if self.in_rcu_section() {
                        result = result.with(Flags::NULLABLE);
                    } else {
                        result = result.without(Flags::RCU).with(Flags::UNTRUSTED);
                    }
                } else if self.stays_trusted(register, &name, off) {
                    result = result.with(Flags::TRUSTED);
                } else if self.stays_protected(register, &name, off) {
                    result = result.with(Flags::RCU);
                }
                let id = if result.has(Flags::NULLABLE) { self.new_id() } else { 0 };
                Register {
                    what: structure.0,
                    id,
                    ..Register::pointer(Kind::Structure).with_flags(result)
                }
            }
        };
        self.load(direction, size, value)
    }

    pub fn in_rcu_section(&self) -> bool {
        self.state.rcu || !self.state.sleepable
    }

    /// Fields that are valid as long as the structure is (`BTF_TYPE_SAFE_TRUSTED`).
    fn stays_trusted(&self, register: &Register, name: &str, off: i32) -> bool {
        is_trusted(register)
            && self.is_named_field(
                name,
                off,
                &[
                    ("bpf_iter_meta", "seq"),
                    ("bpf_iter__task", "meta"),
                    ("bpf_iter__task", "task"),
                    ("linux_binprm", "file"),
                    ("file", "f_inode"),
                    ("dentry", "d_inode"),
                    ("socket", "sk"),
                ],
            )
    }

    /// Fields that RCU protects although they aren't tagged (`BTF_TYPE_SAFE_RCU`).
    fn stays_protected(&self, register: &Register, name: &str, off: i32) -> bool {
        (is_trusted(register) || register.flags.has(Flags::RCU))
            && self.in_rcu_section()
            && self.is_named_field(
                name,
                off,
                &[
                    ("task_struct", "cpus_ptr"),
                    ("task_struct", "cgroups"),
                    ("task_struct", "real_parent"),
                    ("task_struct", "group_leader"),
                    ("cgroup", "kn"),
                    ("css_set", "dfl_cgrp"),
                    ("mm_struct", "exe_file"),
                    ("sk_buff", "sk"),
                    ("request_sock", "sk"),
                ],
            )
    }

    fn is_named_field(&self, name: &str, off: i32, fields: &[(&str, &str)]) -> bool {
        let Some(kernel) = self.kernel else { return false };
        fields.iter().any(|(structure, field)| {
            *structure == name
                && kernel.offset(&format!("{structure}.{field}")) == u32::try_from(off).ok()
        })
    }

    fn write_kernel_structure(
        &mut self,
        base: u8,
        register: &Register,
        name: &str,
        off: i32,
        size: u8,
    ) -> Check {
        use bpf_object::ProgramType as P;
        let _ = (register, size);
        match self.caller.program {
            // Some of their structures' fields may be written.
            P::STRUCT_OPS => unmodelled(format!("writes to struct {name} by struct_ops programs")),
            P::CLASSIFIER | P::XDP if bpf_object::btf::essential_name(name) == "nf_conn" => {
                unmodelled("writes to struct nf_conn")
            }
            _ => refuse(
                Rule::ReadOnly,
                format!("R{base} only read is supported (struct {name} off={off})"),
            ),
        }
    }

    /// Structures within a structure, arrays and unions are gone through until a member is left.
    fn member_at(
        &self,
        types: &Btf,
        structure: TypeId,
        off: u32,
        size: u32,
        name: &str,
    ) -> Check<Member> {
        let end = u64::from(off) + u64::from(size);
        let total = types.size(structure).unwrap_or(0);
        if end > total {
            // A last member without a length reaches on.
            if self.has_open_end(types, structure) {
                return Ok(Member::Number);
            }
            return refuse(
                Rule::OutOfBounds,
                format!("access beyond struct {name} at off {off} size {size}"),
            );
        }
        match walk(types, structure, off, size, 32) {
            Walk::Number => Ok(Member::Number),
            Walk::Pointer(target) => Ok(pointer_member(types, target)),
            Walk::Across => refuse(
                Rule::InvalidAccess,
                format!(
                    "access beyond the end of a member of struct {name} at off {off} size {size}"
                ),
            ),
            Walk::Nothing => refuse(
                Rule::InvalidAccess,
                format!("struct {name} doesn't have field at offset {off}"),
            ),
        }
    }

    fn has_open_end(&self, types: &Btf, structure: TypeId) -> bool {
        types.composite(structure).and_then(|composite| composite.members.last()).is_some_and(
            |last| matches!(types.resolve(last.kind), Some((_, TypeKind::Array(array))) if array.count == 0),
        )
    }

    /// Special fields of allocated objects are for their functions only.
    fn check_special_fields(&self, register: &Register, off: i32, size: u8) -> Check {
        for field in &self.local_record(register).fields {
            let start = field.offset;
            let off = off.cast_unsigned();
            if off < start + field.special.size() && start < off + u32::from(size) {
                let name = crate::maps::special_name(field.special);
                return refuse(Rule::MapField, format!("direct access to {name} is disallowed"));
            }
        }
        Ok(())
    }

    /// The special fields of an allocated object.
    pub fn local_record(&self, register: &Register) -> Record {
        match self.types {
            Some(types) => crate::maps::record(types, TypeId(register.what)),
            None => Record::default(),
        }
    }

    pub fn structure_name(&self, register: &Register) -> String {
        let types = if register.flags.has(Flags::ALLOCATED) { self.types } else { self.kernel };
        types.map_or("", |types| types.name(TypeId(register.what))).to_owned()
    }

    /// Whether the structure is `wanted` or has one at that place (`btf_struct_ids_match`).
    pub fn is_or_begins_with(&self, structure: u32, off: i32, wanted: u32) -> bool {
        let Some(kernel) = self.kernel else { return false };
        let (mut id, mut off) = (TypeId(structure), off.max(0).cast_unsigned());
        for _ in 0..16 {
            if off == 0 && same_structure(kernel, id, TypeId(wanted)) {
                return true;
            }
            // Into the member that begins there.
            let Some(composite) = kernel.composite(id) else { return false };
            let inside = composite.members.iter().find(|member| {
                let start = member.bit_offset / 8;
                let size = kernel.size(member.kind).unwrap_or(0);
                start <= off && u64::from(off) < u64::from(start) + size
            });
            let Some(member) = inside else { return false };
            off -= member.bit_offset / 8;
            match kernel.resolve(member.kind) {
                Some((inner, TypeKind::Struct(_) | TypeKind::Union(_))) => id = inner,
                _ => return false,
            }
        }
        false
    }

    /// A helper reads so many bytes of the structure.
    pub fn check_structure_range(&self, number: u8, register: &Register, size: u32) -> Check {
        let types = if register.flags.has(Flags::ALLOCATED) { self.types } else { self.kernel };
        let Some(types) = types else {
            return unmodelled("structures of the kernel, without its types");
        };
        let name = self.structure_name(register);
        if register.off < 0 || !register.number.is_zero() {
            return refuse(
                Rule::OutOfBounds,
                format!("R{number} is ptr_{name} invalid access: off={}", register.off),
            );
        }
        let off = register.off.cast_unsigned();
        self.member_at(types, TypeId(register.what), off, size, &name).map(drop)
    }

    /// A field that holds a kernel pointer is read as one, and only unreferenced ones are written.
    pub(super) fn access_kptr(
        &mut self,
        base: u8,
        register: &Register,
        field: &SpecialField,
        size: u8,
        direction: Direction,
    ) -> Check {
        let _ = (base, register, size);
        let Some(kptr) = field.kptr else { return unmodelled("a kernel pointer without a type") };
        let name = self.types.map_or("", |types| types.name(kptr.target)).to_owned();
        let in_kernel = self
            .kernel
            .and_then(|kernel| kernel.find(&name, |kind| matches!(kind, TypeKind::Struct(_))));
        match direction {
            Direction::Read { into, .. } => {
                let Some(into) = into else {
                    return refuse(
                        Rule::MapField,
                        "kptr in map can only be accessed using BPF_LDX/BPF_STX",
                    );
                };
                let mut flags = Flags::NULLABLE;
                let local = in_kernel.is_none();
                if local {
                    flags = flags.with(Flags::ALLOCATED);
                }
                let protected = self.in_rcu_section()
                    && kptr.sort != KptrSort::Untrusted
                    && (local || is_protected(&name));
                flags = flags.with(if protected { Flags::RCU } else { Flags::UNTRUSTED });
                if kptr.sort == KptrSort::PerCpu {
                    flags = flags.with(Flags::PER_CPU);
                }
                let what = in_kernel.unwrap_or(kptr.target).0;
                let id = self.new_id();
                let pointer = Register { what, id, ..Register::pointer(Kind::Structure) };
                self.write(into, pointer.with_flags(flags))
            }
            Direction::Write(value) => {
                if kptr.sort != KptrSort::Untrusted {
                    return refuse(Rule::MapField, "store to referenced kptr disallowed");
                }
                match value {
                    Value::Immediate(0) => Ok(()),
                    Value::Immediate(_) | Value::Unknown => {
                        refuse(Rule::MapField, "BPF_ST imm must be 0 when storing to kptr at off")
                    }
                    Value::Register(number) => {
                        let stored = *self.register(number);
                        if stored.is_null() {
                            return self.mark_precise(number);
                        }
                        let own = self.structure_name(&stored);
                        if stored.kind != Kind::Structure
                            || own != name
                            || stored.off != 0
                            || !stored.number.is_zero()
                        {
                            return refuse(
                                Rule::MapField,
                                format!(
                                    "invalid kptr access, R{number} type={} expected=ptr_{name}",
                                    stored.name()
                                ),
                            );
                        }
                        Ok(())
                    }
                }
            }
        }
    }

    /// A field of `struct bpf_map`.
    pub(super) fn access_map_fields(
        &mut self,
        base: u8,
        register: &Register,
        off: i32,
        size: u8,
        direction: Direction,
    ) -> Check {
        let _ = (base, register);
        let Some(kernel) = self.kernel else {
            return unmodelled("fields of struct bpf_map, without the kernel's types");
        };
        let structure = TypeId(self.kernel_structure("bpf_map")?);
        let member =
            self.member_at(kernel, structure, off.cast_unsigned(), size.into(), "bpf_map")?;
        self.touch(Touched::Kernel);
        let value = match member {
            Member::Number => Register::UNKNOWN,
            Member::Pointer { structure, .. } => Register {
                what: structure.0,
                ..Register::pointer(Kind::Structure).with_flags(Flags::UNTRUSTED)
            },
        };
        self.load(direction, size, value)
    }
}

/// Structures whose memory RCU keeps (`rcu_protected_object`).
fn is_protected(name: &str) -> bool {
    matches!(
        name,
        "cgroup" | "bpf_cpumask" | "task_struct" | "bpf_crypto_ctx" | "prog_test_ref_kfunc"
    )
}

fn same_structure(types: &Btf, a: TypeId, b: TypeId) -> bool {
    a == b || {
        let (name, other) = (types.name(a), types.name(b));
        !name.is_empty() && name == other && types.size(a) == types.size(b)
    }
}

enum Walk {
    Number,
    Pointer(TypeId),
    Across,
    Nothing,
}

fn walk(types: &Btf, id: TypeId, off: u32, size: u32, depth: u32) -> Walk {
    if depth == 0 {
        return Walk::Nothing;
    }
    let size_of = |id: TypeId| types.size(id).unwrap_or(0);
    match types.resolve(id) {
        Some((_, TypeKind::Struct(composite) | TypeKind::Union(composite))) => {
            let mut across = false;
            for member in &composite.members {
                let start = member.bit_offset / 8;
                if member.bits != 0 {
                    let end = (member.bit_offset + u32::from(member.bits)).div_ceil(8);
                    if start <= off && off < end {
                        return Walk::Number;
                    }
                    continue;
                }
                let length = size_of(member.kind);
                if off < start || u64::from(off) >= u64::from(start) + length {
                    // An array of no length at the end.
                    continue;
                }
                if u64::from(off) + u64::from(size) > u64::from(start) + length {
                    across = true;
                    continue;
                }
                match walk(types, member.kind, off - start, size, depth - 1) {
                    // Another member of a union may fit.
                    Walk::Across | Walk::Nothing => across = true,
                    found => return found,
                }
            }
            if across { Walk::Across } else { Walk::Nothing }
        }
        Some((_, TypeKind::Array(array))) => {
            let element = size_of(array.element);
            if element == 0 {
                return Walk::Number;
            }
            let within = (u64::from(off) % element) as u32;
            if u64::from(within) + u64::from(size) > element {
                return Walk::Across;
            }
            walk(types, array.element, within, size, depth - 1)
        }
        Some((_, TypeKind::Pointer(target))) => {
            if off == 0 && size == 8 {
                Walk::Pointer(*target)
            } else {
                Walk::Across
            }
        }
        Some((_, TypeKind::Int(_) | TypeKind::Enum(_) | TypeKind::Enum64(_))) => {
            if u64::from(off) + u64::from(size) <= size_of(id) {
                Walk::Number
            } else {
                Walk::Across
            }
        }
        _ => Walk::Nothing,
    }
}

/// What a pointer in a structure is good for, by its type and tags.
fn pointer_member(types: &Btf, target: TypeId) -> Member {
    let mut flags = Flags::NONE;
    if let Some(TypeKind::TypeTag { .. }) = types.kind(target) {
        match types.name(target) {
            "user" => flags = flags.with(Flags::USER),
            "percpu" => flags = flags.with(Flags::PER_CPU),
            "rcu" => flags = flags.with(Flags::RCU),
            _ => {}
        }
    }
    match types.resolve(target) {
        Some((structure, TypeKind::Struct(_))) => Member::Pointer { structure, flags },
        _ => Member::Number,
    }
}
