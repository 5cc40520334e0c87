//! Lists and trees of allocated objects, under their lock (Documentation/bpf/graph_ds_impl.rst).

use bpf_interface::program::Special;
use bpf_object::btf::{Btf, Kind as TypeKind};

use super::*;
use crate::register::Kind;

impl Engine<'_> {
    pub(super) fn check_graph(
        &mut self,
        call: &mut Call<'_>,
        index: usize,
        register: &Register,
        special: Special,
    ) -> Check {
        let number = index + 1;
        let name = crate::maps::special_name(special);
        let is_allocated = register.kind == Kind::Structure
            && register.flags.has(Flags::ALLOCATED)
            && !register.is_nullable();
        let is_root = matches!(special, Special::ListHead | Special::TreeRoot);
        if is_root {
            if register.kind != Kind::MapValue && !is_allocated {
                return refuse(
                    Rule::ArgumentType,
                    format!("arg#{index} expected pointer to map value or allocated object"),
                );
            }
        } else if call.name == "bpf_rbtree_remove" {
            if !register.flags.has(Flags::NOT_OWNED) || register.reference != 0 {
                return refuse(
                    Rule::ArgumentType,
                    "rbtree_remove node input must be non-owning ref",
                );
            }
            if self.state.frame().in_callback() {
                return refuse(Rule::ArgumentType, "rbtree_remove not allowed in rbtree cb");
            }
        } else if !is_allocated {
            return refuse(
                Rule::ArgumentType,
                format!("arg#{index} expected pointer to allocated object"),
            );
        }
        let needs_owner = is_allocated && call.name != "bpf_rbtree_remove";
        if needs_owner && register.reference == 0 {
            return refuse(Rule::ReleaseUnowned, "allocated object must be referenced");
        }
        let Some(offset) = register.exact_offset() else {
            return refuse(
                Rule::ArgumentType,
                format!(
                    "R{number} doesn't have constant offset. {name} has to be at the constant offset"
                ),
            );
        };
        let record = if is_allocated {
            self.local_record(register)
        } else {
            self.map(register).record.clone()
        };
        if record.at(special, offset).is_none() {
            return refuse(Rule::ArgumentType, format!("{name} not found at offset={offset}"));
        }
        if is_root {
            self.check_root(call, register, &record, offset, name)
        } else {
            self.check_node(call, register, offset, special)
        }
    }

    fn check_root(
        &self,
        call: &mut Call<'_>,
        register: &Register,
        record: &crate::maps::Record,
        offset: i64,
        name: &str,
    ) -> Check {
        let in_map = register.kind == Kind::MapValue;
        let object = if in_map { register.what } else { 0 };
        let held = self.state.lock.is_some_and(|lock| {
            lock.in_map == in_map && lock.object == object && lock.id == register.id
        });
        if !held {
            let at = record.lock().map_or(0, |lock| lock.offset);
            let what = if self.state.lock.is_some() {
                "held lock and object are not in the same allocation\n"
            } else {
                ""
            };
            return refuse(
                Rule::SpinLock,
                format!("{what}bpf_spin_lock at off={at} must be held for {name}"),
            );
        }
        let Some(types) = self.types else { return unmodelled("a list without types") };
        let owner =
            if in_map { self.map(register).value_type } else { Some(TypeId(register.what)) };
        let root = owner.and_then(|owner| contents(types, owner, offset));
        let Some((structure, node)) = root else {
            return unmodelled("a list or tree of a type that isn't found");
        };
        call.root = Some((structure, node));
        Ok(())
    }

    fn check_node(
        &self,
        call: &mut Call<'_>,
        register: &Register,
        offset: i64,
        special: Special,
    ) -> Check {
        let Some((structure, node)) = call.root else {
            return unmodelled("a node without its list or tree");
        };
        let (own, wanted) = (
            self.structure_name(register),
            self.types.map_or("", |types| types.name(structure)).to_owned(),
        );
        if register.what != structure.0 && own != wanted {
            return refuse(
                Rule::ArgumentType,
                format!(
                    "operation expects arg#1 {} at offset={node} in struct {wanted}, but arg is at offset={offset} in struct {own}",
                    crate::maps::special_name(special)
                ),
            );
        }
        if offset != i64::from(node) {
            return refuse(
                Rule::ArgumentType,
                format!(
                    "arg#1 offset={offset}, but expected {} at offset={node} in struct {wanted}",
                    crate::maps::special_name(special)
                ),
            );
        }
        call.object = Some(TypeId(register.what));
        Ok(())
    }

    /// What is put into a list or tree belongs to it from now on: the program keeps a reference
    /// that is good as long as the lock is held.
    pub(super) fn hand_over_node(&mut self, call: &Call<'_>, arguments: &[Register; 5]) -> Check {
        let adds = matches!(
            call.name,
            "bpf_list_push_front_impl" | "bpf_list_push_back_impl" | "bpf_rbtree_add_impl"
        );
        if !adds {
            return Ok(());
        }
        let node = arguments[1];
        let counted = self.local_record(&node).find(Special::ReferenceCount).is_some();
        let reference = node.reference;
        self.state.each(
            |register| register.reference == reference,
            |register| {
                register.reference = 0;
                register.flags = register.flags.with(Flags::NOT_OWNED);
                if counted {
                    register.flags = register.flags.with(Flags::RCU);
                }
            },
        );
        self.release(reference)
    }

    /// The comparison of `bpf_rbtree_add`, and what work queues run.
    pub(super) fn enter_kfunc_callback(
        &mut self,
        call: &Call<'_>,
        arguments: &[Register; 5],
    ) -> Check {
        let Some(function) = call.function else { return Ok(()) };
        match call.name {
            "bpf_rbtree_add_impl" => {
                let Some((structure, off)) = call.root else {
                    return unmodelled("a tree of a type that isn't found");
                };
                let mut node = Register {
                    what: structure.0,
                    off: off.cast_signed(),
                    ..Register::pointer(Kind::Structure)
                };
                node.flags = Flags::ALLOCATED.with(Flags::NOT_OWNED);
                self.push_synchronous(function, &[node, node])
            }
            "bpf_wq_set_callback_impl" => {
                let pointer = |kind: Kind| Register {
                    what: arguments[0].what,
                    instance: arguments[0].instance,
                    ..Register::pointer(kind)
                };
                let given = [pointer(Kind::Map), pointer(Kind::MapKey), pointer(Kind::MapValue)];
                self.push_asynchronous(function, &given, true)
            }
            name => unmodelled(format!("the callback of {name}")),
        }
    }
}

