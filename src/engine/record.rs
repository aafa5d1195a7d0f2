//! What is asked to be recorded, and how a request goes on once it is.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::time::Instant;

use crate::api::Transport;
use crate::backlog::{Answer, Completion, Record};
use crate::job::{ErrorClass, ForeignText, Micros, Outcome, Status};

use super::in_flight::{After, Step};
use super::stop::Mode;
use super::wheel::Timer;
use super::{Engine, Event, Failed, Pacing, StopReason};

impl<T: Transport + 'static> Engine<'_, T> {
    /// Asks for a record; the request goes on by `after` when it is durable.
    pub(super) fn record(&mut self, key: usize, record: Record, after: After) {
        let job = &mut self.jobs[key];
        job.step = Step::Recording(after);
        let asked = self
            .recorder
            .record(key, job.ticket, record, self.tally.polls);
        // Nothing goes on as if it were recorded: the loop ends at its next turn.
        self.recorder_is_gone |= asked.is_err();
    }

    /// Takes in what the recorder says.
    pub(super) fn completed(&mut self, completion: Completion) -> Result<(), Failed> {
        match completion {
            Completion::Recorded(answers) => {
                for (key, answer) in answers {
                    self.recorded(key, answer);
                }
            }
            Completion::Claimed(claimed) => self.claimed(claimed),
            Completion::Arrived => self.claim_now(),
            Completion::News(news) => self.heard(news),
            Completion::PollSlots(slots) => self.got_poll_slots(slots),
            Completion::Stalled { why, away } => {
                self.stalled = true;
                self.observer.on(&Event::RecordingStalled { why: &why });
                if away {
                    self.be_patient(why);
                } else {
                    self.stop(StopReason::CannotRecord(why));
                }
            }
            Completion::Back => self.backlog_is_back(),
            Completion::Failed(error) => {
                self.mode = Mode::failed(error);
                return Err(Failed);
            }
            Completion::Closed => {}
        }
        Ok(())
    }

    fn recorded(&mut self, key: usize, answer: Answer) {
        let job = &mut self.jobs[key];
        let Step::Recording(after) = std::mem::replace(&mut job.step, Step::Queued) else {
            unreachable!("only jobs that are being recorded are told of")
        };
        if let After::Begun(asked) = after
            && self.settings.pacing == Pacing::Shared
        {
            let is_slot = matches!(answer, Answer::Slot(_));
            self.shared.answered(asked.elapsed(), is_slot);
        }
        match answer {
            Answer::Done => self.go_on(key, after),
            Answer::Slot(at) => {
                self.jobs[key].due = at;
                self.go_on(key, after);
            }
            Answer::Recalled(request) => {
                self.jobs[key].recall(*request);
                self.go_on(key, after);
            }
            answer => self.not_recorded(key, &after, answer),
        }
    }

    /// A request goes on as its record wanted.
    fn go_on(&mut self, key: usize, after: After) {
        let job = &mut self.jobs[key];
        match after {
            After::Begun(asked) => self.begun(key, asked),
            After::Created => {
                let due = job.due;
                if let Some(waiting) = job.job() {
                    let event = Event::Created {
                        id: job.id(),
                        remote_id: &waiting.remote_id,
                    };
                    self.observer.on(&event);
                }
                self.forget_if_crowded(key);
                if self.is_drained() {
                    self.release(key, Duration::ZERO);
                } else {
                    self.poll_at(key, due);
                }
            }
            After::Requeue(delay) => self.requeue(key, delay),
            After::Finish(end) => {
                let (class, why) = *end;
                let status = Status::Failed;
                self.finish(
                    key,
                    status,
                    None,
                    Some(class),
                    why.as_str(),
                    Micros::ZERO,
                    false,
                );
                self.failed_once();
            }
            After::Settled(outcome) => {
                self.count(&outcome);
                if outcome.status == Status::Solved {
                    self.health.solved();
                    self.failures_in_row = 0;
                }
                let job = self.jobs.remove(key);
                let event = Event::Settled {
                    id: Some(job.id()),
                    outcome: &outcome,
                };
                self.observer.on(&event);
            }
            After::Release(delay) => self.release(key, delay),
            After::Released => {
                self.jobs.remove(key);
            }
        }
    }

    /// Of a job that waits among very many, only what polling takes is kept here.
    pub(super) fn forget_if_crowded(&mut self, key: usize) {
        if self.jobs.len() > self.settings.forgets_beyond {
            self.jobs[key].forget();
        }
    }

    fn requeue(&mut self, key: usize, delay: Duration) {
        // A backlog that gives back no fields takes back the request.
        if self.is_stopping() || self.jobs[key].request().is_none() {
            self.release(key, delay);
        } else if delay.is_zero() {
            self.jobs[key].step = Step::Queued;
            self.queued.push_front(key);
        } else {
            let due = Instant::now() + delay;
            let timer = self.wheel.set(due, Timer::Requeue(key));
            let job = &mut self.jobs[key];
            job.due = due;
            job.step = Step::Delayed;
            job.timer = Some(timer);
        }
    }

    /// Hands a request back: what is recorded of it stays. Nobody needs to begin it before `delay` has passed.
    pub(super) fn release(&mut self, key: usize, delay: Duration) {
        let polls = std::mem::take(&mut self.jobs[key].job_polls);
        self.record(key, Record::Release { polls, delay }, After::Released);
    }

    /// Ends a request.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a column of the result, decided by the caller"
    )]
    pub(super) fn finish(
        &mut self,
        key: usize,
        status: Status,
        token: Option<SecretString>,
        error: Option<ErrorClass>,
        message: &str,
        refund: Micros,
        unknown_create: bool,
    ) {
        let finished_at = (self.settings.wall_clock)();
        let job = &mut self.jobs[key];
        job.history.spent = job.history.spent - refund;
        self.spent = self.spent - refund;
        self.tally.spend = self.tally.spend - refund;
        let submitted_at = job.job().map(|w| w.submitted_at);
        let lifetime = job.kind().token_lifetime;
        let outcome = Arc::new(Outcome {
            status,
            expires_at: token
                .is_some()
                .then(|| finished_at.saturating_add(lifetime).unwrap_or(finished_at)),
            token,
            error,
            message: message.to_owned(),
            remote_id: job.job().map(|w| w.remote_id.clone()),
            attempts: job.history.creates,
            polls: job.history.polls + job.job_polls,
            submitted_at,
            finished_at,
            elapsed: submitted_at.map(|at| {
                Duration::try_from(finished_at.duration_since(at)).unwrap_or(Duration::ZERO)
            }),
            cost: job.history.spent,
        });
        let record = Record::Finish {
            outcome: Arc::clone(&outcome),
            refund,
            unknown_create,
        };
        self.record(key, record, After::Settled(outcome));
    }

    /// Ends a request whose create has an unknown fate.
    pub(super) fn fail_unknown_create(&mut self, key: usize, why: &ForeignText) {
        let class = Some(ErrorClass::UnknownCreate);
        self.finish(
            key,
            Status::Failed,
            None,
            class,
            why.as_str(),
            Micros::ZERO,
            true,
        );
        self.failed_once();
    }

    /// Counts a failure towards `--max-failures`.
    pub(super) fn failed_once(&mut self) {
        self.failures_in_row += 1;
        if self
            .settings
            .max_failures
            .is_some_and(|max| self.failures_in_row >= max)
        {
            self.stop(StopReason::MaxFailures);
        }
    }
}
