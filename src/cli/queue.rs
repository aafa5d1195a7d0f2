//! `requeue`, `pause` and `resume`, and how every verb gets to a queue.

use ::redis::RedisResult;

use super::{ExitCode, Failure, QueueArgs, RedisList, RequeueArgs, print};
use crate::backlog::redis::{Queue, QueueSettings, Requeued};
use crate::config::{Config, Environment, Flags};
use crate::redis::{Connection, KeyError, Keys, Link, LinkError};

/// Takes dead requests up again.
pub(super) fn requeue(args: &RequeueArgs) -> Result<ExitCode, Failure> {
    let ids: Vec<&str> = args.ids.iter().map(String::as_str).collect();
    let ids = (!args.all).then_some(ids.as_slice());
    let done = at_queue(&args.settings.0, &args.from, async |desk| {
        desk.ask(async |queue, connection| queue.requeue(connection, ids).await)
            .await
    })?;
    print::out(&told(done))?;
    Ok(match done.unknown {
        0 => ExitCode::Success,
        _ => ExitCode::SomeFailed,
    })
}

fn told(done: Requeued) -> String {
    let many = |n: u64, one: &str, more: &str| match n {
        1 => format!("1 {one}"),
        n => format!("{n} {more}"),
    };
    let mut parts = vec![many(
        done.requeued,
        "request is taken up again",
        "requests are taken up again",
    )];
    if done.unfinished > 0 {
        parts.push(many(
            done.unfinished,
            "is under way already",
            "are under way already",
        ));
    }
    if done.unknown > 0 {
        parts.push(many(
            done.unknown,
            "id is not among the dead",
            "ids are not among the dead",
        ));
    }
    parts.join("; ") + "\n"
}

/// Stops the fleet's claims and creates.
pub(super) fn pause(args: &QueueArgs) -> Result<ExitCode, Failure> {
    at_queue(&args.settings.0, &args.from, async |desk| {
        desk.ask(async |queue, connection| queue.pause(connection).await)
            .await
    })?;
    print::out(&format!(
        "{} is paused; what is under way goes on. `pollwheel resume` ends it\n",
        args.from
    ))?;
    Ok(ExitCode::Success)
}

/// Lets the fleet go on.
pub(super) fn resume(args: &QueueArgs) -> Result<ExitCode, Failure> {
    at_queue(&args.settings.0, &args.from, async |desk| {
        desk.ask(async |queue, connection| queue.resume(connection).await)
            .await
    })?;
    print::out(&format!("{} goes on\n", args.from))?;
    Ok(ExitCode::Success)
}

/// A queue and the connection to it, for a verb that is no worker.
pub(super) struct Desk {
    link: Link,
    queue: Queue,
    /// Where Redis is, without user name and password.
    pub(super) place: String,
}

/// Loads the configuration, connects, and does something at the queue.
pub(super) fn at_queue<T>(
    flags: &Flags,
    list: &RedisList,
    work: impl AsyncFnOnce(&mut Desk) -> Result<T, LinkError>,
) -> Result<T, Failure> {
    let config = Config::load(flags, Environment::of_process())?;
    runtime()?.block_on(async {
        let mut desk = Desk::open(&config, list).await?;
        Ok(work(&mut desk).await?)
    })
}

/// The runtime of a verb.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(ExitCode::Io, e))
}

impl Desk {
    /// Connects once. Warnings of the configuration go to stderr.
    pub(super) async fn open(config: &Config, list: &RedisList) -> Result<Self, Failure> {
        if !config.settings.is_quiet() {
            for warning in config.warnings.iter().chain(&config.redis()?.warnings) {
                print::note(&format!("warning: {warning}\n"));
            }
        }
        Self::reopen(config, list).await
    }

    /// Connects once, for a verb that has told of the configuration's warnings.
    pub(super) async fn reopen(config: &Config, list: &RedisList) -> Result<Self, Failure> {
        let settings = &config.settings;
        let found = config.redis()?;
        let keys = Keys::new(&settings.redis_prefix, list.as_str())?;
        let queue = Queue::new(
            keys.all(),
            QueueSettings {
                lease: settings.redis_lease,
                window: settings.repeat_window,
                // It holds nothing and never beats, so nobody meets this name.
                worker: "desk".to_owned(),
            },
        );
        let place = found.settings.masked_url();
        let link = Link::open(&found.settings, list.as_str()).await?;
        Ok(Self { link, queue, place })
    }

    /// What the server said about itself.
    pub(super) fn facts(&self) -> Option<&crate::redis::ServerFacts> {
        self.link.facts()
    }

    /// Does something at the queue, once.
    pub(super) async fn ask<T>(
        &mut self,
        work: impl AsyncFnOnce(&Queue, &mut Connection) -> RedisResult<T>,
    ) -> Result<T, LinkError> {
        let done = work(&self.queue, self.link.connection().await?).await;
        done.map_err(|e| self.link.failed(&e))
    }
}

impl From<LinkError> for Failure {
    fn from(error: LinkError) -> Self {
        let (code, hint) = match &error {
            LinkError::Server(_) => (
                ExitCode::Config,
                "check what --redis-url names: its form, its database, whether that is a Cluster or a Sentinel",
            ),
            LinkError::Away(_) => (
                ExitCode::Unavailable,
                "is it what --redis-url names, and does it run? The same command may be given again",
            ),
            LinkError::Denied(_) => (
                ExitCode::Config,
                "check redis_username and POLLWHEEL_REDIS_PASSWORD (or redis_password_file), and what that user may do",
            ),
            LinkError::Full(_) => (
                ExitCode::Io,
                "give it more memory, or let workers drain its lists",
            ),
            LinkError::WrongType(_) => (
                ExitCode::Io,
                "another program uses a key of that name; choose another list or --redis-prefix",
            ),
            LinkError::TooOld { .. } => (ExitCode::Config, "Valkey 8 will do, too"),
        };
        Self::new(code, error).hint(hint)
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        let code = match error {
            KeyError::BadPrefix { .. } => ExitCode::Config,
            KeyError::EmptyList | KeyError::OwnKey { .. } | KeyError::NoTag { .. } => {
                ExitCode::Usage
            }
        };
        Self::new(code, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_to_the_dead() {
        let told = |requeued, unknown, unfinished| {
            told(Requeued {
                requeued,
                unknown,
                unfinished,
            })
        };
        assert_eq!(told(1, 0, 0), "1 request is taken up again\n");
        assert_eq!(
            told(2, 1, 3),
            "2 requests are taken up again; 3 are under way already; 1 id is not among the dead\n"
        );
    }

    #[test]
    fn what_each_fault_of_redis_means() {
        let text = || "x".to_owned();
        for (error, code) in [
            (LinkError::Away(text()), ExitCode::Unavailable),
            (LinkError::Denied(text()), ExitCode::Config),
            (LinkError::Full(text()), ExitCode::Io),
            (LinkError::WrongType(text()), ExitCode::Io),
            (LinkError::Server(text()), ExitCode::Config),
        ] {
            assert_eq!(Failure::from(error).code, code);
        }
    }
}
