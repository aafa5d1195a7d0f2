//! The rows of the journal, 16 bytes each.

use std::ops::Range;
use std::sync::mpsc::Receiver;

use crate::job::FieldsHash;

use super::identity::Key;
use super::index::Index;

/// How a row of the journal stands, as far as claims care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Standing {
    /// It has its outcome: nothing is to be done.
    Settled = 0,
    /// It has its outcome and failed, or was rejected: `--retry-failed` takes it up again (a rejected one
    /// once it is good).
    Failed = 1,
    /// It is to be created (again).
    Open = 2,
    /// A job of it exists: adopted apart, or at another API.
    InFlight = 3,
}

/// A row of the journal: the hash it is found by, its number, and in `bits` its tag (26 bits: of its
/// solver fields, 0 for unknown; or the occurrence of a generated id), its standing and two marks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    hash: u64,
    seq: u32,
    bits: u32,
}

impl Entry {
    pub(super) fn new(key: Key, fields: Option<FieldsHash>, seq: u32, standing: Standing) -> Self {
        let (hash, tag) = match key {
            Key::Own(hash) => (hash, fields.map_or(0, fields_tag)),
            Key::Generated(hash, occurrence) => (hash, occurrence.min(TAG)),
        };
        Self {
            hash,
            seq,
            bits: tag | (standing as u32) << STANDING_SHIFT,
        }
    }
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

/// Entries behind the expected one that are looked at, too: bad rows may stand between, and rows that were begun
/// in another order.
const AHEAD: usize = 16;

/// The rows of a journal: in its order, which mostly is that of the input, until one is looked up that is not
/// where it is expected; then sorted. That moves them, so that the number of an entry is good until the next
/// look-up.
///
/// While the journal is still read, they arrive as they are needed; [`complete`](Self::complete) takes in the rest.
#[derive(Debug, Default)]
pub(super) struct Known {
    entries: Vec<Entry>,
    arriving: Option<Receiver<Vec<Entry>>>,
    is_sorted: bool,
    /// Where the next row of the input is expected, before they are sorted.
    next: usize,
    /// Of generated ids, later rows of a hash were met as expected: perhaps before earlier ones.
    repeats: bool,
    index: Index,
}

impl Known {
    /// Of rows that arrive, of which there are at most so many.
    pub(super) fn arriving(rows: usize, arriving: Receiver<Vec<Entry>>) -> Self {
        Self {
            entries: Vec::with_capacity(rows),
            arriving: Some(arriving),
            ..Self::default()
        }
    }

