//! Small numbers for things that map values name: backends and VIPs.
//!
//! A thing keeps its number as long as it is there. A number that falls free is the last to be
//! given again, since flows may be remembered by it.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
pub struct Numbers<T> {
    of: BTreeMap<T, u32>,
    used: BTreeSet<u32>,
    /// Where the next search begins.
    next: u32,
    /// Numbers are 1 to `limit`.
    limit: u32,
}

impl<T: Ord + Clone> Numbers<T> {
    pub fn new(limit: u32) -> Self {
        Numbers { of: BTreeMap::new(), used: BTreeSet::new(), next: 1, limit }
    }

    /// Takes over what an earlier agent gave.
    pub fn adopt(&mut self, thing: T, number: u32) {
        if number > 0 && number <= self.limit && self.used.insert(number) {
            if let Some(double) = self.of.insert(thing, number) {
                self.used.remove(&double);
            }
            self.next = self.next.max(number + 1);
        }
    }

    pub fn find(&self, thing: &T) -> Option<u32> {
        self.of.get(thing).copied()
    }

    /// The thing's number, and whether it is a new one; `None` if all are taken.
    pub fn number(&mut self, thing: &T) -> Option<(u32, bool)> {
        if let Some(number) = self.of.get(thing) {
            return Some((*number, false));
        }
        let from = if self.next > self.limit { 1 } else { self.next };
        let number =
            (from..=self.limit).chain(1..from).find(|number| !self.used.contains(number))?;
        self.used.insert(number);
        self.of.insert(thing.clone(), number);
        self.next = number + 1;
        Some((number, true))
    }

    /// Lets go of everything that `keep` doesn't want.
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        let used = &mut self.used;
        self.of.retain(|thing, number| {
            let kept = keep(thing);
            if !kept {
                used.remove(number);
            }
            kept
        });
    }

    pub fn iter(&self) -> impl Iterator<Item = (&T, u32)> {
        self.of.iter().map(|(thing, number)| (thing, *number))
    }

    pub fn limit(&self) -> u32 {
        self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freed_numbers_come_last() {
        let mut numbers = Numbers::new(4);
        assert_eq!(numbers.number(&'a'), Some((1, true)));
        assert_eq!(numbers.number(&'b'), Some((2, true)));
        assert_eq!(numbers.number(&'a'), Some((1, false)));
        numbers.retain(|thing| *thing != 'a');
        assert_eq!(numbers.number(&'c'), Some((3, true)));
        assert_eq!(numbers.number(&'d'), Some((4, true)));
        assert_eq!(numbers.number(&'e'), Some((1, true)));
        assert_eq!(numbers.number(&'f'), None);
    }

    #[test]
    fn what_was_given_before_a_restart_is_kept() {
        let mut numbers = Numbers::new(10);
        numbers.adopt('x', 7);
        numbers.adopt('y', 11);
        assert_eq!(numbers.number(&'x'), Some((7, false)));
        assert_eq!(numbers.number(&'y'), Some((8, true)));
    }
}
