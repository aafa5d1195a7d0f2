//! N jobs from a CSV file to a CSV file, on one thread.

use std::cell::RefCell;
use std::fs::File;
use std::io::BufWriter;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::sleep;

use crate::Error;
use crate::api::Api;

/// When a job's next step is taken.
#[derive(Clone, Copy)]
pub enum Pace {
    /// As a user of the service would: a wait before the first poll and between polls.
    Timed {
        in_flight: usize,
        first: Duration,
        interval: Duration,
    },
    /// At once: as many jobs at a time as connections.
    Closed,
}

#[derive(Deserialize)]
struct Row {
    id: String,
    website_url: String,
    website_key: String,
}

struct World {
    api: Api,
    /// Exchanges at a time.
    connections: Semaphore,
    output: RefCell<csv::Writer<BufWriter<File>>>,
}

pub fn run(
    url: &str,
    input: &str,
    output: &str,
    connections: usize,
    pace: Pace,
) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let world = Rc::new(World {
        api: Api::new(url, connections)?,
        connections: Semaphore::new(connections),
        output: RefCell::new(csv::Writer::from_writer(BufWriter::new(File::create(
            output,
        )?))),
    });
    let rows = csv::Reader::from_path(input)?;
    LocalSet::new().block_on(&runtime, all(Rc::clone(&world), rows, pace))?;
    world.output.borrow_mut().flush()?;
    Ok(())
}

async fn all(world: Rc<World>, mut rows: csv::Reader<File>, pace: Pace) -> Result<(), Error> {
    let in_flight = match pace {
        Pace::Timed { in_flight, .. } => in_flight,
        Pace::Closed => world.connections.available_permits(),
    };
    world
        .output
        .borrow_mut()
        .write_record(["id", "token", "polls"])?;
    let room = Arc::new(Semaphore::new(in_flight));
    let mut tasks = JoinSet::new();
    for row in rows.deserialize() {
        let place = Arc::clone(&room).acquire_owned().await?;
        while let Some(ended) = tasks.try_join_next() {
            ended??;
        }
        let world = Rc::clone(&world);
        let row: Row = row?;
        tasks.spawn_local(async move {
            let outcome = one(&world, &row, pace).await.map_err(|e| e.to_string());
            drop(place);
            outcome
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

async fn one(world: &World, row: &Row, pace: Pace) -> Result<(), Error> {
    let (first, interval) = match pace {
        Pace::Timed {
            first, interval, ..
        } => (first, interval),
        Pace::Closed => (Duration::ZERO, Duration::ZERO),
    };
    let job_id = {
        let _connection = world.connections.acquire().await?;
        world.api.create(&row.website_url, &row.website_key).await?
    };
    let mut wait = first;
    let mut polls = 0_u32;
    let token = loop {
        if !wait.is_zero() {
            // Up to a tenth more, as pollwheel does it, so that all have the same schedule.
            sleep(wait.mul_f64(1.0 + fastrand::f64() / 10.0)).await;
        }
        let _connection = world.connections.acquire().await?;
        polls += 1;
        if let Some(token) = world.api.poll(job_id).await? {
            break token;
        }
        wait = interval;
    };
    let polls = polls.to_string();
    world
        .output
        .borrow_mut()
        .write_record([&row.id, &token, &polls])?;
    Ok(())
}
