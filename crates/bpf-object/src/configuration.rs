//! Options of the kernel's configuration that objects ask for (`.kconfig`).

use std::collections::HashMap;

use crate::btf::{Int, Kind};
use crate::error::{Error, Problem};
use crate::object::{ExternSort, Object};

/// A kernel's configuration, as `/proc/config.gz` or `/boot/config-*` has it, uncompressed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    options: HashMap<String, String>,
    numbers: HashMap<&'static str, u64>,
}

impl Configuration {
    /// Lines such as `CONFIG_HZ=250`; others are passed over.
    pub fn parse(text: &str) -> Self {
        let option = |line: &str| {
            let (name, value) = line.trim().split_once('=')?;
            name.starts_with("CONFIG_").then(|| (name.to_owned(), value.to_owned()))
        };
        Self { options: text.lines().filter_map(option).collect(), numbers: HashMap::new() }
    }

    /// What `LINUX_KERNEL_VERSION` is: such as (6, 12, 5).
    pub fn version(mut self, (major, minor, patch): (u8, u8, u32)) -> Self {
        // include/generated/uapi/linux/version.h: KERNEL_VERSION stops at a patch level of 255.
        let code = u64::from(major) << 16 | u64::from(minor) << 8 | u64::from(patch.min(255));
        self.numbers.insert("LINUX_KERNEL_VERSION", code);
        self
    }

    /// Whether helpers can ask for the cookie of an attachment (`LINUX_HAS_BPF_COOKIE`), and whether
    /// system calls have wrappers that take their registers (`LINUX_HAS_SYSCALL_WRAPPER`).
    pub fn features(mut self, cookies: bool, wrappers: bool) -> Self {
        self.numbers.insert("LINUX_HAS_BPF_COOKIE", cookies.into());
        self.numbers.insert("LINUX_HAS_SYSCALL_WRAPPER", wrappers.into());
        self
    }
}

impl Object {
    /// Gives the options that the object asks for their values. One that is not set is an error,
    /// unless the object copes with that; then it is zero.
    pub fn set_configuration(&mut self, configuration: &Configuration) -> Result<(), Error> {
        let mut values = Vec::new();
        for external in &self.externs {
            let ExternSort::Configuration { size, .. } = external.sort else { continue };
            let size = usize::try_from(size).unwrap_or_default();
            let name = external.name.as_str();
            let kind = external.kind.and_then(|id| Some(self.types.as_ref()?.resolve(id)?.1));
            let bytes = match (configuration.numbers.get(name), configuration.options.get(name)) {
                (Some(number), _) => little(*number, size),
                (None, Some(text)) => {
                    encode(text, kind, size, |id| self.size_of(id)).ok_or_else(|| Error::Map {
                        map: ".kconfig".to_owned(),
                        problem: Problem::Definition(format!("{name}={text}")),
                    })?
                }
                (None, None) if external.weak => vec![0; size],
                (None, None) => {
                    let what = "value given for the option that is asked for";
                    return Err(Error::Absent { what, name: name.to_owned() });
                }
            };
            values.push((external.name.clone(), bytes));
        }
        values.into_iter().try_for_each(|(name, bytes)| self.set_variable(&name, &bytes))
    }

    fn size_of(&self, id: crate::btf::TypeId) -> Option<u64> {
        self.types.as_ref()?.size(id)
    }
}

fn little(number: u64, size: usize) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize(size, 0);
    bytes
}

/// An option's text as a value of the type that the object declares.
fn encode(
    text: &str,
    kind: Option<&Kind>,
    size: usize,
    size_of: impl Fn(crate::btf::TypeId) -> Option<u64>,
) -> Option<Vec<u8>> {
    let is_character =
        matches!(kind, Some(Kind::Int(int)) if int.size == 1 && int.encoding & Int::BOOL == 0);
    match (text, kind?) {
        // A tristate's values are no, yes and module.
        ("y" | "n" | "m", Kind::Enum(_)) => {
            Some(little(["n", "y", "m"].iter().position(|t| *t == text)? as u64, size))
        }
        ("y" | "n", Kind::Int(int)) if int.encoding & Int::BOOL != 0 => {
            Some(little((text == "y").into(), size))
        }
        ("y" | "n" | "m", _) if is_character => Some(text.as_bytes().to_vec()),
        (_, Kind::Array(array)) if size_of(array.element) == Some(1) => {
            let text = text.strip_prefix('"')?.strip_suffix('"')?;
            let mut bytes: Vec<u8> = text.bytes().take(size.saturating_sub(1)).collect();
            bytes.resize(size, 0);
            Some(bytes)
        }
        (_, Kind::Int(int)) => {
            let (negative, digits) = match text.strip_prefix('-') {
                Some(digits) => (true, digits),
                None => (false, text),
            };
            let number = match digits.strip_prefix("0x") {
                Some(digits) => u64::from_str_radix(digits, 16).ok()?,
                None => digits.parse().ok()?,
            };
            let number = if negative { number.wrapping_neg() } else { number };
            let bits = int.size * 8;
            let fits = match negative {
                _ if bits >= 64 => true,
                true => number.cast_signed() >= -(1i64 << (bits - 1)),
                false => number >> bits == 0,
            };
            let mut bytes = number.to_le_bytes().to_vec();
            bytes.resize(size, if negative { 0xff } else { 0 });
            fits.then_some(bytes)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::{Array, Enum, TypeId};

    #[test]
    fn options_take_the_declared_type() {
        let int = |size: u32, encoding| {
            Kind::Int(Int { size, encoding, bit_offset: 0, bits: size as u8 * 8 })
        };
        let tristate = Kind::Enum(Enum { size: 4, signed: false, values: Vec::new() });
        let text = Kind::Array(Array { element: TypeId(1), index: TypeId(1), count: 6 });
        let check = |value: &str, kind: &Kind, size: usize, expected: Option<&[u8]>| {
            let encoded = encode(value, Some(kind), size, |_| Some(1));
            assert_eq!(encoded.as_deref(), expected, "{value} {kind:?}");
        };
        check("y", &int(1, Int::BOOL), 1, Some(&[1]));
        check("m", &int(1, Int::BOOL), 1, None);
        check("m", &int(1, Int::SIGNED), 1, Some(b"m"));
        check("m", &tristate, 4, Some(&[2, 0, 0, 0]));
        check("250", &int(4, 0), 4, Some(&[250, 0, 0, 0]));
        check("0x100", &int(1, 0), 1, None);
        check("-1", &int(2, Int::SIGNED), 2, Some(&[0xff, 0xff]));
        check("\"(none) and more\"", &text, 6, Some(b"(none\0"));
        check("(none)", &text, 6, None);
        check("other", &int(4, 0), 4, None);
    }

    #[test]
    fn lines_of_a_configuration() {
        let text = "# CONFIG_A is not set\nCONFIG_HZ=250\nCONFIG_NAME=\"a=b\"\nother=1\n";
        let configuration = Configuration::parse(text).version((6, 12, 300));
        assert_eq!(configuration.options.len(), 2);
        assert_eq!(configuration.options["CONFIG_NAME"], "\"a=b\"");
        assert_eq!(configuration.numbers["LINUX_KERNEL_VERSION"], 6 << 16 | 12 << 8 | 255);
    }
}
