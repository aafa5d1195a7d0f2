//! The straight way of a request, and each operation by itself, also repeated.

use super::dump::Dump;
use super::*;

#[tokio::test]
async fn a_request_goes_from_the_list_to_its_result() {
    let mut f = Fixture::new().await;
    f.push(&["a"]).await;
    let claimed = f.claim().await;
    let raw = &claimed.raw[0];
    assert_eq!((raw.text.as_slice(), raw.takes), (&b"a"[..], 1));
    assert!(!claimed.empty && claimed.held.is_empty());
    let mut own = f.admitted(raw, "a").await;
    assert!(matches!(f.begin(&mut own).await, Begun::Slot(0)));
    assert_eq!(f.created(&mut own, "77").await, Answer::Done);
    let finish = own.finish(Status::Solved, Some("77"));
    assert_eq!(f.finish(finish).await, Finished::Done);
    assert_eq!(f.outcomes(RESULTS).await, ["a"]);
    let claimed = f.claim().await;
    assert!(claimed.empty && claimed.raw.is_empty() && claimed.next_ms.is_none());
    assert_eq!(f.counter("spent").await, PRICE);
    assert_eq!(f.counter("polls").await, 2);
    let mut cmd = ::redis::cmd("KEYS");
    let mut keys: Vec<String> = cmd.arg("*").query_async(&mut f.con).await.unwrap();
    let mut left: Vec<String> = ["job", "meta", "done", "limit"].map(key).to_vec();
    left.push(RESULTS.to_owned());
    left.sort();
    keys.sort();
    assert_eq!(
        keys, left,
        "a finished request leaves a tombstone and nothing else"
    );
}

#[tokio::test]
async fn what_is_older_is_taken_first() {
    let mut f = Fixture::new().await;
    f.push(&["old", "new"]).await;
    let claimed = f.queue.claim(&mut f.con, 1, None).await.unwrap();
    assert_eq!(claimed.raw[0].text, b"old");
    // A producer's message that the bell moved comes before those that still stand in the list.
    f.push(&["newer"]).await;
    let _: () = f
        .cmd("LMOVE", "list", &[&key("inbox"), "RIGHT", "LEFT"])
        .await;
    let texts: Vec<Vec<u8>> = f
        .claim()
        .await
        .raw
        .into_iter()
        .map(|raw| raw.text)
        .collect();
    assert_eq!(texts, [b"new".to_vec(), b"newer".to_vec()]);
}

#[tokio::test]
async fn what_died_comes_before_due_retries_before_ready_before_messages() {
    let mut f = Fixture::new().await;
    let dead = f.take("dead").await;
    let due = f.take("due").await;
    let ready = f.take("ready").await;
    f.release(&ready, Duration::ZERO).await;
    f.release(&due, Duration::from_secs(60)).await;
    f.push(&["message"]).await;
    let _: () = f.cmd("ZADD", "delayed", &["1", "due"]).await;
    f.expire("dead").await;
    let mut order = Vec::new();
    for _ in 0..4 {
        let claimed = f.queue.claim(&mut f.con, 1, None).await.unwrap();
        order.extend(claimed.held.into_iter().map(|held| held.id));
        order.extend(
            claimed
                .raw
                .into_iter()
                .map(|raw| String::from_utf8(raw.text).unwrap()),
        );
    }
    assert_eq!(order, ["dead", "due", "ready", "message"]);
    assert_ne!(dead.epoch, Epoch(0));
    Dump::of(&mut f.con).await.check();
}

#[tokio::test]
async fn a_delayed_request_is_not_claimed_before_its_time() {
    let mut f = Fixture::new().await;
    let own = f.take("a").await;
    f.release(&own, Duration::from_secs(60)).await;
    let claimed = f.claim().await;
    assert!(claimed.held.is_empty() && !claimed.empty);
    let next = claimed.next_ms.unwrap();
    assert!((59_000..=60_000).contains(&next), "{next}");
    // Nor by a leftover entry of ready.
    let _: () = f.cmd("RPUSH", "ready", &["a"]).await;
    assert!(f.claim().await.held.is_empty());
    let _: () = f.cmd("ZADD", "delayed", &["1", "a"]).await;
    let held = f.claim().await.held.remove(0);
    assert_eq!(held.id, "a");
    // Its time is forgotten with it.
    f.release(&Own::of(&held), Duration::ZERO).await;
    assert_eq!(f.claim().await.held[0].id, "a");
}

