//! Open-coded iterators: kernel functions that programs call by name (kernel/bpf/helpers.c and
//! bpf_iter.c, Linux 6.12).

use super::*;

/// At most so many words of bits (`BITS_ITER_NR_WORDS_MAX`).
const MOST_WORDS: u64 = 511;
/// Far more than fit into a stack.
const MOST_ITERATORS: usize = 1 << 10;

/// Two words of the program's memory.
fn words<const COUNT: usize>(call: &Call<'_, '_>, address: u64) -> Result<[u32; COUNT], Stop> {
    let mut words = [0; COUNT];
    for (word, at) in words.iter_mut().zip((address..).step_by(4)) {
        let mut bytes = [0; 4];
        call.read(at, &mut bytes)?;
        *word = u32::from_ne_bytes(bytes);
    }
    Ok(words)
}

fn set_words(call: &mut Call<'_, '_>, address: u64, words: &[u32]) -> Result<(), Stop> {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    call.write(address, &bytes)
}

/// `struct bpf_iter_bits`: the number of the copied bits among those of the run, how many bits
/// there are, and the one that was found last, -1 before the first.
pub(super) fn bits_new(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [iterator, source, count, ..] = call.arguments;
    let count = count & 0xffff_ffff;
    set_words(call, iterator, &[0, 0, 0, u32::MAX])?;
    if source == 0 || count == 0 {
        return code(Err(Errno::EINVAL));
    }
    if count > MOST_WORDS {
        return code(Err(Errno::E2BIG));
    }
    let mut bytes = vec![0; count as usize * 8];
    // As from anywhere in the kernel: what isn't there is an error, no fault.
    if call.read(source, &mut bytes).is_err() {
        return code(Err(Errno::EFAULT));
    }
    let (words, _) = bytes.as_chunks::<8>();
    let bits = words.iter().map(|word| u64::from_ne_bytes(*word)).collect();
    let state = call.state::<State>()?;
    // Those that are destroyed leave their place to the next.
    while state.bits.last().is_some_and(Vec::is_empty) {
        state.bits.pop();
    }
    if state.bits.len() == MOST_ITERATORS {
        return code(Err(Errno::ENOMEM));
    }
    state.bits.push(bits);
    let index = state.bits.len() as u32 - 1;
    set_words(call, iterator, &[index, 0, count as u32 * 64, u32::MAX])?;
    Ok(0)
}

/// The address of the bit's number, inside of the iterator; NULL behind the last.
pub(super) fn bits_next(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [iterator, ..] = call.arguments;
    let [index, _, count, last] = words(call, iterator)?;
    if count == 0 || (last != u32::MAX && last >= count) {
        return Ok(0);
    }
    let bits = call.state::<State>()?.bits.get(index as usize);
    let is_set = |bit: &u32| {
        let word = bits.and_then(|bits| bits.get(*bit as usize / 64));
        word.is_some_and(|word| word & 1 << (bit % 64) != 0)
    };
    let next = (last.wrapping_add(1)..count).find(is_set);
    set_words(call, iterator + 12, &[next.unwrap_or(count)])?;
    Ok(if next.is_some() { iterator + 12 } else { 0 })
}

pub(super) fn bits_destroy(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [iterator, ..] = call.arguments;
    let [index, ..] = words::<4>(call, iterator)?;
    if let Some(bits) = call.state::<State>()?.bits.get_mut(index as usize) {
        *bits = Vec::new();
    }
    Ok(0)
}

/// At most so many rounds (`BPF_MAX_LOOPS`).
const MOST_ROUNDS: i64 = 8 << 20;

/// `struct bpf_iter_num`: the number before the first, and the end.
pub(super) fn numbers_new(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [iterator, start, end, ..] = call.arguments;
    let (start, end) = (start as i32, end as i32);
    set_words(call, iterator, &[0, 0])?;
    if start > end {
        return code(Err(Errno::EINVAL));
    }
    if i64::from(end) - i64::from(start) > MOST_ROUNDS {
        return code(Err(Errno::E2BIG));
    }
    set_words(call, iterator, &[start.wrapping_sub(1) as u32, end as u32])?;
    Ok(0)
}

/// The address of the number, inside of the iterator; NULL behind the last.
pub(super) fn numbers_next(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [iterator, ..] = call.arguments;
    let [current, end] = words(call, iterator)?;
    // Wide, since the number before the smallest is the greatest.
    let next = i64::from((current as i32).wrapping_add(1));
    if next >= i64::from(end as i32) {
        set_words(call, iterator, &[0, 0])?;
        return Ok(0);
    }
    set_words(call, iterator, &[next as u32])?;
    Ok(iterator)
}

pub(super) fn numbers_destroy(_: &Shared, call: &mut Call<'_, '_>) -> Outcome {
    let [iterator, ..] = call.arguments;
    set_words(call, iterator, &[0, 0])?;
    Ok(0)
}
