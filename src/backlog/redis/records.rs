//! Records: what the engine did, written to Redis in a few calls.
//!
//! What must stay true: remote ids are written before anything else, begins last; what was answered of a
//! batch that failed half-way is not asked again, because a step is taken once.

use std::time::Duration;

use tokio::time::Instant;

use super::deliver::Parcel;
use super::worker::RedisBacklog;
use super::{
    Answer as QueueAnswer, Back, BackBy, Begin, Begun, Created, Finished, Release, Spending,
};
use crate::backlog::{Answer, BacklogError, Record, Ticket, Waiting};
use crate::job::{Micros, RemoteId};
use crate::redis::LinkError;

/// A begin for which Redis has no memory is asked for again after this time.
const FULL_AGAIN: Duration = Duration::from_secs(1);

impl RedisBacklog {
    pub(super) async fn record_batch(
        &mut self,
        batch: &[(Ticket, Record)],
    ) -> Result<Vec<Answer>, BacklogError> {
        // Of what was forgotten long ago there is nothing to say.
        for (ticket, _) in batch {
            if !self.held.contains_key(ticket) {
                self.answered.entry(*ticket).or_insert(Answer::Lost);
            }
        }
        self.record_created(batch).await?;
        self.record_ends(batch).await?;
        self.record_releases(batch).await?;
        self.record_backs(batch).await?;
        self.record_begins(batch).await?;
        let answered = std::mem::take(&mut self.answered);
        Ok(batch
            .iter()
            .map(|(ticket, _)| answered.get(ticket).cloned().unwrap_or(Answer::Lost))
            .collect())
    }

    /// The records of a batch that `pick` takes and that have no answer yet.
    fn unanswered<'b, T>(
        &self,
        batch: &'b [(Ticket, Record)],
        pick: impl Fn(&'b Record) -> Option<T>,
    ) -> Vec<(Ticket, T)> {
        batch
            .iter()
            .filter(|(ticket, _)| !self.answered.contains_key(ticket))
            .filter_map(|(ticket, record)| Some((*ticket, pick(record)?)))
            .collect()
    }

    async fn record_created(&mut self, batch: &[(Ticket, Record)]) -> Result<(), BacklogError> {
        let created: Vec<(Ticket, &Waiting)> = self.unanswered(batch, |record| match record {
            Record::Created(waiting) => Some(waiting),
            _ => None,
        });
        if created.is_empty() {
            return Ok(());
        }
        let ids: Vec<String> = created.iter().map(|(_, w)| w.remote_id.to_json()).collect();
        let connection = self.link.connection().await?;
        let items: Vec<Created<'_>> = created
            .iter()
            .zip(&ids)
            .map(|((ticket, waiting), remote_id)| Created {
                hold: self.held[ticket].hold(),
                remote_id,
                submitted_at_ms: waiting.submitted_at.as_millisecond(),
                budget: Duration::try_from(waiting.deadline.duration_since(waiting.submitted_at))
                    .unwrap_or_default(),
                api: &self.api,
            })
            .collect();
        let answers = match self.queue.created(connection, &items).await {
            Ok(answers) => answers,
            Err(e) => return Err(self.link.failed(&e).into()),
        };
        drop(items);
        for ((ticket, waiting), answer) in created.into_iter().zip(answers) {
            if let Some(job) = self.held.get_mut(&ticket)
                && answer == QueueAnswer::Done
            {
                job.step += 1;
                job.crashes = 0;
                job.reserve = None;
                job.waiting = Some(waiting.clone());
            }
            self.answer(ticket, answer);
        }
        Ok(())
    }

