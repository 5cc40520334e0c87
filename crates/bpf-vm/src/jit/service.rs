//! The way from code to the runtime, the same for every back end.

use super::native;

/// The functions of the runtime that code calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Service {
    CallHelper,
    CallRegister,
    EnterFrame,
    Check,
    LoadPacket,
    Fault,
}

impl Service {
    pub const ALL: [Self; 6] = [
        Self::CallHelper,
        Self::CallRegister,
        Self::EnterFrame,
        Self::Check,
        Self::LoadPacket,
        Self::Fault,
    ];

    pub fn address(self) -> u64 {
        let pointer = match self {
            Self::CallHelper => native::call_helper as *const (),
            Self::CallRegister => native::call_register as *const (),
            Self::EnterFrame => native::enter_frame as *const (),
            Self::Check => native::check as *const (),
            Self::LoadPacket => native::load_packet as *const (),
            Self::Fault => native::fault as *const (),
        };
        pointer.expose_provenance() as u64
    }
}
