//! A transaction: from the tables as they are to the tables as they should be.

use super::Refusal;
use super::spec::RingSpec;
use super::tables::{Adopted, Capacity, Change, Changes, Rows, Used};
use crate::balancer::blocks::{Blocks, blocks_of};
use crate::balancer::keys::{Keys, VipKey, echo, keys};
use crate::balancer::numbers::Numbers;
use crate::balancer::ring;
use crate::balancer::roles::Role;
use crate::balancer::rows::{self, BackendKey};
use crate::balancer::transition::Rings;
use abi::Address;
use abi::balancer::{DownKey, FrontEnd, RING_BLOCK, RingBlock, SourceKey, slot};
use model::load_balancer::{Edge, ServerId, SourceRoute, Vip};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::thread;

/// What is in force.
#[derive(Clone, Debug)]
pub struct State {
    backends: Numbers<BackendKey>,
    vip_numbers: Numbers<VipKey>,
    vips: HashMap<VipKey, VipState>,
    blocks: Blocks,
    /// Blocks in use: first and length of each run.
    extents: BTreeMap<u32, u32>,
    rows: Rows,
    /// Rings that an earlier agent left, until the first transaction is done.
    adopted: HashMap<RingPlace, Arc<Ring>>,
    capacity: Capacity,
}

#[derive(Clone, Debug)]
pub struct VipState {
    pub number: u32,
    pub front_end: FrontEnd,
    ring: Arc<Ring>,
}

/// A ring in its blocks; shared by VIPs whose backends are the same, and were.
#[derive(Debug)]
struct Ring {
    rings: Rings,
    /// What it was made for; unknown of one that an earlier agent left.
    spec: Option<RingSpec>,
    /// First block.
    base: u32,
    previous: Option<u32>,
    /// Slots of each backend number; counted when somebody asks.
    shares: OnceLock<HashMap<u16, u32>>,
}

impl Ring {
    /// Runs of blocks that it takes.
    fn extents(&self) -> impl Iterator<Item = (u32, u32)> {
        let current = (self.base, blocks_of(self.rings.current.len()));
        let previous = self.previous.map(|base| (base, blocks_of(self.rings.previous.len())));
        [Some(current), previous].into_iter().flatten().filter(|(_, length)| *length > 0)
    }
}

/// Rings without the slots that nobody needs any more, by the rings that they take the place of.
pub type Settled = HashMap<usize, Rings>;

/// Where a front-end leads to.
type RingPlace = (u32, u32, u32, u64);

fn place(front_end: &FrontEnd) -> RingPlace {
    (front_end.ring, front_end.ring_len, front_end.previous, front_end.window_end_ns)
}

impl VipState {
    /// Slots that a backend number owns.
    pub fn slots_of(&self, number: u32) -> u32 {
        let shares = self.ring.shares.get_or_init(|| {
            let mut shares: HashMap<u16, u32> = HashMap::new();
            for slot in &self.ring.rings.current {
                *shares.entry(slot & slot::BACKEND).or_default() += 1;
            }
            shares
        });
        shares.get(&(number as u16)).copied().unwrap_or_default()
    }

    pub fn moved(&self) -> u32 {
        self.ring.rings.moved() as u32
    }

    pub fn window_end_ns(&self) -> u64 {
        self.ring.rings.window_end_ns
    }

    pub fn rings(&self) -> &Rings {
        &self.ring.rings
    }
}

impl State {
    pub fn new(capacity: &Capacity) -> Self {
        let backends = capacity.backends.min(u32::from(ring::MAX_NUMBER) + 1);
        State {
            backends: Numbers::new(backends.saturating_sub(1)),
            vip_numbers: Numbers::new(capacity.vips.saturating_sub(1)),
            vips: HashMap::new(),
            blocks: Blocks::new(capacity.rings),
            extents: BTreeMap::new(),
            rows: Rows::default(),
            adopted: HashMap::new(),
            capacity: capacity.clone(),
        }
    }

    pub fn adopt(&mut self, adopted: Adopted) {
        let Adopted { rows, rings } = adopted;
        for (number, row) in &rows.backends {
            if let Some(key) = BackendKey::of_row(row) {
                self.backends.adopt(key, *number);
            }
        }
        let front_ends = rows.front_ends.values().chain(rows.ranges.values());
        for front_end in front_ends.chain(rows.prefixes.values()) {
            if front_end.ring_len == 0 || self.adopted.contains_key(&place(front_end)) {
                continue;
            }
            let ring = read(front_end, &rings);
            let runs: Vec<_> = ring.extents().collect();
            let fits = runs.iter().all(|(base, length)| {
                self.extents.get(base) == Some(length) || self.blocks.take_at(*base, *length)
            });
            // What lies across others was damaged: it is made anew.
            if fits {
                self.extents.extend(runs);
                self.adopted.insert(place(front_end), Arc::new(ring));
            }
        }
        self.rows = rows;
    }

