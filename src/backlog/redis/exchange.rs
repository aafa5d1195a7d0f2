//! One exchange with Redis: everything that is to be said at a time, in one write, and one wait for the answers.
//!
//! What must stay true: the order at the server is remote ids, ends, hand-backs, begins, and what concerns new
//! requests last; nothing that goes out depends on an answer to what goes out with it; what an exchange that
//! failed has left open goes out again with the next, and what it has answered does not.

use std::time::Duration;

use tokio::time::Instant;

use super::Finished;
use super::claims::Fetched;
use super::deliver::Ending;
use super::flight::Flight;
use super::records::Batch;
use super::worker::RedisBacklog;
use crate::backlog::{Answer, BacklogError, Record, Ticket};

/// However long an exchange takes, slots are asked for no further ahead of their time because of it.
const LONGEST_LAG: Duration = Duration::from_millis(400);

/// What an exchange brought.
pub(super) struct Exchanged {
    /// To the records, in order.
    pub(super) answers: Vec<Answer>,
    /// What the look said, or why there was none.
    pub(super) fetched: Result<Fetched, BacklogError>,
}

impl RedisBacklog {
    /// Records a batch, and looks for up to `max` requests if asked to. An error is one of the records'.
    pub(super) async fn exchange(
        &mut self,
        records: &[(Ticket, Record)],
        max: Option<usize>,
    ) -> Result<Exchanged, BacklogError> {
        self.settle_in().await?;
        let mut batch = self.batch(records);
        let mut endings = Vec::new();
        if max.is_some() {
            self.take_up_found();
            self.read_messages();
            endings = std::mem::take(&mut self.endings);
        }
        let done = self.exchange_with(&mut batch, &mut endings, max).await;
        // What was not answered comes first in the next one.
        endings.append(&mut self.endings);
        self.endings = endings;
        if max.is_some() {
            self.take_up_found();
            self.note_messages();
        }
        match done {
            Ok(fetched) => Ok(Exchanged {
                answers: batch.into_answers(),
                fetched,
            }),
            Err(e) => {
                self.keep(batch);
                Err(e)
            }
        }
    }

    async fn exchange_with(
        &mut self,
        batch: &mut Batch<'_>,
        endings: &mut Vec<Ending>,
        max: Option<usize>,
    ) -> Result<Result<Fetched, BacklogError>, BacklogError> {
        let mut flight = Flight::default();
        let (ends, parcels) = self.ends(batch);
        let packed = self.pack(parcels).await?;
        let written = self.add_records(&mut flight, batch, (ends, packed));
        let rejects = self
            .pack(endings.iter().map(Ending::parcel).collect())
            .await?;
        let asked = self.add_finish(&mut flight, &rejects);
        let look = max.map(|max| self.add_look(&mut flight, max));
        if flight.is_empty() {
            return Ok(Ok(Fetched::default()));
        }
        let sent = Instant::now();
        let connection = self.link.connection().await?;
        let replies = flight.send(connection).await;
        let mut replies = replies.map_err(|e| self.link.failed(&e))?;
        self.lag = (self.lag * 7 + sent.elapsed().min(LONGEST_LAG)) / 8;
        let recorded = self.recorded(batch, written, &mut replies).await;
        let rejected = self.finished(rejects, asked, &mut replies).await;
        let looked = look.map(|look| self.looked(look, &mut replies));
        let rejected = rejected.map(|answers| {
            for (ending, answer) in endings.drain(..).zip(answers) {
                if answer == Finished::Done {
                    self.told.push(ending.into_outcome());
                }
            }
        });
        recorded?;
        let fetched = rejected.and(looked.unwrap_or_else(|| Ok(Fetched::default())));
        Ok(fetched.map_err(BacklogError::from))
    }
}