#[tokio::test]
async fn leftovers_in_ready_are_dropped() {
    let mut f = Fixture::new().await;
    let own = f.take("a").await;
    for id in ["gone", "a", "gone too"] {
        let _: () = f.cmd("LPUSH", "ready", &[id]).await;
    }
    let claimed = f.claim().await;
    assert!(claimed.held.is_empty());
    assert_eq!(f.cmd::<u64>("LLEN", "ready", &[]).await, 0);
    f.release(&own, Duration::ZERO).await;
    for _ in 0..300 {
        let _: () = f.cmd("RPUSH", "ready", &["gone"]).await;
    }
    assert_eq!(
        f.claim().await.held[0].id,
        "a",
        "behind more leftovers than were asked for"
    );
}

#[tokio::test]
async fn the_cap_is_the_fleets_and_spares_what_is_in_flight_already() {
    let mut f = Fixture::new().await;
    f.push(&["a", "b", "c"]).await;
    let claimed = f.queue.claim(&mut f.con, 128, Some(2)).await.unwrap();
    assert_eq!(claimed.raw.len(), 2);
    let claimed = f.queue.claim(&mut f.con, 128, Some(2)).await.unwrap();
    assert!(claimed.raw.is_empty() && !claimed.empty);
    f.expire("\u{0}1").await;
    let claimed = f.queue.claim(&mut f.con, 128, Some(2)).await.unwrap();
    assert_eq!(
        (claimed.raw[0].key.as_str(), claimed.raw[0].takes),
        ("\u{0}1", 2)
    );
    assert_eq!(claimed.raw.len(), 1);
}

#[tokio::test]
async fn a_pause_stops_claims_and_begins_but_no_adoption() {
    let mut f = Fixture::new().await;
    f.waiting("paid", "1").await;
    let own = f.take("a").await;
    f.push(&["b"]).await;
    f.queue.pause(&mut f.con).await.unwrap();
    f.expire("paid").await;
    f.expire("a").await;
    let claimed = f.claim().await;
    assert!(claimed.paused && claimed.held.is_empty() && claimed.raw.is_empty());
    assert_eq!(
        f.try_begin(&own, None).await,
        Begun::NotYet(Duration::from_secs(1))
    );
    assert_eq!(f.adopt().await[0].id, "paid");
    f.queue.resume(&mut f.con).await.unwrap();
    let claimed = f.claim().await;
    assert_eq!(
        (claimed.held.len(), claimed.raw.len(), claimed.paused),
        (1, 1, false)
    );
}

#[tokio::test]
async fn many_that_only_claim_may_take_do_not_hide_what_is_to_be_adopted() {
    let mut f = Fixture::new().await;
    f.queue.pause(&mut f.con).await.unwrap();
    f.queue.resume(&mut f.con).await.unwrap();
    let messages: Vec<String> = (0..600).map(|n| n.to_string()).collect();
    let messages: Vec<&str> = messages.iter().map(String::as_str).collect();
    f.waiting("paid", "1").await;
    f.push(&messages).await;
    while !f.claim().await.raw.is_empty() {}
    for id in Dump::of(&mut f.con).await.leased() {
        f.expire(id).await;
    }
    f.queue.pause(&mut f.con).await.unwrap();
    assert_eq!(f.adopt().await[0].id, "paid");
}

#[tokio::test]
async fn deadlines_are_told_as_what_is_left() {
    let mut f = Fixture::new().await;
    let raw = f.raw("a").await;
    let item = Admit {
        key: &raw.key,
        epoch: raw.epoch,
        id: "a",
        hash: "h",
        payload: "{\"id\":\"a\"}",
        not_after_in_ms: Some(90_000),
    };
    let admitted = f.queue.admit(&mut f.con, &[item]).await.unwrap();
    let Admission::Admitted(epoch) = admitted[0] else {
        panic!("{admitted:?}");
    };
    let mut own = Own {
        id: "a".to_owned(),
        epoch,
        step: 0,
    };
    f.begin(&mut own).await;
    f.created(&mut own, "\"r-1\"").await;
    f.expire("a").await;
    let held = f.adopt().await.remove(0);
    assert!((89_000..=90_000).contains(&held.not_after_left_ms.unwrap()));
    assert!((179_000..=180_000).contains(&held.deadline_left_ms.unwrap()));
    assert_eq!(held.submitted_at_ms, Some(1_700_000_000_123));
    assert_eq!(held.remote_id.as_deref(), Some("\"r-1\""));
    assert_eq!(
        (held.payload.as_str(), held.hash.as_str()),
        ("{\"id\":\"a\"}", "h")
    );
    assert_eq!(
        (held.api.as_deref(), held.state),
        (Some(API), JobState::Waiting)
    );
    assert_eq!(
        (held.history.creates, held.history.spent),
        (1, Micros(PRICE))
    );
}

