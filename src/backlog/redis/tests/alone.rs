//! Operations one at a time, as no worker makes them.

use ::redis::RedisResult;
use ::redis::aio::ConnectionLike;

use super::super::flight::{Asked, Flight, Replies};
use super::super::intake::{Adopted, Claimed};
use super::*;

/// Sends what `add` adds, and reads the answers.
async fn alone<C: ConnectionLike, T>(
    connection: &mut C,
    add: impl FnOnce(&mut Flight) -> Asked,
    read: impl FnOnce(Asked, &mut Replies) -> RedisResult<Vec<T>>,
) -> RedisResult<Vec<T>> {
    let mut flight = Flight::default();
    let asked = add(&mut flight);
    if flight.is_empty() {
        return Ok(Vec::new());
    }
    read(asked, &mut flight.send(connection).await?)
}

impl Queue {
    pub(super) async fn adopt<C: ConnectionLike>(
        &self,
        connection: &mut C,
        n: usize,
        api: &str,
    ) -> RedisResult<Adopted> {
        let mut flight = Flight::default();
        self.add_adopt(&mut flight, n, api);
        Adopted::read(&mut flight.send(connection).await?)
    }

    pub(super) async fn claim<C: ConnectionLike>(
        &self,
        connection: &mut C,
        n: usize,
        cap: Option<u64>,
    ) -> RedisResult<Claimed> {
        let mut flight = Flight::default();
        self.add_claim(&mut flight, n, cap);
        Claimed::read(&mut flight.send(connection).await?)
    }

    pub(super) async fn admit<C: ConnectionLike>(
        &self,
        connection: &mut C,
        items: &[Admit<'_>],
    ) -> RedisResult<Vec<Admission>> {
        let add = |flight: &mut Flight| self.add_admit(flight, items);
        alone(connection, add, Asked::admissions).await
    }

    pub(super) async fn begin<C: ConnectionLike>(
        &self,
        connection: &mut C,
        spending: Spending<'_>,
        items: &[Begin<'_>],
    ) -> RedisResult<Vec<Begun>> {
        let add = |flight: &mut Flight| self.add_begin(flight, spending, items);
        alone(connection, add, Asked::begun).await
    }

    pub(super) async fn created<C: ConnectionLike>(
        &self,
        connection: &mut C,
        items: &[Created<'_>],
    ) -> RedisResult<Vec<Answer>> {
        self.created_at(connection, API, items).await
    }

    pub(super) async fn created_at<C: ConnectionLike>(
        &self,
        connection: &mut C,
        api: &str,
        items: &[Created<'_>],
    ) -> RedisResult<Vec<Answer>> {
        let add = |flight: &mut Flight| self.add_created(flight, api, items);
        alone(connection, add, Asked::answers).await
    }

    pub(super) async fn back<C: ConnectionLike>(
        &self,
        connection: &mut C,
        items: &[Back<'_>],
    ) -> RedisResult<Vec<Answer>> {
        let add = |flight: &mut Flight| self.add_back(flight, items);
        alone(connection, add, Asked::answers).await
    }

    pub(super) async fn finish<C: ConnectionLike>(
        &self,
        connection: &mut C,
        results: Option<&str>,
        items: &[Finish<'_>],
    ) -> RedisResult<Vec<Finished>> {
        let add = |flight: &mut Flight| self.add_finish(flight, results, items);
        alone(connection, add, Asked::finished).await
    }
}
