//! Labels and the selectors that pick by them.
//! Semantics: Kubernetes "Labels and Selectors" (LabelSelector).

use std::collections::BTreeMap;
use std::fmt;

/// A set of labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(pub BTreeMap<String, String>);

impl Labels {
    pub fn value(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Labels(pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}

/// `a=1,b=2`.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, (key, value)) in self.0.iter().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            write!(f, "{comma}{key}={value}")?;
        }
        Ok(())
    }
}

/// Picks label sets: all requirements must hold; none at all picks everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector {
    pub requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requirement {
    pub key: String,
    pub operator: Operator,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    In(Vec<String>),
    /// Holds also where the key is missing.
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
}

impl Selector {
    pub fn everything() -> Self {
        Selector::default()
    }

    /// Requires each label to have exactly this value (`matchLabels`).
    pub fn labels(labels: &Labels) -> Self {
        let requirements = labels
            .0
            .iter()
            .map(|(key, value)| Requirement {
                key: key.clone(),
                operator: Operator::In(vec![value.clone()]),
            })
            .collect();
        Selector { requirements }
    }

    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|requirement| requirement.holds(labels))
    }
}

impl Requirement {
    pub fn holds(&self, labels: &Labels) -> bool {
        let value = labels.value(&self.key);
        match &self.operator {
            Operator::In(values) => value.is_some_and(|v| values.iter().any(|x| x == v)),
            Operator::NotIn(values) => !value.is_some_and(|v| values.iter().any(|x| x == v)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

/// As a user reads it: `app=web`, `tier in (a,b)`, `!canary`, or `everything`.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.requirements.is_empty() {
            return f.write_str("everything");
        }
        for (position, requirement) in self.requirements.iter().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            let key = &requirement.key;
            match &requirement.operator {
                Operator::In(values) if values.len() == 1 => {
                    write!(f, "{comma}{key}={}", values[0])?
                }
                Operator::In(values) => write!(f, "{comma}{key} in ({})", values.join(","))?,
                Operator::NotIn(values) => write!(f, "{comma}{key} notin ({})", values.join(","))?,
                Operator::Exists => write!(f, "{comma}{key}")?,
                Operator::DoesNotExist => write!(f, "{comma}!{key}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(operator: Operator, expect: [bool; 3]) {
        let selector = Selector { requirements: vec![Requirement { key: "app".into(), operator }] };
        let label_sets = [
            Labels::from_iter([("app", "web")]),
            Labels::from_iter([("app", "db")]),
            Labels::default(),
        ];
        for (labels, expect) in label_sets.iter().zip(expect) {
            assert_eq!(selector.matches(labels), expect, "{selector} on {{{labels}}}");
        }
    }

    #[test]
    fn operators() {
        check(Operator::In(vec!["web".into(), "x".into()]), [true, false, false]);
        check(Operator::NotIn(vec!["web".into()]), [false, true, true]);
        check(Operator::Exists, [true, true, false]);
        check(Operator::DoesNotExist, [false, false, true]);
        assert!(Selector::everything().matches(&Labels::default()));
    }
}
