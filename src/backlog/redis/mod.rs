//! The queue in Redis: what a fleet of workers shares, and shares nothing else.
//!
//! Every change is one Lua script over declared keys, on the server's clock, so that no step of it can
//! be seen or lost alone. What must stay true, whatever dies, pauses, is repeated or comes late:
//!
//! * An unfinished request is found in one of three places: `lease` (somebody holds it, or held it),
//!   `ready`, `delayed`. Entries of `ready` whose job is not queued are leftovers, and dropped.
//! * A remote id, once recorded, stays until its job has a verdict: `begin` gives no slot to such a
//!   request, whoever asks, and whoever holds it is told the id. Whoever brings an id is heard: with a
//!   hold that is over, it is recorded where there is none; else noted as an orphan.
//! * A request that was admitted ends in one outcome: `finish` delivers it, removes the request and
//!   leaves a tombstone, at once. The tombstone outlives every repetition that is sent within its window.
//! * `meta.spent` is the sum of what stands at jobs, over all generations, less what was given back.
//! * A hold is an epoch. Epochs are handed out by one counter that never restarts, so a reused id does
//!   not meet its past; a release ends its epoch.
//! * Within a hold, each change has a number (its step). A call that is repeated, because its answer was
//!   lost, or that arrives after its own repetition, because a dead connection's data was still under
//!   way, changes nothing.
//! * A script decides first and writes last. Checks of types come before the first write.
//! * No script loops over more than it was asked for, plus a constant.
//!
//! Times are the server's. Members of a failover group must have clocks that agree within a lease.

mod claims;
mod create;
mod deliver;
mod exchange;
mod finish;
mod flight;
pub mod fresh;
mod held;
mod in_hand;
mod intake;
mod keep;
pub mod message;
mod open;
mod operate;
mod pace;
mod probe;
mod queue;
mod records;
mod reply;
pub mod reply_to;
mod script;
mod settings;
mod tend;
#[cfg(test)]
mod tests;
mod worker;

pub use deliver::Delivery;
pub use settings::{OpenQueueError, RedisSettings};
pub use worker::RedisBacklog;

pub(crate) use create::{Back, BackBy, Begin, Begun, Created, Spending};
pub(crate) use finish::{Finish, Finished, Target};
pub(crate) use held::{Answer, Epoch, Held, Hold, JobState, Raw};
pub(crate) use intake::{Admission, Admit};
pub(crate) use keep::{Assert, Known, Release};
pub(crate) use operate::{Dead, QueueStatus, Requeued};
pub(crate) use pace::Pace;
pub(crate) use probe::Places;
pub(crate) use queue::{Queue, QueueSettings};
