//! A hierarchical timing wheel: setting, cancelling and taking a timer cost the same however many there
//! are. Time is a number of ticks that the caller counts.
//!
//! Scheme 6 of G. Varghese and T. Lauck, "Hashed and Hierarchical Timing Wheels" (1987), but for the size of
//! its levels: each reaches 16 times as far as a slot of the next one is wide, and goes round, so that a timer
//! moves down once where it stands less than 17 minutes ahead (of milliseconds), and only with those of
//! the same 256 ticks. (Where each level ends with the slot above it, all timers beyond such an edge move at
//! once: with a million, the wheel stood still for 200 ms.)
//!
//! What must stay true: a timer stands on the first level whose slots reach as far as its time when it is
//! placed; `now` passes no slot that is occupied, and enters one of a higher level only to empty it.

use slab::Slab;

const SLOTS: usize = 4096;
const WORDS: usize = SLOTS / 64;
/// How wide a slot of each level is: this power of two, in ticks.
const WIDTHS: [u32; 4] = [0, 8, 16, 24];
/// Timers beyond the last level's reach (two years of milliseconds) are due there.
const REACH: u64 = (SLOTS as u64 - 1) << WIDTHS[WIDTHS.len() - 1];
const NONE: u32 = u32::MAX;

/// A timer that stands on the ring. Good for as long as the timer was neither taken nor cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u32);

/// Timers, each with what it is for. At most `u32::MAX` at a time.
pub(super) struct Ring<T> {
    now: u64,
    levels: Box<[Level; WIDTHS.len()]>,
    nodes: Slab<Node<T>>,
}

struct Level {
    /// A bit for each word that is not zero.
    words: u64,
    /// A bit for each slot that holds a timer.
    occupied: [u64; WORDS],
    /// The first timer of each slot.
    slots: [u32; SLOTS],
}

/// A timer, in the circular list of its slot.
struct Node<T> {
    at: u64,
    next: u32,
    before: u32,
    level: u8,
    what: T,
}

impl Level {
    const EMPTY: Self = Self {
        words: 0,
        occupied: [0; WORDS],
        slots: [NONE; SLOTS],
    };

    /// The first occupied slot from this one on, round to the one before it.
    fn first_from(&self, slot: usize) -> Option<usize> {
        let (word, bit) = (slot / 64, slot % 64);
        let here = self.occupied[word] >> bit << bit;
        if here != 0 {
            return Some(word * 64 + here.trailing_zeros() as usize);
        }
        // In two steps, since there is no shift by all bits.
        let later = self.words >> word >> 1;
        let word = match (later, self.words) {
            (0, 0) => return None,
            // Round, perhaps to the word that it began in.
            (0, words) => words.trailing_zeros() as usize,
            (later, _) => word + 1 + later.trailing_zeros() as usize,
        };
        Some(word * 64 + self.occupied[word].trailing_zeros() as usize)
    }

    fn set_first(&mut self, slot: usize, node: u32) {
        self.slots[slot] = node;
        let (word, bit) = (slot / 64, 1 << (slot % 64));
        if node == NONE {
            self.occupied[word] &= !bit;
        } else {
            self.occupied[word] |= bit;
        }
        if self.occupied[word] == 0 {
            self.words &= !(1 << word);
        } else {
            self.words |= 1 << word;
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "less than SLOTS")]
fn slot(at: u64, level: usize) -> usize {
    (at >> WIDTHS[level]) as usize % SLOTS
}

impl<T> Ring<T> {
    pub(super) fn new() -> Self {
        Self {
            now: 0,
            levels: Box::new([const { Level::EMPTY }; WIDTHS.len()]),
            nodes: Slab::new(),
        }
    }

