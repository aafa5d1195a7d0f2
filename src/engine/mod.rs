//! The engine: claims requests, submits them under the rate limit, waits for all of them on one
//! wheel, polls, and has every outcome recorded. It knows neither files nor sockets.
//!
//! One task owns all of it. Each wake drains every completion and every timer that is due, then
//! starts what may be started; nothing in here blocks or is awaited for long, and there is no
//! state outside of [`Engine`].
//!
//! What must stay true:
//!
//! * A create leaves only after its [`Record::Begin`](crate::backlog::Record) is durable; a poll
//!   only after its job's id is.
//! * A job has at most one exchange, one timer and one record under way.
//! * Claimed and unsettled requests are at most `max_in_flight` and a short queue; exchanges are at
//!   most `max_connections`.
//! * After the run was told to stop nothing new is begun; what is begun and did not leave is taken
//!   back; what is on the wire is waited for.
//!
//! | file | holds |
//! | --- | --- |
//! | `mod` | the loop |
//! | `submit` | claim, begin, create |
//! | `poll` | poll and its answers |
//! | `record` | what was recorded, and how a request goes on |
//! | `stop` | stopping and draining |
//! | `share` | what a backlog that several workers share says of their jobs, and its limits |
//! | `policy` | what follows from an answer (pure) |
//! | `health` | how the service is doing (pure) |
//! | `limiter`, `wheel` | rates and timers |

mod event;
mod health;
mod in_flight;
mod limiter;
#[doc(hidden)]
pub mod pieces;
mod policy;
mod poll;
mod record;
mod settings;
mod share;
mod stop;
mod submit;
mod wheel;

use std::collections::{HashSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::{FutureExt, LocalBoxFuture};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use crate::api::{Client, CreateReply, PollReply, Transport};
use crate::backlog::{Recorder, RecorderGone};
use crate::job::Micros;

pub use event::{Event, Gauges, Observer};
pub use settings::{Pacing, Rate, Settings, StopReason, Tally};

pub use crate::backlog::UnknownCreatePolicy;

use health::Health;
use in_flight::{Jobs, Step};
use limiter::Limiter;
use share::SharedPace;
use stop::Mode;
use submit::Lead;
use wheel::{Timer, TimerKey, Wheel};

/// Requests that are claimed ahead of their slots, beside those in flight.
const CLAIMED_AHEAD: usize = 256;

/// The most jobs that an engine of that `max_in_flight` holds: the room that its recorder needs. The
/// queue may be full when a claim brings as many jobs to adopt.
#[must_use]
pub fn most_jobs(max_in_flight: usize) -> usize {
    max_in_flight + 2 * CLAIMED_AHEAD
}

/// How often observers see the gauges.
const GAUGES_EVERY: Duration = Duration::from_secs(1);

/// A signal of the operator's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

/// How a run went.
#[derive(Debug)]
pub struct Report {
    /// Why it ended.
    pub stop: StopReason,
    /// What it did.
    pub tally: Tally,
    /// How long it took.
    pub elapsed: Duration,
    /// A second signal ended it at once: the backlog was not closed, and the process should end.
    pub abrupt: bool,
}

/// A run. See the module.
pub struct Engine<'o, T: Transport> {
    client: Rc<Client<T>>,
    settings: Settings,
    recorder: Recorder,
    observer: &'o mut dyn Observer,
    signals: mpsc::Receiver<Signal>,

    jobs: Jobs,
    queued: VecDeque<usize>,
    sends: VecDeque<usize>,
    due_polls: VecDeque<usize>,
    wheel: Wheel,
    creates: FuturesUnordered<LocalBoxFuture<'static, (usize, CreateReply)>>,
    polls: FuturesUnordered<LocalBoxFuture<'static, (usize, PollReply)>>,

    submit_limiter: Limiter,
    poll_limiter: Option<Limiter>,
    /// Nothing leaves before this instant: the service wants a pause.
    held_until: Instant,
    throttles_in_row: u32,
    health: Health,
    lead: Lead,
    /// Begun and not sent.
    begun: usize,
    gate: Option<Instant>,
    /// A claim is asked for, or to be asked for when its timer fires.
    claiming: bool,
    claim_timer: Option<TimerKey>,
    shared: SharedPace,
    exhausted: bool,
    mode: Mode,
    /// A signal was taken; a second one ends the run at once.
    interrupted: bool,
    /// The recorder can't record for now.
    stalled: bool,
    /// Why it cannot reach its store, and the end of our patience.
    away: Option<(String, TimerKey)>,
    /// The recorder takes no more records: a bug, or a panic on its side.
    recorder_is_gone: bool,
    /// The last fault, in words.
    last_fault: String,
    failures_in_row: u64,
    /// Spent by all runs on this backlog.
    spent: Micros,
    tally: Tally,
    statuses_told: HashSet<String>,
    rng: fastrand::Rng,
}

