//! A bell that rings when a request arrives, for a worker that has nothing to do.
//!
//! What must stay true: it waits on a connection of its own, by a blocking move from the producers' list to the
//! inbox. So an element is in one of the two whatever happens to the answer, to the connection or to us, and nothing
//! of it is ever only in memory. It moves at most one element each time it is armed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::redis::cmd;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::error::LinkError;
use super::link::Link;
use super::settings::Settings;

/// How long one blocking move waits in Redis.
const WAIT: Duration = Duration::from_secs(5);
/// How long it rests after an error that waiting does not mend, so that a caller that arms it again does not
/// spin.
const REST: Duration = Duration::from_secs(1);

/// A task that waits for the next element of a list.
#[derive(Debug)]
pub struct Bell {
    shared: Arc<Shared>,
    // One ring is as good as two.
    rings: mpsc::Receiver<Result<(), LinkError>>,
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    is_armed: AtomicBool,
    armed: Notify,
}

impl Bell {
    /// Starts the task. It connects when it is armed for the first time.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    #[must_use]
    pub fn start(settings: &Settings, list: &str, inbox: &str) -> Self {
        let mut settings = settings.clone();
        // An answer may take as long as the wait and then as long as any other.
        settings.response_timeout += WAIT;
        let shared = Arc::new(Shared::default());
        let (ring, rings) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let mut ringer = Ringer {
            link: Link::idle(settings, list),
            list: list.to_owned(),
            inbox: inbox.to_owned(),
            shared: Arc::clone(&shared),
            ring,
        };
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            stopped.run_until_cancelled(ringer.work()).await;
        });
        Self {
            shared,
            rings,
            stop,
            task: Some(task),
        }
    }

    /// Has it ring once, for the next element. Armed already, it stays so.
    pub fn arm(&self) {
        if !self.shared.is_armed.swap(true, Ordering::AcqRel) {
            self.shared.armed.notify_one();
        }
    }

    /// Waits until it rings. Then something may be in the inbox: it also rings when an answer was lost.
    ///
    /// # Errors
    ///
    /// What is wrong where waiting does not mend it. While Redis is away it does not ring.
    ///
    /// # Cancel safety
    ///
    /// No ring is lost.
    pub async fn rung(&mut self) -> Result<(), LinkError> {
        match self.rings.recv().await {
            Some(ring) => ring,
            // Its task has ended, by a panic, which `close` tells of.
            None => std::future::pending().await,
        }
    }

    /// Ends the task and waits for its end. An element that arrives at this moment is in the inbox.
    ///
    /// # Panics
    ///
    /// If the task did.
    pub async fn close(mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take()
            && let Err(e) = task.await
            && e.is_panic()
        {
            std::panic::resume_unwind(e.into_panic());
        }
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

struct Ringer {
    link: Link,
    list: String,
    inbox: String,
    shared: Arc<Shared>,
    ring: mpsc::Sender<Result<(), LinkError>>,
}

impl Ringer {
    /// Until it is dropped. That may be at any point: see the head of this module.
    async fn work(&mut self) {
        loop {
            self.shared.armed.notified().await;
            let ring = self.next().await;
            self.shared.is_armed.store(false, Ordering::Release);
            let is_error = ring.is_err();
            // A ring that nobody has heard yet stands for this one, too.
            let _ = self.ring.try_send(ring);
            if is_error {
                tokio::time::sleep(REST).await;
            }
        }
    }

    /// Waits for the next element.
    async fn next(&mut self) -> Result<(), LinkError> {
        let mut wait = cmd("BLMOVE");
        wait.arg(&self.list)
            .arg(&self.inbox)
            .arg("RIGHT")
            .arg("LEFT")
            .arg(WAIT.as_secs());
        loop {
            match self.link.connection().await {
                Err(e) if e.is_away() => continue,
                Err(e) => return Err(e),
                Ok(_) => {}
            }
            match self.link.run::<Option<Vec<u8>>>(&wait).await {
                Ok(None) => {}
                Ok(Some(_)) => return Ok(()),
                // It may have been moved.
                Err(e) if e.is_away() => return Ok(()),
                Err(e) => return Err(e),
            }
        }
    }
}