    /// Ways back to claimed.
    async fn record_backs(&mut self, batch: &[(Ticket, Record)]) -> Result<(), BacklogError> {
        let backs: Vec<(Ticket, &Record)> = self.unanswered(batch, |record| match record {
            Record::Withdraw | Record::Unknown | Record::Retry { .. } => Some(record),
            _ => None,
        });
        if backs.is_empty() {
            return Ok(());
        }
        let ids: Vec<String> = backs
            .iter()
            .map(|(ticket, _)| {
                let waiting = self.held[ticket].waiting.as_ref();
                waiting.map_or_else(String::new, |w| w.remote_id.to_json())
            })
            .collect();
        let connection = self.link.connection().await?;
        let items: Vec<Back<'_>> = backs
            .iter()
            .zip(&ids)
            .map(|((ticket, record), remote_id)| Back {
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
        let answers = match self.queue.back(connection, &items).await {
            Ok(answers) => answers,
            Err(e) => return Err(self.link.failed(&e).into()),
        };
        drop(items);
        for ((ticket, record), answer) in backs.into_iter().zip(answers) {
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
            self.answer(ticket, answer);
        }
        Ok(())
    }

    async fn record_begins(&mut self, batch: &[(Ticket, Record)]) -> Result<(), BacklogError> {
        let begins: Vec<(Ticket, Micros)> = self.unanswered(batch, |record| match record {
            Record::Begin { reserve, .. } => Some(*reserve),
            _ => None,
        });
        if begins.is_empty() {
            return Ok(());
        }
        let connection = self.link.connection().await?;
        let spending = Spending {
            api: &self.api,
            pace: self.submit_pace,
            cap: self.max_spend,
        };
        let items: Vec<Begin<'_>> = begins
            .iter()
            .map(|(ticket, reserve)| Begin {
                hold: self.held[ticket].hold(),
                reserve: *reserve,
            })
            .collect();
        let begun = self.queue.begin(connection, spending, &items).await;
        drop(items);
        // Slots count from when Redis gave them, which was before this.
        let now = Instant::now();
        let begun = match begun.map_err(|e| self.link.failed(&e)) {
            Ok(begun) => begun,
            Err(LinkError::Full(why)) => {
                self.tell_full(&why);
                vec![Begun::NotYet(FULL_AGAIN); begins.len()]
            }
            Err(e) => return Err(e.into()),
        };
        for ((ticket, reserve), begun) in begins.into_iter().zip(begun) {
            let answer = match begun {
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
                Begun::Learn(held) => {
                    self.answer(ticket, QueueAnswer::Learn(held));
                    continue;
                }
                Begun::Lost => {
                    self.answer(ticket, QueueAnswer::Lost);
                    continue;
                }
            };
            self.answered.insert(ticket, answer);
        }
        Ok(())
    }

    async fn record_ends(&mut self, batch: &[(Ticket, Record)]) -> Result<(), BacklogError> {
        let ends = self.unanswered(batch, |record| match record {
            Record::Finish {
                outcome,
                refund,
                unknown_create,
            } => Some((outcome, *refund, *unknown_create)),
            _ => None,
        });
        if ends.is_empty() {
            return Ok(());
        }
        let parcels: Vec<Parcel> = ends
            .iter()
            .map(|(ticket, (outcome, refund, unknown_create))| {
                let job = &self.held[ticket];
                let polls = outcome.polls.saturating_sub(job.history.polls);
                Parcel::of_request(
                    job.epoch,
                    job.message.clone(),
                    (***outcome).clone(),
                    (*refund, polls, *unknown_create),
                    outcome.remote_id.as_ref().map(RemoteId::to_json),
                )
            })
            .collect();
        let finished = self.deliver(&parcels).await?;
        for ((ticket, _), finished) in ends.into_iter().zip(finished) {
            let answer = match finished {
                Finished::Done => {
                    self.held.remove(&ticket);
                    self.may_be_done = true;
                    self.answered.insert(ticket, Answer::Done);
                    continue;
                }
                Finished::Learn(held) => QueueAnswer::Learn(held),
                // Of a place to go there is none left: it comes again when its lease has run out.
                Finished::Lost | Finished::BadTarget(_) => QueueAnswer::Lost,
            };
            self.answer(ticket, answer);
        }
        Ok(())
    }

    async fn record_releases(&mut self, batch: &[(Ticket, Record)]) -> Result<(), BacklogError> {
        let releases: Vec<(Ticket, (u32, Duration))> =
            self.unanswered(batch, |record| match record {
                Record::Release { polls, delay } => Some((*polls, *delay)),
                _ => None,
            });
        if releases.is_empty() {
            return Ok(());
        }
        let connection = self.link.connection().await?;
        let items: Vec<Release<'_>> = releases
            .iter()
            .map(|(ticket, (polls, delay))| Release {
                hold: self.held[ticket].hold(),
                polls: *polls,
                delay: *delay,
            })
            .collect();
        let released = self.queue.release(connection, &items).await;
        drop(items);
        released.map_err(|e| self.link.failed(&e))?;
        for (ticket, _) in releases {
            self.held.remove(&ticket);
            self.answered.insert(ticket, Answer::Done);
        }
        Ok(())
    }

    /// Takes note of what Redis answered to a record.
    fn answer(&mut self, ticket: Ticket, answer: QueueAnswer) {
        let now = (self.wall_clock)();
        let answer = match answer {
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
        };
        self.answered.insert(ticket, answer);
    }
}
