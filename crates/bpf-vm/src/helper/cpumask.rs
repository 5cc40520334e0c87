//! Sets of CPUs (kernel/bpf/cpumask.c, Linux 6.18), of at most 64.

use super::*;

fn load(call: &Call<'_, '_>, address: u64) -> Result<u64, Stop> {
    Ok(u64::from_ne_bytes(call.read_array::<8>(address)?))
}

fn store(call: &mut Call<'_, '_>, address: u64, bits: u64) -> Outcome {
    call.write(address, &bits.to_ne_bytes())?;
    Ok(0)
}

/// The bits of all CPUs.
fn all(shared: &Shared) -> u64 {
    match shared.cpus {
        0..64 => (1 << shared.cpus) - 1,
        _ => u64::MAX,
    }
}

/// The number of the first bit, or of CPUs if none is set.
fn first_of(shared: &Shared, bits: u64) -> Outcome {
    Ok(match bits & all(shared) {
        0 => shared.cpus.into(),
        bits => bits.trailing_zeros().into(),
    })
}

/// The kernel function of that name, if it is about masks.
pub(super) fn function(name: &str) -> Option<fn(&Shared, &mut Call<'_, '_>) -> Outcome> {
    Some(match name {
        "bpf_cpumask_create" => objects::block,
        "bpf_cpumask_acquire" => objects::acquire,
        "bpf_cpumask_release" => objects::drop_object,
        "bpf_cpumask_first" => |shared, call| first_of(shared, load(call, call.arguments[0])?),
        "bpf_cpumask_first_zero" => {
            |shared, call| first_of(shared, !load(call, call.arguments[0])?)
        }
        "bpf_cpumask_first_and" | "bpf_cpumask_any_and_distribute" => |shared, call| {
            let [a, b, ..] = call.arguments;
            first_of(shared, load(call, a)? & load(call, b)?)
        },
        "bpf_cpumask_any_distribute" => {
            |shared, call| first_of(shared, load(call, call.arguments[0])?)
        }
        "bpf_cpumask_set_cpu" => |shared, call| change(shared, call, |bits, bit| bits | bit),
        "bpf_cpumask_clear_cpu" => |shared, call| change(shared, call, |bits, bit| bits & !bit),
        "bpf_cpumask_test_cpu" => |shared, call| {
            let [cpu, mask, ..] = call.arguments;
            let Some(bit) = bit(shared, cpu) else { return Ok(0) };
            Ok((load(call, mask)? & bit != 0).into())
        },
        "bpf_cpumask_test_and_set_cpu" => {
            |shared, call| test_and(shared, call, |bits, bit| bits | bit)
        }
        "bpf_cpumask_test_and_clear_cpu" => {
            |shared, call| test_and(shared, call, |bits, bit| bits & !bit)
        }
        "bpf_cpumask_setall" => |shared, call| {
            let mask = call.arguments[0];
            store(call, mask, all(shared))
        },
        "bpf_cpumask_clear" => |_, call| {
            let mask = call.arguments[0];
            store(call, mask, 0)
        },
        "bpf_cpumask_and" => |shared, call| both(shared, call, |a, b| a & b),
        "bpf_cpumask_or" => |shared, call| both(shared, call, |a, b| a | b).map(|_| 0),
        "bpf_cpumask_xor" => |shared, call| both(shared, call, |a, b| a ^ b).map(|_| 0),
        "bpf_cpumask_equal" => |shared, call| compare(shared, call, |a, b| a == b),
        "bpf_cpumask_intersects" => |shared, call| compare(shared, call, |a, b| a & b != 0),
        "bpf_cpumask_subset" => |shared, call| compare(shared, call, |a, b| a & !b == 0),
        "bpf_cpumask_empty" => {
            |shared, call| Ok((load(call, call.arguments[0])? & all(shared) == 0).into())
        }
        "bpf_cpumask_full" => {
            |shared, call| Ok((load(call, call.arguments[0])? & all(shared) == all(shared)).into())
        }
        "bpf_cpumask_copy" => |_, call| {
            let [to, from, ..] = call.arguments;
            let bits = load(call, from)?;
            store(call, to, bits)
        },
        "bpf_cpumask_weight" => {
            |shared, call| Ok((load(call, call.arguments[0])? & all(shared)).count_ones().into())
        }
        _ => return None,
    })
}

/// `None` for a CPU that there isn't.
fn bit(shared: &Shared, cpu: u64) -> Option<u64> {
    let cpu = cpu as u32;
    (cpu < shared.cpus).then(|| 1u64.checked_shl(cpu)).flatten()
}

fn change(shared: &Shared, call: &mut Call<'_, '_>, to: fn(u64, u64) -> u64) -> Outcome {
    let [cpu, mask, ..] = call.arguments;
    let Some(bit) = bit(shared, cpu) else { return Ok(0) };
    let bits = load(call, mask)?;
    store(call, mask, to(bits, bit))
}

fn test_and(shared: &Shared, call: &mut Call<'_, '_>, to: fn(u64, u64) -> u64) -> Outcome {
    let [cpu, mask, ..] = call.arguments;
    let Some(bit) = bit(shared, cpu) else { return Ok(0) };
    let bits = load(call, mask)?;
    store(call, mask, to(bits, bit))?;
    Ok((bits & bit != 0).into())
}

/// Whether anything is set in what comes out.
fn both(shared: &Shared, call: &mut Call<'_, '_>, of: fn(u64, u64) -> u64) -> Outcome {
    let [to, a, b, ..] = call.arguments;
    let bits = of(load(call, a)?, load(call, b)?);
    store(call, to, bits)?;
    Ok((bits & all(shared) != 0).into())
}

fn compare(shared: &Shared, call: &mut Call<'_, '_>, holds: fn(u64, u64) -> bool) -> Outcome {
    let [a, b, ..] = call.arguments;
    let all = all(shared);
    Ok(holds(load(call, a)? & all, load(call, b)? & all).into())
}
