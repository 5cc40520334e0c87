//! "Did you mean": the known word that a misspelt one is nearest to.

/// `None` if nothing is near: more than a third of its letters differ.
pub fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let limit = (word.chars().count() / 3).max(1);
    // A length alone can rule a word out, however long the misspelt one is.
    let near = known.iter().filter(|other| other.len().abs_diff(word.len()) <= 4 * limit);
    let best = near
        .filter(|_| word.len() <= 64)
        .map(|other| (distance(&word.to_lowercase(), &other.to_lowercase()), *other))
        .min()?;
    (best.0 <= limit).then_some(best.1)
}

/// Edits (insert, delete, replace, swap neighbours) between two words.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replace = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_and_far() {
        let check = |word, expect| {
            let known = ["podSelector", "namespaceSelector", "ipBlock", "port", "ports", "endPort"];
            assert_eq!(nearest(word, &known), expect, "{word}");
        };
        check("podSelecter", Some("podSelector"));
        check("podselector", Some("podSelector"));
        check("prot", Some("port"));
        check("ipblocks", Some("ipBlock"));
        check("toServices", None);
        check("x", None);
        check("", None);
        check(&"p".repeat(100_000), None);
    }
}
