//! Bytes by their types: values of maps as JSON, and back.

use bpf_object::btf::{Btf, Kind, TypeId};
use serde_json::{Map, Value, json};

/// Deep enough for all that is in maps; types may hold each other.
const DEPTH: u32 = 32;

/// Bytes of a type as JSON: structs are objects, arrays lists, texts strings.
pub fn show(types: &Btf, id: TypeId, bytes: &[u8]) -> Value {
    show_within(types, id, bytes, DEPTH).unwrap_or_else(|| raw(bytes))
}

/// Bytes without types, as `bpftool` shows them.
pub fn raw(bytes: &[u8]) -> Value {
    Value::Array(bytes.iter().map(|byte| format!("0x{byte:02x}").into()).collect())
}

fn show_within(types: &Btf, id: TypeId, bytes: &[u8], depth: u32) -> Option<Value> {
    let depth = depth.checked_sub(1)?;
    let (_, kind) = types.resolve(id)?;
    let size = usize::try_from(types.size(id)?).ok()?;
    let bytes = bytes.get(..size)?;
    Some(match kind {
        Kind::Int(int) if int.encoding & bpf_object::btf::Int::BOOL != 0 => {
            json!(number(bytes, false)? != 0)
        }
        Kind::Int(int) if int.is_signed() => json_number(number(bytes, true)?),
        Kind::Int(_) => json_number(number(bytes, false)?),
        Kind::Pointer(_) => json!(format!("{:#x}", number(bytes, false)?)),
        Kind::Enum(list) => {
            let value = number(bytes, false)?;
            let named = list.values.iter().find(|(_, known)| i128::from(*known) == value);
            match named.and_then(|(name, _)| types.string(*name)) {
                Some(name) => json!(name),
                None => json_number(value),
            }
        }
        Kind::Enum64(list) => {
            let value = number(bytes, false)?;
            let named = list.values.iter().find(|(_, known)| i128::from(*known) == value);
            match named.and_then(|(name, _)| types.string(*name)) {
                Some(name) => json!(name),
                None => json_number(value),
            }
        }
        Kind::Array(array) => {
            let element = usize::try_from(types.size(array.element)?).ok()?;
            if element == 1 && is_character(types, array.element) && is_text(bytes) {
                let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
                return Some(json!(String::from_utf8_lossy(text)));
            }
            if element == 0 {
                return Some(json!([]));
            }
            let show = |bytes: &[u8]| show_within(types, array.element, bytes, depth);
            Value::Array(bytes.chunks(element).map(show).collect::<Option<_>>()?)
        }
        Kind::Struct(composite) | Kind::Union(composite) => {
            let mut object = Map::new();
            for member in &composite.members {
                let name = types.string(member.name).unwrap_or_default();
                let value = match member.bits {
                    0 => {
                        let at = (member.bit_offset / 8) as usize;
                        show_within(types, member.kind, bytes.get(at..)?, depth)?
                    }
                    bits => json_number(bit_field(bytes, member.bit_offset, bits)?),
                };
                match (name, value) {
                    ("", Value::Object(inner)) => object.extend(inner),
                    (name, value) => {
                        object.insert(name.to_owned(), value);
                    }
                }
            }
            Value::Object(object)
        }
        Kind::Variable { kind, .. } => show_within(types, *kind, bytes, depth)?,
        Kind::DataSection { variables, .. } => {
            let mut object = Map::new();
            for place in variables {
                let bytes = bytes.get(place.offset as usize..)?;
                let value = show_within(types, place.variable, bytes, depth)?;
                object.insert(types.name(place.variable).to_owned(), value);
            }
            Value::Object(object)
        }
        _ => raw(bytes),
    })
}

fn number(bytes: &[u8], signed: bool) -> Option<i128> {
    let mut wide = [0u8; 16];
    wide.get_mut(..bytes.len())?.copy_from_slice(bytes);
    let value = i128::from_le_bytes(wide);
    let bits = bytes.len() as u32 * 8;
    if !signed || bits == 0 || bits >= 128 {
        return Some(value);
    }
    Some(value << (128 - bits) >> (128 - bits))
}

/// As a number where JSON's readers can hold it, else as text.
fn json_number(value: i128) -> Value {
    match (u64::try_from(value), i64::try_from(value)) {
        (Ok(value), _) => json!(value),
        (_, Ok(value)) => json!(value),
        _ => json!(value.to_string()),
    }
}

fn bit_field(bytes: &[u8], offset: u32, bits: u8) -> Option<i128> {
    let first = (offset / 8) as usize;
    let end = (offset as usize + usize::from(bits)).div_ceil(8);
    let value = number(bytes.get(first..end)?, false)? >> (offset % 8);
    Some(value & ((1 << bits) - 1))
}

fn is_character(types: &Btf, id: TypeId) -> bool {
    matches!(types.resolve(id), Some((id, Kind::Int(_))) if types.name(id) == "char")
}