#[tokio::test]
async fn a_begin_that_is_repeated_keeps_its_slot_and_pays_once() {
    let mut f = Fixture::new().await;
    let own = f.take("a").await;
    assert_eq!(f.try_begin(&own, None).await, Begun::Slot(0));
    let Begun::Slot(again) = f.try_begin(&own, None).await else {
        panic!("no slot");
    };
    assert!(again <= 0, "the first one's, which goes by: {again}");
    assert_eq!(
        (f.counter("spent").await, f.counter("creates").await),
        (PRICE, 1)
    );
}

#[tokio::test]
async fn a_withdrawn_create_costs_nothing_and_one_in_doubt_does() {
    let mut f = Fixture::new().await;
    let mut own = f.take("a").await;
    f.begin(&mut own).await;
    assert_eq!(f.try_back(&own, BackBy::Withdraw).await, Answer::Done);
    assert_eq!(f.back(&mut own, BackBy::Withdraw).await, Answer::Done);
    assert_eq!(
        (f.counter("spent").await, f.counter("creates").await),
        (0, 0)
    );
    f.begin(&mut own).await;
    assert_eq!(f.try_back(&own, BackBy::Unknown).await, Answer::Done);
    assert_eq!(f.back(&mut own, BackBy::Unknown).await, Answer::Done);
    assert_eq!(
        (f.counter("spent").await, f.counter("creates").await),
        (PRICE, 1)
    );
    assert_eq!(f.counter("unknown_creates").await, 1);
    assert!(matches!(f.begin(&mut own).await, Begun::Slot(_)));
    let held = {
        f.take_over("a").await;
        f.expire("a").await;
        f.claim().await.held.remove(0)
    };
    assert_eq!(held.history.creates, 2);
    assert_eq!(held.history.unknown_creates, 2);
    assert_eq!(held.history.spent, Micros(2 * PRICE));
}

#[tokio::test]
async fn a_retry_gives_up_the_job_that_failed_and_no_other() {
    let mut f = Fixture::new().await;
    let mut own = f.waiting("a", "1").await;
    let retry = BackBy::Retry {
        remote_id: "1",
        refund: Micros(PRICE),
        polls: 3,
    };
    assert_eq!(f.try_back(&own, retry).await, Answer::Done);
    assert_eq!(f.back(&mut own, retry).await, Answer::Done);
    assert_eq!((f.counter("spent").await, f.counter("polls").await), (0, 3));
    f.begin(&mut own).await;
    f.created(&mut own, "2").await;
    // A late repetition does not give up the next job.
    let late = Own {
        step: 2,
        ..own.clone()
    };
    assert!(matches!(f.try_back(&late, retry).await, Answer::Learn(_)));
    assert!(
        matches!(f.try_back(&own, retry).await, Answer::Learn(held) if held.remote_id.as_deref() == Some("2"))
    );
    f.expire("a").await;
    let held = f.adopt().await.remove(0);
    assert_eq!(held.remote_id.as_deref(), Some("2"));
    assert_eq!((held.history.failed_attempts, held.history.polls), (1, 3));
    assert_eq!(
        (held.history.creates, held.history.spent),
        (2, Micros(PRICE))
    );
}

#[tokio::test]
async fn nothing_is_begun_beyond_the_cap() {
    let mut f = Fixture::new().await;
    let mut a = f.take("a").await;
    let b = f.take("b").await;
    assert_eq!(f.try_begin(&a, Some(PRICE - 1)).await, Begun::OverSpend);
    assert!(matches!(f.begin(&mut a).await, Begun::Slot(_)));
    assert_eq!(f.try_begin(&b, Some(2 * PRICE - 1)).await, Begun::OverSpend);
    assert!(matches!(
        f.try_begin(&b, Some(2 * PRICE)).await,
        Begun::Slot(_)
    ));
    assert_eq!(f.counter("spent").await, 2 * PRICE);
}

