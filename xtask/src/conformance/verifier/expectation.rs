//! What a test expects: declaration tags in the types of its object.
//!
//! What each tag means is told in the kernel's tools/testing/selftests/bpf/progs/bpf_misc.h and
//! defined by test_loader.c there (Linux 6.12).

use anyhow::{Context as _, Result, bail};
use bpf_object::btf::{Btf, Kind, TypeId};

/// Flags of programs by which tests are loaded (include/uapi/linux/bpf.h).
const FLAGS: &[(&str, u32)] = &[
    ("BPF_F_STRICT_ALIGNMENT", 1 << 0),
    ("BPF_F_ANY_ALIGNMENT", 1 << 1),
    ("BPF_F_TEST_RND_HI32", 1 << 2),
    ("BPF_F_TEST_STATE_FREQ", 1 << 3),
    ("BPF_F_SLEEPABLE", 1 << 4),
    ("BPF_F_XDP_HAS_FRAGS", 1 << 5),
    ("BPF_F_TEST_REG_INVARIANTS", 1 << 7),
];

/// The verdict, and what comes with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Side {
    pub accepted: bool,
    /// Patterns that the log must show in this order.
    pub messages: Vec<String>,
    pub result: Option<ReturnValue>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReturnValue {
    Number(i32),
    /// Some address.
    Pointer,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expectation {
    pub description: Option<String>,
    /// With CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN.
    pub privileged: Option<Side>,
    /// Without any.
    pub unprivileged: Option<Side>,
    pub flags: u32,
    pub log_level: u32,
    /// Not a test: it is there for others.
    pub auxiliary: bool,
    /// A file whose types answer CO-RE relocations.
    pub types: Option<String>,
    /// The processors it is for; empty for all.
    pub processors: Vec<String>,
}

impl Expectation {
    /// Reads the tags of a function.
    pub fn of(types: &Btf, function: TypeId) -> Result<Self> {
        let tags = types.own_types().filter_map(|(_, entry)| match entry.kind {
            Kind::DeclarationTag { target, component: -1, .. } if target == function => {
                types.string(entry.name)
            }
            _ => None,
        });
        Self::parse(tags)
    }

    fn parse<'a>(tags: impl Iterator<Item = &'a str>) -> Result<Self> {
        let mut expectation = Self::default();
        // Verdict, messages, result; `None` where no tag says anything.
        let mut privileged = Tags::default();
        let mut unprivileged = Tags::default();
        for tag in tags {
            let Some(tag) = tag.strip_prefix("comment:test_") else { continue };
            let (name, value) = tag.split_once('=').unwrap_or((tag, ""));
            let (base, side) = match name.strip_suffix("_unpriv") {
                Some(base) => (base, &mut unprivileged),
                None => (name, &mut privileged),
            };
            match base {
                "expect_success" => side.verdict(true),
                "expect_failure" => side.verdict(false),
                // A number makes each tag unique: `0=text`.
                "expect_msg" => {
                    let (_, text) = value.split_once('=').context("a message without number")?;
                    side.messages.push(text.to_owned());
                    side.used = true;
                }
                // Of the rewritten and the compiled code; both are the kernel's own.
                "expect_xlated" | "jited" => side.used = true,
                "retval" => {
                    side.result = Some(return_value(value)?);
                    side.used = true;
                }
                "auxiliary" => {
                    side.used = true;
                    expectation.auxiliary = true;
                }
                "description" => expectation.description = Some(value.to_owned()),
                "log_level" => expectation.log_level = number(value)?.cast_unsigned(),
                "prog_flags" => set_flag(&mut expectation.flags, value)?,
                "btf_path" => expectation.types = Some(value.to_owned()),
                "arch" => expectation.processors.push(value.to_owned()),
                _ => bail!("the tag `{tag}` is not known"),
            }
        }
        if unprivileged.used {
            expectation.unprivileged = Some(Side {
                accepted: unprivileged.accepted.unwrap_or(privileged.is_accepted()),
                result: unprivileged.result.or(privileged.result),
                messages: match unprivileged.messages.is_empty() {
                    true => privileged.messages.clone(),
                    false => unprivileged.messages,
                },
            });
        }
        if privileged.used || !unprivileged.used {
            let accepted = privileged.is_accepted();
            let Tags { messages, result, .. } = privileged;
            expectation.privileged = Some(Side { accepted, messages, result });
        }
        Ok(expectation)
    }

    pub fn flag(&self, name: &str) -> bool {
        FLAGS.iter().any(|(known, bit)| *known == name && self.flags & bit != 0)
    }

    /// Whether it is meant for the x86-64.
    pub fn is_for_us(&self) -> bool {
        self.processors.is_empty() || self.processors.iter().any(|one| one == "X86_64")
    }
}