/// Printable up to the first zero, and nothing behind it.
fn is_text(bytes: &[u8]) -> bool {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let (text, rest) = bytes.split_at(end);
    std::str::from_utf8(text).is_ok_and(|text| !text.chars().any(char::is_control))
        && rest.iter().all(|byte| *byte == 0)
}

/// JSON to `size` bytes, by a type where there is one. Without one: a number (little-endian), a
/// text of hexadecimal digits, or a list of bytes.
pub fn read(
    types: Option<&Btf>,
    id: Option<TypeId>,
    size: usize,
    value: &Value,
) -> Result<Vec<u8>, String> {
    let mut bytes = vec![0; size];
    let is_raw = value
        .as_array()
        .is_some_and(|list| list.len() == size && list.iter().all(|byte| byte_of(byte).is_some()));
    match (types, id) {
        (Some(types), Some(id)) if !is_raw => {
            fill(types, id, value, &mut bytes, DEPTH).map(|()| bytes)
        }
        _ => match value {
            Value::Number(_) => put(value, &mut bytes).map(|()| bytes),
            Value::String(text) => {
                let digits: String =
                    text.trim_start_matches("0x").chars().filter(|c| !" :".contains(*c)).collect();
                let given = hex(&digits).ok_or_else(|| format!("`{text}` is not hexadecimal"))?;
                same_size(given, size)
            }
            Value::Array(list) => {
                let given: Option<Vec<u8>> = list.iter().map(byte_of).collect();
                same_size(given.ok_or("a list of bytes holds numbers up to 255")?, size)
            }
            _ => Err("without types, write a number, hexadecimal digits or a list of bytes".into()),
        },
    }
}

fn same_size(given: Vec<u8>, size: usize) -> Result<Vec<u8>, String> {
    if given.len() == size {
        return Ok(given);
    }
    Err(format!("{} bytes were given, it takes {size}", given.len()))
}

fn byte_of(value: &Value) -> Option<u8> {
    match value {
        Value::Number(number) => u8::try_from(number.as_u64()?).ok(),
        Value::String(text) => u8::from_str_radix(text.strip_prefix("0x")?, 16).ok(),
        _ => None,
    }
}

/// Hexadecimal digits, two for each byte.
pub fn hex(digits: &str) -> Option<Vec<u8>> {
    if !digits.is_ascii() || !digits.len().is_multiple_of(2) {
        return None;
    }
    let byte = |at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    (0..digits.len()).step_by(2).map(byte).collect()
}

/// Puts a number into as many bytes as there are.
fn put(value: &Value, bytes: &mut [u8]) -> Result<(), String> {
    let number: i128 = match value {
        Value::Bool(value) => (*value).into(),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => number.into(),
            (_, Some(number)) => number.into(),
            _ => return Err(format!("`{number}` is no whole number")),
        },
        Value::String(text) => match text.strip_prefix("0x") {
            Some(digits) => i128::from_str_radix(digits, 16),
            None => text.parse(),
        }
        .map_err(|_| format!("`{text}` is no number"))?,
        other => return Err(format!("`{other}` is no number")),
    };
    let bits = bytes.len() as u32 * 8;
    let fits = bits >= 127 || number < 1 << bits && number >= -(1 << bits.saturating_sub(1));
    if !fits {
        return Err(format!("{number} does not fit into {} bytes", bytes.len()));
    }
    let wide = number.to_le_bytes();
    for (to, from) in bytes.iter_mut().zip(wide) {
        *to = from;
    }
    Ok(())
}

