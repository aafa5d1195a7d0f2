//! Recording beside the engine: commands in, completions out, batches in between.
//!
//! What must stay true: commands of one job are recorded in the order they were given; whatever
//! arrived since one batch was begun forms the next, which is begun [`Backlog::batch_every`] after it (or
//! when [`MANY`] commands wait, or one that is urgent), so that batches grow by themselves under load, and
//! what comes after a pause waits for no timer; a completion is sent only once its batch is durable. There
//! is at most one command per job under way, so both channels, which hold [`Recorder::channel`]'s
//! `capacity`, never fill up and the two sides can't block each other.

use std::sync::Arc;
use std::time::Duration;
use std::{io, thread};

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::{Answer, Backlog, BacklogError, Claimed, News, PollSlots, Record, Ticket, Wake};

/// Most records of a batch. Bounds the memory of a transaction and the wait for it.
const LARGEST_BATCH: usize = 512;

/// So many commands are not kept waiting.
const MANY: usize = 128;

/// So many commands are worth a batch: as long as they take to come is waited for, within the backlog's bounds.
const COMPANY: u32 = 8;

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
    Penalise(Duration),
    PollSlots(usize),
    Close(String),
}

/// What was done.
#[derive(Debug)]
pub enum Completion {
    /// What became of the records of these tags.
    Recorded(Vec<(usize, Answer)>),
    /// The answer to a claim.
    Claimed(Claimed),
    /// A claim may bring something now.
    Arrived,
    /// Something happened to what is held.
    News(News),
    /// The answer to a call for poll slots.
    PollSlots(PollSlots),
    /// Recording fails for now and is tried again until the engine lets go.
    Stalled {
        /// Why.
        why: String,
        /// Everything is tried again, because the store cannot be reached.
        away: bool,
    },
    /// The store can be reached again.
    Back,
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
    many: Arc<Notify>,
    completions: mpsc::Receiver<Completion>,
}

/// The recording end.
#[derive(Debug)]
pub struct RecordingEnd {
    inbox: mpsc::Receiver<Command>,
    many: Arc<Notify>,
    outbox: mpsc::Sender<Completion>,
}

impl Recorder {
    /// Two ends, for at most `capacity` jobs at a time.
    #[must_use]
    pub fn channel(capacity: usize) -> (Self, RecordingEnd) {
        // One record per job, and beside them one each of what concerns no job.
        let (commands, inbox) = mpsc::channel(capacity + 8);
        let (outbox, completions) = mpsc::channel(capacity + 8);
        let many = Arc::new(Notify::new());
        let recorder = Self {
            commands,
            many: Arc::clone(&many),
            completions,
        };
        let end = RecordingEnd {
            inbox,
            many,
            outbox,
        };
        (recorder, end)
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
        let thread = on_thread(move || async move { end.serve(backlog).await })?;
        Ok((recorder, thread))
    }

    /// Like [`on_thread`](Self::on_thread), for a backlog that is opened there, because its connections
    /// live there. What `open` says comes first.
    ///
    /// # Errors
    ///
    /// Where the system gives no thread.
    pub fn opened_on_thread<B, R, F>(
        open: impl FnOnce() -> F + Send + 'static,
        capacity: usize,
    ) -> io::Result<(Self, oneshot::Receiver<R>, thread::JoinHandle<()>)>
    where
        B: Backlog,
        R: Send + 'static,
        F: Future<Output = (Option<B>, R)>,
    {
        let (recorder, end) = Self::channel(capacity);
        let (tell, told) = oneshot::channel();
        let thread = on_thread(move || async move {
            let (backlog, report) = open().await;
            // Nobody listens where the process was told to stop meanwhile.
            let is_heard = tell.send(report).is_ok();
            if let (Some(backlog), true) = (backlog, is_heard) {
                end.serve(backlog).await;
            }
        })?;
        Ok((recorder, told, thread))
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

    /// Asks for instants at which polls may leave.
    ///
    /// # Errors
    ///
    /// [`RecorderGone`] where nobody will answer.
    pub fn poll_slots(&self, many: usize) -> Result<(), RecorderGone> {
        self.send(Command::PollSlots(many))
    }

    /// Asks that all who share the backlog pause. At best effort: where the channel is full of such
    /// words, one more says nothing new.
    pub fn penalise(&self, pause: Duration) {
        if self.send(Command::Penalise(pause)).is_ok() {
            self.many.notify_one();
        }
    }

    /// Asks to close the backlog, after everything asked before; `why` the run ended is noted.
    ///
    /// # Errors
    ///
    /// [`RecorderGone`] where nobody will.
    pub fn close(&self, why: &str) -> Result<(), RecorderGone> {
        self.send(Command::Close(why.to_owned()))?;
        self.many.notify_one();
        Ok(())
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
        self.commands.try_send(command).map_err(|_| RecorderGone)?;
        // The other end sleeps until its next batch is due; waking it for each command would cost more
        // than the record.
        if self.waiting() == MANY {
            self.many.notify_one();
        }
        Ok(())
    }

    /// Commands that the other end did not take up yet.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.commands.max_capacity() - self.commands.capacity()
    }
}

/// Runs a future on a thread of its own.
fn on_thread<F: Future<Output = ()>>(
    work: impl FnOnce() -> F + Send + 'static,
) -> io::Result<thread::JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    thread::Builder::new()
        .name("recorder".to_owned())
        .spawn(move || runtime.block_on(work()))
}

/// What one wake has to do.
#[derive(Default)]
struct Work {
    tags: Vec<usize>,
    batch: Vec<(Ticket, Record)>,
    polls: u64,
    claim: Option<usize>,
    pause: Option<Duration>,
    poll_slots: Option<usize>,
    close: Option<String>,
}

