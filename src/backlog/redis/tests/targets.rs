//! Where outcomes go, what was given up, and what an operator asks.

use ::redis::AsyncCommands;

use super::dump::Dump;
use super::*;

async fn get(f: &mut Fixture, name: &str) -> Option<String> {
    ::redis::cmd("GET")
        .arg(name)
        .query_async(&mut f.con)
        .await
        .unwrap()
}

#[tokio::test]
async fn an_outcome_goes_to_the_list_and_the_key_it_was_asked_for() {
    let mut f = Fixture::new().await;
    let own = f.waiting("a", "1").await;
    let finish = Finish {
        target: Target::Reply("replies:x"),
        result_key: Some(("result:a", Duration::from_secs(100))),
        ..own.finish(Status::Solved, Some("1"))
    };
    for _ in 0..2 {
        assert_eq!(f.finish(finish).await, Finished::Done);
    }
    assert_eq!(f.outcomes("replies:x").await, ["a"]);
    assert!(f.outcomes(RESULTS).await.is_empty());
    assert_eq!(get(&mut f, "result:a").await.as_deref(), Some("a"));
    let ttl: i64 = ::redis::cmd("PTTL")
        .arg("result:a")
        .query_async(&mut f.con)
        .await
        .unwrap();
    assert!((99_000..=100_000).contains(&ttl));
    // Another sink has it already.
    let own = f.waiting("b", "2").await;
    let nowhere = Finish {
        target: Target::Nowhere,
        ..own.finish(Status::Failed, Some("2"))
    };
    assert_eq!(f.finish(nowhere).await, Finished::Done);
    assert!(f.outcomes(RESULTS).await.is_empty());
    Dump::of(&mut f.con).await.check();
}

#[tokio::test]
async fn outcomes_are_pushed_in_order() {
    let mut f = Fixture::new().await;
    let mut owns = Vec::new();
    for n in 0..200 {
        owns.push(f.take(&n.to_string()).await);
    }
    let items: Vec<Finish<'_>> = owns
        .iter()
        .map(|own| own.finish(Status::Failed, None))
        .collect();
    let answers = f
        .queue
        .finish(&mut f.con, Some(RESULTS), &items)
        .await
        .unwrap();
    assert!(answers.iter().all(|answer| *answer == Finished::Done));
    let oldest_first: Vec<String> = f.outcomes(RESULTS).await.into_iter().rev().collect();
    assert!(oldest_first.iter().eq(owns.iter().map(|own| &own.id)));
}

#[tokio::test]
async fn a_reply_to_that_is_no_list_falls_back_to_the_results() {
    let mut f = Fixture::new().await;
    let _: () = ::redis::cmd("SET")
        .arg("replies:x")
        .arg("text")
        .query_async(&mut f.con)
        .await
        .unwrap();
    let own = f.waiting("a", "1").await;
    let finish = Finish {
        target: Target::Reply("replies:x"),
        with_reply_error: Some("a, with reply_error"),
        ..own.finish(Status::Solved, Some("1"))
    };
    // Where there is nothing to fall back to, nothing changes and the others go on.
    let other = f.waiting("b", "2").await;
    let items = [
        finish,
        Finish {
            target: Target::Nowhere,
            ..other.finish(Status::Solved, Some("2"))
        },
    ];
    let answers = f.queue.finish(&mut f.con, None, &items).await.unwrap();
    assert_eq!(
        answers,
        [Finished::BadTarget("replies:x".to_owned()), Finished::Done]
    );
    assert_eq!(f.finish(finish).await, Finished::Done);
    assert_eq!(f.outcomes(RESULTS).await, ["a, with reply_error"]);
    assert_eq!(get(&mut f, "replies:x").await.as_deref(), Some("text"));
}

#[tokio::test]
async fn results_that_are_no_list_fail_the_call_before_anything_is_done() {
    let mut f = Fixture::new().await;
    let _: () = ::redis::cmd("SET")
        .arg(RESULTS)
        .arg("text")
        .query_async(&mut f.con)
        .await
        .unwrap();
    let a = f.waiting("a", "1").await;
    let b = f.waiting("b", "2").await;
    let replies = Finish {
        target: Target::Reply("replies:x"),
        result_key: Some(("result:a", Duration::from_secs(100))),
        ..a.finish(Status::Solved, Some("1"))
    };
    let items = [replies, b.finish(Status::Solved, Some("2"))];
    let error = f
        .queue
        .finish(&mut f.con, Some(RESULTS), &items)
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(super::super::finish::WRONG_TARGET));
    assert!(error.to_string().contains(RESULTS), "{error}");
    assert!(f.outcomes("replies:x").await.is_empty());
    assert_eq!(get(&mut f, "result:a").await, None);
    assert_eq!(f.cmd::<u64>("HLEN", "payload", &[]).await, 2);
    assert_eq!(f.counter("solved").await, 0);
    // Nobody needs it: then it does not matter.
    assert_eq!(f.finish(replies).await, Finished::Done);
}

