//! Where a hash stands among sorted ones.
//!
//! What must stay true: the memory of an index is a constant, whatever it is of. Hashes are spread evenly, so that
//! one's first bits tell about where it stands; where they are not, it takes longer and is found all the same.

use std::ops::Range;

/// Most bits of a hash that pick its bucket: 512 KiB of buckets.
const MOST_BITS: u32 = 16;
/// Hashes of a bucket in an index that is not that large.
const IN_BUCKET: usize = 8;

/// An index of sorted hashes.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// How many bits of a hash pick its bucket.
    bits: u32,
    /// Where each bucket begins, and where the last one ends.
    starts: Vec<usize>,
}

impl Index {
    /// Of hashes that are sorted.
    pub(super) fn of(hashes: impl ExactSizeIterator<Item = u64>) -> Self {
        let bits = (hashes.len() / IN_BUCKET)
            .checked_ilog2()
            .map_or(0, |bits| bits.min(MOST_BITS));
        let mut starts = vec![0; (1 << bits) + 1];
        for hash in hashes {
            starts[bucket(hash, bits) + 1] += 1;
        }
        let mut all = 0;
        for start in &mut starts {
            all += *start;
            *start = all;
        }
        Self { bits, starts }
    }

    /// Where a hash stands; `hash_of` gives those that the index is of.
    pub(super) fn find(&self, hash: u64, hash_of: impl Fn(usize) -> u64) -> Range<usize> {
        let at = bucket(hash, self.bits);
        let (Some(&low), Some(&high)) = (self.starts.get(at), self.starts.get(at + 1)) else {
            return 0..0;
        };
        // As far into the bucket as the hash's next bits say.
        let next_bits = (hash << self.bits) >> 32;
        let into = (next_bits * (high - low) as u64) >> 32;
        let guess = low + usize::try_from(into).unwrap_or_default();
        let start = first(low..high, guess, |n| hash_of(n) >= hash);
        let end = first(start..high, start, |n| hash_of(n) > hash);
        start..end
    }
}

fn bucket(hash: u64, bits: u32) -> usize {
    let first_bits = hash.checked_shr(u64::BITS - bits).unwrap_or_default();
    usize::try_from(first_bits).unwrap_or_default()
}

/// The first number of a range from which on something holds, looked for around `guess`.
fn first(range: Range<usize>, guess: usize, holds: impl Fn(usize) -> bool) -> usize {
    // It is in `low..=high`.
    let (mut low, mut high) = (range.start, range.end);
    let mut step = 1;
    if guess < high && !holds(guess) {
        low = guess + 1;
        while low + step < high && !holds(low + step) {
            low += step + 1;
            step *= 2;
        }
        high = high.min(low + step);
    } else {
        high = guess.min(high);
        while low + step <= high && holds(high - step) {
            high -= step;
            step *= 2;
        }
        low = low.max(high.saturating_sub(step));
    }
    while low < high {
        let middle = low.midpoint(high);
        if holds(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_empty_index_has_nothing() {
        assert_eq!(Index::default().find(7, |_| unreachable!()), 0..0);
        assert_eq!(Index::of([].into_iter()).find(7, |_| unreachable!()), 0..0);
    }

    #[test]
    fn its_memory_is_a_constant() {
        let even = (0..1 << 20).map(|n| n << 44);
        let index = Index::of(even.collect::<Vec<u64>>().into_iter());
        assert_eq!(index.starts.len(), (1 << MOST_BITS) + 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn what_is_there_is_found(
            even in prop::collection::vec(any::<u64>(), 0..3000),
            uneven in prop::collection::vec(0_u64..40, 0..300),
            others in prop::collection::vec(any::<u64>(), 10),
            top: bool,
        ) {
            let mut hashes = even;
            hashes.extend(uneven.iter().map(|n| if top { u64::MAX - n } else { n << 20 }));
            hashes.sort_unstable();
            let index = Index::of(hashes.iter().copied());
            for hash in hashes.iter().chain(&others).chain(&[0, u64::MAX]) {
                let start = hashes.partition_point(|h| h < hash);
                let end = hashes.partition_point(|h| h <= hash);
                let found = index.find(*hash, |n| hashes[n]);
                prop_assert_eq!(found.len(), end - start);
                prop_assert!(found.is_empty() || found == (start..end));
            }
        }
    }
}
