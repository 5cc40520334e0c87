//! What a map holds against what it should hold: only what differs is written.

use std::collections::HashMap;
use std::hash::Hash;

use crate::node::Change;

/// What brings a map from what it holds to what it should hold.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference<K, V> {
    pub set: Vec<(K, V)>,
    pub remove: Vec<K>,
}

impl<K: Eq + Hash, V: PartialEq> Difference<K, V> {
    pub fn between(held: Vec<(K, V)>, wanted: impl IntoIterator<Item = (K, V)>) -> Self {
        let mut held: HashMap<K, V> = held.into_iter().collect();
        let set =
            wanted.into_iter().filter(|(key, value)| held.remove(key).as_ref() != Some(value));
        Difference { set: set.collect(), remove: held.into_keys().collect() }
    }

    pub fn len(&self) -> usize {
        self.set.len() + self.remove.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn change(&self) -> Change<'_, K, V> {
        Change::new(&self.set, &self.remove)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs() {
        let wanted = [(1, 'a'), (2, 'b'), (3, 'c')];
        let mut difference = Difference::between(vec![(1, 'a'), (2, 'x'), (4, 'd')], wanted);
        difference.set.sort_unstable();
        difference.remove.sort_unstable();
        assert_eq!(difference, Difference { set: vec![(2, 'b'), (3, 'c')], remove: vec![4] });
    }
}