#[tokio::test]
async fn a_result_key_of_another_type_is_not_written_over() {
    let mut f = Fixture::new().await;
    let _: () = ::redis::cmd("LPUSH")
        .arg("result:a")
        .arg("x")
        .query_async(&mut f.con)
        .await
        .unwrap();
    let own = f.waiting("a", "1").await;
    let finish = Finish {
        result_key: Some(("result:a", Duration::from_secs(100))),
        ..own.finish(Status::Solved, Some("1"))
    };
    assert_eq!(
        f.finish(finish).await,
        Finished::BadTarget("result:a".to_owned())
    );
    assert!(f.outcomes(RESULTS).await.is_empty());
    assert_eq!(f.outcomes("result:a").await, ["x"]);
}

#[tokio::test]
async fn no_outcome_goes_into_a_key_that_is_another_things() {
    let mut f = Fixture::new().await;
    let own = f.waiting("a", "1").await;
    let to = |target, result_key: &'static str| Finish {
        target,
        result_key: Some((result_key, Duration::from_secs(100))),
        ..own.finish(Status::Solved, Some("1"))
    };
    let [dead, ready] = [key("dead"), key("ready")];
    let dead: &'static str = dead.leak();
    let bad = |key: &str| Finished::BadTarget(key.to_owned());
    // Empty or not, they are spoken for: by the queue, by outcomes, by another use in this call.
    assert_eq!(f.finish(to(Target::Results, dead)).await, bad(dead));
    assert_eq!(f.finish(to(Target::Nowhere, RESULTS)).await, bad(RESULTS));
    assert_eq!(f.finish(to(Target::Reply("x"), "x")).await, bad("x"));
    assert_eq!(f.cmd::<u64>("EXISTS", "dead", &[]).await, 0);
    assert!(f.outcomes(RESULTS).await.is_empty() && f.outcomes("x").await.is_empty());
    let reply = Finish {
        target: Target::Reply(&ready),
        ..own.finish(Status::Solved, Some("1"))
    };
    assert_eq!(f.finish(reply).await, Finished::Done, "it falls back");
    assert_eq!(f.outcomes(RESULTS).await, ["a"]);
    assert_eq!(f.cmd::<u64>("EXISTS", "ready", &[]).await, 0);
}

#[tokio::test]
async fn a_list_of_producers_that_is_no_list_is_told_before_anything_is_claimed() {
    let mut f = Fixture::new().await;
    f.take("a").await;
    f.expire("a").await;
    let before: f64 = f.cmd("ZSCORE", "lease", &["a"]).await;
    let _: () = ::redis::cmd("SET")
        .arg(LIST)
        .arg("text")
        .query_async(&mut f.con)
        .await
        .unwrap();
    let error = f.queue.claim(&mut f.con, 10, None).await.unwrap_err();
    assert_eq!(error.code(), Some("WRONGTYPE"), "{error}");
    assert_eq!(
        f.cmd::<f64>("ZSCORE", "lease", &["a"]).await.to_bits(),
        before.to_bits()
    );
}

#[tokio::test]
async fn refunds_never_give_back_more_than_was_spent() {
    let mut f = Fixture::new().await;
    f.waiting("other", "9").await;
    let own = f.waiting("a", "1").await;
    let finish = Finish {
        refund: Micros(5 * PRICE),
        unknown_create: true,
        ..own.finish(Status::Failed, Some("1"))
    };
    f.finish(finish).await;
    assert_eq!(f.counter("spent").await, PRICE);
    assert_eq!(
        (
            f.counter("failed").await,
            f.counter("unknown_creates").await
        ),
        (1, 1)
    );
}

#[tokio::test]
async fn what_was_given_up_is_kept_and_can_be_taken_up_again() {
    let mut f = Fixture::new().await;
    for id in ["a", "b", "c"] {
        let own = f.waiting(id, "1").await;
        let dead = Finish {
            dead: true,
            ..own.finish(Status::Failed, Some("1"))
        };
        for _ in 0..2 {
            assert_eq!(f.finish(dead).await, Finished::Done);
        }
        Dump::of(&mut f.con).await.check();
    }
    let dead = f.queue.dead_list(&mut f.con, 10).await.unwrap();
    let ids: Vec<&str> = dead.iter().map(|dead| dead.payload.as_str()).collect();
    assert_eq!(ids.len(), 3);
    assert!(
        dead.iter()
            .all(|dead| dead.id == dead.payload && dead.at_ms > 1_000_000)
    );
    let one = f
        .queue
        .requeue(&mut f.con, Some(&["b", "nobody"]))
        .await
        .unwrap();
    assert_eq!((one.requeued, one.unknown, one.unfinished), (1, 1, 0));
    Dump::of(&mut f.con).await.check();
    let held = f.claim().await.held.remove(0);
    assert_eq!(
        (held.id.as_str(), held.payload.as_str(), held.hash.as_str()),
        ("b", "b", "b")
    );
    assert_eq!(held.history, crate::backlog::History::default());
    // The first generation's id is known.
    let again = Own::of(&held);
    let first = Own {
        epoch: Epoch(1),
        ..again.clone()
    };
    assert_eq!(f.try_created(&first, "1").await, Answer::Lost);
    assert!(f.orphans().await.is_empty());
    // Another one of that generation is not this one's.
    assert_eq!(f.try_created(&first, "7").await, Answer::Lost);
    assert_eq!(f.orphans().await.len(), 1);
    assert!(matches!(f.try_begin(&again, None).await, Begun::Slot(_)));
    let raw = f.raw("b").await;
    assert_eq!(f.admit(&raw, "b").await, Admission::Duplicate);
    // A producer can ask for it anew, too; then it is not among the dead any more.
    f.age_tombstone("a").await;
    f.take("a").await;
    let all = f.queue.requeue(&mut f.con, None).await.unwrap();
    assert_eq!((all.requeued, all.unknown), (1, 0));
    assert_eq!(f.claim().await.held[0].id, "c");
    assert_eq!(f.counter("spent").await, 4 * PRICE);
    Dump::of(&mut f.con).await.check();
}

