//! How an answer relates to what was expected.

use super::engine::Answer;
use super::expectation::Side;
use super::pattern;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Relation {
    Agrees,
    /// Refused, although good.
    FalseRefusal,
    /// Accepted, although bad.
    FalseAccept {
        /// What the program does wrong could reach memory that isn't its own.
        memory: bool,
    },
    NotModelled,
    Broken,
}

/// Parts of messages about wrongs that leave memory safe. A refusal with any other message counts
/// as one for the safety of memory.
#[rustfmt::skip]
const OTHER_WRONGS: &[&str] = &[
    "back-edge", "unreachable insn", "infinite loop", "too many", "too large", "jump out of range",
    "not an exit", "recursive", "should have been in", "has no return", "not return", "At program exit",
    "unreleased reference", "Unreleased reference", "reference leak", "cannot call GPL", "unknown func",
    "program of this type cannot use", "cannot use helper", "not allowed in", "is not allowed",
    "misaligned", "last insn", "combined stack", "call stack", "frames is", "BPF_EXIT instruction",
    "sleepable", "may sleep", "would leak reference", "tail_call", "loop detected", "lock is still",
    "bpf_spin_unlock is missing", "bpf_spin_lock", "unlock", "licence", "GPL", "R0 !read_ok",
    "div by zero", "invalid shift", "unknown opcode", "uses reserved fields", "REG INVARIANTS",
    "no BTF", "bpf_loop", "leaks addr", "BPF program is too large", "the sequence of",
];

pub fn relation(side: &Side, answer: &Answer) -> Relation {
    match (side.accepted, answer) {
        (true, Answer::Accepted { .. }) | (false, Answer::Refused { .. }) => Relation::Agrees,
        (true, Answer::Refused { .. }) => Relation::FalseRefusal,
        (false, Answer::Accepted { .. }) => {
            Relation::FalseAccept { memory: is_about_memory(&side.messages) }
        }
        (_, Answer::NotModelled(_)) => Relation::NotModelled,
        (_, Answer::Broken(_)) => Relation::Broken,
    }
}

/// The last message is the refusal; those before it describe the way there.
fn is_about_memory(messages: &[String]) -> bool {
    let Some(message) = messages.last() else { return true };
    !OTHER_WRONGS.iter().any(|part| message.contains(part))
}

/// Whether a refusal says one of the things that are expected. `None` if there is nothing to
/// compare.
pub fn says_the_same(side: &Side, answer: &Answer) -> Option<bool> {
    let Answer::Refused { message, .. } = answer else { return None };
    if side.accepted || side.messages.is_empty() {
        return None;
    }
    let matches = |text: &String| pattern::compile(text).is_ok_and(|text| text.is_match(message));
    Some(side.messages.iter().any(matches))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(accepted: bool, messages: &[&str]) -> Side {
        let messages = messages.iter().map(|text| (*text).to_owned()).collect();
        Side { accepted, messages, result: None }
    }

    fn refused(message: &str) -> Answer {
        Answer::Refused { rule: None, message: message.to_owned() }
    }

    #[test]
    fn answers_are_held_against_expectations() {
        let accepted = Answer::Accepted { processed: 1 };
        let unknown = Answer::NotModelled("arenas".to_owned());
        let check = |side: Side, answer: &Answer, expected| {
            assert_eq!(relation(&side, answer), expected, "{side:?} {answer:?}");
        };
        check(side(true, &[]), &accepted, Relation::Agrees);
        check(side(true, &[]), &refused("no"), Relation::FalseRefusal);
        check(side(false, &[]), &refused("no"), Relation::Agrees);
        check(side(false, &["x"]), &unknown, Relation::NotModelled);
        let memory = Relation::FalseAccept { memory: true };
        check(side(false, &["invalid access to map value"]), &accepted, memory);
        check(side(false, &[]), &accepted, memory);
        check(
            side(false, &["R1=ctx()", "back-edge from insn 3 to 1"]),
            &accepted,
            Relation::FalseAccept { memory: false },
        );
    }

    #[test]
    fn messages_are_compared_where_there_are_some() {
        let check = |side: Side, answer: Answer, expected| {
            assert_eq!(says_the_same(&side, &answer), expected);
        };
        check(side(false, &["R{{[0-9]}} !read_ok"]), refused("R2 !read_ok"), Some(true));
        check(side(false, &["R2 !read_ok"]), refused("R3 !read_ok"), Some(false));
        check(side(false, &[]), refused("R3 !read_ok"), None);
        check(side(true, &["R2"]), refused("R2"), None);
    }
}
