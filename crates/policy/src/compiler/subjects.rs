//! Endpoints grouped by what policies can tell apart about them, and the rule sets of each group.

use crate::identity::IdentityLabels;
use crate::label_index::LabelIndex;
use crate::rule::{Direction, NamespaceSelector, WorkloadSelector};
use abi::endpoint::UNRESTRICTED;
use model::{NamedPort, ObjectName};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

type SubjectKey = (u32, Vec<NamedPort>);

#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub labels: Arc<IdentityLabels>,
    key: SubjectKey,
    pub endpoints: BTreeSet<ObjectName>,
    pub ingress: u32,
    pub egress: u32,
}

impl Subject {
    pub fn ports(&self) -> &[NamedPort] {
        &self.key.1
    }

    pub fn rule_set(&self, direction: Direction) -> u32 {
        match direction {
            Direction::Ingress => self.ingress,
            Direction::Egress => self.egress,
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Subjects {
    subjects: HashMap<u32, Subject>,
    numbers: HashMap<SubjectKey, u32>,
    next: u32,
    labels: LabelIndex,
    namespaces: HashMap<Arc<str>, BTreeSet<u32>>,
    dirty: BTreeSet<u32>,
    /// Rule sets of subjects that are gone.
    pub released: Vec<u32>,
}

impl Subjects {
    pub fn find(&self, number: u32) -> Option<&Subject> {
        self.subjects.get(&number)
    }

    pub fn find_mut(&mut self, number: u32) -> Option<&mut Subject> {
        self.subjects.get_mut(&number)
    }

    pub fn take_dirty(&mut self) -> BTreeSet<u32> {
        std::mem::take(&mut self.dirty)
    }

    pub fn enter(
        &mut self,
        name: &ObjectName,
        identity: u32,
        labels: &Arc<IdentityLabels>,
        ports: &[NamedPort],
    ) -> u32 {
        let mut ports = ports.to_vec();
        ports.sort();
        ports.dedup();
        let key = (identity, ports);
        let number = match self.numbers.get(&key) {
            Some(&number) => number,
            None => {
                let number = self.next;
                self.next += 1;
                self.numbers.insert(key.clone(), number);
                self.labels.insert(&labels.labels, number);
                self.namespaces.entry(labels.namespace.clone()).or_default().insert(number);
                let subject = Subject {
                    labels: labels.clone(),
                    key,
                    endpoints: BTreeSet::new(),
                    ingress: UNRESTRICTED,
                    egress: UNRESTRICTED,
                };
                self.subjects.insert(number, subject);
                self.dirty.insert(number);
                number
            }
        };
        if let Some(subject) = self.subjects.get_mut(&number) {
            subject.endpoints.insert(name.clone());
        }
        number
    }

    pub fn leave(&mut self, name: &ObjectName, number: u32) {
        let Some(subject) = self.subjects.get_mut(&number) else { return };
        subject.endpoints.remove(name);
        if !subject.endpoints.is_empty() {
            return;
        }
        let Some(subject) = self.subjects.remove(&number) else { return };
        self.labels.remove(&subject.labels.labels, number);
        if let Some(numbers) = self.namespaces.get_mut(&subject.labels.namespace) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.namespaces.remove(&subject.labels.namespace);
            }
        }
        self.numbers.remove(&subject.key);
        self.dirty.remove(&number);
        self.released.extend([subject.ingress, subject.egress]);
    }

    /// Policies that select these subjects have changed.
    pub fn mark_dirty(&mut self, selector: &WorkloadSelector) {
        let matches = |number: &u32| {
            self.subjects.get(number).is_some_and(|Subject { labels, .. }| {
                selector.matches(&labels.namespace, &labels.namespace_labels, &labels.labels)
            })
        };
        let by_label = self.labels.candidates(&selector.workloads);
        let in_namespace = match &selector.namespaces {
            NamespaceSelector::Name(name) => match self.namespaces.get(name) {
                Some(numbers) => Some(numbers),
                None => return,
            },
            NamespaceSelector::Labels(_) => None,
        };
        let matching: Vec<u32> = match (by_label, in_namespace) {
            (Some(candidates), Some(numbers)) if candidates.len() > numbers.len() => {
                numbers.iter().copied().filter(matches).collect()
            }
            (Some(candidates), _) => candidates.iter().filter(matches).collect(),
            (None, Some(numbers)) => numbers.iter().copied().filter(matches).collect(),
            (None, None) => self.subjects.keys().copied().filter(matches).collect(),
        };
        self.dirty.extend(matching);
    }
}
