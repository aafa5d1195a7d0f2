//! Calls of scripts that are sent together: one write, and one wait for all answers.
//!
//! What must stay true: the server runs them in the order in which they were added, and none is sent twice but
//! one that the server did not know, which it has not run: it is loaded and called again, after the others. The
//! fault of one call is its own; a broken connection is the fault of all.

use ::redis::aio::ConnectionLike;
use ::redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind, Value, cmd};

use super::queue::{BATCH, Call};
use super::reply::Reply;
use super::script::Script;

/// Calls that are about to be sent.
#[derive(Default)]
pub(super) struct Flight(Vec<Call>);

/// Their replies, in the same order, as far as they were not read yet.
pub(super) struct Replies(std::vec::IntoIter<Value>);

/// A place in a flight: so many items, each with an answer, in as few calls as they need.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked(usize);

impl Flight {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn add(&mut self, call: Call) {
        self.0.push(call);
    }

    /// Adds as many calls as so many items need; `call` makes one of some of them.
    pub(super) fn add_all<T>(&mut self, items: &[T], call: impl FnMut(&[T]) -> Call) -> Asked {
        self.0.extend(items.chunks(BATCH).map(call));
        Asked(items.len())
    }

    /// Sends them all and waits for all replies.
    ///
    /// # Errors
    ///
    /// The connection's: some calls may have been carried out, or all.
    pub(super) async fn send<C: ConnectionLike>(self, connection: &mut C) -> RedisResult<Replies> {
        let mut scripts = Vec::with_capacity(self.0.len());
        let mut calls = Pipeline::with_capacity(self.0.len());
        for call in self.0 {
            scripts.push(call.script);
            calls.add_command(call.command);
        }
        let mut values = connection
            .req_packed_commands(&calls, 0, scripts.len())
            .await?;
        let unknown: Vec<usize> = (0..values.len())
            .filter(|&n| is_unknown(&values[n]))
            .collect();
        if !unknown.is_empty() {
            let mut load: Vec<&'static Script> = unknown.iter().map(|&n| scripts[n]).collect();
            load.dedup_by_key(|script| script.hash());
            let again = unknown.iter().filter_map(|&n| calls.cmd_iter().nth(n));
            let mut second = Pipeline::with_capacity(load.len() + unknown.len());
            for command in load
                .iter()
                .map(|script| script.load())
                .chain(again.cloned())
            {
                second.add_command(command);
            }
            let count = load.len() + unknown.len();
            let answers = connection.req_packed_commands(&second, 0, count).await?;
            let mut answers = answers.into_iter();
            for loaded in answers.by_ref().take(load.len()) {
                loaded.extract_error()?;
            }
            for (n, answer) in unknown.into_iter().zip(answers) {
                values[n] = answer;
            }
        }
        Ok(Replies(values.into_iter()))
    }
}

fn is_unknown(value: &Value) -> bool {
    let Value::ServerError(error) = value else {
        return false;
    };
    error.kind() == Some(ServerErrorKind::NoScript)
}

impl Script {
    fn load(&self) -> Cmd {
        cmd("SCRIPT").arg("LOAD").arg(self.code()).to_owned()
    }
}

impl Replies {
    /// The next call's.
    ///
    /// # Errors
    ///
    /// That call's.
    pub(super) fn next(&mut self) -> RedisResult<Reply> {
        match self.0.next() {
            Some(Value::ServerError(error)) => Err(error.into()),
            Some(value) => Reply::new(value),
            None => Err(RedisError::from((
                ErrorKind::UnexpectedReturnType,
                "fewer replies than calls",
            ))),
        }
    }
}

impl Asked {
    /// Reads an answer for each item, in order.
    ///
    /// # Errors
    ///
    /// The first of its calls' that failed: nobody knows then what is done of them.
    pub(super) fn read<T>(
        self,
        replies: &mut Replies,
        mut answer: impl FnMut(&mut Reply) -> RedisResult<T>,
    ) -> RedisResult<Vec<T>> {
        let mut answers = Vec::with_capacity(self.0);
        let mut fault = None;
        let mut left = self.0;
        while left > 0 {
            let some = left.min(BATCH);
            left -= some;
            let mut read = || -> RedisResult<()> {
                let mut reply = replies.next()?;
                for _ in 0..some {
                    answers.push(answer(&mut reply)?);
                }
                reply.end()
            };
            if let Err(e) = read() {
                fault.get_or_insert(e);
            }
        }
        fault.map_or(Ok(answers), Err)
    }
}