#[derive(Default)]
struct Tags {
    used: bool,
    accepted: Option<bool>,
    messages: Vec<String>,
    result: Option<ReturnValue>,
}

impl Tags {
    fn verdict(&mut self, accepted: bool) {
        self.used = true;
        self.accepted = Some(accepted);
    }

    fn is_accepted(&self) -> bool {
        self.accepted.unwrap_or(true)
    }
}

fn return_value(text: &str) -> Result<ReturnValue> {
    Ok(match text {
        "POINTER_VALUE" | "0xcafe4all" => ReturnValue::Pointer,
        "INT_MIN" => ReturnValue::Number(i32::MIN),
        "TEST_DATA_LEN" => ReturnValue::Number(64),
        _ => ReturnValue::Number(number(text)?),
    })
}

/// As strtol(3) takes it, cut to 32 bits.
fn number(text: &str) -> Result<i32> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let number = match digits.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16),
        None => digits.parse(),
    };
    let number = number.with_context(|| format!("`{text}` is not a number"))?;
    Ok(if negative { -number } else { number } as i32)
}

fn set_flag(flags: &mut u32, text: &str) -> Result<()> {
    let (clear, name) = match text.strip_prefix('!') {
        Some(name) => (true, name),
        None => (false, text),
    };
    let known = FLAGS.iter().find(|(known, _)| *known == name).map(|(_, bit)| *bit);
    let bits = match known {
        Some(bit) => bit,
        None => number(name)?.cast_unsigned(),
    };
    *flags = if clear { *flags & !bits } else { *flags | bits };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(tags: &[&str]) -> Expectation {
        let tags: Vec<String> = tags.iter().map(|tag| format!("comment:test_{tag}")).collect();
        Expectation::parse(tags.iter().map(String::as_str)).unwrap()
    }

    fn side(accepted: bool, messages: &[&str], result: Option<i32>) -> Option<Side> {
        let messages = messages.iter().map(|text| (*text).to_owned()).collect();
        Some(Side { accepted, messages, result: result.map(ReturnValue::Number) })
    }

    #[test]
    fn tags_are_understood() {
        let check = |tags: &[&str], privileged: Option<Side>, unprivileged: Option<Side>| {
            let expectation = parse(tags);
            assert_eq!(expectation.privileged, privileged, "{tags:?}");
            assert_eq!(expectation.unprivileged, unprivileged, "{tags:?}");
        };
        check(&[], side(true, &[], None), None);
        check(&["expect_success", "retval=0x10"], side(true, &[], Some(16)), None);
        check(&["retval=-22"], side(true, &[], Some(-22)), None);
        check(&["expect_success_unpriv"], None, side(true, &[], None));
        check(
            &["expect_failure", "expect_msg=0=R1 = x", "expect_msg=12=two"],
            side(false, &["R1 = x", "two"], None),
            None,
        );
        check(
            &["expect_success", "expect_failure_unpriv", "expect_msg_unpriv=3=no", "retval=1"],
            side(true, &[], Some(1)),
            side(false, &["no"], Some(1)),
        );
        // What nobody says of the unprivileged is as for the privileged.
        check(
            &["expect_failure", "expect_msg=0=bad", "expect_failure_unpriv"],
            side(false, &["bad"], None),
            side(false, &["bad"], None),
        );
    }

    #[test]
    fn flags_are_set_and_taken_back() {
        let expectation = parse(&[
            "prog_flags=BPF_F_ANY_ALIGNMENT",
            "prog_flags=0x8",
            "prog_flags=BPF_F_TEST_REG_INVARIANTS",
            "prog_flags=!BPF_F_ANY_ALIGNMENT",
        ]);
        assert_eq!(expectation.flags, 0x88);
        assert!(expectation.flag("BPF_F_TEST_STATE_FREQ"));
        assert!(!expectation.flag("BPF_F_ANY_ALIGNMENT"));
    }

    #[test]
    fn values_have_names() {
        let check = |text: &str, expected| assert_eq!(return_value(text).unwrap(), expected);
        check("INT_MIN", ReturnValue::Number(i32::MIN));
        check("POINTER_VALUE", ReturnValue::Pointer);
        check("0xcafe4all", ReturnValue::Pointer);
        check("TEST_DATA_LEN", ReturnValue::Number(64));
        check("0xffffffff", ReturnValue::Number(-1));
        assert!(return_value("three").is_err());
    }

    #[test]
    fn a_tag_that_nobody_knows_is_an_error() {
        assert!(Expectation::parse(["comment:test_expect_miracle"].into_iter()).is_err());
    }
}
