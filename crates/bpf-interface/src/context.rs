//! Contexts: what a program's first argument points to, and which of it the program may touch.
//!
//! Most contexts are structures of the ABI (include/uapi/linux/bpf.h) with rules for each field,
//! which the kernel's `..._is_valid_access` functions hold (Linux 6.12); the others are plain bytes,
//! or the arguments of a kernel function, for which see [`crate::typed`].

mod layout;
mod view;

pub use layout::{Field, FieldKind, Layout, Loads, Stores};

use bpf_object::{AttachType as A, ProgramType as P};

use crate::caller::Caller;

/// What the context of a kind of program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// A structure whose fields have rules of their own.
    Structure(&'static Layout),
    /// Bytes that may be accessed with any size, if aligned to it: all from `from` to `to`.
    Bytes { from: u32, to: u32, writable: bool },
    /// The arguments of a kernel function, 8 bytes each.
    Arguments,
}

/// An access to a context or to one of the structures that pointers from there lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    pub offset: i32,
    /// 1, 2, 4 or 8.
    pub size: u8,
    pub write: bool,
    /// A load that extends the sign.
    pub signed: bool,
}

/// What is found there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Number,
    Field(&'static Field),
}

/// Why an access is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    Outside,
    Misaligned,
    /// No field of this kind of program begins or goes on there.
    Padding,
    /// The field is not for this kind of program, or not where it is attached.
    Hidden(&'static Field),
    ReadOnly(&'static Field),
    /// Not with this size.
    Size(&'static Field),
    /// A pointer can't be loaded with its sign extended.
    Signed(&'static Field),
    /// Which argument it is must be asked of the kernel's types.
    Typed,
}

/// `sizeof(struct pt_regs)` on x86-64.
const REGISTERS: u32 = 21 * 8;
/// PERF_MAX_TRACE_SIZE (include/linux/trace_events.h)
const TRACE_RECORD: u32 = 8192;
/// Arguments of a traced function (MAX_BPF_FUNC_ARGS, include/linux/bpf.h).
const ARGUMENTS: u32 = 12;

/// The context of programs of that type; `None` for types that no program is of itself.
pub fn of(program: P) -> Option<Context> {
    Some(match program {
        P::SOCKET_FILTER
        | P::CLASSIFIER
        | P::ACTION
        | P::CGROUP_SKB
        | P::LWT_IN
        | P::LWT_OUT
        | P::LWT_XMIT
        | P::LWT_SEG6LOCAL
        | P::SK_SKB
        | P::FLOW_DISSECTOR => Context::Structure(&layout::SK_BUFF),
        P::XDP => Context::Structure(&layout::XDP_MD),
        P::CGROUP_SOCK => Context::Structure(&layout::SOCK),
        P::CGROUP_SOCK_ADDR => Context::Structure(&layout::SOCK_ADDR),
        P::SOCK_OPS => Context::Structure(&layout::SOCK_OPS),
        P::SK_MSG => Context::Structure(&layout::SK_MSG),
        P::SK_REUSEPORT => Context::Structure(&layout::SK_REUSEPORT),
        P::SK_LOOKUP => Context::Structure(&layout::SK_LOOKUP),
        P::CGROUP_DEVICE => Context::Structure(&layout::CGROUP_DEVICE),
        P::CGROUP_SYSCTL => Context::Structure(&layout::SYSCTL),
        P::CGROUP_SOCKOPT => Context::Structure(&layout::SOCKOPT),
        P::PERF_EVENT => Context::Structure(&layout::PERF_EVENT),
        P::NETFILTER => Context::Structure(&layout::NETFILTER),
        P::RAW_TRACEPOINT_WRITABLE => Context::Structure(&layout::RAW_TRACEPOINT_WRITABLE),
        P::LIRC_MODE2 => Context::Structure(&layout::LIRC),
        P::KPROBE => Context::Bytes { from: 0, to: REGISTERS, writable: false },
        P::TRACEPOINT => Context::Bytes { from: 8, to: TRACE_RECORD, writable: false },
        P::RAW_TRACEPOINT => Context::Bytes { from: 0, to: ARGUMENTS * 8, writable: false },
        P::SYSCALL => Context::Bytes { from: 0, to: 65535, writable: true },
        P::TRACING | P::LSM | P::STRUCT_OPS => Context::Arguments,
        _ => return None,
    })
}

/// Whether a program may do that with its context, and what it finds.
pub fn access(caller: &Caller<'_>, access: Access) -> Result<Found, Refused> {
    match of(caller.program) {
        None | Some(Context::Arguments) => Err(Refused::Typed),
        Some(Context::Bytes { from, to, writable }) => {
            let start = u32::try_from(access.offset).map_err(|_| Refused::Outside)?;
            // Of tracepoint records the kernel checks the first byte only; they are larger than told.
            if start < from || start >= to {
                return Err(Refused::Outside);
            }
            if caller.program == P::KPROBE && start + u32::from(access.size) > to {
                return Err(Refused::Outside);
            }
            if start % u32::from(access.size) != 0 {
                return Err(Refused::Misaligned);
            }
            if access.write && !writable { Err(Refused::Padding) } else { Ok(Found::Number) }
        }
        Some(Context::Structure(layout)) => {
            let field = field_at(layout, access)?;
            view::check(caller, field, access.write)?;
            check_size(field, access)?;
            Ok(Found::Field(field))
        }
    }
}

/// The socket structures that helpers return pointers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketForm {
    /// Any socket, also a request or one in TIME-WAIT (`PTR_TO_SOCK_COMMON`).
    Common,
    /// A full socket (`PTR_TO_SOCKET`).
    Full,
    Tcp,
    Xdp,
}

/// Whether a program may read there in a socket it has a pointer to. Nothing can be written.
pub fn socket_access(form: SocketForm, access: Access) -> Result<&'static Field, Refused> {
    let layout = match form {
        SocketForm::Common | SocketForm::Full => &layout::SOCK,
        SocketForm::Tcp => &layout::TCP_SOCK,
        SocketForm::Xdp => &layout::XDP_SOCK,
    };
    let field = field_at(layout, access)?;
    // type, protocol, mark, priority
    if form == SocketForm::Common && (8..24).contains(&field.offset) {
        return Err(Refused::Hidden(field));
    }
    if access.write {
        return Err(Refused::ReadOnly(field));
    }
    check_size(field, access)?;
    Ok(field)
}

/// The size of `struct bpf_flow_keys`, all of which a flow dissector reads and writes.
pub const FLOW_KEYS_SIZE: u32 = 56;

fn field_at(layout: &'static Layout, access: Access) -> Result<&'static Field, Refused> {
    let offset = u16::try_from(access.offset).map_err(|_| Refused::Outside)?;
    if u32::from(offset) >= layout.size {
        return Err(Refused::Outside);
    }
    if offset % u16::from(access.size) != 0 {
        return Err(Refused::Misaligned);
    }
    layout.field_at(offset).ok_or(Refused::Padding)
}

fn check_size(field: &'static Field, access: Access) -> Result<(), Refused> {
    if access.signed
        && matches!(field.kind, FieldKind::Packet | FieldKind::PacketEnd | FieldKind::PacketMeta)
    {
        return Err(Refused::Signed(field));
    }
    let offset = access.offset as u16 - field.offset;
    let (size, element) = (u16::from(access.size), field.element);
    let whole = size == element;
    // An aligned pair of elements.
    let wide = size == 8 && element == 4 && offset + size <= field.size;
    let allowed = if access.write {
        match field.stores {
            Stores::No => return Err(Refused::ReadOnly(field)),
            Stores::Whole => whole,
            Stores::First => whole && offset == 0,
            Stores::WholeOrWide => whole || wide,
            Stores::Any => offset + size <= field.size,
        }
    } else {
        match field.loads {
            Loads::No => return Err(Refused::Hidden(field)),
            Loads::Whole => whole,
            Loads::Narrow => size <= element,
            Loads::NarrowFromTwo => size <= element && size >= 2,
            Loads::NarrowAtStart => size <= element && offset == 0,
            Loads::NarrowOrWide => size <= element || wide,
            Loads::NarrowOrFour => (size <= element) || (size == 4 && offset == 0),
            Loads::Any => offset + size <= field.size,
        }
    };
    if allowed { Ok(()) } else { Err(Refused::Size(field)) }
}

/// The attach type that the kernel takes when none is given (bpf_prog_load_fixup_attach_type).
pub(crate) fn default_attach(program: P, attach: A) -> A {
    match program {
        P::CGROUP_SOCK if attach == A(0) => A::CGROUP_SOCK_CREATE,
        P::SK_REUSEPORT if attach == A(0) => A::SK_REUSEPORT_SELECT,
        _ => attach,
    }
}

#[cfg(test)]
mod tests;
