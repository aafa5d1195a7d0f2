//! Which rows are known, new or repeated, in at most 16 bytes a row.
//!
//! What must stay true: no map over all rows. A row of the journal takes one 16-byte [`Known`] entry; a
//! row of a file that is not in the journal takes 8 bytes in [`Fresh`] and a bit; a row of a stream 8
//! bytes in [`Levels`] (16 while two runs are merged). Hashes only make candidates: whoever refuses
//! a row for its id looks at the id itself ([`Repeats`] by a second, independent hash).

use std::collections::HashMap;
use std::ops::Range;

use crate::job::FieldsHash;

use super::identity::Key;

/// How a row of the journal stands, as far as claims care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Standing {
    /// It has its outcome: nothing is to be done.
    Settled = 0,
    /// It has its outcome and failed: `--retry-failed` takes it up again.
    Failed = 1,
    /// It is to be created (again).
    Open = 2,
    /// A job of it exists: adopted apart, or at another API.
    InFlight = 3,
}

/// A row of the journal: the hash it is found by, its number, and in `bits` its tag (26 bits: of its
/// solver fields, 0 for unknown; or the occurrence of a generated id), its standing and two marks.
#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u64,
    seq: u32,
    bits: u32,
}

const TAG_BITS: u32 = 26;
const TAG: u32 = (1 << TAG_BITS) - 1;
const STANDING_SHIFT: u32 = TAG_BITS;
/// The row was met in this pass over the input.
const COUNTED: u32 = 1 << 28;
/// The row is in the input.
const PRESENT: u32 = 1 << 29;

fn fields_tag(hash: FieldsHash) -> u32 {
    let [.., a, b, c, d] = hash.0;
    (u32::from_le_bytes([a, b, c, d]) & TAG).max(1)
}

/// The rows of a journal, sorted.
#[derive(Debug, Default)]
pub(super) struct Known {
    entries: Vec<Entry>,
}

impl Known {
    pub(super) fn with_capacity(rows: usize) -> Self {
        Self {
            entries: Vec::with_capacity(rows),
        }
    }

    /// Adds a row. [`sort`](Self::sort) must follow before anything is looked up.
    pub(super) fn push(
        &mut self,
        key: Key,
        fields: Option<FieldsHash>,
        seq: u32,
        standing: Standing,
    ) {
        let (hash, tag) = match key {
            Key::Own(hash) => (hash, fields.map_or(0, fields_tag)),
            Key::Generated(hash, occurrence) => (hash, occurrence.min(TAG)),
        };
        self.entries.push(Entry {
            hash,
            seq,
            bits: tag | (standing as u32) << STANDING_SHIFT,
        });
    }

