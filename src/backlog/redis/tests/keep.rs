//! Leases: kept, handed back, and put back after Redis lost something.

use super::dump::Dump;
use super::*;

fn known<'a>(own: &'a Own, remote_id: Option<&'a str>) -> Known<'a> {
    Known {
        hold: own.hold(),
        remote_id,
    }
}

/// What an owner asserts of a job without a create under way.
fn claimed<'a>(own: &'a Own) -> Assert<'a> {
    Assert {
        hold: own.hold(),
        state: JobState::Claimed,
        payload: "payload",
        hash: "hash",
        history: crate::backlog::History::default(),
        crashes: 0,
        reserve: None,
        remote_id: None,
        submitted_at_ms: None,
        deadline_left_ms: None,
        not_after_left_ms: None,
        api: None,
    }
}

/// What it asserts of a job that was created once.
fn waiting<'a>(own: &'a Own, remote_id: &'a str) -> Assert<'a> {
    Assert {
        state: JobState::Waiting,
        history: crate::backlog::History {
            creates: 1,
            spent: Micros(PRICE),
            ..crate::backlog::History::default()
        },
        remote_id: Some(remote_id),
        submitted_at_ms: Some(5),
        deadline_left_ms: Some(60_000),
        api: Some(API),
        ..claimed(own)
    }
}

async fn assert_one(f: &mut Fixture, item: Assert<'_>) -> (Answer, u32) {
    let mut asserted = f.queue.assert(&mut f.con, &[item]).await.unwrap();
    Dump::of(&mut f.con).await.check();
    (asserted.answers.remove(0), asserted.put_back)
}

#[tokio::test]
async fn a_beat_keeps_what_is_held_and_tells_the_rest() {
    let mut f = Fixture::new().await;
    let kept = f.waiting("kept", "1").await;
    let raw = f.raw("message").await;
    let message = Own {
        id: raw.key,
        epoch: raw.epoch,
        step: 0,
    };
    let lost = f.take("lost").await;
    f.expire("lost").await;
    f.claim().await;
    let mut stale = f.take("learned").await;
    f.begin(&mut stale).await;
    let learned = f.take_over("learned").await;
    f.created(&mut stale, "\"x\"").await;
    for id in ["kept", &message.id] {
        f.expire(id).await;
    }
    let items = [
        known(&lost, None),
        known(&kept, Some("1")),
        known(&learned, None),
        known(&message, None),
    ];
    let beat = f.queue.beat(&mut f.con, &items).await.unwrap();
    assert_eq!(beat.lost, [0]);
    assert_eq!(beat.learned.len(), 1);
    let (place, held) = &beat.learned[0];
    assert_eq!((*place, held.remote_id.as_deref()), (2, Some("\"x\"")));
    assert_eq!((held.epoch, held.step), (learned.epoch, learned.step));
    assert!(f.adopt().await.is_empty());
    assert!(f.claim().await.raw.is_empty());
    let status = f.queue.status(&mut f.con).await.unwrap();
    assert_eq!(status.workers, 1);
    Dump::of(&mut f.con).await.check();
}

#[tokio::test]
async fn a_beat_of_nothing_says_that_the_worker_lives_and_hears_of_holds() {
    let mut f = Fixture::new().await;
    f.queue.pause(&mut f.con).await.unwrap();
    f.queue
        .penalise(&mut f.con, Duration::from_secs(60))
        .await
        .unwrap();
    let beat = f.queue.beat(&mut f.con, &[]).await.unwrap();
    assert!(beat.paused);
    assert!((59_000..=60_000).contains(&beat.hold_ms));
    let other = queue("w2", Duration::from_secs(30));
    other.beat(&mut f.con, &[]).await.unwrap();
    assert_eq!(f.queue.status(&mut f.con).await.unwrap().workers, 2);
    let _: () = f.cmd("ZADD", "workers", &["1", "w1"]).await;
    assert_eq!(f.queue.status(&mut f.con).await.unwrap().workers, 1);
}