    pub fn vip(&self, key: &VipKey) -> Option<&VipState> {
        self.vips.get(key)
    }

    pub fn backend(&self, key: &BackendKey) -> Option<u32> {
        self.backends.find(key)
    }

    pub fn backend_of_number(&self, number: u32) -> Option<BackendKey> {
        self.backends.iter().find(|(_, it)| *it == number).map(|(key, _)| *key)
    }

    pub fn settings(&self) -> Option<abi::balancer::Settings> {
        self.rows.settings
    }

    pub fn used(&self) -> Used {
        Used {
            front_ends: self.rows.front_ends.len(),
            ranges: self.rows.ranges.len(),
            prefixes: self.rows.prefixes.len(),
            ring_blocks: self.blocks.used(),
            backends: self.rows.backends.len(),
            vips: self.vips.len(),
        }
    }

    pub fn unsettled(&self, now_ns: u64) -> Vec<(u32, usize)> {
        let vips = self.vips.values();
        let waiting = vips.filter(|vip| vip.moved() > 0 && vip.window_end_ns() <= now_ns);
        waiting.map(|vip| (vip.number, vip.ring.rings.current.len())).collect()
    }

    pub fn begin(&self, settled: Settled) -> Transaction {
        let next = State {
            vips: HashMap::new(),
            rows: Rows::default(),
            extents: BTreeMap::new(),
            adopted: HashMap::new(),
            ..self.clone()
        };
        Transaction {
            old: self.clone(),
            next,
            settled,
            uses: BTreeMap::new(),
            living: None,
            owners: HashMap::new(),
            made: HashMap::new(),
            changes: Changes::default(),
        }
    }

    /// Rings without the slots of which no flow is left.
    pub fn settled(&self, now_ns: u64, is_in_use: impl Fn(u32, usize) -> bool) -> Settled {
        let mut sharing: HashMap<usize, (&Arc<Ring>, Vec<u32>)> = HashMap::new();
        for vip in self.vips.values().filter(|vip| vip.moved() > 0) {
            let entry = sharing.entry(identity(&vip.ring)).or_insert((&vip.ring, Vec::new()));
            entry.1.push(vip.number);
        }
        let mut settled = HashMap::new();
        for (id, (ring, vips)) in sharing {
            let mut rings = ring.rings.clone();
            if rings.settle(now_ns, |slot| vips.iter().any(|vip| is_in_use(*vip, slot))) {
                settled.insert(id, rings);
            }
        }
        settled
    }
}

fn identity(ring: &Arc<Ring>) -> usize {
    Arc::as_ptr(ring).addr()
}

/// The ring of a front-end in the blocks of an earlier agent.
fn read(front_end: &FrontEnd, blocks: &HashMap<u32, RingBlock>) -> Ring {
    let slots = |first: u32, length: u32| -> Vec<u16> {
        let base = first / RING_BLOCK as u32;
        let wanted = base..base + blocks_of(length as usize);
        let all = wanted.flat_map(|block| {
            blocks.get(&block).map_or([0; RING_BLOCK], |block| block.slots).into_iter()
        });
        all.take(length as usize).collect()
    };
    let current = slots(front_end.ring, front_end.ring_len);
    let previous = match front_end.previous_len {
        0 => Vec::new(),
        length => slots(front_end.previous, length),
    };
    Ring {
        previous: (!previous.is_empty()).then_some(front_end.previous / RING_BLOCK as u32),
        rings: Rings { current, previous, window_end_ns: front_end.window_end_ns },
        spec: None,
        shares: OnceLock::new(),
        base: front_end.ring / RING_BLOCK as u32,
    }
}

#[derive(Debug)]
pub struct Transaction {
    old: State,
    next: State,
    settled: Settled,
    /// Backends in use, and whether they live in any.
    uses: BTreeMap<BackendKey, bool>,
    /// Numbers of backends that live; known once all are used.
    living: Option<HashSet<u16>>,
    owners: HashMap<RingSpec, Vec<u16>>,
    /// Rings of this transaction: by what was before, and what they are for.
    made: HashMap<(usize, RingSpec), Arc<Ring>>,
    changes: Changes,
}