impl Work {
    fn of(commands: &mut Vec<Command>) -> Self {
        let mut work = Self {
            tags: Vec::with_capacity(commands.len()),
            batch: Vec::with_capacity(commands.len()),
            ..Self::default()
        };
        for command in commands.drain(..) {
            match command {
                Command::Record {
                    tag,
                    ticket,
                    record,
                    polls,
                } => {
                    work.tags.push(tag);
                    work.batch.push((ticket, record));
                    work.polls = polls;
                }
                Command::Claim { max } => work.claim = Some(max),
                Command::Penalise(pause) => work.pause = work.pause.max(Some(pause)),
                Command::PollSlots(many) => work.poll_slots = Some(many),
                Command::Close(why) => work.close = Some(why),
            }
        }
        work
    }
}

impl RecordingEnd {
    /// Serves the engine on `backlog` until it closes it or lets go, or until it fails. Blocks where
    /// the backlog does.
    pub async fn serve<B: Backlog>(self, mut backlog: B) {
        let Self {
            mut inbox,
            many,
            outbox,
        } = self;
        let mut commands = Vec::with_capacity(LARGEST_BATCH);
        let every = backlog.batch_every();
        let mut last_batch = Instant::now();
        let mut next_batch = last_batch;
        loop {
            let arrived = async {
                // Whichever comes first.
                let _ = timeout_at(next_batch, many.notified()).await;
                inbox.recv_many(&mut commands, LARGEST_BATCH).await
            };
            let wake = tokio::select! {
                // Leases first: under load there is always a command.
                biased;
                wake = backlog.wake() => Some(wake),
                many = arrived => {
                    if many == 0 {
                        return;
                    }
                    let (now, came) = (Instant::now(), u32::try_from(many).unwrap_or(u32::MAX));
                    let company = (now - last_batch).saturating_mul(COMPANY) / came;
                    last_batch = now;
                    next_batch = now + company.clamp(*every.start(), *every.end());
                    None
                }
            };
            let done = match wake {
                Some(wake) => attend(&mut backlog, wake, &outbox).await,
                None => serve_one(&mut backlog, Work::of(&mut commands), &outbox).await,
            };
            match done {
                Ok(GoesOn::Yes) => {}
                Ok(GoesOn::No) => return,
                Err(error) => {
                    say(&outbox, Completion::Failed(error)).await;
                    return;
                }
            }
        }
    }
}

/// Whether the backlog is still open.
enum GoesOn {
    Yes,
    No,
}

/// Does what the backlog itself wants done.
async fn attend<B: Backlog>(
    backlog: &mut B,
    wake: Wake,
    outbox: &mpsc::Sender<Completion>,
) -> Result<GoesOn, BacklogError> {
    match wake {
        Wake::Arrived => say(outbox, Completion::Arrived).await,
        Wake::Tend => {
            let news = insist(backlog, outbox, async |b| b.tend().await).await?;
            if !news.is_empty() {
                say(outbox, Completion::News(news)).await;
            }
        }
    }
    Ok(GoesOn::Yes)
}

/// Does what the engine wants done.
async fn serve_one<B: Backlog>(
    backlog: &mut B,
    mut work: Work,
    outbox: &mpsc::Sender<Completion>,
) -> Result<GoesOn, BacklogError> {
    if let Some(pause) = work.pause {
        insist(backlog, outbox, async |b| b.penalise(pause).await).await?;
    }
    if !work.batch.is_empty() {
        let record = async |b: &mut B| match work.claim {
            Some(max) => b.record_and_claim(&work.batch, work.polls, max).await,
            None => Ok((b.record(&work.batch, work.polls).await?, None)),
        };
        let (answers, claimed) = insist(backlog, outbox, record).await?;
        let recorded = work.tags.into_iter().zip(answers).collect();
        say(outbox, Completion::Recorded(recorded)).await;
        if let Some(claimed) = claimed {
            work.claim = None;
            say(outbox, Completion::Claimed(claimed)).await;
        }
    }
    if let Some(many) = work.poll_slots {
        let slots = insist(backlog, outbox, async |b| b.poll_slots(many).await).await?;
        say(outbox, Completion::PollSlots(slots)).await;
    }
    if let Some(max) = work.claim {
        let claimed = insist(backlog, outbox, async |b| b.claim(max).await).await?;
        say(outbox, Completion::Claimed(claimed)).await;
    }
    if let Some(why) = &work.close {
        backlog.close(why).await?;
        say(outbox, Completion::Closed).await;
        return Ok(GoesOn::No);
    }
    Ok(GoesOn::Yes)
}

/// Does something again and again where that may help, until the engine has let go.
async fn insist<B: Backlog, T>(
    backlog: &mut B,
    outbox: &mpsc::Sender<Completion>,
    mut what: impl AsyncFnMut(&mut B) -> Result<T, BacklogError>,
) -> Result<T, BacklogError> {
    let mut told = false;
    loop {
        let (why, away) = match what(backlog).await {
            Err(BacklogError::Retryable { what, source }) if !outbox.is_closed() => {
                (format!("{what}: {source}"), false)
            }
            Err(BacklogError::Away { what }) if !outbox.is_closed() => (what, true),
            result => {
                if told && result.is_ok() {
                    say(outbox, Completion::Back).await;
                }
                return result;
            }
        };
        if !told {
            say(outbox, Completion::Stalled { why, away }).await;
            told = true;
        }
        tokio::time::sleep(RETRY_EVERY).await;
    }
}

/// Tells the engine. Where it has gone, there is nobody to tell.
async fn say(outbox: &mpsc::Sender<Completion>, completion: Completion) {
    let _ = outbox.send(completion).await;
}

#[cfg(test)]
mod tests;
