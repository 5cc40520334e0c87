//! Timers in map values. They fire when the runtime's clock is advanced past their time.

use std::sync::{Mutex, MutexGuard};

use super::*;
use crate::map::TIMER;
use crate::program::{Program, slot_of_code};

/// `CLOCK_REALTIME`, `CLOCK_MONOTONIC` and `CLOCK_BOOTTIME`.
const CLOCKS: [u64; 3] = [0, 1, 7];

/// `BPF_F_TIMER_ABS` and `BPF_F_TIMER_CPU_PIN`.
const ABSOLUTE: u64 = 1;
const PINNED: u64 = 2;

#[derive(Debug, Default)]
pub(crate) struct Timers(Mutex<Vec<Timer>>);

/// A timer of a map's value.
#[derive(Clone, Debug)]
pub(crate) struct Timer {
    /// Where in memory its field lies.
    address: u64,
    map: u64,
    callback: Option<(Arc<Program>, u32)>,
    due: Option<u64>,
}

/// A timer whose time has come: the program, its callback and what it is called with.
#[derive(Debug)]
pub(crate) struct Due {
    pub program: Arc<Program>,
    pub slot: u32,
    pub map: u64,
    pub value: u64,
}

impl Timers {
    fn lock(&self) -> MutexGuard<'_, Vec<Timer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time of the first timer that is set.
    pub fn next(&self) -> Option<u64> {
        self.lock().iter().filter_map(|timer| timer.due).min()
    }

    /// The first that is due by `now`, which is no longer set.
    pub fn take_due(&self, now: u64, value_start: impl Fn(u64, u64) -> Option<u64>) -> Option<Due> {
        let mut timers = self.lock();
        let due = timers.iter_mut().filter(|timer| timer.due.is_some_and(|due| due <= now));
        let timer = due.min_by_key(|timer| timer.due)?;
        timer.due = None;
        let (program, slot) = timer.callback.clone()?;
        let value = value_start(timer.map, timer.address)?;
        Some(Due { program, slot, map: timer.map, value })
    }

    pub fn clear(&self) {
        self.lock().clear();
    }
}

fn with<R>(
    shared: &Shared,
    call: &mut Call<'_, '_>,
    act: impl FnOnce(&mut Timer, u64) -> Result<R, Errno>,
) -> Result<Result<R, Errno>, Stop> {
    let address = call.arguments[0];
    call.check(address, TIMER.into(), true)?;
    let mut timers = shared.timers.lock();
    let timer = timers.iter_mut().find(|timer| timer.address == address);
    Ok(timer.map_or(Err(Errno::EINVAL), |timer| act(timer, shared.time.now())))
}

pub(super) fn init(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [address, map, flags, ..] = call.arguments;
    call.check(address, TIMER.into(), true)?;
    let handle = map;
    let map = shared.map(map)?;
    if flags & !0xf != 0 || !CLOCKS.contains(&(flags & 0xf)) || map.definition().timer.is_none() {
        return code(Err(Errno::EINVAL));
    }
    let mut timers = shared.timers.lock();
    if timers.iter().any(|timer| timer.address == address) {
        return code(Err(Errno::EBUSY));
    }
    timers.push(Timer { address, map: handle, callback: None, due: None });
    Ok(0)
}

pub(super) fn set_callback(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let function = call.arguments[1];
    let Some(slot) = slot_of_code(function) else {
        return Err(Reason::NoSuchFunction { target: function }.into());
    };
    let program = call.state::<State>()?.program.clone();
    let Some(program) = program else { return code(Err(Errno::EINVAL)) };
    code(with(shared, call, |timer, _| {
        timer.callback = Some((program, slot));
        Ok(())
    })?)
}

pub(super) fn start(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [_, nanoseconds, flags, ..] = call.arguments;
    if flags & !(ABSOLUTE | PINNED) != 0 {
        return code(Err(Errno::EINVAL));
    }
    let fires = call.state::<State>()?.fires;
    code(with(shared, call, |timer, now| {
        if timer.callback.is_none() {
            return Err(Errno::EINVAL);
        }
        let from = if flags & ABSOLUTE != 0 { 0 } else { now };
        // Time passes before a callback runs again, or it would run for ever at once.
        let earliest = if fires { now.saturating_add(1) } else { 0 };
        timer.due = Some(from.saturating_add(nanoseconds).max(earliest));
        Ok(())
    })?)
}

/// Work queues are timers whose time is now: the callback runs when the clock is next advanced.
pub(super) fn work_init(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    if call.arguments[2] != 0 {
        return code(Err(Errno::EINVAL));
    }
    init(shared, call)
}

pub(super) fn work_callback(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    if call.arguments[2] != 0 {
        return code(Err(Errno::EINVAL));
    }
    set_callback(shared, call)
}

pub(super) fn work_start(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    if call.arguments[1] != 0 {
        return code(Err(Errno::EINVAL));
    }
    call.arguments[2] = 0;
    start(shared, call)
}

/// One if the timer was set.
pub(super) fn cancel(shared: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    value(with(shared, call, |timer, _| {
        let was_set = timer.due.take().is_some();
        timer.callback = None;
        Ok(was_set.into())
    })?)
}