#[tokio::test]
async fn all_the_dead_are_more_than_one_call_takes() {
    let mut f = Fixture::new().await;
    let mut owns = Vec::new();
    for n in 0..300 {
        owns.push(f.take(&n.to_string()).await);
    }
    let items: Vec<Finish<'_>> = owns
        .iter()
        .map(|own| Finish {
            dead: true,
            ..own.finish(Status::Failed, None)
        })
        .collect();
    f.queue
        .finish(&mut f.con, Some(RESULTS), &items)
        .await
        .unwrap();
    let status = f.queue.status(&mut f.con).await.unwrap();
    assert_eq!((status.dead, status.held), (300, 0));
    assert_eq!(
        f.queue.requeue(&mut f.con, None).await.unwrap().requeued,
        300
    );
    assert_eq!(f.queue.status(&mut f.con).await.unwrap().ready, 300);
    Dump::of(&mut f.con).await.check();
}

#[tokio::test]
async fn the_oldest_of_the_dead_make_room() {
    let mut f = Fixture::new().await;
    let keys = f.queue.keys.clone();
    let (payload, dead) = (&keys[6], &keys[10]);
    for n in 0..10_000 {
        let id = format!("old{n}");
        let _: () = f.con.zadd(dead, &id, n).await.unwrap();
        let kept = format!("dead\0{id}");
        let _: () = f.con.hset(payload, kept, "x").await.unwrap();
    }
    let own = f.waiting("new", "1").await;
    let last = Finish {
        dead: true,
        ..own.finish(Status::Failed, Some("1"))
    };
    assert_eq!(f.finish(last).await, Finished::Done);
    let ids: Vec<String> = f.con.zrange(dead, 0, -1).await.unwrap();
    assert_eq!(ids.len(), 10_000);
    assert_eq!((ids[0].as_str(), ids[9_999].as_str()), ("old1", "new"));
    let is_kept: bool = f.con.hexists(payload, "dead\0old0").await.unwrap();
    assert!(!is_kept, "what was forgotten takes no memory");
}

#[tokio::test]
async fn status_tells_how_the_queue_stands() {
    let mut f = Fixture::new().await;
    f.waiting("a", "1").await;
    f.take("b").await;
    let c = f.take("c").await;
    let d = f.take("d").await;
    f.release(&c, Duration::ZERO).await;
    f.release(&d, Duration::from_secs(60)).await;
    f.push(&["x", "y"]).await;
    let status = f.queue.status(&mut f.con).await.unwrap();
    assert_eq!(
        (status.waiting, status.ready, status.delayed, status.held),
        (2, 1, 1, 2)
    );
    assert_eq!(status.in_flight.by_state[&JobState::Waiting], [1, 0, 0, 0]);
    assert_eq!(status.in_flight.by_state[&JobState::Claimed], [1, 0, 0, 0]);
    assert!(!status.in_flight.is_cut);
    assert_eq!(status.creates_in_last_minute, 1);
    assert_eq!(
        (status.counters["spent"], status.counters["admitted"]),
        (PRICE, 4)
    );
    assert_eq!(
        (
            status.paused,
            status.hold_ms,
            status.quiet_ms,
            status.workers
        ),
        (false, 0, 0, 0)
    );
}

#[tokio::test]
async fn pushing_stops_where_enough_waits() {
    let mut f = Fixture::new().await;
    let messages: Vec<String> = (0..1200).map(|n| n.to_string()).collect();
    let messages: Vec<&str> = messages.iter().map(String::as_str).collect();
    let pushed = f
        .queue
        .push(&mut f.con, &messages, Some(700))
        .await
        .unwrap();
    assert_eq!((pushed.pushed, pushed.waiting), (700, 700));
    let pushed = f
        .queue
        .push(&mut f.con, &messages[700..], None)
        .await
        .unwrap();
    assert_eq!((pushed.pushed, pushed.waiting), (500, 1200));
    assert_eq!(f.claim().await.raw[0].text, b"0");
}