    /// Adds a row, before anything is looked up.
    #[cfg(test)]
    pub(super) fn push(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    /// Waits for further rows; `false` where all are there.
    fn receive(&mut self) -> bool {
        match self.arriving.as_ref().map(Receiver::recv) {
            Some(Ok(rows)) => {
                self.entries.extend(rows);
                true
            }
            // Whoever reads the journal tells whether it came to its end.
            Some(Err(_)) | None => {
                self.arriving = None;
                false
            }
        }
    }

    /// Waits for all rows.
    pub(super) fn complete(&mut self) {
        while self.receive() {}
    }

    /// Whether there are none.
    pub(super) fn is_empty(&mut self) -> bool {
        self.entries.is_empty() && !self.receive()
    }

    fn sort(&mut self) {
        if self.is_sorted {
            return;
        }
        self.complete();
        self.is_sorted = true;
        self.entries
            .sort_unstable_by_key(|e| (e.hash, e.bits & TAG));
        if self.repeats {
            for rows in self.entries.chunk_by_mut(|a, b| a.hash == b.hash) {
                // As `count_one` would have marked them.
                let met = rows.iter().filter(|e| e.bits & COUNTED != 0).count();
                for (n, entry) in rows.iter_mut().enumerate() {
                    entry.bits &= !COUNTED;
                    entry.bits |= if n < met { COUNTED } else { 0 };
                }
            }
        }
        self.index = Index::of(self.entries.iter().map(|e| e.hash));
    }

    /// The entry of a hash, if it is where the input's next row is expected. There may be others.
    pub(super) fn expected(&mut self, hash: u64) -> Option<usize> {
        if self.is_sorted {
            return None;
        }
        while self.entries.len() < self.next + AHEAD && self.receive() {}
        let mut ahead = self.entries.iter().skip(self.next).take(AHEAD);
        let n = self.next + ahead.position(|e| e.hash == hash)?;
        self.next = n + 1;
        Some(n)
    }

    /// Marks an entry of a hash as met, if one is where the input's next row is expected. Which one does not matter:
    /// how many were met is what counts.
    pub(super) fn count_expected(&mut self, hash: u64) -> bool {
        let Some(n) = self.expected(hash) else {
            return false;
        };
        self.repeats |= self.entries[n].bits & TAG > 1;
        self.count(n)
    }

    /// The entries of a hash.
    pub(super) fn of_hash(&mut self, hash: u64) -> Range<usize> {
        self.sort();
        self.index.find(hash, |n| self.entries[n].hash)
    }

    /// The entry of a generated id.
    pub(super) fn generated(&mut self, hash: u64, occurrence: u32) -> Option<usize> {
        let range = self.of_hash(hash);
        self.entries[range.clone()]
            .binary_search_by_key(&occurrence.min(TAG), |e| e.bits & TAG)
            .ok()
            .map(|n| range.start + n)
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

    /// A row that failed or was rejected is not to be taken up again.
    pub(super) fn end_failed(&mut self, n: usize) {
        if self.standing(n) == Standing::Failed {
            self.entries[n].bits &= !(3 << STANDING_SHIFT);
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
    pub(super) fn counted(&self, range: &Range<usize>) -> usize {
        self.entries[range.clone()].partition_point(|e| e.bits & COUNTED != 0)
    }

    /// Marks the first entry of a hash that was not met; `false` where all were.
    pub(super) fn count_one(&mut self, range: &Range<usize>) -> bool {
        let n = range.start + self.counted(range);
        if n < range.end { self.count(n) } else { false }
    }

    /// What stands for the entries that are in the input, by standing.
    pub(super) fn present(&self) -> impl Iterator<Item = (u32, Standing)> {
        (0..self.entries.len())
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

    /// A bad row under an id of ours was met in a check.
    pub(super) fn note_bad(&mut self, n: usize) {
        self.entries[n].bits |= COUNTED | PRESENT;
    }

    /// Ends a pass in which entries were met by [`count`](Self::count): those are in the input.
    pub(super) fn end_pass(&mut self) {
        for entry in self.entries.iter_mut().filter(|e| e.bits & COUNTED != 0) {
            entry.bits |= PRESENT;
        }
    }

    /// Ends a pass in which entries were met by [`count_one`](Self::count_one), and `others` tells how many
    /// more rows of a hash were met: a generated id is in the input where that many rows are.
    pub(super) fn end_pass_of_occurrences(&mut self, others: impl Fn(u64) -> usize) {
        if !self.is_sorted && !self.repeats {
            // Each was the first row of its hash, and none was met beside.
            return self.end_pass();
        }
        self.sort();
        let mut n = 0;
        while n < self.entries.len() {
            let hash = self.entries[n].hash;
            let range = self.of_hash(hash);
            n = range.end;
            let rows = self.counted(&range) + others(hash);
            for entry in self.entries[range]
                .iter_mut()
                .filter(|e| (e.bits & TAG) as usize <= rows)
            {
                entry.bits |= PRESENT;
            }
        }
    }

    /// Forgets which entries were met, for another pass.
    pub(super) fn begin_pass(&mut self) {
        self.next = 0;
        for entry in &mut self.entries {
            entry.bits &= !COUNTED;
        }
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
        known.push(Entry::new(
            Key::Own(7),
            Some(fields(1)),
            10,
            Standing::Failed,
        ));
        known.push(Entry::new(Key::Own(7), None, 11, Standing::InFlight));
        known.push(Entry::new(Key::Generated(3, 2), None, 12, Standing::Open));
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
    fn rows_are_expected_in_the_journals_order() {
        let mut known = Known::default();
        for (seq, hash) in (1..).zip([50, 7, 40, 30, 60]) {
            known.push(Entry::new(
                Key::Own(hash),
                Some(fields(1)),
                seq,
                Standing::Settled,
            ));
        }
        assert_eq!(known.expected(50), Some(0));
        assert_eq!(known.expected(40), Some(2), "another row may be between");
        assert_eq!(known.expected(7), None);
        assert_eq!(known.expected(30), Some(3));
        assert_eq!(known.of_hash(7), 0..1);
        assert_eq!(known.seq(0), 2);
        assert_eq!(known.expected(60), None, "they are sorted now");
    }
}
