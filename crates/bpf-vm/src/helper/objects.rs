//! Objects that programs make, count references to, and put into values, lists and trees
//! (kernel/bpf/helpers.c, Linux 6.18).
//!
//! Their memory goes back to others of the same size, but to the system only with the runtime:
//! whoever keeps an address too long finds another object there, never foreign memory. Lists and
//! trees are kept here, not in the fields of that name: no program can break them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard};

use super::*;
use crate::memory::Region;
use crate::slab::Slab;

/// Sizes that objects are rounded up to; none may be larger (`BPF_GLOBAL_PERCPU_MA_MAX_SIZE` is 512,
/// that of others 4096).
const SIZES: [u32; 4] = [64, 256, 1024, 4096];
/// Bytes for objects of each size.
const ROOM: u64 = 1 << 20;

#[derive(Debug, Default)]
pub(crate) struct Objects(Mutex<Pool>);

#[derive(Debug, Default)]
struct Pool {
    classes: [Option<Class>; SIZES.len()],
    live: HashMap<u64, Live>,
    /// By the address of the head or root: nodes in their order.
    chains: HashMap<u64, VecDeque<u64>>,
    /// Where a node is.
    linked: HashMap<u64, u64>,
}

#[derive(Debug)]
struct Class {
    slab: Slab,
    used: u64,
    free: Vec<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Live {
    class: usize,
    references: u32,
    /// From one CPU's part to the next; 0 if it is of no CPU.
    stride: u32,
}

impl Objects {
    fn lock(&self) -> MutexGuard<'_, Pool> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    /// A new one, all zeroes, and the memory it is in.
    fn make(&mut self, size: u64, stride: u32) -> Option<(u64, Area)> {
        let class = SIZES.iter().position(|most| size <= u64::from(*most))?;
        let step = SIZES[class];
        let room = &mut self.classes[class];
        if room.is_none() {
            *room = Some(Class { slab: Slab::new(ROOM).ok()?, used: 0, free: Vec::new() });
        }
        let room = room.as_mut()?;
        let address = match room.free.pop() {
            Some(address) => address,
            None if room.used + u64::from(step) <= ROOM => {
                let address = room.slab.address() + room.used;
                room.used += u64::from(step);
                address
            }
            None => return None,
        };
        room.slab.clear(address - room.slab.address(), step as usize);
        let area = room.slab.area(step, step, true);
        self.live.insert(address, Live { class, references: 1, stride });
        Some((address, area))
    }

    fn drop_reference(&mut self, address: u64) {
        let Some(live) = self.live.get_mut(&address) else { return };
        live.references = live.references.saturating_sub(1);
        if live.references == 0 {
            let class = live.class;
            self.live.remove(&address);
            if let Some(class) = &mut self.classes[class] {
                class.free.push(address);
            }
        }
    }

    /// The object that an address lies in.
    fn holder(&self, address: u64) -> Option<u64> {
        let mut starts = self.classes.iter().zip(SIZES).filter_map(|(class, step)| {
            let slab = &class.as_ref()?.slab;
            let offset = address.checked_sub(slab.address()).filter(|at| *at < slab.len())?;
            Some(address - offset % u64::from(step))
        });
        starts.find(|start| self.live.contains_key(start))
    }

    /// False if it is in one already: then the reference that the caller gave is dropped.
    fn link(&mut self, chain: u64, node: u64, place: impl FnOnce(&VecDeque<u64>) -> usize) -> bool {
        if self.linked.contains_key(&node) {
            if let Some(object) = self.holder(node) {
                self.drop_reference(object);
            }
            return false;
        }
        let nodes = self.chains.entry(chain).or_default();
        let at = place(nodes).min(nodes.len());
        nodes.insert(at, node);
        self.linked.insert(node, chain);
        true
    }

    fn unlink(&mut self, chain: u64, node: u64) -> bool {
        if self.linked.get(&node) != Some(&chain) {
            return false;
        }
        self.linked.remove(&node);
        if let Some(nodes) = self.chains.get_mut(&chain) {
            nodes.retain(|other| *other != node);
        }
        true
    }