impl Transaction {
    pub fn use_backend(&mut self, key: BackendKey, dead: bool) -> Result<u32, Refusal> {
        let capacity = self.next.backends.limit();
        let (number, new) = self
            .next
            .backends
            .number(&key)
            .ok_or(Refusal::Full { what: "backend numbers", capacity })?;
        if new {
            self.changes.reset_backends.push(number);
        }
        *self.uses.entry(key).or_insert(false) |= !dead;
        Ok(number)
    }

    /// The backend with that address which VIPs have, or one of its own.
    fn use_address(&mut self, edge: &Edge, address: IpAddr) -> Result<u32, Refusal> {
        let plain = BackendKey::plain(edge, address);
        let mut same = self.uses.keys().filter(|key| key.address == address);
        match same.find(|key| key.delivery == plain.delivery).copied() {
            // Whether it lives is for VIPs to say.
            Some(key) => self.use_backend(key, true),
            None => self.use_backend(plain, false),
        }
    }

    pub fn server_id(&mut self, edge: &Edge, server: &ServerId) -> Result<(), Refusal> {
        let number = self.use_address(edge, server.backend)?;
        self.next.rows.server_ids.insert(server.id, number);
        Ok(())
    }

    pub fn source_route(&mut self, edge: &Edge, route: &SourceRoute) -> Result<(), Refusal> {
        let number = self.use_address(edge, route.backend)?;
        let mapped = if route.source.addr().is_ipv4() { 96 } else { 0 };
        let key = SourceKey {
            prefix_len: SourceKey::FIXED_BITS + mapped + u32::from(route.source.prefix_len()),
            table: SOURCES,
            address: Address::from(route.source.addr()),
        };
        self.next.rows.sources.insert(key, number);
        Ok(())
    }

    pub fn mark(&mut self, mark: u32, backend: BackendKey) -> Result<(), Refusal> {
        let lives = self.uses.get(&backend).copied().unwrap_or(true);
        let number = self.use_backend(backend, !lives)?;
        self.next.rows.checks.insert(mark, number);
        Ok(())
    }