    pub(super) fn sort(&mut self) {
        self.entries
            .sort_unstable_by_key(|e| (e.hash, e.bits & TAG));
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The entries of a hash.
    pub(super) fn of_hash(&self, hash: u64) -> Range<usize> {
        let start = self.entries.partition_point(|e| e.hash < hash);
        start..start + self.entries[start..].partition_point(|e| e.hash == hash)
    }

    /// The entry of a generated id.
    pub(super) fn generated(&self, hash: u64, occurrence: u32) -> Option<usize> {
        let wanted = (hash, occurrence.min(TAG));
        self.entries
            .binary_search_by_key(&wanted, |e| (e.hash, e.bits & TAG))
            .ok()
    }

    /// Whether an entry was begun with these fields; `None` where that is not known.
    pub(super) fn has_fields(&self, n: usize, fields: FieldsHash) -> Option<bool> {
        match self.entries[n].bits & TAG {
            0 => None,
            tag => Some(tag == fields_tag(fields)),
        }
    }

    /// Its number in the journal.
    pub(super) fn seq(&self, n: usize) -> u32 {
        self.entries[n].seq
    }

    pub(super) fn standing(&self, n: usize) -> Standing {
        match self.entries[n].bits >> STANDING_SHIFT & 3 {
            0 => Standing::Settled,
            1 => Standing::Failed,
            2 => Standing::Open,
            _ => Standing::InFlight,
        }
    }

    /// A row was settled before anything was claimed.
    pub(super) fn set_failed(&mut self, seq: u32) {
        for entry in self.entries.iter_mut().filter(|e| e.seq == seq) {
            entry.bits =
                entry.bits & !(3 << STANDING_SHIFT) | (Standing::Failed as u32) << STANDING_SHIFT;
        }
    }

    /// Marks an entry as met; `false` where it was met before.
    pub(super) fn count(&mut self, n: usize) -> bool {
        let is_first = self.entries[n].bits & COUNTED == 0;
        self.entries[n].bits |= COUNTED;
        is_first
    }

    /// How many entries of a hash were met by [`count_one`](Self::count_one).
    fn counted(&self, range: &Range<usize>) -> usize {
        self.entries[range.clone()].partition_point(|e| e.bits & COUNTED != 0)
    }

    /// Marks the first entry of a hash that was not met; `false` where all were.
    fn count_one(&mut self, range: &Range<usize>) -> bool {
        let n = range.start + self.counted(range);
        if n < range.end { self.count(n) } else { false }
    }

    /// What stands for the entries that are in the input, by standing.
    pub(super) fn present(&self) -> impl Iterator<Item = (u32, Standing)> {
        (0..self.len())
            .filter(|n| self.entries[*n].bits & PRESENT != 0)
            .map(|n| (self.seq(n), self.standing(n)))
    }

    /// How many entries are not in the input.
    pub(super) fn absent(&self) -> usize {
        self.entries
            .iter()
            .filter(|e| e.bits & PRESENT == 0)
            .count()
    }

    /// Ends a pass in which entries were met by [`count`](Self::count): those are in the input.
    fn end_pass(&mut self) {
        for entry in &mut self.entries {
            if entry.bits & COUNTED != 0 {
                entry.bits |= PRESENT;
            }
        }
    }
}

/// The hashes of a file's rows that are not in the journal, sorted, each with a mark.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    hashes: Vec<u64>,
    taken: Vec<u64>,
}

impl Fresh {
    fn sort(&mut self) {
        self.hashes.sort_unstable();
        self.taken = vec![0; self.hashes.len().div_ceil(64)];
    }

    fn of_hash(&self, hash: u64) -> Range<usize> {
        let start = self.hashes.partition_point(|h| *h < hash);
        let end = start + self.hashes[start..].partition_point(|h| *h == hash);
        start..end
    }

    /// How many rows of a hash were taken: always the first ones of their range.
    fn taken(&self, range: &Range<usize>) -> usize {
        let (mut low, mut high) = (range.start, range.end);
        while low < high {
            let middle = low.midpoint(high);
            if self.taken[middle / 64] >> (middle % 64) & 1 == 1 {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low - range.start
    }

    fn take(&mut self, range: &Range<usize>) -> bool {
        let n = range.start + self.taken(range);
        if n == range.end {
            return false;
        }
        self.taken[n / 64] |= 1 << (n % 64);
        true
    }
}

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

/// Rows of a file whose ids may stand twice: hashes that did, and for each who stood first.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    hashes: Vec<u64>,
    /// Of each hash: the second hash of the id that stood first, and its line (0: not met yet).
    first: Vec<(u64, u64)>,
    /// Ids that share a hash with another: hash, second hash, line. As good as always empty.
    colliding: Vec<(u64, u64, u64)>,
}

impl Repeats {
    fn new(mut hashes: Vec<u64>) -> Self {
        hashes.sort_unstable();
        hashes.dedup();
        let first = vec![(0, 0); hashes.len()];
        Self {
            hashes,
            first,
            colliding: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Takes note of an id in the second pass: where it stands already, the line it stands in.
    pub(super) fn note(&mut self, hash: u64, check: u64, line: u64) -> Option<u64> {
        let n = self.hashes.binary_search(&hash).ok()?;
        if self.first[n].1 == 0 {
            self.first[n] = (check, line);
            return None;
        }
        let first = self.first_line(hash, check);
        if first.is_none() {
            self.colliding.push((hash, check, line));
        }
        first
    }

    /// The line that an id stood in first, if it is one of those that may stand twice.
    pub(super) fn first_line(&self, hash: u64, check: u64) -> Option<u64> {
        let n = self.hashes.binary_search(&hash).ok()?;
        match self.first[n] {
            (_, 0) => None,
            (c, line) if c == check => Some(line),
            _ => self
                .colliding
                .iter()
                .find(|(h, c, _)| *h == hash && *c == check)
                .map(|(.., line)| *line),
        }
    }
}

/// All that is remembered of the rows of one input and its journal.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The journal's rows.
    pub(super) known: Known,
    /// Rows that may stand twice. Empty for streams.
    pub(super) repeats: Repeats,
    fresh: Fresh,
    /// Hashes of known rows that were met twice.
    again: Vec<u64>,
    /// A stream's rows, which no first pass has seen.
    levels: Levels,
    /// Bad rows without an id of their own.
    bad: Levels,
    /// A file's first pass is over.
    is_checked: bool,
}

impl Seen {
    pub(super) fn new(known: Known) -> Self {
        Self {
            known,
            ..Self::default()
        }
    }

