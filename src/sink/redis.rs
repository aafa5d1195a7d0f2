//! Outcomes of a CSV run, pushed to a list of Redis.
//!
//! What must stay true: a document was acknowledged by Redis before it counts as delivered; a push whose answer was
//! lost is not repeated here but by the caller, so a document may stand in the list twice.

use std::io;
use std::sync::mpsc as std_mpsc;
use std::thread;

use ::redis::cmd;
use tokio::sync::mpsc;

use super::{Outbox, SinkError};
use crate::redis::{Link, LinkError, ServerFacts, Settings};

/// A list that outcomes are pushed to, at its left: readers take the oldest from its right.
///
/// The connection lives on a thread of its own, so that it may be used from any place that can block, inside a
/// runtime or not.
#[derive(Debug)]
pub struct RedisOutbox {
    name: String,
    facts: ServerFacts,
    // One push at a time.
    pushes: Option<mpsc::Sender<::redis::Cmd>>,
    answers: std_mpsc::Receiver<Result<u64, LinkError>>,
    list: String,
    thread: Option<thread::JoinHandle<()>>,
}

impl RedisOutbox {
    /// Connects, once, and looks whether the list is one. Blocks.
    ///
    /// # Errors
    ///
    /// Why there is no connection; [`LinkError::WrongType`] where the key holds something else.
    pub fn open(settings: &Settings, list: &str) -> Result<Self, LinkError> {
        let (pushes, to_push) = mpsc::channel(1);
        let (answer, answers) = std_mpsc::sync_channel(1);
        let (tell, told) = std_mpsc::sync_channel(1);
        let (settings, key) = (settings.clone(), list.to_owned());
        let away = |e: &dyn std::fmt::Display| LinkError::Away(format!("no thread for it: {e}"));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| away(&e))?;
        let thread = thread::Builder::new()
            .name("outbox".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    match connect(&settings, &key).await {
                        Ok((link, facts)) => {
                            if tell.send(Ok(facts)).is_ok() {
                                push(link, to_push, answer).await;
                            }
                        }
                        Err(e) => {
                            let _ = tell.send(Err(e));
                        }
                    }
                });
            })
            .map_err(|e| away(&e))?;
        let facts = told.recv().map_err(|e| away(&e))??;
        Ok(Self {
            name: format!("redis:{list}"),
            facts,
            pushes: Some(pushes),
            answers,
            list: list.to_owned(),
            thread: Some(thread),
        })
    }

    /// What the server said about itself when it was connected to.
    #[must_use]
    pub fn facts(&self) -> &ServerFacts {
        &self.facts
    }

    fn fault(&self, error: LinkError) -> SinkError {
        let name = &self.name;
        match error {
            LinkError::Away(why) => SinkError::Away {
                what: format!("{name}: Redis is away: {why}"),
            },
            LinkError::Full(why) => SinkError::Full {
                what: format!("{name}: Redis is full"),
                source: io::Error::new(io::ErrorKind::StorageFull, why),
            },
            other => SinkError::Fatal {
                what: format!("{name}: {other}"),
            },
        }
    }
}

impl Outbox for RedisOutbox {
    fn name(&self) -> &str {
        &self.name
    }

    fn deliver(&mut self, documents: &[&[u8]]) -> Result<(), SinkError> {
        if documents.is_empty() {
            return Ok(());
        }
        let mut push = cmd("LPUSH");
        push.arg(&self.list).arg(documents);
        let gone = || SinkError::Fatal {
            what: "the thread that writes to Redis has ended; this is a bug".to_owned(),
        };
        let pushes = self.pushes.as_ref().ok_or_else(gone)?;
        pushes.try_send(push).map_err(|_| gone())?;
        let answer = self.answers.recv().map_err(|_| gone())?;
        answer.map(|_| ()).map_err(|e| self.fault(e))
    }
}