    /// Sets a timer. One whose time has passed is due at once.
    pub(super) fn set(&mut self, at: u64, what: T) -> Place {
        let node = Node {
            at: at.clamp(self.now, self.now.saturating_add(REACH)),
            next: NONE,
            before: NONE,
            level: 0,
            what,
        };
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a process has no room for so many timers"
        )]
        let n = self.nodes.insert(node) as u32;
        self.link(n);
        Place(n)
    }

    /// Takes off a timer that was neither taken nor cancelled.
    pub(super) fn cancel(&mut self, place: Place) -> T {
        self.unlink(place.0)
    }

    /// The next timer that is due at `present`: timers of one tick in the order in which they were set,
    /// unless they were set far ahead.
    pub(super) fn take_due(&mut self, present: u64) -> Option<T> {
        loop {
            match self.first() {
                Some((begins, level)) if begins <= present => {
                    self.now = begins;
                    let slot = slot(begins, level);
                    if level == 0 {
                        return Some(self.unlink(self.levels[0].slots[slot]));
                    }
                    self.move_down(level, slot);
                }
                _ => {
                    self.now = self.now.max(present);
                    return None;
                }
            }
        }
    }

    /// No timer is due before this.
    pub(super) fn next(&self) -> Option<u64> {
        self.first().map(|(begins, _)| begins)
    }

    /// The slot that comes first: when it begins, and its level. Of two that begin at the same time, the wider,
    /// whose timers may belong into the other.
    fn first(&self) -> Option<(u64, usize)> {
        let mut first: Option<(u64, usize)> = None;
        for (n, level) in self.levels.iter().enumerate() {
            let present = self.now >> WIDTHS[n];
            let from = slot(self.now, n);
            if let Some(found) = level.first_from(from) {
                let ahead = (found + SLOTS - from) % SLOTS;
                let begins = (present + ahead as u64) << WIDTHS[n];
                if first.is_none_or(|(earliest, _)| begins <= earliest) {
                    first = Some((begins, n));
                }
            }
        }
        first
    }

    fn move_down(&mut self, level: usize, slot: usize) {
        let first = self.levels[level].slots[slot];
        self.levels[level].set_first(slot, NONE);
        let mut n = first;
        loop {
            let next = self.nodes[n as usize].next;
            self.link(n);
            if next == first {
                return;
            }
            n = next;
        }
    }

    /// Puts a node at the end of its slot's list.
    fn link(&mut self, n: u32) {
        let now = self.now;
        let node = &mut self.nodes[n as usize];
        let reaches = |width: &u32| (node.at >> width) - (now >> width) < SLOTS as u64;
        let level = WIDTHS.iter().position(reaches).unwrap_or(WIDTHS.len() - 1);
        #[expect(clippy::cast_possible_truncation, reason = "there are four")]
        {
            node.level = level as u8;
        }
        let slot = slot(node.at, level);
        let first = self.levels[level].slots[slot];
        if first == NONE {
            (node.next, node.before) = (n, n);
            self.levels[level].set_first(slot, n);
            return;
        }
        let last = std::mem::replace(&mut self.nodes[first as usize].before, n);
        self.nodes[last as usize].next = n;
        let node = &mut self.nodes[n as usize];
        (node.next, node.before) = (first, last);
    }

    fn unlink(&mut self, n: u32) -> T {
        let node = self.nodes.remove(n as usize);
        let level = usize::from(node.level);
        let slot = slot(node.at, level);
        if node.next == n {
            self.levels[level].set_first(slot, NONE);
        } else {
            self.nodes[node.next as usize].before = node.before;
            self.nodes[node.before as usize].next = node.next;
            if self.levels[level].slots[slot] == n {
                self.levels[level].set_first(slot, node.next);
            }
        }
        node.what
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// What is done to a ring.
    #[derive(Clone, Debug)]
    enum Act {
        Set(u64),
        /// Cancels one that stands there.
        Cancel(usize),
        /// Time goes on, and all that is due is taken.
        GoOn(u64),
        /// Time goes on, and so many of those that are due are taken.
        TakeSome(u64, usize),
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        // Near and far, and around the edges of slots.
        let span = || {
            prop_oneof![
                0..4_u64,
                250..260_u64,
                4_090..4_100_u64,
                65_530..65_540_u64,
                1_048_000..1_049_000_u64,
                0..40_000_000_u64,
                Just(u64::from(u32::MAX)),
            ]
        };
        let act = prop_oneof![
            4 => span().prop_map(Act::Set),
            1 => any::<usize>().prop_map(Act::Cancel),
            2 => span().prop_map(Act::GoOn),
            1 => (span(), 0..3_usize).prop_map(|(by, many)| Act::TakeSome(by, many)),
        ];
        prop::collection::vec(act, 0..200)
    }

    proptest! {
        /// Against a sorted set.
        #[test]
        fn timers_come_when_they_are_due_and_in_order(acts in acts()) {
            let mut ring = Ring::new();
            let mut model = BTreeSet::new();
            let mut places = std::collections::BTreeMap::new();
            let mut now = 0;
            for (n, act) in acts.into_iter().enumerate() {
                let (by, many) = match act {
                    Act::Set(ahead) => {
                        places.insert(n, ring.set(now + ahead, n));
                        model.insert((now + ahead, n));
                        continue;
                    }
                    Act::Cancel(which) if !model.is_empty() => {
                        let timer = *model.iter().nth(which % model.len()).unwrap();
                        model.remove(&timer);
                        prop_assert_eq!(ring.cancel(places[&timer.1]), timer.1);
                        continue;
                    }
                    Act::Cancel(_) => continue,
                    Act::GoOn(by) => (by, usize::MAX),
                    Act::TakeSome(by, many) => (by, many),
                };
                now += by;
                for _ in 0..many {
                    let taken = ring.take_due(now);
                    let earliest = model.first().copied().filter(|(at, _)| *at <= now);
                    let Some(taken) = taken else {
                        prop_assert_eq!(earliest, None);
                        break;
                    };
                    // Those of one tick may come in another order.
                    let at = earliest.unwrap().0;
                    prop_assert!(model.remove(&(at, taken)), "{} is not due first", taken);
                }
                let next = ring.next();
                prop_assert_eq!(next.is_some(), !model.is_empty());
                if let (Some(next), Some((at, _))) = (next, model.first()) {
                    prop_assert!(next <= *at);
                }
            }
            prop_assert_eq!(ring.nodes.len(), model.len());
        }
    }

    #[test]
    fn timers_of_one_tick_keep_their_order() {
        let mut ring = Ring::new();
        for n in 0..5 {
            ring.set(7, n);
        }
        let taken: Vec<_> = std::iter::from_fn(|| ring.take_due(9)).collect();
        assert_eq!(taken, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_time_that_has_passed_is_due_at_once() {
        let mut ring = Ring::new();
        assert_eq!(ring.take_due(1000), None);
        ring.set(3, "late");
        assert_eq!(ring.next(), Some(1000));
        assert_eq!(ring.take_due(1000), Some("late"));
    }

    #[test]
    fn a_timer_is_small() {
        assert!(size_of::<Node<u32>>() <= 24);
    }
}