    fn end(&self, chain: u64, last: bool) -> Option<u64> {
        let nodes = self.chains.get(&chain)?;
        if last { nodes.back().copied() } else { nodes.front().copied() }
    }
}

fn lend(shared: &Shared, call: &mut Call<'_, '_>, made: Option<(u64, Area)>) -> Outcome {
    let Some((address, area)) = made else { return Ok(0) };
    shared.add_area(area);
    // The run began before the area was there.
    let length = area.size.into();
    call.memory().add(Region { start: address, length, writable: true });
    Ok(address)
}

/// `bpf_obj_new_impl` of a type of that size.
pub(super) fn new(shared: &Shared, call: &mut Call<'_, '_>, size: Option<u32>) -> Outcome {
    let made = size.and_then(|size| shared.objects.lock().make(size.into(), 0));
    lend(shared, call, made)
}

/// `bpf_percpu_obj_new_impl`.
pub(super) fn new_per_cpu(shared: &Shared, call: &mut Call<'_, '_>, size: Option<u32>) -> Outcome {
    let made = size.and_then(|size| {
        let stride = size.checked_next_multiple_of(8)?;
        let bytes = u64::from(stride) * u64::from(shared.cpus);
        shared.objects.lock().make(bytes, stride)
    });
    lend(shared, call, made)
}

/// A block of memory for kernel functions that make objects themselves.
pub(super) fn block(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let made = shared.objects.lock().make(SIZES[0].into(), 0);
    lend(shared, call, made)
}

pub(super) fn drop_object(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    shared.objects.lock().drop_reference(call.arguments[0]);
    Ok(0)
}

pub(super) fn acquire(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let address = call.arguments[0];
    match shared.objects.lock().live.get_mut(&address) {
        Some(live) => {
            live.references += 1;
            Ok(address)
        }
        None => Ok(0),
    }
}

/// `bpf_kptr_xchg`: a pointer into a value, for the one that was there.
pub(super) fn exchange(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [place, pointer, ..] = call.arguments;
    call.check(place, 8, true)?;
    // Exchanges are one after the other.
    let _guard = shared.objects.lock();
    let mut old = [0; 8];
    call.read(place, &mut old)?;
    call.write(place, &pointer.to_ne_bytes())?;
    Ok(u64::from_ne_bytes(old))
}

pub(super) fn per_cpu(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [address, cpu, ..] = call.arguments;
    let cpu = cpu as u32;
    let stride = shared.objects.lock().live.get(&address).map_or(0, |live| live.stride);
    match stride != 0 && cpu < shared.cpus {
        true => Ok(address + u64::from(stride) * u64::from(cpu)),
        false => Ok(0),
    }
}

pub(super) fn this_cpu(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    call.arguments[1] = cpu(call)?.into();
    match per_cpu(shared, call)? {
        // The kernel's own variables are not here, and this helper can't say so.
        0 => Err(Reason::Helper("this is no variable of each CPU".to_owned()).into()),
        address => Ok(address),
    }
}

fn push(shared: &Shared, call: &mut Call<'_, '_>, last: bool) -> Outcome {
    let [head, node, ..] = call.arguments;
    let linked = shared.objects.lock().link(head, node, |nodes| if last { nodes.len() } else { 0 });
    code(if linked { Ok(()) } else { Err(Errno::EINVAL) })
}

pub(super) fn push_front(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    push(shared, call, false)
}

pub(super) fn push_back(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    push(shared, call, true)
}

fn pop(shared: &Shared, call: &mut Call<'_, '_>, last: bool) -> Outcome {
    let head = call.arguments[0];
    let mut pool = shared.objects.lock();
    let Some(node) = pool.end(head, last) else { return Ok(0) };
    pool.unlink(head, node);
    Ok(node)
}

pub(super) fn pop_front(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    pop(shared, call, false)
}

pub(super) fn pop_back(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    pop(shared, call, true)
}

/// The first of a list, or the least of a tree.
pub(super) fn first(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    Ok(shared.objects.lock().end(call.arguments[0], false).unwrap_or(0))
}

pub(super) fn last(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    Ok(shared.objects.lock().end(call.arguments[0], true).unwrap_or(0))
}

/// `bpf_rbtree_add_impl`: behind those that are not greater, by the program's own comparison.
pub(super) fn tree_add(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [root, node, less, ..] = call.arguments;
    let nodes = shared.objects.lock().chains.get(&root).cloned().unwrap_or_default();
    let (mut low, mut high) = (0, nodes.len());
    while low < high {
        let middle = low + (high - low) / 2;
        match call.invoke(less, [node, nodes[middle], 0, 0, 0])? as u8 {
            0 => low = middle + 1,
            _ => high = middle,
        }
    }
    let linked = shared.objects.lock().link(root, node, |_| low);
    code(if linked { Ok(()) } else { Err(Errno::EINVAL) })
}

pub(super) fn tree_remove(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [root, node, ..] = call.arguments;
    Ok(if shared.objects.lock().unlink(root, node) { node } else { 0 })
}
