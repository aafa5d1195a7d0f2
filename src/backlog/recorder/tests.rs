//! When batches begin, on the paused clock.

use std::ops::RangeInclusive;
use std::sync::Mutex;

use tokio::time::sleep_until;

use super::*;

const LEAST: Duration = Duration::from_millis(4);
const MOST: Duration = Duration::from_millis(40);

/// Takes down when it was called, and for how much.
struct Diary {
    start: Instant,
    calls: Arc<Mutex<Vec<(u128, usize)>>>,
}

impl Diary {
    fn note(&self, many: usize) {
        let at = self.start.elapsed().as_millis();
        self.calls.lock().unwrap().push((at, many));
    }
}

impl Backlog for Diary {
    async fn claim(&mut self, _max: usize) -> Result<Claimed, BacklogError> {
        unreachable!("nobody claims")
    }

    async fn record(
        &mut self,
        batch: &[(Ticket, Record)],
        _polls: u64,
    ) -> Result<Vec<Answer>, BacklogError> {
        self.note(batch.len());
        Ok(vec![Answer::Done; batch.len()])
    }

    fn batch_every(&self) -> RangeInclusive<Duration> {
        LEAST..=MOST
    }

    async fn penalise(&mut self, _pause: Duration) -> Result<(), BacklogError> {
        self.note(0);
        Ok(())
    }

    async fn close(&mut self, _why: &str) -> Result<(), BacklogError> {
        self.note(0);
        Ok(())
    }
}

/// What the diary holds when records were asked for at these milliseconds, so many at each, and then `last`
/// was done.
async fn calls(asked: &[(u64, usize)], last: impl FnOnce(&Recorder)) -> Vec<(u128, usize)> {
    let start = Instant::now();
    let calls = Arc::default();
    let diary = Diary {
        start,
        calls: Arc::clone(&calls),
    };
    let (recorder, end) = Recorder::channel(1000);
    let engine = async {
        for (at, many) in asked {
            sleep_until(start + Duration::from_millis(*at)).await;
            for n in 0..*many {
                let record = Record::Withdraw;
                recorder.record(n, Ticket(n as u64), record, 0).unwrap();
            }
        }
        last(&recorder);
        sleep_until(Instant::now() + MOST * 2).await;
        drop(recorder);
    };
    tokio::join!(engine, end.serve(diary));
    calls.lock().unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn what_comes_after_a_pause_waits_for_nothing() {
    assert_eq!(
        calls(&[(100, 1), (500, 1)], |_| {}).await,
        [(100, 1), (500, 1)]
    );
}

#[tokio::test(start_paused = true)]
async fn few_wait_for_company() {
    let one_by_one: Vec<_> = (0..10).map(|n| (100 + 10 * n, 1)).collect();
    assert_eq!(
        calls(&one_by_one, |_| {}).await,
        [(100, 1), (140, 4), (180, 4), (220, 1)]
    );
}

#[tokio::test(start_paused = true)]
async fn many_wait_for_the_shortest_time() {
    let crowd: Vec<_> = (0..10).map(|n| (100 + 2 * n, 20)).collect();
    let calls = calls(&crowd, |_| {}).await;
    // The first has company enough, and so have all that follow.
    assert_eq!(calls[0], (100, 20));
    for pair in calls.windows(2) {
        assert!(pair[1].0 - pair[0].0 <= 40 && pair[1].1 >= 20, "{calls:?}");
    }
    let last: Vec<_> = calls[2..].windows(2).map(|p| p[1].0 - p[0].0).collect();
    assert!(last.iter().all(|gap| *gap == 4), "{calls:?}");
    assert_eq!(calls.iter().map(|call| call.1).sum::<usize>(), 200);
}

#[tokio::test(start_paused = true)]
async fn very_many_wait_for_no_time() {
    assert_eq!(
        calls(&[(100, 1), (101, MANY - 1), (102, 1)], |_| {}).await,
        [(100, 1), (102, MANY)]
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_urgent_is_done_at_once() {
    let pause = |recorder: &Recorder| recorder.penalise(Duration::from_secs(1));
    assert_eq!(
        calls(&[(100, 1), (110, 1)], pause).await,
        [(100, 1), (110, 0), (110, 1)]
    );
    let close = |recorder: &Recorder| recorder.close("done").unwrap();
    assert_eq!(
        calls(&[(100, 1), (110, 1)], close).await,
        [(100, 1), (110, 1), (110, 0)]
    );
}
