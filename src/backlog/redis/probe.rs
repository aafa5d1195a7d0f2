//! Whether the user that we are at Redis may do all that the scripts do.

use ::redis::RedisResult;
use ::redis::aio::ConnectionLike;

use super::queue::Queue;
use super::script;

/// Where outcomes are going to be put.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places<'a> {
    /// The results list.
    pub(crate) results: Option<&'a str>,
    /// A key of a single outcome.
    pub(crate) result_key: Option<&'a str>,
    /// A reply list.
    pub(crate) reply: &'a str,
}

/// What the user may do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Rights {
    /// Reply lists may be pushed to.
    pub(crate) may_reply: bool,
    /// What is missing: commands, each with a key.
    pub(crate) denied: Vec<String>,
}

impl Queue {
    /// Asks before anything is done: a script that is denied something half-way stays half done.
    ///
    /// # Errors
    ///
    /// Redis', such as `NOPERM` for what every script begins with.
    pub(crate) async fn probe<C: ConnectionLike>(
        &self,
        connection: &mut C,
        places: Places<'_>,
    ) -> RedisResult<Rights> {
        let mut call = self.call(&script::PROBE);
        call.arg_or_none(places.results)
            .arg_or_none(places.result_key)
            .arg(places.reply);
        let mut reply = call.run(connection).await?;
        let mut rights = Rights {
            may_reply: reply.flag()?,
            ..Rights::default()
        };
        while !reply.is_done() {
            rights.denied.push(reply.text()?);
        }
        Ok(rights)
    }
}
