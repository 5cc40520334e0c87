//! What a change of a ring does to the flows on it: which slots count as moved, and who had them.
//!
//! [`abi::balancer`] says how the datapath reads the two rings. Here is how they follow from a
//! change, and when a slot stops counting as moved.

use abi::balancer::slot;

/// The two rings of a front-end as the maps hold them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rings {
    /// Owners, with [`slot::MOVED`] where the flow table is to be asked.
    pub current: Vec<u16>,
    /// Owners before the window's first change; 0 stands for "as now". Empty while nothing has
    /// moved. Of another length than `current` if the ring has got another size.
    pub previous: Vec<u16>,
    /// Boot-time nanoseconds.
    pub window_end_ns: u64,
}

impl Rings {
    /// A ring on which no flow has moved.
    pub fn steady(owners: Vec<u16>) -> Self {
        Rings { current: owners, previous: Vec::new(), window_end_ns: 0 }
    }

    /// The owner of each slot.
    pub fn owners(&self) -> Vec<u16> {
        self.current.iter().map(|slot| slot & slot::BACKEND).collect()
    }

    pub fn has_owners(&self) -> bool {
        self.current.iter().any(|slot| slot & slot::BACKEND != 0)
    }

    /// Slots whose flows are looked for in the table.
    pub fn moved(&self) -> usize {
        self.current.iter().filter(|slot| *slot & slot::MOVED != 0).count()
    }

    /// The ring after a change to `owners` at `now_ns`, with a window of `window_ns`. `is_alive`
    /// says whether a backend still answers: only then do its flows stay with it.
    pub fn change(
        &self,
        owners: Vec<u16>,
        now_ns: u64,
        window_ns: u64,
        is_alive: impl Fn(u16) -> bool,
    ) -> Rings {
        if self.current.is_empty() || owners.is_empty() {
            return Rings::steady(owners);
        }
        let open = now_ns < self.window_end_ns;
        let resized =
            open && !self.previous.is_empty() && self.previous.len() != self.current.len();
        let mut next = if resized || owners.len() != self.current.len() {
            self.resize(owners, open, resized)
        } else {
            self.shift(owners, open)
        };
        for previous in &mut next.previous {
            if *previous != 0 && !is_alive(*previous) {
                *previous = 0;
            }
        }
        // A slot that leaves a dead backend has no flows to keep. One that was moved before has.
        let same_size = next.previous.len() == next.current.len();
        if same_size && self.current.len() == next.current.len() {
            for (index, slot) in next.current.iter_mut().enumerate() {
                let was_moved = self.current[index] & slot::MOVED != 0;
                if !was_moved && next.previous[index] == 0 {
                    *slot &= slot::BACKEND;
                }
            }
        }
        let changed = next.current.len() != self.current.len()
            || (0..next.current.len())
                .any(|at| (next.current[at] ^ self.current[at]) & slot::BACKEND != 0);
        let keeps = next.previous.iter().any(|previous| *previous != 0);
        next.window_end_ns = match (changed && keeps, open) {
            (true, _) => now_ns.saturating_add(window_ns).max(self.window_end_ns),
            (false, true) => self.window_end_ns,
            (false, false) => 0,
        };
        next.tidy();
        next
    }

    /// Slot by slot, since both rings have the same size.
    fn shift(&self, owners: Vec<u16>, open: bool) -> Rings {
        let mut next = Rings { previous: vec![0; owners.len()], current: owners, window_end_ns: 0 };
        for index in 0..next.current.len() {
            let before = self.current[index] & slot::BACKEND;
            let was_moved = self.current[index] & slot::MOVED != 0;
            let in_window = was_moved && open;
            if in_window {
                // Whatever began after the window's first change is remembered: what isn't is older,
                // and belongs to the owner before that change.
                next.previous[index] = self.previous.get(index).copied().unwrap_or(0);
            } else if next.current[index] != before {
                next.previous[index] = before;
            }
            if was_moved || next.current[index] != before {
                next.current[index] |= slot::MOVED;
            }
        }
        next
    }

    /// Slots of rings of different sizes have nothing to do with each other: all have moved, and the
    /// old ring, as it was before the window's first change, is the previous one.
    fn resize(&self, owners: Vec<u16>, open: bool, resized: bool) -> Rings {
        let current = owners.into_iter().map(|owner| owner | slot::MOVED).collect();
        let previous = if resized {
            self.previous.clone()
        } else {
            let since = |(index, slot): (usize, &u16)| match self.previous.get(index) {
                Some(previous) if open && slot & slot::MOVED != 0 && *previous != 0 => *previous,
                _ => slot & slot::BACKEND,
            };
            self.current.iter().enumerate().map(since).collect()
        };
        Rings { current, previous, window_end_ns: 0 }
    }

    /// Clears slots of which no remembered flow is left, once the window has ended. `is_in_use` says
    /// whether the table has a flow of a slot. False if nothing changed.
    pub fn settle(&mut self, now_ns: u64, is_in_use: impl Fn(usize) -> bool) -> bool {
        if now_ns < self.window_end_ns {
            return false;
        }
        let mut changed = false;
        for (index, slot) in self.current.iter_mut().enumerate() {
            if *slot & slot::MOVED != 0 && !is_in_use(index) {
                *slot &= slot::BACKEND;
                changed = true;
            }
        }
        self.tidy();
        changed
    }

    fn tidy(&mut self) {
        if self.moved() == 0 {
            self.previous = Vec::new();
            self.window_end_ns = 0;
        }
    }
}

#[cfg(test)]
mod tests;
