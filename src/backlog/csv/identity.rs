//! What a row is known by, across runs.
//!
//! What must stay true: the same row gets the same id in every run, whatever was added around it.
//!
//! | row | id |
//! | --- | --- |
//! | has an `id` cell | that |
//! | has none, and is good | 24 hex digits of the hash of its solver fields, `-`, and which row of that hash it is in the file, from 1 |
//! | has none that it could be known by (a bad `id`, a second row of one id, a bad row without ids) | `bad-`, 24 hex digits of a hash over its cells, `-`, and which one it is |

use std::hash::{BuildHasher, RandomState};

use crate::job::{FieldsHash, RequestId};

use super::row::Row;

/// Hex digits of a hash in a generated id: 96 bits.
const DIGITS: usize = 24;
/// What sets the ids of bad rows apart.
const BAD: &str = "bad-";
/// Parts the two families of generated ids in the table of hashes.
const BAD_BITS: u64 = 0x5bad_5bad_5bad_5bad;

/// A hash that generated ids are made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RowHash {
    bytes: [u8; 16],
    bad: bool,
}

impl RowHash {
    /// Of a good row: what it sends.
    pub(super) fn of_fields(hash: FieldsHash) -> Self {
        Self {
            bytes: hash.0,
            bad: false,
        }
    }

    /// Of a bad row: all its cells, as they were read.
    pub(super) fn of_cells(row: &Row) -> Self {
        let mut hasher = blake3::Hasher::new();
        for cell in row.iter() {
            hasher.update(&(cell.len() as u64).to_le_bytes());
            hasher.update(cell);
        }
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self { bytes, bad: true }
    }

    /// What stands for it in tables. The same in every process.
    pub(super) fn short(self) -> u64 {
        let mut first = [0; 8];
        first.copy_from_slice(&self.bytes[..8]);
        u64::from_be_bytes(first) ^ if self.bad { BAD_BITS } else { 0 }
    }

    /// The id of the `occurrence`-th row of this hash.
    pub(super) fn id(self, occurrence: u32) -> Option<RequestId> {
        use std::fmt::Write as _;
        let mut text = String::with_capacity(BAD.len() + DIGITS + 12);
        if self.bad {
            text.push_str(BAD);
        }
        for byte in &self.bytes[..DIGITS / 2] {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        let _ = write!(text, "-{occurrence}");
        RequestId::try_new(&text)
    }
}

/// The hash and the occurrence that a generated id was made from; of bad rows too.
fn parse_generated(id: &str) -> Option<(u64, u32, bool)> {
    let (rest, bad) = match id.strip_prefix(BAD) {
        Some(rest) => (rest, true),
        None => (id, false),
    };
    let (digits, occurrence) = rest.split_once('-')?;
    let is_hex = digits.len() == DIGITS
        && digits
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if !is_hex || occurrence.starts_with(['0', '+']) {
        return None;
    }
    let hash = u64::from_str_radix(&digits[..16], 16).ok()?;
    Some((
        hash ^ if bad { BAD_BITS } else { 0 },
        occurrence.parse().ok()?,
        bad,
    ))
}

/// What an id is found by in the tables of [`super::seen`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// An id of the user's.
    Own(u64),
    /// One of ours: the hash it was made from, and its occurrence.
    Generated(u64, u32),
}

/// Makes keys of ids. Seeded for each process, so that no input can be made to collide.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    seed: RandomState,
    check_seed: RandomState,
    /// Whether the input has an `id` column.
    pub(super) own_ids: bool,
}

impl Keys {
    pub(super) fn new(own_ids: bool) -> Self {
        Self {
            seed: RandomState::new(),
            check_seed: RandomState::new(),
            own_ids,
        }
    }

    /// The key of an id. Where the input has ids of its own, only those of bad rows are ours.
    pub(super) fn key(&self, id: &str) -> Key {
        match self.generated(id) {
            Some((hash, occurrence)) => Key::Generated(hash, occurrence),
            None => Key::Own(self.hash(id)),
        }
    }

    /// The hash and the occurrence of an id, if it is one of ours.
    pub(super) fn generated(&self, id: &str) -> Option<(u64, u32)> {
        if self.own_ids && !id.starts_with(BAD) {
            return None;
        }
        let (hash, occurrence, bad) = parse_generated(id)?;
        (bad || !self.own_ids).then_some((hash, occurrence))
    }

    /// A hash of an id.
    pub(super) fn hash(&self, id: &str) -> u64 {
        self.seed.hash_one(id)
    }

    /// A second hash of an id, independent of the first.
    pub(super) fn check_hash(&self, id: &str) -> u64 {
        self.check_seed.hash_one(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_id_leads_back_to_its_hash() {
        for bad in [false, true] {
            let hash = RowHash {
                bytes: *b"\x01\x23abcdefghijklmn",
                bad,
            };
            let id = hash.id(12).unwrap();
            assert_eq!(
                Keys::new(false).key(id.as_str()),
                Key::Generated(hash.short(), 12)
            );
        }
    }

    #[test]
    fn generated_ids_are_the_same_in_every_process() {
        let hash = RowHash {
            bytes: [0xab; 16],
            bad: false,
        };
        assert_eq!(hash.id(1).unwrap().as_str(), "abababababababababababab-1");
    }

    #[test]
    fn an_id_of_the_users_is_theirs() {
        let keys = Keys::new(true);
        for id in [
            "a",
            "bad-1",
            "abababababababababababab-1",
            "bad-abababababababababababab-01",
        ] {
            assert!(matches!(keys.key(id), Key::Own(_)), "{id}");
        }
    }
}
