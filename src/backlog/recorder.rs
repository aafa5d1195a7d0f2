//! Recording beside the engine: commands in, completions out, batches in between.
//!
//! What must stay true: commands of one job are recorded in the order they were given; whatever
//! arrived while one batch was being recorded forms the next, so that batches grow by themselves
//! under load and a single job waits for no timer; a completion is sent only once its batch is
//! durable. There is at most one command per job under way, so both channels, which hold
//! [`Recorder::channel`]'s `capacity`, never fill up and the two sides can't block each other.

use std::time::Duration;
use std::{io, thread};

use tokio::sync::mpsc;

use super::{Backlog, BacklogError, Claimed, Record, Ticket};

/// Most records of a batch. Bounds the memory of a transaction and the wait for it.
const LARGEST_BATCH: usize = 512;

/// How long after a retryable failure the same batch is tried again.
const RETRY_EVERY: Duration = Duration::from_millis(500);

/// What the engine asks for.
#[derive(Debug)]
enum Command {
    Record {
        tag: usize,
        ticket: Ticket,
        record: Record,
        polls: u64,
    },
    Claim {
        max: usize,
    },
    Close(String),
}

/// What was done.
#[derive(Debug)]
pub enum Completion {
    /// The records of these tags are durable.
    Recorded(Vec<usize>),
    /// The answer to a claim.
    Claimed(Claimed),
    /// Recording fails for now and is tried again until the engine lets go.
    Stalled(String),
    /// Recording or claiming failed for good. Nothing follows.
    Failed(BacklogError),
    /// The backlog is closed. Nothing follows.
    Closed,
}

/// The recording side has ended before its time (a panic on its thread).
#[derive(Debug, thiserror::Error)]
#[error("the recorder has ended")]
pub struct RecorderGone;

/// The engine's end.
#[derive(Debug)]
pub struct Recorder {
    commands: mpsc::Sender<Command>,
    completions: mpsc::Receiver<Completion>,
}

/// The recording end.
#[derive(Debug)]
pub struct RecordingEnd {
    inbox: mpsc::Receiver<Command>,
    outbox: mpsc::Sender<Completion>,
}

impl Recorder {
    /// Two ends, for at most `capacity` jobs at a time.
    #[must_use]
    pub fn channel(capacity: usize) -> (Self, RecordingEnd) {
        // One record per job, and beside them a claim, a close and a word on a stall.
        let (commands, inbox) = mpsc::channel(capacity + 2);
        let (outbox, completions) = mpsc::channel(capacity + 4);
        (
            Self {
                commands,
                completions,
            },
            RecordingEnd { inbox, outbox },
        )
    }

    /// The engine's end of a recorder that works on a thread of its own, where it may block. The
    /// thread ends after a close, a failure, or when the engine's end is dropped: join it.
    ///
    /// # Errors
    ///
    /// Where the system gives no thread.
    pub fn on_thread<B: Backlog + Send + 'static>(
        backlog: B,
        capacity: usize,
    ) -> io::Result<(Self, thread::JoinHandle<()>)> {
        let (recorder, end) = Self::channel(capacity);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        let thread = thread::Builder::new()
            .name("recorder".to_owned())
            .spawn(move || runtime.block_on(end.serve(backlog)))?;
        Ok((recorder, thread))
    }

    /// Asks for a record. `tag` comes back when it is durable.
    ///
    /// # Errors
    ///
    /// [`RecorderGone`] where nobody will record it.
    pub fn record(
        &self,
        tag: usize,
        ticket: Ticket,
        record: Record,
        polls: u64,
    ) -> Result<(), RecorderGone> {
        self.send(Command::Record {
            tag,
            ticket,
            record,
            polls,
        })
    }

    /// Asks for up to `max` requests.
    ///
    /// # Errors
    ///
    /// [`RecorderGone`] where nobody will answer.
    pub fn claim(&self, max: usize) -> Result<(), RecorderGone> {
        self.send(Command::Claim { max })
    }

    /// Asks to close the backlog, after everything asked before; `why` the run ended is noted.
    ///
    /// # Errors
    ///
    /// [`RecorderGone`] where nobody will.
    pub fn close(&self, why: &str) -> Result<(), RecorderGone> {
        self.send(Command::Close(why.to_owned()))
    }

    /// The next completion; `None` once the recording side has ended.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing is taken unless it is returned.
    pub async fn next(&mut self) -> Option<Completion> {
        self.completions.recv().await
    }

    /// A completion that is there already.
    pub fn try_next(&mut self) -> Option<Completion> {
        self.completions.try_recv().ok()
    }

    fn send(&self, command: Command) -> Result<(), RecorderGone> {
        self.commands.try_send(command).map_err(|_| RecorderGone)
    }
}

impl RecordingEnd {
    /// Serves the engine on `backlog` until it closes it or lets go, or until it fails. Blocks where
    /// the backlog does.
    pub async fn serve<B: Backlog>(self, mut backlog: B) {
        let Self { mut inbox, outbox } = self;
        let mut commands = Vec::with_capacity(LARGEST_BATCH);
        while inbox.recv_many(&mut commands, LARGEST_BATCH).await > 0 {
            let mut tags = Vec::new();
            let mut batch = Vec::new();
            let mut polls_so_far = 0;
            let mut claim = None;
            let mut close = None;
            for command in commands.drain(..) {
                match command {
                    Command::Record {
                        tag,
                        ticket,
                        record,
                        polls,
                    } => {
                        tags.push(tag);
                        batch.push((ticket, record));
                        polls_so_far = polls;
                    }
                    Command::Claim { max } => claim = Some(max),
                    Command::Close(why) => close = Some(why),
                }
            }
            let done = async {
                if !batch.is_empty() {
                    insist(&mut backlog, &batch, polls_so_far, &outbox).await?;
                    say(&outbox, Completion::Recorded(tags)).await;
                }
                if let Some(max) = claim {
                    let claimed = backlog.claim(max).await?;
                    say(&outbox, Completion::Claimed(claimed)).await;
                }
                if let Some(why) = &close {
                    backlog.close(why).await?;
                    say(&outbox, Completion::Closed).await;
                }
                Ok(())
            };
            if let Err(error) = done.await {
                say(&outbox, Completion::Failed(error)).await;
                return;
            }
            if close.is_some() {
                return;
            }
        }
    }
}

/// Records `batch`, again and again where that may help, until the engine has let go.
async fn insist<B: Backlog>(
    backlog: &mut B,
    batch: &[(Ticket, Record)],
    polls: u64,
    outbox: &mpsc::Sender<Completion>,
) -> Result<(), BacklogError> {
    let mut told = false;
    loop {
        match backlog.record(batch, polls).await {
            Err(BacklogError::Retryable { what, source }) if !outbox.is_closed() => {
                if !told {
                    say(outbox, Completion::Stalled(format!("{what}: {source}"))).await;
                    told = true;
                }
                tokio::time::sleep(RETRY_EVERY).await;
            }
            result => return result,
        }
    }
}

/// Tells the engine. Where it has gone, there is nobody to tell.
async fn say(outbox: &mpsc::Sender<Completion>, completion: Completion) {
    let _ = outbox.send(completion).await;
}
