//! Ids for messages that bring none.
//!
//! What must stay true: no two processes ever give the same one, whatever clocks and process ids they
//! have: 128 random bits of the process, and a count.

use std::hash::{BuildHasher, RandomState};

use crate::job::RequestId;

/// Gives ids: `3f0c…-1`, `3f0c…-2`, …
#[derive(Debug)]
pub struct FreshIds {
    process: String,
    given: u64,
}

impl FreshIds {
    /// A source of ids of its own.
    #[must_use]
    pub fn new() -> Self {
        // The standard library's hash keys are the operating system's random bits.
        let random = || RandomState::new().hash_one(());
        Self {
            process: format!("{:016x}{:016x}", random(), random()),
            given: 0,
        }
    }

    /// The next one.
    pub fn give(&mut self) -> RequestId {
        self.given += 1;
        RequestId::try_new(&format!("{}-{}", self.process, self.given))
            .unwrap_or_else(|| unreachable!("digits and a dash are an id"))
    }
}

impl Default for FreshIds {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_id_is_given_twice() {
        let (mut a, mut b) = (FreshIds::new(), FreshIds::new());
        let given = [a.give(), a.give(), b.give(), b.give()];
        let different: std::collections::BTreeSet<_> = given.iter().collect();
        assert_eq!(different.len(), 4);
    }
}