#[tokio::test]
async fn amounts_and_epochs_keep_all_their_digits() {
    let mut f = Fixture::new().await;
    let huge = (1_i64 << 49) + 1;
    let _: () = f.cmd("HSET", "meta", &["epoch", &huge.to_string()]).await;
    let own = f.take("a").await;
    assert_eq!(own.epoch, Epoch(u64::try_from(huge).unwrap() + 2));
    let spending = Spending {
        api: API,
        pace: FAST,
        cap: None,
    };
    let item = Begin {
        hold: own.hold(),
        reserve: Micros(huge),
    };
    f.queue.begin(&mut f.con, spending, &[item]).await.unwrap();
    f.expire("a").await;
    let held = f.claim().await.held.remove(0);
    assert_eq!(held.history.spent, Micros(huge));
    assert_eq!(f.counter("spent").await, huge);
    let _: () = f.cmd("HSET", "meta", &["seq", &huge.to_string()]).await;
    assert_eq!(f.raw("b").await.key, format!("\u{0}{}", huge + 1));
}

#[tokio::test]
async fn crashes_while_submitting_are_counted_in_a_row() {
    let mut f = Fixture::new().await;
    let mut own = f.take("a").await;
    for crashes in 1..=3 {
        f.begin(&mut own).await;
        f.expire("a").await;
        let held = f.claim().await.held.remove(0);
        assert!(held.found_submitting);
        assert_eq!(
            (held.crashes, held.history.unknown_creates),
            (crashes, crashes)
        );
        own = Own::of(&held);
    }
    assert_eq!(f.counter("spent").await, 3 * PRICE);
    // A crash before begin is none of them, and a create that came to an end ends the row.
    f.expire("a").await;
    let held = f.claim().await.held.remove(0);
    assert!(!held.found_submitting);
    assert_eq!(held.crashes, 3);
    own = Own::of(&held);
    f.begin(&mut own).await;
    f.back(&mut own, BackBy::Withdraw).await;
    f.expire("a").await;
    assert_eq!(f.claim().await.held[0].crashes, 0);
}

#[tokio::test]
async fn jobs_of_another_api_are_counted_and_left_to_their_workers() {
    let mut f = Fixture::new().await;
    for id in ["a", "b", "c"] {
        f.waiting(id, id).await;
        f.expire(id).await;
    }
    for _ in 0..2 {
        let other = f.queue.adopt(&mut f.con, 10, "api-2").await.unwrap();
        assert_eq!((other.elsewhere, other.held.len()), (3, 0));
    }
    assert_eq!(f.adopt().await.len(), 3);
}

#[tokio::test]
async fn jobs_of_another_api_do_not_hide_ours() {
    let mut f = Fixture::new().await;
    for n in 0..150 {
        let id = n.to_string();
        f.waiting(&id, &id).await;
        f.expire(&id).await;
    }
    let mut ours = f.take("ours").await;
    f.begin(&mut ours).await;
    let item = Created {
        hold: ours.hold(),
        remote_id: "9",
        submitted_at_ms: 1,
        budget: Duration::from_secs(180),
    };
    let brought = f.queue.created_at(&mut f.con, "api-2", &[item]).await;
    brought.unwrap();
    let _: () = f.cmd("ZADD", "lease", &["2", "ours"]).await;
    let mut calls = 0;
    let mut held = Vec::new();
    while held.is_empty() {
        held = f.queue.adopt(&mut f.con, 1, "api-2").await.unwrap().held;
        calls += 1;
        assert!(calls < 5);
    }
    assert_eq!(held[0].id, "ours");
    // Those that were passed come back after a lease.
    assert_eq!(f.cmd::<u64>("ZCARD", "lease", &[]).await, 151);
}

#[tokio::test]
async fn a_worker_is_told_when_something_will_be_due_and_not_what_is() {
    let mut f = Fixture::new().await;
    let own = f.take("due").await;
    f.release(&own, Duration::from_secs(60)).await;
    f.waiting("paid", "1").await;
    f.take("a").await;
    let next = f.claim().await.next_ms.unwrap();
    assert!((29_000..=30_000).contains(&next), "a lease's end: {next}");
    f.expire("paid").await;
    f.expire("a").await;
    f.queue.pause(&mut f.con).await.unwrap();
    let next = f.claim().await.next_ms.unwrap();
    assert!((59_000..=60_000).contains(&next), "the retry: {next}");
    let _: () = f.cmd("ZADD", "delayed", &["1", "due"]).await;
    assert_eq!(f.claim().await.next_ms, None);
}
