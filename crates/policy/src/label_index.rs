//! Which of many label sets could match a selector, without looking at all of them.

use model::{Labels, Operator, Selector};
use std::collections::{BTreeSet, HashMap};

/// Numbers by each label (key, value) they have.
#[derive(Clone, Debug, Default)]
pub(crate) struct LabelIndex {
    by_label: HashMap<String, HashMap<String, BTreeSet<u32>>>,
}

impl LabelIndex {
    pub fn insert(&mut self, labels: &Labels, number: u32) {
        for (key, value) in &labels.0 {
            self.insert_label(key, value, number);
        }
    }

    pub fn insert_label(&mut self, key: &str, value: &str, number: u32) {
        let values = match self.by_label.get_mut(key) {
            Some(values) => values,
            None => self.by_label.entry(key.to_owned()).or_default(),
        };
        match values.get_mut(value) {
            Some(numbers) => {
                numbers.insert(number);
            }
            None => {
                values.insert(value.to_owned(), BTreeSet::from([number]));
            }
        }
    }

    pub fn remove(&mut self, labels: &Labels, number: u32) {
        for (key, value) in &labels.0 {
            self.remove_label(key, value, number);
        }
    }

    pub fn remove_label(&mut self, key: &str, value: &str, number: u32) {
        let Some(values) = self.by_label.get_mut(key) else { return };
        if let Some(numbers) = values.get_mut(value) {
            numbers.remove(&number);
            if numbers.is_empty() {
                values.remove(value);
            }
        }
        if values.is_empty() {
            self.by_label.remove(key);
        }
    }

    /// Numbers that have any of these labels.
    pub fn with_any(&self, labels: &Labels) -> impl Iterator<Item = u32> {
        let sets = labels.0.iter().filter_map(|(key, value)| self.by_label.get(key)?.get(value));
        sets.flatten().copied()
    }

    /// The fewest numbers that are sure to include all matches; `None` if no requirement of the
    /// selector can be looked up.
    pub fn candidates(&self, selector: &Selector) -> Option<Candidates<'_>> {
        selector
            .requirements
            .iter()
            .filter_map(|requirement| match &requirement.operator {
                Operator::In(wanted) => {
                    let values = self.by_label.get(&requirement.key);
                    let sets = wanted.iter().filter_map(|value| values?.get(value));
                    Some(Candidates { sets: sets.collect() })
                }
                _ => None,
            })
            .min_by_key(Candidates::len)
    }
}

#[derive(Debug)]
pub(crate) struct Candidates<'a> {
    sets: Vec<&'a BTreeSet<u32>>,
}

impl Candidates<'_> {
    pub fn len(&self) -> usize {
        self.sets.iter().map(|set| set.len()).sum()
    }

    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.sets.iter().flat_map(|set| set.iter().copied())
    }
}