/// What the list or tree at that place holds, by its tag `contains:structure:member`.
fn contents(types: &Btf, owner: TypeId, offset: i64) -> Option<(TypeId, u32)> {
    let (owner, index) = tagged_member(types, owner, offset)?;
    for (id, entry) in types.own_types() {
        let TypeKind::DeclarationTag { target, component, .. } = entry.kind else { continue };
        let on_it = target == owner && (component < 0 || usize::try_from(component).ok() == index);
        if !on_it {
            continue;
        }
        let Some(tag) = types.name(id).strip_prefix("contains:") else { continue };
        let (structure, member) = tag.split_once(':')?;
        let structure = types.find(structure, |kind| matches!(kind, TypeKind::Struct(_)))?;
        let member = types.member(structure, member)?;
        return Some((structure, u32::try_from(member.bit_offset / 8).ok()?));
    }
    None
}

/// The structure and the index of the member, or the variable, that begins there.
fn tagged_member(types: &Btf, owner: TypeId, offset: i64) -> Option<(TypeId, Option<usize>)> {
    let offset = u32::try_from(offset).ok()?;
    match types.resolve(owner) {
        Some((id, TypeKind::Struct(composite))) => {
            for (index, member) in composite.members.iter().enumerate() {
                let start = member.bit_offset / 8;
                let size = types.size(member.kind).unwrap_or(0);
                if start <= offset && u64::from(offset) < u64::from(start) + size {
                    let name = types.resolve(member.kind).map_or("", |(id, _)| types.name(id));
                    if Special::from_type(name).is_some() {
                        return Some((id, Some(index)));
                    }
                    return tagged_member(types, member.kind, i64::from(offset - start));
                }
            }
            None
        }
        Some((_, TypeKind::DataSection { variables, .. })) => {
            let place = variables.iter().find(|place| {
                place.offset <= offset
                    && u64::from(offset) < u64::from(place.offset) + u64::from(place.size)
            })?;
            let TypeKind::Variable { kind, .. } = types.kind(place.variable)? else { return None };
            let name = types.resolve(*kind).map_or("", |(id, _)| types.name(id));
            if Special::from_type(name).is_some() {
                return Some((place.variable, None));
            }
            let inside = i64::from(offset - place.offset);
            match types.resolve(*kind)? {
                // The tag of an array of lists is on the variable.
                (_, TypeKind::Array(_)) => Some((place.variable, None)),
                (id, _) => tagged_member(types, id, inside),
            }
        }
        _ => None,
    }
}
