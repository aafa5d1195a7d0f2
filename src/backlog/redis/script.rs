//! The scripts. Each begins with the same helpers (`common.lua`), which name the keys in the order of
//! [`super::Queue`]; its head tells its arguments and its reply.
//!
//! What only ends or keeps work goes through where Redis is out of memory; what takes new work on
//! (`claim`, `admit`, `begin`, `push`) is refused there with `OOM`.

use std::sync::LazyLock;

/// A script, and the name that the server knows it by.
#[derive(Debug)]
pub(super) struct Script {
    code: &'static str,
    hash: String,
}

impl Script {
    fn new(code: &'static str) -> Self {
        let hash = ::redis::Script::new(code).get_hash().to_owned();
        Self { code, hash }
    }

    pub(super) fn code(&self) -> &'static str {
        self.code
    }

    /// SHA-1 of the code, in hexadecimal digits.
    pub(super) fn hash(&self) -> &str {
        &self.hash
    }
}

macro_rules! scripts {
    ($($name:ident: $head:literal, $file:literal;)*) => {
        $(pub(super) static $name: LazyLock<Script> = LazyLock::new(|| {
            Script::new(concat!($head, "\n", include_str!("scripts/common.lua"), include_str!($file)))
        });)*
    };
}

scripts! {
    ADOPT: "#!lua flags=allow-oom", "scripts/adopt.lua";
    CLAIM: "#!lua", "scripts/claim.lua";
    ADMIT: "#!lua", "scripts/admit.lua";
    BEGIN: "#!lua", "scripts/begin.lua";
    BACK: "#!lua flags=allow-oom", "scripts/back.lua";
    CREATED: "#!lua flags=allow-oom", "scripts/created.lua";
    FINISH: "#!lua flags=allow-oom", "scripts/finish.lua";
    BEAT: "#!lua flags=allow-oom", "scripts/beat.lua";
    ASSERT: "#!lua flags=allow-oom", "scripts/assert.lua";
    RELEASE: "#!lua flags=allow-oom", "scripts/release.lua";
    PENALISE: "#!lua flags=allow-oom", "scripts/penalise.lua";
    POLL_SLOTS: "#!lua flags=allow-oom", "scripts/poll_slots.lua";
    SETTLE_IN: "#!lua flags=allow-oom", "scripts/settle_in.lua";
    STATUS: "#!lua flags=allow-oom,no-writes", "scripts/status.lua";
    AGES: "#!lua flags=allow-oom,no-writes", "scripts/ages.lua";
    DEAD_LIST: "#!lua flags=allow-oom,no-writes", "scripts/dead_list.lua";
    REQUEUE: "#!lua flags=allow-oom", "scripts/requeue.lua";
    PUSH: "#!lua", "scripts/push.lua";
    PROBE: "#!lua flags=allow-oom,no-writes", "scripts/probe.lua";
}