impl<'o, T: Transport + 'static> Engine<'o, T> {
    /// A run that is ready to [`run`](Self::run). `recorder` must have been made for [`most_jobs`].
    pub fn new(
        client: Client<T>,
        settings: Settings,
        recorder: Recorder,
        observer: &'o mut dyn Observer,
        signals: mpsc::Receiver<Signal>,
    ) -> Self {
        let now = Instant::now();
        Self {
            client: Rc::new(client),
            submit_limiter: Limiter::new(settings.submit_rate, now),
            poll_limiter: settings.poll_rate.map(|rate| Limiter::new(rate, now)),
            spent: settings.spent_before,
            settings,
            recorder,
            observer,
            signals,
            jobs: Jobs::default(),
            queued: VecDeque::new(),
            sends: VecDeque::new(),
            due_polls: VecDeque::new(),
            wheel: Wheel::new(),
            creates: FuturesUnordered::new(),
            polls: FuturesUnordered::new(),
            held_until: now,
            throttles_in_row: 0,
            health: Health::default(),
            lead: Lead::default(),
            begun: 0,
            gate: None,
            claiming: false,
            claim_timer: None,
            shared: SharedPace::new(now),
            exhausted: false,
            mode: Mode::Running,
            interrupted: false,
            stalled: false,
            away: None,
            recorder_is_gone: false,
            last_fault: String::new(),
            failures_in_row: 0,
            tally: Tally::default(),
            statuses_told: HashSet::new(),
            rng: fastrand::Rng::new(),
        }
    }

    /// Works until nothing is left or the run has to stop, and closes the backlog.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe in what it reports; what was recorded stays recorded at any point.
    pub async fn run(mut self) -> Report {
        let start = Instant::now();
        if let Some(time) = self.settings.max_runtime {
            self.wheel.set(start + time, Timer::RuntimeEnd);
        }
        let mut gauges = tokio::time::interval(GAUGES_EVERY);
        gauges.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let end = loop {
            if let Err(RecorderGone) = self.start_what_may_be_started() {
                break End::Failed;
            }
            if self.is_over() {
                break End::Close;
            }
            tokio::select! {
                biased;
                Some(signal) = self.signals.recv() => {
                    if self.signalled(signal) { break End::Abrupt; }
                }
                completion = self.recorder.next() => {
                    let failed = match completion {
                        Some(completion) => self.completed(completion).is_err(),
                        None => true,
                    };
                    if failed { break End::Failed; }
                }
                Some((key, reply)) = self.creates.next(), if !self.creates.is_empty() => {
                    self.create_answered(key, reply);
                }
                Some((key, reply)) = self.polls.next(), if !self.polls.is_empty() => {
                    self.poll_answered(key, reply);
                }
                timer = self.wheel.next() => self.fired(timer),
                _ = gauges.tick() => self.observer.on(&Event::Gauges(self.gauges())),
            }
            if self.drain_what_is_there().is_err() {
                break End::Failed;
            }
        };
        let abrupt = matches!(end, End::Abrupt);
        let stop = self.ended(end).await;
        Report {
            stop,
            tally: self.tally,
            elapsed: start.elapsed(),
            abrupt,
        }
    }

    /// Everything that is ready is taken in one wake.
    fn drain_what_is_there(&mut self) -> Result<(), Failed> {
        while let Some(completion) = self.recorder.try_next() {
            self.completed(completion)?;
        }
        while let Some(Some((key, reply))) = self.creates.next().now_or_never() {
            self.create_answered(key, reply);
        }
        while let Some(Some((key, reply))) = self.polls.next().now_or_never() {
            self.poll_answered(key, reply);
        }
        let now = Instant::now();
        while let Some(timer) = self.wheel.take_due(now) {
            self.fired(timer);
        }
        Ok(())
    }

    fn start_what_may_be_started(&mut self) -> Result<(), RecorderGone> {
        let now = Instant::now();
        self.claim()?;
        self.begin(now);
        self.send_creates(now);
        self.send_polls(now);
        self.ask_for_poll_slots()?;
        if self.recorder_is_gone {
            return Err(RecorderGone);
        }
        Ok(())
    }

    fn fired(&mut self, timer: Timer) {
        match timer {
            Timer::Send(key) => {
                self.jobs[key].timer = None;
                self.sends.push_back(key);
            }
            Timer::Requeue(key) => {
                self.jobs[key].timer = None;
                self.jobs[key].step = Step::Queued;
                self.queued.push_front(key);
            }
            Timer::Poll(key) => {
                self.jobs[key].timer = None;
                self.due_polls.push_back(key);
            }
            Timer::Gate => self.gate = None,
            Timer::Claim => {
                self.claim_timer = None;
                self.claiming = false;
            }
            Timer::PollSlots => self.shared.asked_for_polls = false,
            Timer::PatienceEnd => self.patience_is_over(),
            Timer::DrainEnd => self.drain_is_over(),
            Timer::RuntimeEnd => self.stop(StopReason::MaxRuntime),
        }
    }

    fn exchanges(&self) -> usize {
        self.creates.len() + self.polls.len()
    }

    fn gauges(&self) -> Gauges {
        Gauges {
            in_flight: self.jobs.len() - self.queued.len(),
            waiting: self.jobs.waiting(),
            exchanges: self.exchanges(),
        }
    }
}

/// The recorder has failed; `self.mode` says how.
struct Failed;

/// How the loop ended.
enum End {
    /// Everything is settled or handed back.
    Close,
    /// A second signal.
    Abrupt,
    /// The recorder failed or has gone.
    Failed,
}

#[cfg(test)]
mod fleet_tests;
#[cfg(test)]
mod tests;
