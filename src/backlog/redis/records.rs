//! Records: what the engine did, as calls to Redis, and what it answered.
//!
//! What must stay true: remote ids are written before anything else, begins last; what was answered of a
//! batch that failed half-way is not asked again, because a step is taken once.

use std::time::Duration;

use ::redis::RedisResult;
use tokio::time::Instant;

use super::deliver::{Packed, Parcel};
use super::flight::{Asked, Flight, Replies};
use super::worker::RedisBacklog;
use super::{
    Answer as QueueAnswer, Back, BackBy, Begin, Begun, Created, Finished, Pace, Release, Spending,
};
use crate::backlog::{Answer, Record, Ticket, Waiting};
use crate::job::{Micros, Outcome};
use crate::redis::LinkError;

/// A begin for which Redis has no memory is asked for again after this time.
const FULL_AGAIN: Duration = Duration::from_secs(1);

/// A batch, as far as it is answered.
pub(super) struct Batch<'b> {
    records: &'b [(Ticket, Record)],
    answers: Vec<Option<Answer>>,
}

/// Records that are asked for: place in the batch, request, and what there is to say.
pub(super) type Pending<T> = Vec<(usize, Ticket, T)>;

/// What is asked for of a batch.
pub(super) struct Written<'b> {
    created: (Pending<&'b Waiting>, Asked),
    ends: (Pending<()>, Packed<'b>, Asked),
    releases: (Pending<()>, Asked),
    backs: (Pending<&'b Record>, Asked),
    begins: (Pending<Micros>, Asked),
}

impl<'b> Batch<'b> {
    /// The records that `pick` takes and that have no answer yet.
    fn pick<T>(&self, pick: impl Fn(&'b Record) -> Option<T>) -> Pending<T> {
        let records = self.records.iter().zip(&self.answers).enumerate();
        records
            .filter(|(_, (_, answer))| answer.is_none())
            .filter_map(|(at, ((ticket, record), _))| Some((at, *ticket, pick(record)?)))
            .collect()
    }

    /// All answers, in order.
    pub(super) fn into_answers(self) -> Vec<Answer> {
        let answers = self.answers.into_iter();
        answers.map(|a| a.unwrap_or(Answer::Lost)).collect()
    }
}

impl RedisBacklog {
    /// A batch with what is known of it: of what was forgotten long ago there is nothing to say.
    pub(super) fn batch<'b>(&mut self, records: &'b [(Ticket, Record)]) -> Batch<'b> {
        let mut known = std::mem::take(&mut self.answered).into_iter();
        let answers = records
            .iter()
            .map(|(ticket, _)| {
                let is_gone = !self.held.contains_key(ticket);
                known.next().flatten().or(is_gone.then_some(Answer::Lost))
            })
            .collect();
        Batch { records, answers }
    }

    /// What is known of a batch that failed half-way stays known until it comes again.
    pub(super) fn keep(&mut self, batch: Batch<'_>) {
        self.answered = batch.answers;
    }

    fn add_created<'b>(
        &self,
        flight: &mut Flight,
        batch: &Batch<'b>,
    ) -> (Pending<&'b Waiting>, Asked) {
        let created = batch.pick(|record| match record {
            Record::Created(waiting) => Some(waiting),
            _ => None,
        });
        let ids: Vec<String> = created.iter().map(|c| c.2.remote_id.to_json()).collect();
        let items: Vec<Created<'_>> = created
            .iter()
            .zip(&ids)
            .map(|((_, ticket, waiting), remote_id)| Created {
                hold: self.held[ticket].hold(),
                remote_id,
                submitted_at_ms: waiting.submitted_at.as_millisecond(),
                budget: Duration::try_from(waiting.deadline.duration_since(waiting.submitted_at))
                    .unwrap_or_default(),
            })
            .collect();
        let asked = self.queue.add_created(flight, &self.api, &items);
        (created, asked)
    }

    /// What there is to deliver of a batch.
    pub(super) fn ends<'b>(&self, batch: &Batch<'b>) -> (Pending<()>, Vec<Parcel<'b>>) {
        let ends: Pending<(&'b Outcome, Micros, bool)> = batch.pick(|record| match record {
            Record::Finish {
                outcome,
                refund,
                unknown_create,
            } => Some((&**outcome, *refund, *unknown_create)),
            _ => None,
        });
        let parcel =
            |(at, ticket, (outcome, refund, unknown)): (_, Ticket, (&'b Outcome, _, _))| {
                let job = &self.held[&ticket];
                let polls = outcome.polls.saturating_sub(job.history.polls);
                let sums = (refund, polls, unknown);
                let parcel = Parcel::of_request(job.epoch, &job.kept, outcome, sums);
                ((at, ticket, ()), parcel)
            };
        ends.into_iter().map(parcel).unzip()
    }

    fn add_releases(&self, flight: &mut Flight, batch: &Batch<'_>) -> (Pending<()>, Asked) {
        let releases = batch.pick(|record| match record {
            Record::Release { polls, delay } => Some((*polls, *delay)),
            _ => None,
        });
        let items: Vec<Release<'_>> = releases
            .iter()
            .map(|(_, ticket, (polls, delay))| Release {
                hold: self.held[ticket].hold(),
                polls: *polls,
                delay: *delay,
            })
            .collect();
        let asked = self.queue.add_release(flight, &items);
        let releases = releases.into_iter().map(|(at, ticket, _)| (at, ticket, ()));
        (releases.collect(), asked)
    }

    /// Ways back to claimed.
    fn add_backs<'b>(
        &self,
        flight: &mut Flight,
        batch: &Batch<'b>,
    ) -> (Pending<&'b Record>, Asked) {
        let backs: Pending<&Record> = batch.pick(|record| match record {
            Record::Withdraw | Record::Unknown | Record::Retry { .. } => Some(record),
            _ => None,
        });
        let ids: Vec<String> = backs
            .iter()
            .map(|(_, ticket, _)| {
                let waiting = self.held[ticket].waiting.as_ref();
                waiting.map_or_else(String::new, |w| w.remote_id.to_json())
            })
            .collect();
        let items: Vec<Back<'_>> = backs
            .iter()
            .zip(&ids)
            .map(|((_, ticket, record), remote_id)| Back {
                hold: self.held[ticket].hold(),
                by: match record {
                    Record::Retry { refund, polls } => BackBy::Retry {
                        remote_id,
                        refund: *refund,
                        polls: *polls,
                    },
                    Record::Unknown => BackBy::Unknown,
                    _ => BackBy::Withdraw,
                },
            })
            .collect();
        let asked = self.queue.add_back(flight, &items);
        (backs, asked)
    }

    fn add_begins(&self, flight: &mut Flight, batch: &Batch<'_>) -> (Pending<Micros>, Asked) {
        let begins: Pending<Micros> = batch.pick(|record| match record {
            Record::Begin { reserve, .. } => Some(*reserve),
            _ => None,
        });
        let spending = Spending {
            api: &self.api,
            pace: Pace {
                horizon: self.submit_pace.horizon + self.lag,
                ..self.submit_pace
            },
            cap: self.max_spend,
        };
        let items: Vec<Begin<'_>> = begins
            .iter()
            .map(|(_, ticket, reserve)| Begin {
                hold: self.held[ticket].hold(),
                reserve: *reserve,
            })
            .collect();
        let asked = self.queue.add_begin(flight, spending, &items);
        (begins, asked)
    }

    /// Adds everything that is to be recorded. `ends` are those of [`ends`](Self::ends), packed.
    pub(super) fn add_records<'b>(
        &self,
        flight: &mut Flight,
        batch: &Batch<'b>,
        (ends, packed): (Pending<()>, Packed<'b>),
    ) -> Written<'b> {
        let created = self.add_created(flight, batch);
        let asked = self.add_finish(flight, &packed);
        Written {
            created,
            ends: (ends, packed, asked),
            releases: self.add_releases(flight, batch),
            backs: self.add_backs(flight, batch),
            begins: self.add_begins(flight, batch),
        }
    }

    /// Takes in what Redis answered. What one kind of record failed with does not keep the others from
    /// being answered.
    pub(super) async fn recorded(
        &mut self,
        batch: &mut Batch<'_>,
        written: Written<'_>,
        replies: &mut Replies,
    ) -> Result<(), LinkError> {
        let created = self.created(batch, written.created, replies);
        let ended = self.ended(batch, written.ends, replies).await;
        let released = self.released(batch, written.releases, replies);
        let backs = self.went_back(batch, written.backs, replies);
        let begun = self.begun(batch, written.begins, replies);
        created.and(ended).and(released).and(backs).and(begun)
    }

    fn created(
        &mut self,
        batch: &mut Batch<'_>,
        (created, asked): (Pending<&Waiting>, Asked),
        replies: &mut Replies,
    ) -> Result<(), LinkError> {
        let answers = self.heard(asked.answers(replies))?;
        for ((at, ticket, waiting), answer) in created.into_iter().zip(answers) {
            if let Some(job) = self.held.get_mut(&ticket)
                && answer == QueueAnswer::Done
            {
                job.step += 1;
                job.crashes = 0;
                job.reserve = None;
                job.waiting = Some(waiting.clone());
            }
            batch.answers[at] = Some(self.answer(ticket, answer));
        }
        Ok(())
    }

    async fn ended(
        &mut self,
        batch: &mut Batch<'_>,
        (ends, packed, asked): (Pending<()>, Packed<'_>, Asked),
        replies: &mut Replies,
    ) -> Result<(), LinkError> {
        let finished = self.finished(packed, asked, replies).await?;
        for ((at, ticket, ()), finished) in ends.into_iter().zip(finished) {
            batch.answers[at] = Some(match finished {
                Finished::Done => {
                    self.held.remove(&ticket);
                    self.may_be_done = true;
                    Answer::Done
                }
                Finished::Learn(held) => self.answer(ticket, QueueAnswer::Learn(held)),
                // Of a place to go there is none left: it comes again when its lease has run out.
                Finished::Lost | Finished::BadTarget(_) => self.answer(ticket, QueueAnswer::Lost),
            });
        }
        Ok(())
    }

    fn released(
        &mut self,
        batch: &mut Batch<'_>,
        (releases, asked): (Pending<()>, Asked),
        replies: &mut Replies,
    ) -> Result<(), LinkError> {
        self.heard(asked.released(replies))?;
        for (at, ticket, ()) in releases {
            self.held.remove(&ticket);
            batch.answers[at] = Some(Answer::Done);
        }
        Ok(())
    }

    fn went_back(
        &mut self,
        batch: &mut Batch<'_>,
        (backs, asked): (Pending<&Record>, Asked),
        replies: &mut Replies,
    ) -> Result<(), LinkError> {
        let answers = self.heard(asked.answers(replies))?;
        for ((at, ticket, record), answer) in backs.into_iter().zip(answers) {
            if let Some(job) = self.held.get_mut(&ticket)
                && answer == QueueAnswer::Done
            {
                job.step += 1;
                job.crashes = 0;
                let reserve = job.reserve.take().unwrap_or_default();
                let history = &mut job.history;
                match record {
                    Record::Retry { refund, polls } => {
                        history.failed_attempts += 1;
                        history.polls += polls;
                        history.spent = history.spent - *refund;
                        job.waiting = None;
                    }
                    Record::Unknown => history.unknown_creates += 1,
                    _ => {
                        history.creates = history.creates.saturating_sub(1);
                        history.spent = history.spent - reserve;
                    }
                }
            }
            let is_retry = matches!(record, Record::Retry { .. });
            batch.answers[at] = Some(match self.answer(ticket, answer) {
                Answer::Done if is_retry => self.recalled(ticket),
                answer => answer,
            });
        }
        Ok(())
    }

    /// Has a request sent again.
    fn recalled(&self, ticket: Ticket) -> Answer {
        let Some(job) = self.held.get(&ticket) else {
            return Answer::Lost;
        };
        match self.intake.restore(&job.kept.payload, &job.kept.id) {
            Ok(message) => Answer::Recalled(Box::new(message.request)),
            // It was good before, and what it is judged by does not change in a run.
            Err(_) => Answer::Done,
        }
    }

    fn begun(
        &mut self,
        batch: &mut Batch<'_>,
        (begins, asked): (Pending<Micros>, Asked),
        replies: &mut Replies,
    ) -> Result<(), LinkError> {
        // Slots count from when Redis gave them, which was before this.
        let now = Instant::now();
        let begun = match self.heard(asked.begun(replies)) {
            Ok(begun) => begun,
            Err(LinkError::Full(why)) => {
                self.tell_full(&why);
                vec![Begun::NotYet(FULL_AGAIN); begins.len()]
            }
            Err(e) => return Err(e),
        };
        for ((at, ticket, reserve), begun) in begins.into_iter().zip(begun) {
            batch.answers[at] = Some(match begun {
                Begun::Slot(us) => {
                    if let Some(job) = self.held.get_mut(&ticket) {
                        job.step += 1;
                        job.reserve = Some(reserve);
                        job.history.creates += 1;
                        job.history.spent += reserve;
                    }
                    let away = Duration::from_micros(us.unsigned_abs());
                    Answer::Slot(if us < 0 {
                        now.checked_sub(away).unwrap_or(now)
                    } else {
                        now + away
                    })
                }
                Begun::NotYet(wait) => Answer::NotYet(now + wait),
                Begun::OverSpend => Answer::OverSpend,
                Begun::Learn(held) => self.answer(ticket, QueueAnswer::Learn(held)),
                Begun::Lost => self.answer(ticket, QueueAnswer::Lost),
            });
        }
        Ok(())
    }

    /// Takes note of an error.
    fn heard<T>(&mut self, result: RedisResult<T>) -> Result<T, LinkError> {
        result.map_err(|e| self.link.failed(&e))
    }

    /// What an answer of Redis' means to the engine.
    fn answer(&mut self, ticket: Ticket, answer: QueueAnswer) -> Answer {
        let now = (self.wall_clock)();
        match answer {
            QueueAnswer::Done => Answer::Done,
            QueueAnswer::Lost => {
                self.held.remove(&ticket);
                self.may_be_done = true;
                Answer::Lost
            }
            QueueAnswer::Learn(held) => {
                let job = self.held.get_mut(&ticket);
                match job.and_then(|job| job.learn(&held, now)) {
                    Some(waiting) => Answer::Learn(waiting),
                    None => Answer::Lost,
                }
            }
        }
    }
}
