//! Objects that lie inside of executables, as tools built on libbpf carry them.

pub const MAGIC: &[u8] = b"\x7fELF";
/// Of 64 bits, little-endian.
const OURS: &[u8] = b"\x7fELF\x02\x01\x01";
const EM_NONE: u16 = 0;
const EM_BPF: u16 = 247;

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// An ELF file for another machine.
pub fn is_foreign(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC) && half(bytes, 18).is_some_and(|m| m != EM_BPF && m != EM_NONE)
}

/// Objects that lie as data in another file, as skeletons of libbpf do, with their offsets.
pub fn inside(bytes: &[u8]) -> Vec<(usize, &[u8])> {
    let mut list = Vec::new();
    let mut at = 1;
    while let Some(rest) = bytes.get(at..) {
        let Some(next) = rest.windows(OURS.len()).position(|window| window == OURS) else { break };
        let start = at + next;
        let extent = extent(&bytes[start..]);
        if let Some(object) = extent.and_then(|length| bytes.get(start..start + length)) {
            list.push((start, object));
            at = start + object.len();
        } else {
            at = start + 1;
        }
    }
    list
}

/// How long an object for BPF is, by its header: the table of sections is its end.
fn extent(bytes: &[u8]) -> Option<usize> {
    (half(bytes, 18)? == EM_BPF).then_some(())?;
    let table = u64::from_le_bytes(bytes.get(40..48)?.try_into().ok()?);
    let size = u64::from(half(bytes, 58)?) * u64::from(half(bytes, 60)?);
    let end = usize::try_from(table.checked_add(size)?).ok()?;
    (end <= bytes.len()).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_inside_of_executables() {
        let code = [0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
        let object = bpf_object::object_of_code("two", "xdp", "GPL", &code);
        let mut host = object.clone();
        // The same header, for x86-64.
        host[18] = 62;
        host[19] = 0;
        assert!(is_foreign(&host) && !is_foreign(&object));
        let at = host.len() + 5;
        host.extend(b"01234");
        host.extend(&object);
        host.extend(b"rest");
        assert_eq!(inside(&host), [(at, object.as_slice())]);
        host.truncate(at + 70);
        assert_eq!(inside(&host), []);
        assert_eq!(inside(b"nothing"), []);
    }
}
