//! Points at which a test can kill the process: a testing aid, off unless asked for.

use std::str::FromStr;

use crate::backlog::BacklogError;

/// The durable steps that a crash can fall between, in the order they are met.
const NAMES: [&str; 10] = [
    "before-commit",
    "after-begin-commit",
    "after-commit",
    "mid-append",
    "after-append",
    "after-fsync",
    "after-checkpoint",
    "after-rewrite-file",
    "after-intent",
    "after-rename",
];

/// Where to crash: a name of a step, a colon, and at which time it is met (`after-commit:3`).
///
/// There the process aborts at once, without any clean-up, as `kill -9` would have it.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct CrashPoint {
    name: &'static str,
    left: u32,
    /// Fail the call instead of aborting: the test drops the backlog without closing it.
    #[cfg(test)]
    pub(super) only_fail: bool,
}

impl FromStr for CrashPoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, times) = text.split_once(':').unwrap_or((text, "1"));
        let known = NAMES.iter().find(|n| **n == name);
        match (known, times.parse()) {
            (Some(name), Ok(left)) if left > 0 => Ok(Self {
                name,
                left,
                #[cfg(test)]
                only_fail: true,
            }),
            _ => Err(format!(
                "no crash point {text:?}; known are {}, each with :N",
                NAMES.join(", ")
            )),
        }
    }
}

/// Passes a point, or does not.
#[derive(Clone, Debug, Default)]
pub(super) struct Crash(pub(super) Option<CrashPoint>);

impl Crash {
    /// Whether the process is to die at this point now.
    pub(super) fn is_due(&mut self, name: &str) -> bool {
        debug_assert!(NAMES.contains(&name));
        match &mut self.0 {
            Some(point) if point.name == name && point.left > 0 => {
                point.left -= 1;
                point.left == 0
            }
            _ => false,
        }
    }

    /// Dies here, if that is asked for.
    pub(super) fn at(&mut self, name: &str) -> Result<(), BacklogError> {
        if self.is_due(name) {
            self.die()
        } else {
            Ok(())
        }
    }

    /// Dies.
    pub(super) fn die(&self) -> Result<(), BacklogError> {
        #[cfg(test)]
        if self.0.as_ref().is_some_and(|p| p.only_fail) {
            return Err(BacklogError::Fatal {
                what: "crash point".to_owned(),
            });
        }
        std::process::abort()
    }
}
