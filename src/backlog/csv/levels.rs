//! How often each hash of a stream was met so far.

use std::collections::HashMap;

/// Rows of a run of [`Levels`] before it is sorted.
const RECENT: usize = 4096;

/// How often each hash was met so far, for what is read once: sorted runs, merged like a binary counter.
#[derive(Debug, Default)]
pub(super) struct Levels {
    recent: HashMap<u64, u32>,
    recent_rows: usize,
    /// Run `n` has `RECENT << n` hashes, or none.
    runs: Vec<Vec<u64>>,
}

impl Levels {
    /// How often it was added.
    pub(super) fn count(&self, hash: u64) -> u32 {
        let in_runs: usize = self
            .runs
            .iter()
            .map(|run| {
                let rest = &run[run.partition_point(|h| *h < hash)..];
                rest.partition_point(|h| *h == hash)
            })
            .sum();
        let recent = self.recent.get(&hash).copied().unwrap_or_default();
        recent.saturating_add(u32::try_from(in_runs).unwrap_or(u32::MAX))
    }

    /// Adds it, and tells how often it was there before.
    pub(super) fn add(&mut self, hash: u64) -> u32 {
        let before = self.count(hash);
        *self.recent.entry(hash).or_default() += 1;
        self.recent_rows += 1;
        if self.recent_rows == RECENT {
            let mut run: Vec<u64> = Vec::with_capacity(RECENT);
            for (hash, times) in self.recent.drain() {
                run.extend(std::iter::repeat_n(hash, times as usize));
            }
            run.sort_unstable();
            self.recent_rows = 0;
            for level in &mut self.runs {
                if level.is_empty() {
                    *level = run;
                    return before;
                }
                run = merge(&std::mem::take(level), &run);
            }
            self.runs.push(run);
        }
        before
    }
}

fn merge(a: &[u64], b: &[u64]) -> Vec<u64> {
    let mut merged = Vec::with_capacity(a.len() + b.len());
    let (mut i, mut j) = (0, 0);
    while i < a.len() && j < b.len() {
        if a[i] <= b[j] {
            merged.push(a[i]);
            i += 1;
        } else {
            merged.push(b[j]);
            j += 1;
        }
    }
    merged.extend_from_slice(&a[i..]);
    merged.extend_from_slice(&b[j..]);
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn levels_count_like_a_map(hashes in proptest::collection::vec(0u64..3000, 0..20_000)) {
            let (mut levels, mut map) = (Levels::default(), HashMap::<u64, u32>::new());
            for hash in hashes {
                let count = map.entry(hash).or_default();
                proptest::prop_assert_eq!(levels.add(hash), *count);
                *count += 1;
            }
        }
    }
}
