//! Stopping: nothing new is begun, what is on the wire is waited for, jobs in flight are polled on
//! as long as that makes sense, and everything else is handed back.

use std::time::Duration;

use tokio::time::Instant;

use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::api::{CreateReply, Refusal, RefusalCause, Transport};
use crate::backlog::{BacklogError, Completion, Record};

use super::in_flight::{After, Step};
use super::wheel::Timer;
use super::{End, Engine, Event, Signal, StopReason};

/// Whether the run goes on.
pub(super) enum Mode {
    /// Requests are begun.
    Running,
    /// Nothing new is begun; jobs in flight are polled on.
    Draining {
        /// Why.
        reason: StopReason,
        /// When polling ends as well; `None` for when the jobs do.
        until: Option<Instant>,
    },
    /// Nothing is polled any more; the last records are waited for.
    Drained(StopReason),
}

impl Mode {
    pub(super) fn failed(error: BacklogError) -> Self {
        Self::Drained(StopReason::Backlog(error))
    }
}

impl StopReason {
    /// The reason that a fault of the account is.
    pub(super) fn of_account(refusal: &Refusal) -> Self {
        let message = refusal.message.to_string();
        match refusal.cause {
            RefusalCause::BadToken => Self::BadToken(message),
            RefusalCause::NoBalance => Self::NoBalance(message),
            RefusalCause::Blocked => Self::Blocked(message),
            RefusalCause::Passing
            | RefusalCause::UnknownJob
            | RefusalCause::BadRequest
            | RefusalCause::Unrecognised => Self::Refusals(message),
        }
    }

    /// How long jobs in flight are polled on.
    fn drain(&self) -> Drain {
        match self {
            Self::Interrupted | Self::Terminated | Self::MaxRuntime | Self::CannotRecord(_) => {
                Drain::UntilTimeout
            }
            Self::Done
            | Self::MaxSpend
            | Self::MaxFailures
            | Self::NoBalance(_)
            | Self::BadToken(_)
            | Self::Blocked(_)
            | Self::Refusals(_) => Drain::UntilTheyEnd,
            Self::Unreachable(_) | Self::LongPause(_) | Self::BacklogAway(_) | Self::Backlog(_) => {
                Drain::NotAtAll
            }
        }
    }
}

/// How long jobs in flight are polled on after a stop.
enum Drain {
    UntilTheyEnd,
    UntilTimeout,
    NotAtAll,
}

impl<T: Transport + 'static> Engine<'_, T> {
    pub(super) fn is_stopping(&self) -> bool {
        !matches!(self.mode, Mode::Running)
    }

    pub(super) fn is_drained(&self) -> bool {
        matches!(self.mode, Mode::Drained(_))
    }

    /// Whether the loop may end.
    pub(super) fn is_over(&self) -> bool {
        if self.is_drained() && self.stalled {
            // What is stuck in the recorder stays stuck; only answers on the wire may bring ids.
            return self.creates.is_empty();
        }
        if self.jobs.is_empty() && self.is_stopping() && self.stalled {
            return true;
        }
        self.jobs.is_empty() && !self.claiming && (self.exhausted || self.is_stopping())
    }

    /// Takes a signal. Returns whether it is the second: then the run ends at once.
    pub(super) fn signalled(&mut self, signal: Signal) -> bool {
        if self.interrupted {
            return true;
        }
        self.interrupted = true;
        self.stop(match signal {
            Signal::Interrupt => StopReason::Interrupted,
            Signal::Terminate => StopReason::Terminated,
        });
        false
    }

    /// Stops the run, or hastens a stop: the first reason is kept, the nearest end counts.
    pub(super) fn stop(&mut self, reason: StopReason) {
        let now = Instant::now();
        let wanted = match reason.drain() {
            Drain::UntilTheyEnd => None,
            Drain::UntilTimeout => Some(now + self.settings.drain_timeout),
            Drain::NotAtAll => Some(now),
        };
        match &mut self.mode {
            Mode::Drained(_) => return,
            Mode::Draining { until, .. } => match (wanted, &until) {
                (Some(wanted), Some(present)) if wanted >= *present => return,
                (None, _) => return,
                (Some(wanted), _) => *until = Some(wanted),
            },
            Mode::Running => {
                let in_flight = self.jobs.waiting();
                self.observer.on(&Event::Stopping {
                    reason: &reason,
                    in_flight,
                });
                self.mode = Mode::Draining {
                    reason,
                    until: wanted,
                };
                self.hand_back_unsent();
            }
        }
        if let Some(until) = wanted {
            self.wheel.set(until, Timer::DrainEnd);
        }
    }

