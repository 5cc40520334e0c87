//! Requests to the kernel by netlink, byte by byte, for families that no library here knows.

use std::io;
use std::os::fd::AsRawFd as _;

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const ERROR: u16 = libc::NLMSG_ERROR as u16;
const DONE: u16 = libc::NLMSG_DONE as u16;

/// `struct nlmsghdr`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Header {
    pub length: u32,
    pub kind: u16,
    pub flags: u16,
    pub sequence: u32,
    pub port: u32,
}

/// `struct nlattr`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Attribute {
    pub length: u16,
    pub kind: u16,
}

/// Sends a request and hands out the messages of the answer, until the last. Blocks, and asks the
/// namespace that the thread is in.
pub fn ask(protocol: SockProtocol, request: &[u8], mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let connection =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
    sendto(connection.as_raw_fd(), request, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let length = recv(connection.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        let mut rest = buffer.get(..length).unwrap_or_default();
        while let Ok((header, _)) = Header::read_from_prefix(rest) {
            let length = header.length as usize;
            let Some(body) = rest.get(size_of::<Header>()..length) else {
                return Err(io::Error::other("a message is cut short"));
            };
            match header.kind {
                DONE => return Ok(()),
                ERROR => {
                    let code = i32::read_from_prefix(body).map_or(-libc::EIO, |(code, _)| code);
                    return match code {
                        0 => Ok(()),
                        code => Err(io::Error::from_raw_os_error(-code)),
                    };
                }
                _ => each(body),
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

/// What stands in the attribute of the last kind, which is in that of the one before, and so on.
pub fn value<'a>(mut attributes: &'a [u8], path: &[u16]) -> Option<&'a [u8]> {
    let Some((wanted, inner)) = path.split_first() else { return Some(attributes) };
    loop {
        let (Attribute { length, kind }, _) = Attribute::read_from_prefix(attributes).ok()?;
        let body = attributes.get(size_of::<Attribute>()..usize::from(length))?;
        if kind & libc::NLA_TYPE_MASK as u16 == *wanted {
            return value(body, inner);
        }
        attributes = attributes.get(usize::from(length).next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_in_attributes() {
        let check = |bytes: &[u8], path: &[u16], expected: Option<&[u8]>| {
            assert_eq!(value(bytes, path), expected, "{bytes:?} {path:?}");
        };
        let nested = [4, 0, 7, 0, 12, 0, 20, 0x80, 8, 0, 3, 0, 1, 2, 3, 4];
        check(&nested, &[7], Some(&[]));
        check(&nested, &[20, 3], Some(&[1, 2, 3, 4]));
        check(&nested, &[20, 1], None);
        check(&nested, &[21], None);
        // Cut short, and one that doesn't even hold itself.
        check(&nested[..14], &[20, 3], None);
        check(&[3, 0, 1, 0], &[1], None);
        check(&[0, 0, 1, 0], &[2], None);
    }
}