impl Drop for RedisOutbox {
    fn drop(&mut self) {
        drop(self.pushes.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn connect(settings: &Settings, list: &str) -> Result<(Link, ServerFacts), LinkError> {
    let mut link = Link::open(settings, list).await?;
    let what: String = link.run(cmd("TYPE").arg(list)).await?;
    if what != "list" && what != "none" {
        return Err(LinkError::WrongType(format!("{list:?} is a {what}")));
    }
    let facts = link.facts().cloned();
    let facts = facts.ok_or_else(|| LinkError::Away("it has gone again".to_owned()))?;
    Ok((link, facts))
}

/// Pushes one after the other, until nobody gives any more.
async fn push(
    mut link: Link,
    mut pushes: mpsc::Receiver<::redis::Cmd>,
    answers: std_mpsc::SyncSender<Result<u64, LinkError>>,
) {
    while let Some(push) = pushes.recv().await {
        // There is room: the last answer was taken before the next push was given.
        if answers.send(link.run(&push).await).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::Access;
    use crate::support::redis::{RedisServer, ask};

    fn open(server: &RedisServer) -> Result<RedisOutbox, LinkError> {
        let settings = Settings::try_new(&server.url(), Access::default()).unwrap();
        RedisOutbox::open(&settings, "results")
    }

    fn list(server: &RedisServer) -> Vec<String> {
        let words = ["LRANGE", "results", "0", "-1"];
        ::redis::from_redis_value(ask(server.port, None, &words).unwrap()).unwrap()
    }

    #[test]
    fn documents_are_pushed_so_that_the_oldest_is_read_first() {
        let server = RedisServer::start();
        let mut outbox = open(&server).unwrap();
        assert_eq!(outbox.name(), "redis:results");
        assert_eq!(outbox.facts().generation, 1);
        outbox.deliver(&[b"{\"id\":1}", b"2"]).unwrap();
        outbox.deliver(&[]).unwrap();
        outbox.deliver(&[b"3"]).unwrap();
        assert_eq!(list(&server), ["3", "2", "{\"id\":1}"]);
    }

    /// As the recorder's thread does.
    #[tokio::test]
    async fn it_works_inside_a_runtime() {
        let server = RedisServer::start();
        let mut outbox = open(&server).unwrap();
        outbox.deliver(&[b"1"]).unwrap();
        drop(outbox);
        assert_eq!(list(&server), ["1"]);
    }

    #[test]
    fn what_cannot_be_delivered_now_can_be_later() {
        let mut server = RedisServer::start();
        let mut outbox = open(&server).unwrap();
        server.kill();
        for _ in 0..2 {
            let error = outbox.deliver(&[b"1"]).unwrap_err();
            assert!(matches!(error, SinkError::Away { .. }), "{error}");
        }
        server.start_again();
        while let Err(error) = outbox.deliver(&[b"1"]) {
            assert!(matches!(error, SinkError::Away { .. }), "{error}");
        }
        assert_eq!(list(&server), ["1"]);
        ask(server.port, None, &["CONFIG", "SET", "maxmemory", "1"]).unwrap();
        let error = outbox.deliver(&[b"2"]).unwrap_err();
        assert!(matches!(error, SinkError::Full { .. }), "{error}");
        ask(server.port, None, &["CONFIG", "SET", "maxmemory", "0"]).unwrap();
        outbox.deliver(&[b"2"]).unwrap();
        assert_eq!(list(&server), ["2", "1"]);
    }

    #[test]
    fn a_key_that_is_no_list_is_refused() {
        let server = RedisServer::start();
        let mut outbox = open(&server).unwrap();
        ask(server.port, None, &["SET", "results", "x"]).unwrap();
        let error = outbox.deliver(&[b"1"]).unwrap_err();
        assert!(matches!(error, SinkError::Fatal { .. }), "{error}");
        let error = open(&server).unwrap_err();
        assert_eq!(
            error,
            LinkError::WrongType("\"results\" is a string".into())
        );
        drop(server);
    }
}