    /// Before the first VIP: numbers of those that an earlier agent left.
    pub fn adopt_vips<'v>(&mut self, vips: impl Iterator<Item = &'v Vip>) {
        if self.old.adopted.is_empty() {
            return;
        }
        for vip in vips {
            let key = VipKey::of(vip);
            if let Some(front_end) = self.old_row(&key) {
                self.next.vip_numbers.adopt(key, front_end.vip);
            }
        }
    }

    fn old_row(&self, key: &VipKey) -> Option<FrontEnd> {
        let Keys { front_ends, ranges, prefixes } = keys(key);
        let rows = &self.old.rows;
        let exact = front_ends.first().and_then(|key| rows.front_ends.get(key));
        let range = || ranges.first().and_then(|key| rows.ranges.get(key));
        let prefix = || prefixes.first().and_then(|key| rows.prefixes.get(key));
        exact.or_else(range).or_else(prefix).copied()
    }

    fn old_ring(&self, key: &VipKey) -> Option<Arc<Ring>> {
        if let Some(vip) = self.old.vips.get(key) {
            return Some(vip.ring.clone());
        }
        let front_end = self.old_row(key)?;
        self.old.adopted.get(&place(&front_end)).cloned()
    }

    pub fn vip(
        &mut self,
        edge: &Edge,
        vip: &Vip,
        roles: &[Role],
        spec: RingSpec,
        now_ns: u64,
    ) -> Result<(), Refusal> {
        let key = VipKey::of(vip);
        let capacity = self.next.vip_numbers.limit();
        let (number, new) = self
            .next
            .vip_numbers
            .number(&key)
            .ok_or(Refusal::Full { what: "VIP numbers", capacity })?;
        if new {
            self.changes.reset_vips.push(number);
        }
        let old = self.old_ring(&key);
        let idle_ns = edge.flows.idle.as_nanos() as u64;
        let ring = self.ring(old, spec, now_ns, idle_ns)?;
        let rings = &ring.rings;
        let slots = |block: u32| block * RING_BLOCK as u32;
        let front_end = FrontEnd {
            vip: number,
            flags: rows::frontend_bits(edge, vip),
            ring: slots(ring.base),
            ring_len: rings.current.len() as u32,
            previous: slots(ring.previous.unwrap_or(ring.base)),
            previous_len: rings.previous.len() as u32,
            new_flows_per_second: vip.new_flows_per_second.unwrap_or(0),
            window_end_ns: rings.window_end_ns,
            sources: SOURCES,
        };
        let Keys { front_ends, ranges, prefixes } = keys(&key);
        let rows = &mut self.next.rows;
        rows.front_ends.extend(front_ends.into_iter().map(|key| (key, front_end)));
        rows.ranges.extend(ranges.into_iter().map(|key| (key, front_end)));
        rows.prefixes.extend(prefixes.into_iter().map(|key| (key, front_end)));
        let Keys { front_ends, prefixes, .. } = echo(&key);
        let known = FrontEnd::default();
        rows.front_ends.extend(front_ends.into_iter().map(|key| (key, known)));
        rows.prefixes.extend(prefixes.into_iter().map(|key| (key, known)));
        if vip.udp_flow_migration {
            for (backend, role) in vip.backends.iter().zip(roles) {
                if (backend.forget_flows || matches!(role, Role::Dead(_)))
                    && let Some(backend) = self.next.backends.find(&BackendKey::of(vip, backend))
                {
                    rows.down.insert(DownKey { vip: number, backend }, 1);
                }
            }
        }
        self.next.vips.insert(key, VipState { number, front_end, ring });
        Ok(())
    }

    /// What a VIP's ring has to be, once all backends are used.
    pub fn spec(&self, edge: &Edge, vip: &Vip, roles: &[Role]) -> RingSpec {
        RingSpec::of(edge, vip, roles, |key| self.next.backends.find(key))
    }

    /// The ring for `spec` after `old`.
    fn ring(
        &mut self,
        old: Option<Arc<Ring>>,
        spec: RingSpec,
        now_ns: u64,
        idle_ns: u64,
    ) -> Result<Arc<Ring>, Refusal> {
        let old_id = old.as_ref().map_or(0, identity);
        let settled = self.settled.get(&old_id);
        if let Some(old) = &old
            && settled.is_none()
            && old.spec.as_ref() == Some(&spec)
            && old.rings.previous.is_empty()
        {
            self.next.extents.extend(old.extents());
            return Ok(old.clone());
        }
        if let Some(made) = self.made.get(&(old_id, spec.clone())) {
            return Ok(made.clone());
        }
        let before = settled.or(old.as_ref().map(|old| &old.rings)).cloned().unwrap_or_default();
        let living = self.living();
        let alive =
            |number: u16| living.contains(&number) && spec.dead.binary_search(&number).is_err();
        let mut owners = match &old {
            Some(old) if old.spec.as_ref() == Some(&spec) && old.rings.has_owners() => {
                old.rings.owners()
            }
            _ => self.owners(&spec),
        };
        if owners.is_empty() && spec.keeps_moved {
            // Nobody takes new flows; those that are under way stay with who has them.
            let known = before.current.iter().map(|slot| slot & slot::BACKEND);
            if known.chain(before.previous.iter().copied()).any(|it| it != 0 && alive(it)) {
                owners = vec![0; before.current.len()];
            }
        }
        let rings = match spec.keeps_moved {
            true => before.change(owners, now_ns, idle_ns, alive),
            false => Rings::steady(owners),
        };
        let ring = match &old {
            Some(old) if old.rings == rings => Ring {
                rings,
                spec: Some(spec.clone()),
                shares: OnceLock::new(),
                base: old.base,
                previous: old.previous,
            },
            _ => self.place(rings, &spec)?,
        };
        self.next.extents.extend(ring.extents());
        let ring = Arc::new(ring);
        self.made.insert((old_id, spec), ring.clone());
        Ok(ring)
    }

    fn living(&mut self) -> HashSet<u16> {
        if let Some(living) = &self.living {
            return living.clone();
        }
        let living: HashSet<u16> = self
            .uses
            .iter()
            .filter(|(_, lives)| **lives)
            .filter_map(|(key, _)| self.next.backends.find(key))
            .map(|number| number as u16)
            .collect();
        self.living = Some(living.clone());
        living
    }

    /// Makes the rings that these VIPs will need, on all processors: nothing else of a change takes
    /// as long.
    pub fn make_rings<'v>(&mut self, vips: impl Iterator<Item = (&'v Vip, &'v RingSpec)>) {
        let made = |vip: &Vip, spec: &RingSpec| {
            let old = self.old_ring(&VipKey::of(vip));
            old.is_some_and(|old| old.spec.as_ref() == Some(spec))
        };
        let wanted: HashSet<&RingSpec> =
            vips.filter(|(vip, spec)| !made(vip, spec)).map(|(_, spec)| spec).collect();
        let wanted: Vec<&RingSpec> = wanted.into_iter().collect();
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let parts = wanted.chunks(wanted.len().div_ceil(threads).max(1));
        thread::scope(|scope| {
            let make = |part: &[&RingSpec]| -> Vec<(RingSpec, Vec<u16>)> {
                part.iter().map(|spec| ((*spec).clone(), spec.owners())).collect()
            };
            let parts: Vec<_> = parts.map(|part| scope.spawn(move || make(part))).collect();
            // What a thread has not made is made when it is needed.
            self.owners.extend(parts.into_iter().filter_map(|part| part.join().ok()).flatten());
        });
    }

    fn owners(&mut self, spec: &RingSpec) -> Vec<u16> {
        self.owners.entry(spec.clone()).or_insert_with(|| spec.owners()).clone()
    }

    /// Puts rings into free blocks.
    fn place(&mut self, rings: Rings, spec: &RingSpec) -> Result<Ring, Refusal> {
        let mut put = |slots: &[u16]| -> Result<u32, Refusal> {
            if slots.is_empty() {
                return Ok(0);
            }
            let capacity = self.next.blocks.capacity();
            let base = self.next.blocks.take(blocks_of(slots.len())).ok_or(Refusal::Full {
                what: "rings (in blocks of 512 slots; see `hashing.slots`)",
                capacity,
            })?;
            for (index, chunk) in slots.chunks(RING_BLOCK).enumerate() {
                let mut block = RingBlock { slots: [0; RING_BLOCK] };
                block.slots[..chunk.len()].copy_from_slice(chunk);
                self.changes.rings.push((base + index as u32, block));
            }
            Ok(base)
        };
        let base = put(&rings.current)?;
        let previous = match rings.previous.is_empty() {
            true => None,
            false => Some(put(&rings.previous)?),
        };
        Ok(Ring { rings, spec: Some(spec.clone()), shares: OnceLock::new(), base, previous })
    }

    pub fn finish<'v>(
        mut self,
        edge: Option<&Edge>,
        vips: impl Iterator<Item = &'v Vip>,
    ) -> Result<(Changes, State), Refusal> {
        let uses = std::mem::take(&mut self.uses);
        self.next.backends.retain(|key| uses.contains_key(key));
        let vips_now = &self.next.vips;
        self.next.vip_numbers.retain(|key| vips_now.contains_key(key));
        for (base, length) in &self.old.extents {
            if !self.next.extents.contains_key(base) {
                self.next.blocks.give_back(*base, *length);
            }
        }
        let rows = &mut self.next.rows;
        if let Some(edge) = edge {
            for (key, number) in self.next.backends.iter() {
                let dead = uses.get(key) == Some(&false);
                rows.backends.insert(number, key.row(edge, dead));
            }
            rows.decapsulate.extend(rows::decapsulated(edge));
            let (ranges, prefixes) = (!rows.ranges.is_empty(), !rows.prefixes.is_empty());
            rows.settings = Some(rows::settings(edge, vips, ranges, prefixes));
        }
        check_room(rows, &self.next.capacity)?;
        let (old, new) = (&self.old.rows, &*rows);
        let changes = Changes {
            backends: Change::between(&old.backends, &new.backends),
            server_ids: Change::between(&old.server_ids, &new.server_ids),
            sources: Change::between(&old.sources, &new.sources),
            decapsulate: Change::between(&old.decapsulate, &new.decapsulate),
            down: Change::between(&old.down, &new.down),
            checks: Change::between(&old.checks, &new.checks),
            settings: new.settings.filter(|settings| old.settings != Some(*settings)),
            front_ends: Change::between(&old.front_ends, &new.front_ends),
            ranges: Change::between(&old.ranges, &new.ranges),
            prefixes: Change::between(&old.prefixes, &new.prefixes),
            ..self.changes
        };
        Ok((changes, self.next))
    }
}

/// All routes are in one table: every VIP with source routing has the same.
const SOURCES: u32 = 0;

fn check_room(rows: &Rows, capacity: &Capacity) -> Result<(), Refusal> {
    let rooms = [
        ("front-ends", rows.front_ends.len(), capacity.front_ends),
        ("port ranges", rows.ranges.len(), capacity.ranges),
        ("address blocks", rows.prefixes.len(), capacity.prefixes),
        ("server ids", rows.server_ids.len(), capacity.server_ids),
        ("source routes", rows.sources.len(), capacity.sources),
        ("addresses to decapsulate", rows.decapsulate.len(), capacity.decapsulate),
        ("backends whose flows move", rows.down.len(), capacity.down),
        ("health-check marks", rows.checks.len(), capacity.checks),
    ];
    match rooms.into_iter().find(|(_, used, capacity)| *used > *capacity as usize) {
        Some((what, _, capacity)) => Err(Refusal::Full { what, capacity }),
        None => Ok(()),
    }
}
