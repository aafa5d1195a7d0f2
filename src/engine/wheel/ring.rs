//! A hierarchical timing wheel: setting, cancelling and taking a timer cost the same however many there
//! are. Time is a number of ticks that the caller counts.
//!
//! Scheme 6 of G. Varghese and T. Lauck, "Hashed and Hierarchical Timing Wheels" (1987). A slot of level 0
//! is one tick; one of level `n` is all of level `n - 1`. A timer moves down a level when the time enters its
//! slot, [`LEVELS`] - 1 times at the most.
//!
//! What must stay true: a timer of time `at` stands on the level of the highest byte in which `at` differs
//! from `now`, in the slot that this byte numbers. So every occupied slot lies after `now`, those of a lower
//! level come first, and where a timer stands need not be stored. For this, `now` enters a slot only to empty
//! it.

use slab::Slab;

const SLOT_BITS: u32 = 8;
const SLOTS: usize = 1 << SLOT_BITS;
/// Enough for any number of ticks: with eight bits each, all of a `u64`'s.
const LEVELS: usize = 8;
const NONE: u32 = u32::MAX;

/// A timer that stands on the ring. Good for as long as the timer was neither taken nor cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u32);

/// Timers, each with what it is for. At most `u32::MAX` at a time.
pub(super) struct Ring<T> {
    now: u64,
    levels: Box<[Level; LEVELS]>,
    nodes: Slab<Node<T>>,
}

struct Level {
    /// A bit for each slot that holds a timer.
    occupied: [u64; SLOTS / 64],
    /// The first timer of each slot.
    slots: [u32; SLOTS],
}

/// A timer, in the circular list of its slot.
struct Node<T> {
    at: u64,
    next: u32,
    before: u32,
    what: T,
}

impl Level {
    fn first(&self) -> Option<usize> {
        let word = self.occupied.iter().position(|bits| *bits != 0)?;
        Some(word * 64 + self.occupied[word].trailing_zeros() as usize)
    }

    fn set_first(&mut self, slot: usize, node: u32) {
        self.slots[slot] = node;
        let bit = 1 << (slot % 64);
        if node == NONE {
            self.occupied[slot / 64] &= !bit;
        } else {
            self.occupied[slot / 64] |= bit;
        }
    }
}

impl<T> Ring<T> {
    pub(super) fn new() -> Self {
        Self {
            now: 0,
            levels: Box::new(
                [const {
                    Level {
                        occupied: [0; SLOTS / 64],
                        slots: [NONE; SLOTS],
                    }
                }; LEVELS],
            ),
            nodes: Slab::new(),
        }
    }

    /// Sets a timer. One whose time has passed is due at once.
    pub(super) fn set(&mut self, at: u64, what: T) -> Place {
        let node = Node {
            at: at.max(self.now),
            next: NONE,
            before: NONE,
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
                Some((level, slot, begins)) if begins <= present => {
                    self.now = begins;
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
        self.first().map(|(_, _, begins)| begins)
    }

    /// The slot that comes first: its level, its number, and when it begins.
    fn first(&self) -> Option<(usize, usize, u64)> {
        let (level, slot) = self
            .levels
            .iter()
            .enumerate()
            .find_map(|(n, level)| Some((n, level.first()?)))?;
        let shift = SLOT_BITS * u32::try_from(level).ok()?;
        let mask = (SLOTS as u64 - 1) << shift;
        let below = (1 << shift) - 1;
        Some((
            level,
            slot,
            self.now & !mask & !below | (slot as u64) << shift,
        ))
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

    /// Where a timer of this time stands.
    fn slot(&self, at: u64) -> (usize, usize) {
        let highest = 63 - ((at ^ self.now) | 1).leading_zeros();
        let level = highest / SLOT_BITS;
        let slot = at >> (level * SLOT_BITS) & (SLOTS as u64 - 1);
        #[expect(clippy::cast_possible_truncation, reason = "less than SLOTS")]
        (level as usize, slot as usize)
    }

    /// Puts a node at the end of its slot's list.
    fn link(&mut self, n: u32) {
        let (level, slot) = self.slot(self.nodes[n as usize].at);
        let first = self.levels[level].slots[slot];
        if first == NONE {
            self.levels[level].set_first(slot, n);
            let node = &mut self.nodes[n as usize];
            (node.next, node.before) = (n, n);
            return;
        }
        let last = std::mem::replace(&mut self.nodes[first as usize].before, n);
        self.nodes[last as usize].next = n;
        let node = &mut self.nodes[n as usize];
        (node.next, node.before) = (first, last);
    }

    fn unlink(&mut self, n: u32) -> T {
        let node = self.nodes.remove(n as usize);
        let (level, slot) = self.slot(node.at);
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
                65_530..65_540_u64,
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
        assert!(size_of::<Node<usize>>() <= 24);
    }
}
