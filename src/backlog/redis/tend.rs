//! How what is held is kept: leases are extended, and after Redis came back as another run, what it may have
//! lost is put back before anything else is done.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::warn;

use super::in_hand::{hash_text, ms_until};
use super::worker::RedisBacklog;
use super::{Answer as QueueAnswer, Assert, Held, JobState, Known};
use crate::backlog::Ticket;
use crate::redis::LinkError;

/// Of very many jobs so many are spoken of in one exchange: what it takes in memory is bounded.
const TOGETHER: usize = if cfg!(test) { 3 } else { 8192 };

impl RedisBacklog {
    /// Sees to a connection that is new: is it the same Redis, does it know what we hold?
    pub(super) async fn settle_in(&mut self) -> Result<(), LinkError> {
        self.link.connection().await?;
        let Some(facts) = self.link.facts() else {
            return Ok(());
        };
        let (generation, run_id) = (facts.generation, facts.run_id.clone());
        if generation == self.generation {
            return Ok(());
        }
        let settled = self
            .call(async |q, c| q.settle_in(c, &run_id).await)
            .await?;
        let is_other = self.run_id.as_ref().is_some_and(|known| *known != run_id);
        if is_other {
            let put_back = self.assert_all().await?;
            warn!(
                put_back,
                "Redis was restarted or failed over; what this worker holds is asserted, and nobody takes up anything for {} s",
                settled.quiet_ms.div_ceil(1000)
            );
        } else if settled.quiet_ms > 0 && self.run_id.is_none() {
            warn!(
                "Redis was restarted or failed over; nobody takes up anything for {} s, in which workers put back what it lost",
                settled.quiet_ms.div_ceil(1000)
            );
        }
        self.run_id = Some(run_id);
        self.generation = generation;
        Ok(())
    }

    /// Puts back what Redis may have lost of what is held.
    async fn assert_all(&mut self) -> Result<u32, LinkError> {
        let mut put_back = 0;
        for some in self.tickets().chunks(TOGETHER) {
            put_back += self.assert_some(some).await?;
        }
        Ok(put_back)
    }

    async fn assert_some(&mut self, tickets: &[Ticket]) -> Result<u32, LinkError> {
        let now = (self.wall_clock)();
        let remote_ids = self.remote_ids(tickets);
        let hashes: Vec<String> = tickets
            .iter()
            .map(|t| hash_text(self.held[t].kept.hash))
            .collect();
        let api = self.api.clone();
        let items: Vec<Assert<'_>> = tickets
            .iter()
            .zip(&remote_ids)
            .zip(&hashes)
            .map(|((ticket, remote_id), hash)| {
                let job = &self.held[ticket];
                let state = match (&job.waiting, job.reserve) {
                    (Some(_), _) => JobState::Waiting,
                    (None, Some(_)) => JobState::Submitting,
                    (None, None) => JobState::Claimed,
                };
                Assert {
                    hold: job.hold(),
                    state,
                    payload: &job.kept.payload,
                    hash,
                    history: job.history,
                    crashes: job.crashes,
                    reserve: job.reserve,
                    remote_id: remote_id.as_deref(),
                    submitted_at_ms: job
                        .waiting
                        .as_ref()
                        .map(|w| w.submitted_at.as_millisecond()),
                    deadline_left_ms: job.waiting.as_ref().map(|w| ms_until(now, w.deadline)),
                    not_after_left_ms: job.not_after.map(|at| ms_until(now, at)),
                    api: (state != JobState::Claimed).then_some(api.as_str()),
                }
            })
            .collect();
        let connection = self.link.connection().await?;
        let asserted = match self.queue.assert(connection, &items).await {
            Ok(asserted) => asserted,
            Err(e) => return Err(self.link.failed(&e)),
        };
        drop(items);
        for (&ticket, answer) in tickets.iter().zip(asserted.answers) {
            match answer {
                QueueAnswer::Done => {}
                QueueAnswer::Lost => self.lost(ticket),
                QueueAnswer::Learn(held) => self.learned(ticket, &held, now),
            }
        }
        Ok(asserted.put_back)
    }

    /// Extends all leases and hears what became of them.
    pub(super) async fn beat(&mut self) -> Result<(), LinkError> {
        self.settle_in().await?;
        let asked = self.clock.now();
        let tickets = self.tickets();
        // A worker that holds nothing says so.
        let mut some = tickets.chunks(TOGETHER);
        self.beat_some(some.next().unwrap_or_default()).await?;
        for some in some {
            self.beat_some(some).await?;
        }
        self.clock.extend(asked, self.lease);
        self.beat_at = Instant::now() + self.lease / 3;
        Ok(())
    }

    async fn beat_some(&mut self, tickets: &[Ticket]) -> Result<(), LinkError> {
        let remote_ids = self.remote_ids(tickets);
        let items: Vec<Known<'_>> = tickets
            .iter()
            .zip(&remote_ids)
            .map(|(ticket, remote_id)| Known {
                hold: self.held[ticket].hold(),
                remote_id: remote_id.as_deref(),
            })
            .collect();
        let connection = self.link.connection().await?;
        let beat = match self.queue.beat(connection, &items).await {
            Ok(beat) => beat,
            Err(e) => return Err(self.link.failed(&e)),
        };
        drop(items);
        self.looks.workers = beat.workers;
        let now = (self.wall_clock)();
        for place in beat.lost {
            self.lost(tickets[place]);
        }
        for (place, held) in beat.learned {
            self.learned(tickets[place], &held, now);
        }
        if beat.hold_ms > 0 {
            self.news.pause = Some(Instant::now() + Duration::from_millis(beat.hold_ms));
        }
        Ok(())
    }

    /// What is held, oldest first.
    fn tickets(&self) -> Vec<Ticket> {
        let mut tickets: Vec<_> = self
            .held
            .iter()
            .filter(|(_, job)| job.lost_at.is_none())
            .map(|(ticket, _)| *ticket)
            .collect();
        tickets.sort_unstable();
        tickets
    }

    fn remote_ids(&self, tickets: &[Ticket]) -> Vec<Option<String>> {
        let remote_id = |t| self.held[t].waiting.as_ref().map(|w| w.remote_id.to_json());
        tickets.iter().map(remote_id).collect()
    }

    /// Somebody else has it. A create of ours may still be on the wire, and its id must be heard.
    fn lost(&mut self, ticket: Ticket) {
        if let Some(job) = self.held.get_mut(&ticket) {
            job.lost_at = Some(Instant::now());
            self.news.lost.push(ticket);
        }
    }

    fn learned(&mut self, ticket: Ticket, held: &Held, now: Timestamp) {
        if let Some(job) = self.held.get_mut(&ticket)
            && let Some(waiting) = job.learn(held, now)
        {
            self.news.learned.push((ticket, waiting));
        }
    }
}
