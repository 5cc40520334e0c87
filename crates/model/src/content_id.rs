//! Ids made of content: the same on every run and machine, which std's hashers don't promise.
//! Compilers name what they put into tables by them, so that a restarted agent finds its own.

use std::collections::{BTreeMap, HashSet};

/// A 128-bit hash of words. Not cryptographic: equality is never decided by it, only ids are made
/// of it.
#[derive(Clone, Copy, Debug)]
pub struct ContentHash(u128);

impl ContentHash {
    /// Multiplier of PCG's 128-bit generators.
    const MULTIPLIER: u128 = 0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645;

    pub fn new(domain: &str) -> Self {
        let mut hash = ContentHash(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c834);
        hash.text(domain);
        hash
    }

    pub fn word(&mut self, word: u64) {
        self.0 = (self.0 ^ u128::from(word)).wrapping_mul(Self::MULTIPLIER);
        self.0 ^= self.0 >> 64;
    }

    /// A word of both halves of another hash.
    pub fn hash(&mut self, other: u128) {
        self.word(other as u64);
        self.word((other >> 64) as u64);
    }

    pub fn text(&mut self, text: &str) {
        self.word(text.len() as u64);
        for chunk in text.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
    }

    pub fn finish(mut self) -> u128 {
        self.word(0);
        self.word(0);
        self.0
    }
}

/// Gives 32-bit ids to 128-bit hashes. Two contents that would get the same id are told apart by
/// trying again; such an exception is kept, so that it is the same after a restart.
#[derive(Clone, Debug, Default)]
pub struct ContentIds {
    taken: HashSet<u32>,
    exceptions: BTreeMap<u128, u32>,
    /// Ids of exceptions: nobody else gets them.
    reserved: HashSet<u32>,
}

impl ContentIds {
    /// The id, and whether it is an exception that has to be stored.
    pub fn allocate(&mut self, hash: u128) -> (u32, bool) {
        if let Some(&id) = self.exceptions.get(&hash)
            && self.taken.insert(id)
        {
            return (id, false);
        }
        for attempt in 0u32.. {
            let id = fold(hash, attempt);
            if id != 0 && !self.reserved.contains(&id) && self.taken.insert(id) {
                let exception = attempt > 0;
                if exception {
                    self.restore_exception(hash, id);
                }
                return (id, exception);
            }
        }
        unreachable!("fewer than 2^32 ids are in use")
    }

    pub fn release(&mut self, id: u32) {
        self.taken.remove(&id);
    }

    /// Gives the content this id, as before the restart. One that it would get anyway is no
    /// exception.
    pub fn restore_exception(&mut self, hash: u128, id: u32) {
        if id == fold(hash, 0) {
            return;
        }
        if let Some(old) = self.exceptions.insert(hash, id) {
            self.reserved.remove(&old);
        }
        self.reserved.insert(id);
    }
}

fn fold(hash: u128, attempt: u32) -> u32 {
    let mut again = ContentHash(hash);
    again.word(u64::from(attempt));
    (again.0 ^ (again.0 >> 32)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collisions_get_other_ids_and_keep_them() {
        let mut ids = ContentIds::default();
        let (first, exception) = ids.allocate(7);
        assert!(!exception);
        // The same hash for a second content stands for a collision of the folded id.
        let (second, exception) = ids.allocate(7);
        assert!(exception && second != first);

        let mut restarted = ContentIds::default();
        restarted.restore_exception(7, second);
        assert_eq!(restarted.allocate(7), (second, false));
    }

    #[test]
    fn words_and_texts_differ() {
        let hash = |texts: &[&str]| {
            let mut hash = ContentHash::new("test");
            texts.iter().for_each(|text| hash.text(text));
            hash.finish()
        };
        assert_ne!(hash(&["ab", "c"]), hash(&["a", "bc"]));
        assert_ne!(hash(&["a"]), hash(&["a", ""]));
        assert_eq!(hash(&["shop/web"]), hash(&["shop/web"]));
    }
}