    /// First pass: a row with an id of its own that is known, at this entry.
    pub(super) fn note_known(&mut self, n: usize, hash: u64) {
        if !self.known.count(n) {
            self.again.push(hash);
        }
    }

    /// First pass: a row with an id of its own that is not known.
    pub(super) fn note_new(&mut self, hash: u64) {
        self.fresh.hashes.push(hash);
    }

    /// First pass: a row without an id of its own.
    pub(super) fn note_generated(&mut self, hash: u64) {
        let range = self.known.of_hash(hash);
        if !self.known.count_one(&range) {
            self.fresh.hashes.push(hash);
        }
    }

    /// Check: a bad row without an id of its own.
    pub(super) fn note_bad(&mut self, hash: u64) {
        let occurrence = self.take_bad(hash);
        if let Some(n) = self.known.generated(hash, occurrence) {
            self.known.entries[n].bits |= COUNTED | PRESENT;
        }
    }

    /// Ends the first pass. `own_ids`: whether its rows had ids.
    pub(super) fn end_first_pass(&mut self, own_ids: bool) {
        self.fresh.sort();
        self.is_checked = true;
        if own_ids {
            let mut twice = std::mem::take(&mut self.again);
            twice.extend(
                self.fresh
                    .hashes
                    .windows(2)
                    .filter(|w| w[0] == w[1])
                    .map(|w| w[0]),
            );
            self.repeats = Repeats::new(twice);
            self.known.end_pass();
            return;
        }
        // A generated id is in the input where at least as many rows of its hash are.
        let mut n = 0;
        while n < self.known.len() {
            let hash = self.known.entries[n].hash;
            let range = self.known.of_hash(hash);
            n = range.end;
            let rows = self.known.counted(&range) + self.fresh.of_hash(hash).len();
            for entry in &mut self.known.entries[range] {
                if (entry.bits & TAG) as usize <= rows {
                    entry.bits |= PRESENT;
                }
            }
        }
    }

    /// Ends the check: what follows are claims.
    pub(super) fn end_check(&mut self) {
        self.bad = Levels::default();
        for entry in &mut self.known.entries {
            entry.bits &= !COUNTED;
        }
    }

    /// Claims: takes a row with an id of its own that is not known; `false` where no such row was
    /// there to be taken (a second one in a stream, or a file that changed since it was checked).
    pub(super) fn take_new(&mut self, hash: u64) -> bool {
        if self.is_checked {
            let range = self.fresh.of_hash(hash);
            self.fresh.take(&range)
        } else {
            self.levels.add(hash) == 0
        }
    }

    /// Claims: which row of its hash this is, from 1; `None` where the file changed since it was checked.
    pub(super) fn take_generated(&mut self, hash: u64) -> Option<u32> {
        let range = self.known.of_hash(hash);
        let known = u32::try_from(self.known.counted(&range)).ok()?;
        if self.known.count_one(&range) {
            return Some(known + 1);
        }
        if !self.is_checked {
            return Some(known + self.levels.add(hash) + 1);
        }
        let fresh = self.fresh.of_hash(hash);
        let taken = u32::try_from(self.fresh.taken(&fresh)).ok()?;
        self.fresh.take(&fresh).then_some(known + taken + 1)
    }

