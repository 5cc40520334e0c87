//! The setting that a process reads or writes, for programs of cgroups (kernel/bpf/cgroup.c,
//! Linux 6.18).

use super::*;
use crate::context::Sysctl;

/// `BPF_F_SYSCTL_BASE_NAME`.
const BASE_NAME: u64 = 1;
/// The longest value: a page, less its end.
const LONGEST: u64 = 4095;

fn setting<'a>(call: &'a mut Call<'_, '_>) -> Result<&'a mut Sysctl, Stop> {
    let missing = || Stop::Failed(Reason::Helper("this program has no sysctl".to_owned()));
    call.state::<State>()?.sysctl.as_mut().ok_or_else(missing)
}

/// Copies a text and its end into the program's memory: its length, or that it was cut.
fn give(call: &mut Call<'_, '_>, to: u64, room: u64, text: Option<Vec<u8>>) -> Outcome {
    if room == 0 {
        return code(Err(Errno::E2BIG));
    }
    let mut bytes = vec![0; room as usize];
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        call.write(to, &bytes)?;
        return code(Err(Errno::EINVAL));
    };
    let length = text.len().min(bytes.len());
    bytes[..length].copy_from_slice(&text[..length]);
    let is_whole = bytes.len() > text.len();
    if !is_whole && let Some(last) = bytes.last_mut() {
        *last = 0;
    }
    call.write(to, &bytes)?;
    if is_whole { Ok(text.len() as u64) } else { code(Err(Errno::E2BIG)) }
}

pub(super) fn name(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [_, to, room, flags, _] = call.arguments;
    call.check(to, room, true)?;
    if flags & !BASE_NAME != 0 {
        return code(Err(Errno::EINVAL));
    }
    let name = setting(call)?.name.clone();
    let name = match flags & BASE_NAME {
        0 => name.as_str(),
        _ => name.rsplit('/').next().unwrap_or_default(),
    };
    let name = name.as_bytes().to_vec();
    give(call, to, room, Some(name))
}

pub(super) fn current(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [_, to, room, ..] = call.arguments;
    call.check(to, room, true)?;
    let value = setting(call)?.current.clone();
    give(call, to, room, Some(value))
}

pub(super) fn new(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [_, to, room, ..] = call.arguments;
    call.check(to, room, true)?;
    let value = setting(call)?.written.clone();
    if value.is_none() {
        call.write(to, &vec![0; room as usize])?;
        return code(Err(Errno::EINVAL));
    }
    give(call, to, room, value)
}

pub(super) fn set_new(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [_, from, length, ..] = call.arguments;
    call.check(from, length, false)?;
    if length > LONGEST && setting(call)?.written.is_some() {
        return code(Err(Errno::E2BIG));
    }
    let value = read_bytes(call, from, length)?;
    match &mut setting(call)?.written {
        Some(written) if !written.is_empty() && length != 0 => {
            *written = value;
            Ok(0)
        }
        _ => code(Err(Errno::EINVAL)),
    }
}
