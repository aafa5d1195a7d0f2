//! A queue's keys and settings, and how its scripts are called.
//!
//! Calls take up to [`BATCH`] items each; what is longer is split. After an error
//! nobody knows what is done of a call: it is to be repeated as it is, which does the rest.

use std::time::Duration;

use ::redis::aio::ConnectionLike;
use ::redis::{Cmd, RedisResult, ToRedisArgs};

use super::flight::Flight;
use super::reply::Reply;
use super::script::Script;

/// Most items in one call of a script.
pub(crate) const BATCH: usize = 128;

/// Arguments of a usual call, and their bytes.
const USUAL_CALL: (usize, usize) = (128, 4096);

/// What a queue needs to know of its worker.
#[derive(Clone, Debug)]
pub(crate) struct QueueSettings {
    /// How long a hold lasts without a beat. All workers of a queue should have one and the same.
    pub(crate) lease: Duration,
    /// How long a finished id is remembered.
    pub(crate) window: Duration,
    /// The id of this process, new in each.
    pub(crate) worker: String,
}

/// The typed face of the scripts. It holds no connection and no state.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    /// In the order that every script takes them in: the producers' list, inbox, ready, delayed, lease,
    /// job, payload, limit, meta, done, dead, orphan, workers.
    pub(super) keys: [String; 13],
    pub(super) settings: QueueSettings,
}

impl Queue {
    /// A queue over these keys, in the order of [`keys`](Self::keys).
    pub(crate) fn new(keys: [&str; 13], settings: QueueSettings) -> Self {
        Self {
            keys: keys.map(str::to_owned),
            settings,
        }
    }

    pub(super) fn call(&self, script: &'static Script) -> Call {
        self.call_with(script, &[])
    }

    /// A call with further keys.
    pub(super) fn call_with(&self, script: &'static Script, keys: &[&str]) -> Call {
        let (arguments, bytes) = USUAL_CALL;
        let mut command = Cmd::with_capacity(arguments, bytes);
        command
            .arg("EVALSHA")
            .arg(script.hash())
            .arg(self.keys.len() + keys.len());
        for key in &self.keys {
            command.arg(key.as_str());
        }
        for &key in keys {
            command.arg(key);
        }
        Call { script, command }
    }

    /// A call whose first arguments are the lease and the worker.
    pub(super) fn call_as_worker(&self, script: &'static Script) -> Call {
        let mut call = self.call(script);
        call.arg(ms(self.settings.lease))
            .arg(self.settings.worker.as_str());
        call
    }
}

/// A script's call that is being written.
pub(super) struct Call {
    pub(super) script: &'static Script,
    pub(super) command: Cmd,
}

impl Call {
    pub(super) fn arg(&mut self, arg: impl ToRedisArgs) -> &mut Self {
        self.command.arg(arg);
        self
    }

    /// The empty string where it is absent.
    pub(super) fn arg_or_none(&mut self, arg: Option<impl ToRedisArgs>) -> &mut Self {
        match arg {
            Some(arg) => self.arg(arg),
            None => self.arg(""),
        }
    }

    pub(super) fn flag(&mut self, flag: bool) -> &mut Self {
        self.arg(u8::from(flag))
    }

    /// Sends it alone.
    pub(super) async fn run<C: ConnectionLike>(self, connection: &mut C) -> RedisResult<Reply> {
        let mut flight = Flight::default();
        flight.add(self);
        flight.send(connection).await?.next()
    }
}

/// Longest time and largest amount in an argument: sums of it and a time stay exact in Lua's numbers.
pub(super) const MOST: u64 = 1 << 50;

/// Whole milliseconds, at least one.
pub(super) fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis())
        .unwrap_or(MOST)
        .clamp(1, MOST)
}