fn fill(
    types: &Btf,
    id: TypeId,
    value: &Value,
    bytes: &mut [u8],
    depth: u32,
) -> Result<(), String> {
    let depth = depth.checked_sub(1).ok_or("its type is nested too deep")?;
    let known = types.resolve(id).zip(types.size(id).and_then(|size| usize::try_from(size).ok()));
    let ((_, kind), size) = known.ok_or_else(|| format!("{} has no size", types.describe(id)))?;
    let bytes = bytes.get_mut(..size).ok_or("the type is larger than the value")?;
    match (kind, value) {
        (Kind::Enum(_) | Kind::Enum64(_), Value::String(text)) => {
            let of_name = |name| types.string(name) == Some(text.as_str());
            let number = match kind {
                Kind::Enum(list) => {
                    list.values.iter().find(|(n, _)| of_name(*n)).map(|(_, v)| u64::from(*v))
                }
                Kind::Enum64(list) => {
                    list.values.iter().find(|(n, _)| of_name(*n)).map(|(_, v)| *v)
                }
                _ => None,
            };
            match number {
                Some(number) => {
                    for (to, from) in bytes.iter_mut().zip(number.to_le_bytes()) {
                        *to = from;
                    }
                    Ok(())
                }
                None => put(value, bytes),
            }
        }
        (Kind::Array(array), Value::String(text)) if is_character(types, array.element) => {
            let text = text.as_bytes();
            let place = bytes
                .get_mut(..text.len())
                .ok_or_else(|| format!("the text has {} bytes, {size} fit", text.len()))?;
            place.copy_from_slice(text);
            Ok(())
        }
        (Kind::Array(array), Value::Array(list)) => {
            let element = types.size(array.element).and_then(|size| usize::try_from(size).ok());
            let element = element.filter(|size| *size > 0).ok_or("its elements have no size")?;
            if list.len() * element > size {
                return Err(format!("{} elements were given, {} fit", list.len(), size / element));
            }
            for (value, bytes) in list.iter().zip(bytes.chunks_mut(element)) {
                fill(types, array.element, value, bytes, depth)?;
            }
            Ok(())
        }
        (Kind::Struct(_) | Kind::Union(_), Value::Object(object)) => {
            for (name, value) in object {
                let field = types
                    .member(id, name)
                    .ok_or_else(|| format!("{} has no member `{name}`", types.describe(id)))?;
                if field.bits != 0 || field.bit_offset % 8 != 0 {
                    return Err(format!("bit field `{name}` can't be set by name: give bytes"));
                }
                let place = bytes.get_mut((field.bit_offset / 8) as usize..);
                let place = place.ok_or("a member lies outside of its type")?;
                fill(types, field.kind, value, place, depth)
                    .map_err(|reason| format!("{name}: {reason}"))?;
            }
            Ok(())
        }
        (Kind::Variable { kind, .. }, value) => fill(types, *kind, value, bytes, depth),
        (Kind::DataSection { variables, .. }, Value::Object(object)) => {
            for (name, value) in object {
                let place = variables
                    .iter()
                    .find(|place| types.name(place.variable) == name)
                    .ok_or_else(|| format!("there is no variable `{name}`"))?;
                let bytes = bytes.get_mut(place.offset as usize..);
                let bytes = bytes.ok_or("a variable lies outside of its section")?;
                fill(types, place.variable, value, bytes, depth)
                    .map_err(|reason| format!("{name}: {reason}"))?;
            }
            Ok(())
        }
        (Kind::Int(_) | Kind::Enum(_) | Kind::Enum64(_) | Kind::Pointer(_), value) => {
            put(value, bytes)
        }
        (_, other) => Err(format!("`{other}` is no {}", types.describe(id))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bpf_object::btf::{Array, Composite, Int, Member};

    fn types() -> (Btf, TypeId) {
        let mut types = Btf::new();
        let int = |size: u32, encoding| {
            Kind::Int(Int { size, encoding, bit_offset: 0, bits: size as u8 * 8 })
        };
        let short = types.add("short", int(2, Int::SIGNED));
        let long = types.add("unsigned long", int(8, 0));
        let character = types.add("char", int(1, Int::SIGNED));
        let text = types.add("", Kind::Array(Array { element: character, index: long, count: 6 }));
        let mut member = |name: &str, kind, bit_offset| {
            let name = types.intern(name);
            Member { name, kind, bit_offset, bits: 0 }
        };
        let members =
            vec![member("delta", short, 0), member("name", text, 16), member("count", long, 64)];
        let composite = Composite { size: 16, has_bit_fields: false, members };
        let id = types.add("entry", Kind::Struct(composite));
        (types, id)
    }

    #[test]
    fn values_there_and_back() {
        let (types, id) = types();
        let value = json!({ "delta": -2, "name": "web", "count": 18446744073709551615u64 });
        let bytes = read(Some(&types), Some(id), 16, &value).unwrap();
        assert_eq!(
            bytes,
            [0xfe, 0xff, b'w', b'e', b'b', 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255]
        );
        assert_eq!(show(&types, id, &bytes), value);
        assert_eq!(show(&types, id, &bytes[..3]), raw(&bytes[..3]));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let (types, id) = types();
        let check = |value: Value, expected: &str| {
            assert_eq!(read(Some(&types), Some(id), 16, &value).unwrap_err(), expected);
        };
        check(json!({ "delta": 70000 }), "delta: 70000 does not fit into 2 bytes");
        check(json!({ "other": 1 }), "struct entry has no member `other`");
        check(json!({ "name": "too long a text" }), "name: the text has 15 bytes, 6 fit");
        check(json!("x"), "`\"x\"` is no struct entry");
        assert_eq!(read(None, None, 2, &json!(258)).unwrap(), [2, 1]);
        assert_eq!(read(None, None, 2, &json!("0x0a0b")).unwrap(), [10, 11]);
        assert_eq!(read(None, None, 2, &json!(["0x01", 2])).unwrap(), [1, 2]);
        assert!(read(None, None, 2, &json!([1])).is_err());
        assert!(read(None, None, 1, &json!(256)).is_err());
    }
}