    /// Which bad row of its hash this is, from 1.
    pub(super) fn take_bad(&mut self, hash: u64) -> u32 {
        self.bad.add(hash) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(n: u8) -> FieldsHash {
        FieldsHash([n; 16])
    }

    #[test]
    fn an_entry_is_16_bytes() {
        assert_eq!(size_of::<Entry>(), 16);
    }

    #[test]
    fn entries_keep_what_was_put_in() {
        let mut known = Known::default();
        known.push(Key::Own(7), Some(fields(1)), 10, Standing::Failed);
        known.push(Key::Own(7), None, 11, Standing::InFlight);
        known.push(Key::Generated(3, 2), None, 12, Standing::Open);
        known.sort();
        assert_eq!(known.of_hash(7), 1..3);
        assert_eq!(known.has_fields(1, fields(2)), None);
        assert_eq!(known.has_fields(2, fields(1)), Some(true));
        assert_eq!(known.has_fields(2, fields(2)), Some(false));
        assert_eq!(known.generated(3, 2), Some(0));
        assert_eq!(known.generated(3, 1), None);
        assert_eq!((known.seq(2), known.standing(2)), (10, Standing::Failed));
        assert!(known.count(2) && !known.count(2));
        assert_eq!((known.seq(2), known.standing(2)), (10, Standing::Failed));
    }

    #[test]
    fn two_ids_of_one_hash_are_no_repeat() {
        let mut repeats = Repeats::new(vec![5, 5]);
        assert_eq!(repeats.note(5, 100, 2), None);
        assert_eq!(repeats.note(5, 200, 3), None);
        assert_eq!(repeats.note(5, 200, 4), Some(3));
        assert_eq!(repeats.note(5, 100, 9), Some(2));
        assert_eq!(repeats.note(6, 100, 9), None);
        assert_eq!(repeats.first_line(5, 200), Some(3));
    }

    #[test]
    fn occurrences_count_over_known_and_new_rows() {
        // Of three equal rows the first and the third were begun.
        let mut known = Known::default();
        known.push(Key::Generated(9, 1), None, 1, Standing::Settled);
        known.push(Key::Generated(9, 3), None, 2, Standing::Settled);
        known.push(Key::Generated(8, 1), None, 3, Standing::Settled);
        known.sort();
        let mut seen = Seen::new(known);
        for _ in 0..2 {
            seen.note_generated(9);
        }
        seen.end_first_pass(false);
        seen.end_check();
        assert_eq!(
            seen.known.present().map(|(seq, _)| seq).collect::<Vec<_>>(),
            [1]
        );
        assert_eq!(
            [seen.take_generated(9), seen.take_generated(9)],
            [Some(1), Some(2)]
        );
        assert_eq!(
            seen.take_generated(9),
            None,
            "a third was not there when the file was checked"
        );
    }

    proptest::proptest! {
        #[test]
        fn occurrences_are_right(rows in proptest::collection::vec(0u64..6, 0..60), known in 0usize..30, stream: bool) {
            // The first `known` rows are in the journal.
            let mut count = HashMap::<u64, u32>::new();
            let mut journal = Known::default();
            let numbered: Vec<(u64, u32)> = rows.iter().map(|h| {
                let c = count.entry(*h).or_default();
                *c += 1;
                (*h, *c)
            }).collect();
            for (n, (hash, occurrence)) in numbered.iter().take(known).enumerate() {
                journal.push(Key::Generated(*hash, *occurrence), None, u32::try_from(n).unwrap(), Standing::Settled);
            }
            journal.sort();
            let mut seen = Seen::new(journal);
            if !stream {
                rows.iter().for_each(|h| seen.note_generated(*h));
                seen.end_first_pass(false);
                seen.end_check();
                proptest::prop_assert_eq!(seen.known.absent(), 0);
            }
            for (hash, occurrence) in numbered {
                proptest::prop_assert_eq!(seen.take_generated(hash), Some(occurrence));
            }
        }

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