    /// Hands back what has no job and no create on the wire.
    fn hand_back_unsent(&mut self) {
        if let Some(timer) = self.claim_timer.take() {
            self.wheel.cancel(&timer);
            self.claiming = false;
        }
        self.queued.clear();
        self.sends.clear();
        for key in
            self.keys_where(|step| matches!(step, Step::Queued | Step::Delayed | Step::Begun))
        {
            self.cancel_timer(key);
            match self.jobs[key].step {
                Step::Begun => self.withdraw_begun(key),
                Step::Delayed => {
                    let delay = self.jobs[key].due.saturating_duration_since(Instant::now());
                    self.release(key, delay);
                }
                _ => self.release(key, Duration::ZERO),
            }
        }
    }

    /// A create that was begun and has not left is taken back.
    pub(super) fn withdraw_begun(&mut self, key: usize) {
        self.begun -= 1;
        self.give_back_begun(key);
        self.record(key, Record::Withdraw, After::Release(Duration::ZERO));
    }

    /// The time for polling on is over. Creates on the wire are still waited for: their answers
    /// are ids that were paid for, and their time-out bounds the wait.
    pub(super) fn drain_is_over(&mut self) {
        let due = matches!(&self.mode, Mode::Draining { until: Some(until), .. } if *until <= Instant::now());
        if !due {
            return;
        }
        let mode = std::mem::replace(&mut self.mode, Mode::Running);
        if let Mode::Draining { reason, .. } = mode {
            self.mode = Mode::Drained(reason);
        }
        self.due_polls.clear();
        self.shared.parked_polls.clear();
        self.polls = FuturesUnordered::new();
        for key in self.keys_where(|step| matches!(step, Step::Waiting | Step::Polling)) {
            self.cancel_timer(key);
            self.release(key, Duration::ZERO);
        }
    }

    pub(super) fn stop_if_unreachable(&mut self, now: Instant) {
        if self.health.is_unreachable(now) {
            let why = self.last_fault.clone();
            self.stop(StopReason::Unreachable(why));
        }
    }

    /// Ends the run: closes the backlog where that is still possible, and says what could not be
    /// recorded.
    pub(super) async fn ended(&mut self, end: End) -> StopReason {
        let mode = std::mem::replace(&mut self.mode, Mode::Running);
        let reason = match mode {
            Mode::Running => StopReason::Done,
            Mode::Draining { reason, .. } | Mode::Drained(reason) => reason,
        };
        let mut is_unrecorded = false;
        let unrecorded = self
            .jobs
            .iter()
            .filter(|(_, job)| matches!(job.step, Step::Recording(After::Created)));
        for (_, job) in unrecorded {
            is_unrecorded = true;
            if let Some(waiting) = job.job() {
                let event = Event::Unrecorded {
                    id: job.id(),
                    remote_id: &waiting.remote_id,
                };
                self.observer.on(&event);
            }
        }
        if matches!(end, End::Failed) {
            self.hear_out_creates().await;
        }
        match end {
            End::Abrupt => reason,
            End::Failed => match reason {
                StopReason::Done => StopReason::Backlog(recorder_gone()),
                reason => reason,
            },
            End::Close if self.stalled => match self.away.take() {
                // What could not be written is worse than the reason to stop.
                Some((why, _)) if is_unrecorded => StopReason::BacklogAway(why),
                _ => reason,
            },
            End::Close => self.close(reason).await,
        }
    }

    /// Waits for the creates on the wire although their ids can't be recorded: the user is told of
    /// them. A signal ends the wait.
    async fn hear_out_creates(&mut self) {
        loop {
            let answer = tokio::select! {
                biased;
                Some(_) = self.signals.recv() => return,
                answer = self.creates.next() => answer,
            };
            let Some((key, reply)) = answer else { return };
            if let CreateReply::Created(remote_id) = reply {
                let event = Event::Unrecorded {
                    id: self.jobs[key].id(),
                    remote_id: &remote_id,
                };
                self.observer.on(&event);
            }
        }
    }

    async fn close(&mut self, reason: StopReason) -> StopReason {
        if self.recorder.close(reason.word()).is_err() {
            return StopReason::Backlog(recorder_gone());
        }
        loop {
            match self.recorder.next().await {
                Some(Completion::Closed) => return reason,
                Some(Completion::Failed(error)) => return StopReason::Backlog(error),
                Some(_) => {}
                None => return StopReason::Backlog(recorder_gone()),
            }
        }
    }

    fn keys_where(&self, wanted: impl Fn(&Step) -> bool) -> Vec<usize> {
        self.jobs
            .iter()
            .filter(|(_, job)| wanted(&job.step))
            .map(|(key, _)| key)
            .collect()
    }

    pub(super) fn cancel_timer(&mut self, key: usize) {
        if let Some(timer) = self.jobs[key].timer.take() {
            self.wheel.cancel(&timer);
        }
    }
}

fn recorder_gone() -> BacklogError {
    BacklogError::Fatal {
        what: "the recorder ended before its time; this is a bug".to_owned(),
    }
}