#[tokio::test]
async fn more_beats_than_one_call_takes() {
    let mut f = Fixture::new().await;
    let owns: Vec<Own> = (0..300)
        .map(|n| Own {
            id: format!("none {n}"),
            epoch: Epoch(1),
            step: 0,
        })
        .collect();
    let items: Vec<Known<'_>> = owns.iter().map(|own| known(own, None)).collect();
    let beat = f.queue.beat(&mut f.con, &items).await.unwrap();
    assert_eq!(beat.lost, (0..300).collect::<Vec<usize>>());
}

#[tokio::test]
async fn what_is_released_is_there_for_the_next_at_once() {
    let mut f = Fixture::new().await;
    let paid = f.waiting("paid", "1").await;
    let own = f.take("a").await;
    let mut doubt = f.take("doubt").await;
    f.begin(&mut doubt).await;
    let raw = f.raw("message").await;
    let message = Own {
        id: raw.key.clone(),
        epoch: raw.epoch,
        step: 0,
    };
    f.push(&["newer"]).await;
    let items = [&paid, &own, &doubt, &message, &message].map(|own| Release {
        hold: own.hold(),
        polls: 4,
        delay: Duration::ZERO,
    });
    for _ in 0..2 {
        f.queue.release(&mut f.con, &items).await.unwrap();
        Dump::of(&mut f.con).await.check();
    }
    let adopted = f.adopt().await;
    assert_eq!(adopted[0].id, "paid");
    assert_eq!(adopted[0].history.polls, 4);
    let claimed = f.claim().await;
    let mut held: Vec<(&str, bool)> = claimed
        .held
        .iter()
        .map(|h| (h.id.as_str(), h.found_submitting))
        .collect();
    held.sort_unstable();
    assert_eq!(held, [("a", false), ("doubt", true)]);
    let texts: Vec<&[u8]> = claimed.raw.iter().map(|raw| raw.text.as_slice()).collect();
    assert_eq!(texts, [&b"message"[..], b"newer"]);
}

#[tokio::test]
async fn another_redis_makes_the_fleet_quiet_for_a_lease() {
    let mut f = Fixture::new().await;
    f.waiting("paid", "1").await;
    f.expire("paid").await;
    f.push(&["a"]).await;
    let settle = |differs, quiet_ms| Settled { differs, quiet_ms };
    for _ in 0..2 {
        assert_eq!(
            f.queue.settle_in(&mut f.con, "one").await.unwrap(),
            settle(false, 0)
        );
    }
    let settled = f.queue.settle_in(&mut f.con, "two").await.unwrap();
    assert_eq!(settled, settle(true, 30_000));
    assert!(!f.queue.settle_in(&mut f.con, "two").await.unwrap().differs);
    let adopted = f.queue.adopt(&mut f.con, 10, API).await.unwrap();
    assert!(adopted.held.is_empty() && adopted.quiet_ms > 29_000);
    let claimed = f.claim().await;
    assert!(claimed.raw.is_empty() && claimed.quiet_ms > 29_000 && !claimed.empty);
    let _: () = f.cmd("HSET", "meta", &["quiet_until", "1"]).await;
    assert_eq!(f.adopt().await.len(), 1);
    assert_eq!(f.claim().await.raw.len(), 1);
}

#[tokio::test]
async fn a_job_that_redis_lost_is_put_back_with_its_money_and_epoch() {
    let mut f = Fixture::new().await;
    let own = Own {
        id: "a".to_owned(),
        epoch: Epoch(70),
        step: 2,
    };
    for put_back in [1, 0] {
        assert_eq!(
            assert_one(&mut f, waiting(&own, "1")).await,
            (Answer::Done, put_back)
        );
    }
    assert_eq!(
        (f.counter("spent").await, f.counter("creates").await),
        (PRICE, 1)
    );
    assert!(f.take("b").await.epoch > Epoch(70));
    f.expire("a").await;
    let held = f.adopt().await.remove(0);
    assert_eq!(
        (held.payload.as_str(), held.hash.as_str()),
        ("payload", "hash")
    );
    assert_eq!(
        (held.remote_id.as_deref(), held.submitted_at_ms),
        (Some("1"), Some(5))
    );
    assert!((59_000..=60_000).contains(&held.deadline_left_ms.unwrap()));
    // The owner was not the last one.
    assert_eq!(
        assert_one(&mut f, waiting(&own, "1")).await,
        (Answer::Lost, 0)
    );
}

