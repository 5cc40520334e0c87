//! Generic netlink: families whose numbers the kernel gives out as it starts.

use std::io;

use nix::sys::socket::SockProtocol;
use zerocopy::IntoBytes as _;

use crate::exchange::{Attribute, Header, ask, value};
use crate::{Error, Result};

/// The family that knows the others, its command and attributes (include/uapi/linux/genetlink.h).
const CONTROL: u16 = libc::GENL_ID_CTRL as u16;
const FIND: u8 = libc::CTRL_CMD_GETFAMILY as u8;
const ID: u16 = libc::CTRL_ATTR_FAMILY_ID as u16;
const NAME: u16 = libc::CTRL_ATTR_FAMILY_NAME as u16;

/// `struct genlmsghdr`.
const HEADER: usize = 4;

/// Sends a command to a family and gives the attributes of the answer, if any. `None` if this kernel
/// has no such family. Blocks, and asks the namespace that the thread is in.
pub fn command(family: &str, command: u8, attributes: &[u8]) -> Result<Option<Vec<u8>>> {
    let failed = |source| Error::system(format!("ask the kernel's {family}"), source);
    let name = attribute(NAME, &text(family));
    let found = match exchange([CONTROL, FIND.into()], &name) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
        found => found.map_err(failed)?,
    };
    let number = value(&found, &[ID]).and_then(|number| number.first_chunk());
    let number = number.ok_or_else(|| failed(io::Error::other("it has no number")))?;
    let answer = exchange([u16::from_ne_bytes(*number), command.into()], attributes);
    answer.map(Some).map_err(failed)
}

/// An attribute, with what comes in it.
pub fn attribute(kind: u16, content: &[u8]) -> Vec<u8> {
    let length = (size_of::<Attribute>() + content.len()) as u16;
    let mut bytes = Attribute { length, kind }.as_bytes().to_vec();
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// The same for attributes in it.
pub fn nested(kind: u16, attributes: &[u8]) -> Vec<u8> {
    attribute(kind | libc::NLA_F_NESTED as u16, attributes)
}

/// A string as attributes have it.
pub fn text(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

/// What is in the attribute of a kind.
pub fn find(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    value(attributes, &[kind])
}

fn exchange([family, command]: [u16; 2], attributes: &[u8]) -> io::Result<Vec<u8>> {
    let header = Header {
        length: (size_of::<Header>() + HEADER + attributes.len()) as u32,
        kind: family,
        flags: (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16,
        sequence: 1,
        port: 0,
    };
    let request = [header.as_bytes(), &[command as u8, 1, 0, 0], attributes].concat();
    let mut answer = Vec::new();
    ask(SockProtocol::NetlinkGeneric, &request, |body| {
        answer = body.get(HEADER..).unwrap_or_default().to_vec();
    })?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes() {
        let inner = attribute(3, &[1, 2, 3, 4]);
        assert_eq!(inner, [8, 0, 3, 0, 1, 2, 3, 4]);
        assert_eq!(attribute(1, &text("a")), [6, 0, 1, 0, b'a', 0, 0, 0]);
        let outer = nested(20, &inner);
        assert_eq!(find(&outer, 20), Some(&inner[..]));
        assert_eq!(find(&outer, 3), None);
    }

    #[test]
    fn families() {
        assert!(command("no such thing", 1, &[]).unwrap().is_none());
        // Every kernel has the one that knows them.
        let answer = command("nlctrl", FIND, &attribute(NAME, &text("nlctrl"))).unwrap().unwrap();
        assert_eq!(find(&answer, ID), Some(&CONTROL.to_ne_bytes()[..]));
    }
}
