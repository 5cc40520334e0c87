//! Label sets and their numbers.

use abi::identity::{FIRST_ALLOCATED, FIRST_LOCAL, reserved_name};
use ipnet::IpNet;
use model::Labels;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

/// What makes an identity of a workload.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdentityLabels {
    pub namespace: Arc<str>,
    pub namespace_labels: Labels,
    pub labels: Labels,
}

const NAMESPACE: &str = "io.kubernetes.pod.namespace";
const NAMESPACE_LABELS: &str = "io.cilium.k8s.namespace.labels.";

impl IdentityLabels {
    /// `k8s:app=web`, `k8s:io.kubernetes.pod.namespace=shop`, ... in order.
    pub fn texts(&self) -> Vec<String> {
        let own = self.labels.0.iter().map(|(key, value)| format!("k8s:{key}={value}"));
        let namespace = self
            .namespace_labels
            .0
            .iter()
            .map(|(key, value)| format!("k8s:{NAMESPACE_LABELS}{key}={value}"));
        let mut texts: Vec<_> = own.chain(namespace).collect();
        texts.push(format!("k8s:{NAMESPACE}={}", self.namespace));
        texts.sort();
        texts
    }

    /// Reverse of [`texts`](Self::texts).
    pub fn from_texts<'a>(texts: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut namespace = None;
        let (mut namespace_labels, mut labels) = (Labels::default(), Labels::default());
        for text in texts {
            let (key, value) = text.strip_prefix("k8s:")?.split_once('=')?;
            if key == NAMESPACE {
                namespace = Some(Arc::from(value));
            } else if let Some(key) = key.strip_prefix(NAMESPACE_LABELS) {
                namespace_labels.0.insert(key.to_owned(), value.to_owned());
            } else {
                labels.0.insert(key.to_owned(), value.to_owned());
            }
        }
        Some(IdentityLabels { namespace: namespace?, namespace_labels, labels })
    }
}

/// What a number stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    Reserved(&'static str),
    Workload(Arc<IdentityLabels>),
    Block(IpNet),
}

impl Identity {
    /// Labels as Cilium writes them.
    pub fn texts(&self) -> Vec<String> {
        match self {
            Identity::Reserved(name) => vec![format!("reserved:{name}")],
            Identity::Workload(labels) => labels.texts(),
            Identity::Block(block) => {
                vec![format!("cidr:{block}"), "reserved:world".to_owned()]
            }
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.texts().join(","))
    }
}

/// Numbers of label sets and of CIDR blocks. A number is never given twice.
#[derive(Clone, Debug)]
pub(crate) struct Identities {
    by_labels: HashMap<Arc<IdentityLabels>, u32>,
    by_block: HashMap<IpNet, u32>,
    by_number: BTreeMap<u32, Identity>,
    next_workload: u32,
    next_block: u32,
}

impl Default for Identities {
    fn default() -> Self {
        Identities {
            by_labels: HashMap::new(),
            by_block: HashMap::new(),
            by_number: BTreeMap::new(),
            next_workload: FIRST_ALLOCATED,
            next_block: FIRST_LOCAL,
        }
    }
}

impl Identities {
    /// The number, and whether it is new.
    pub fn workload(&mut self, labels: IdentityLabels) -> (u32, bool) {
        if let Some(&number) = self.by_labels.get(&labels) {
            return (number, false);
        }
        let number = free(&self.by_number, &mut self.next_workload, FIRST_ALLOCATED, FIRST_LOCAL);
        self.restore_workload(number, Arc::new(labels));
        (number, true)
    }

    pub fn block(&mut self, block: IpNet) -> (u32, bool) {
        if let Some(&number) = self.by_block.get(&block) {
            return (number, false);
        }
        let number = free(&self.by_number, &mut self.next_block, FIRST_LOCAL, FIRST_LOCAL << 1);
        self.restore_block(number, block);
        (number, true)
    }

    pub fn restore_workload(&mut self, number: u32, labels: Arc<IdentityLabels>) {
        self.by_labels.insert(labels.clone(), number);
        self.by_number.insert(number, Identity::Workload(labels));
        self.next_workload = self.next_workload.max(number + 1);
    }

    pub fn restore_block(&mut self, number: u32, block: IpNet) {
        self.by_block.insert(block, number);
        self.by_number.insert(number, Identity::Block(block));
        self.next_block = self.next_block.max(number + 1);
    }

    pub fn forget(&mut self, number: u32) {
        match self.by_number.remove(&number) {
            Some(Identity::Workload(labels)) => drop(self.by_labels.remove(&labels)),
            Some(Identity::Block(block)) => drop(self.by_block.remove(&block)),
            _ => {}
        }
    }

    pub fn find(&self, number: u32) -> Option<Identity> {
        match reserved_name(number) {
            Some(name) => Some(Identity::Reserved(name)),
            None => self.by_number.get(&number).cloned(),
        }
    }

    pub fn labels(&self, number: u32) -> Option<&Arc<IdentityLabels>> {
        match self.by_number.get(&number) {
            Some(Identity::Workload(labels)) => Some(labels),
            _ => None,
        }
    }

    pub fn all(&self) -> impl Iterator<Item = (u32, &Identity)> {
        self.by_number.iter().map(|(number, identity)| (*number, identity))
    }
}

/// The next number of the scope, from its start again when it has run to the end.
fn free(taken: &BTreeMap<u32, Identity>, next: &mut u32, first: u32, end: u32) -> u32 {
    loop {
        if *next >= end {
            *next = first;
        }
        let number = *next;
        *next += 1;
        if !taken.contains_key(&number) {
            return number;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_round_trip() {
        let labels = IdentityLabels {
            namespace: "shop".into(),
            namespace_labels: Labels::from_iter([("kubernetes.io/metadata.name", "shop")]),
            labels: Labels::from_iter([("app", "web")]),
        };
        let texts = labels.texts();
        assert_eq!(
            texts,
            [
                "k8s:app=web",
                "k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name=shop",
                "k8s:io.kubernetes.pod.namespace=shop",
            ]
        );
        assert_eq!(IdentityLabels::from_texts(texts.iter().map(String::as_str)), Some(labels));
    }

    #[test]
    fn numbers_stay() {
        let labels = |app: &str| IdentityLabels {
            namespace: "shop".into(),
            namespace_labels: Labels::default(),
            labels: Labels::from_iter([("app", app)]),
        };
        let mut identities = Identities::default();
        assert_eq!(identities.workload(labels("a")), (256, true));
        assert_eq!(identities.workload(labels("b")), (257, true));
        assert_eq!(identities.workload(labels("a")), (256, false));
        identities.forget(256);
        assert_eq!(identities.workload(labels("c")), (258, true));
        assert_eq!(identities.block("10.0.0.0/8".parse().unwrap()), (1 << 24, true));
        assert_eq!(identities.find(1 << 24).unwrap().to_string(), "cidr:10.0.0.0/8,reserved:world");
        assert_eq!(identities.find(1).unwrap().to_string(), "reserved:host");
    }
}
