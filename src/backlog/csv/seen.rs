//! Which rows are known, new or repeated, in at most 16 bytes a row.
//!
//! What must stay true: no map over all rows. A row of the journal takes one 16-byte [`Known`] entry; a
//! row of a file that is not in the journal takes 8 bytes in [`Fresh`] and a bit; a row of a stream 8
//! bytes in [`Levels`] (16 while two runs are merged). What finds them ([`Index`]) is a constant. Hashes only make
//! candidates: whoever refuses a row for its id looks at the id itself ([`Repeats`] by a second, independent hash).

use std::ops::Range;

use super::index::Index;
use super::known::Known;
use super::levels::Levels;

/// The hashes of a file's rows that are not in the journal, sorted, each with a mark.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    hashes: Vec<u64>,
    index: Index,
    taken: Vec<u64>,
}

impl Fresh {
    fn sort(&mut self) {
        self.hashes.sort_unstable();
        self.index = Index::of(self.hashes.iter().copied());
        self.taken = vec![0; self.hashes.len().div_ceil(64)];
    }

    fn of_hash(&self, hash: u64) -> Range<usize> {
        self.index.find(hash, |n| self.hashes[n])
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
    /// Rows of a file that are bad because their id was begun with other values. Their ids are present, but not
    /// they.
    pub(super) changed: u64,
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

    /// First pass: a row with the id of a known one, which was begun with other values.
    pub(super) fn note_changed(&mut self, n: usize, hash: u64) {
        self.note_known(n, hash);
        self.changed += 1;
    }

    /// First pass: a row with an id of its own that is not known.
    pub(super) fn note_new(&mut self, hash: u64) {
        self.fresh.hashes.push(hash);
    }

    /// First pass: a row without an id of its own.
    pub(super) fn note_generated(&mut self, hash: u64) {
        if self.known.count_expected(hash) {
            return;
        }
        let range = self.known.of_hash(hash);
        if !self.known.count_one(&range) {
            self.fresh.hashes.push(hash);
        }
    }

    /// Check: a bad row without an id of its own.
    pub(super) fn note_bad(&mut self, hash: u64) {
        let occurrence = self.take_bad(hash);
        if let Some(n) = self.known.generated(hash, occurrence) {
            self.known.note_bad(n);
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
        let fresh = &self.fresh;
        self.known
            .end_pass_of_occurrences(|hash| fresh.of_hash(hash).len());
    }

    /// Ends the check: what follows are claims.
    pub(super) fn end_check(&mut self) {
        self.bad = Levels::default();
        self.known.begin_pass();
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
    use std::collections::{HashMap, HashSet};

    use super::super::identity::Key;
    use super::super::known::{Entry, Standing};
    use super::*;

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
        known.push(Entry::new(Key::Generated(9, 1), None, 1, Standing::Settled));
        known.push(Entry::new(Key::Generated(9, 3), None, 2, Standing::Settled));
        known.push(Entry::new(Key::Generated(8, 1), None, 3, Standing::Settled));
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
                journal.push(Entry::new(Key::Generated(*hash, *occurrence), None, u32::try_from(n).unwrap(), Standing::Settled));
            }
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

        /// Whatever the order that rows were begun in, and however many left the input or came.
        #[test]
        fn the_order_of_the_journal_does_not_matter(
            rows in proptest::collection::vec(0u64..8, 0..40),
            begun in proptest::collection::vec((0u64..8, 1u32..4), 0..40),
            keeps_order: bool,
        ) {
            let mut begun = begun;
            begun.extend(rows.iter().take(20).map(|hash| (*hash, 1)));
            let mut met = HashSet::new();
            begun.retain(|entry| met.insert(*entry));
            if keeps_order {
                begun.sort_by_key(|(hash, _)| rows.iter().position(|h| h == hash));
            }
            let mut journal = Known::default();
            for (seq, (hash, occurrence)) in (0..).zip(&begun) {
                journal.push(Entry::new(Key::Generated(*hash, *occurrence), None, seq, Standing::Settled));
            }
            let mut seen = Seen::new(journal);
            rows.iter().for_each(|hash| seen.note_generated(*hash));
            seen.end_first_pass(false);
            seen.end_check();
            let mut present: Vec<u32> = seen.known.present().map(|(seq, _)| seq).collect();
            present.sort_unstable();
            let is_there = |(hash, occurrence): &(u64, u32)| {
                rows.iter().filter(|h| *h == hash).count() >= *occurrence as usize
            };
            let expected: Vec<u32> = (0..).zip(&begun).filter(|(_, e)| is_there(e)).map(|(seq, _)| seq).collect();
            proptest::prop_assert_eq!(present, expected);
            let mut count = HashMap::<u64, u32>::new();
            for hash in &rows {
                let occurrence = count.entry(*hash).or_default();
                *occurrence += 1;
                proptest::prop_assert_eq!(seen.take_generated(*hash), Some(*occurrence));
            }
        }
    }
}