#[tokio::test]
async fn what_redis_lost_of_a_job_is_brought_up_to_date() {
    let mut f = Fixture::new().await;
    let own = f.take("a").await;
    // Begin and created are lost.
    let later = Own {
        step: 2,
        ..own.clone()
    };
    assert_eq!(
        assert_one(&mut f, waiting(&later, "1")).await,
        (Answer::Done, 1)
    );
    assert_eq!(f.counter("spent").await, PRICE);
    // Of an id that somebody else had brought only the id is lost.
    let told = f.take("told").await;
    let knows = Assert {
        remote_id: Some("4"),
        submitted_at_ms: Some(5),
        deadline_left_ms: Some(60_000),
        api: Some(API),
        ..claimed(&told)
    };
    assert_eq!(assert_one(&mut f, knows).await, (Answer::Done, 1));
    let dump = Dump::of(&mut f.con).await;
    assert_eq!(dump.job("told").unwrap()["r"], "4");
    // What is older than what Redis has changes nothing.
    assert_eq!(assert_one(&mut f, claimed(&own)).await.1, 0);
    assert_eq!(Dump::of(&mut f.con).await.job("a").unwrap()["s"], "waiting");

    // A claim is lost: the request stands in delayed again.
    let b = f.take("b").await;
    f.release(&b, Duration::from_secs(60)).await;
    let claim = Own {
        epoch: Epoch(b.epoch.0 + 50),
        ..b
    };
    let submitting = Assert {
        state: JobState::Submitting,
        reserve: Some(Micros(PRICE)),
        history: waiting(&claim, "1").history,
        ..claimed(&claim)
    };
    assert_eq!(assert_one(&mut f, submitting).await, (Answer::Done, 1));
    assert!(f.claim().await.held.is_empty());
    f.expire("b").await;
    assert!(f.claim().await.held[0].found_submitting);
    assert_eq!(f.counter("spent").await, 2 * PRICE);
}

#[tokio::test]
async fn an_assertion_never_replaces_a_remote_id() {
    let mut f = Fixture::new().await;
    let own = f.waiting("a", "1").await;
    let later = Own {
        epoch: Epoch(own.epoch.0 + 9),
        ..own.clone()
    };
    // A retry and another create were lost.
    let (answer, _) = assert_one(&mut f, waiting(&later, "2")).await;
    assert!(
        matches!(answer, Answer::Learn(held) if held.remote_id.as_deref() == Some("1") && held.epoch == later.epoch)
    );
    assert_eq!(f.orphans().await.len(), 1);
    let (answer, _) = assert_one(&mut f, claimed(&later)).await;
    assert!(matches!(answer, Answer::Learn(_)));
    assert_eq!(assert_one(&mut f, claimed(&own)).await.0, Answer::Lost);

    // One that is over stays over; one that another holds is told what it does not know.
    assert_eq!(
        f.finish(later.finish(Status::Solved, Some("1"))).await,
        Finished::Done
    );
    assert_eq!(
        assert_one(&mut f, waiting(&later, "1")).await,
        (Answer::Lost, 0)
    );
    assert_eq!(f.orphans().await.len(), 1);
    let old = f.take("b").await;
    f.take_over("b").await;
    assert_eq!(
        assert_one(&mut f, waiting(&old, "3")).await,
        (Answer::Lost, 1)
    );
    assert_eq!(Dump::of(&mut f.con).await.job("b").unwrap()["r"], "3");
}
