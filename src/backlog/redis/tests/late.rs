//! Owners that wake up late, messages that arrive late, ids that are used again.

use super::dump::Dump;
use super::*;

fn is_learn(answer: &Answer, remote_id: &str) -> bool {
    matches!(answer, Answer::Learn(held) if held.remote_id.as_deref() == Some(remote_id))
}

/// A stale owner of `a` whose create is in doubt, and the present owner.
async fn stale(f: &mut Fixture) -> (Own, Own) {
    let mut old = f.take("a").await;
    f.begin(&mut old).await;
    let new = f.take_over("a").await;
    (old, new)
}

#[tokio::test]
async fn a_late_id_is_recorded_while_another_has_claimed() {
    let mut f = Fixture::new().await;
    let (mut old, mut new) = stale(&mut f).await;
    assert_eq!(f.created(&mut old, "1").await, Answer::Lost);
    Dump::of(&mut f.con).await.check();
    assert!(
        matches!(f.begin(&mut new).await, Begun::Learn(held) if held.remote_id.as_deref() == Some("1"))
    );
    assert!(is_learn(&f.back(&mut new, BackBy::Withdraw).await, "1"));
    let finish = new.finish(Status::Failed, None);
    assert!(
        matches!(f.finish(finish).await, Finished::Learn(held) if held.remote_id.as_deref() == Some("1"))
    );
    assert!(f.adopt().await.is_empty(), "the present owner has it");
    assert_eq!(
        f.finish(new.finish(Status::Solved, Some("1"))).await,
        Finished::Done
    );
    assert!(f.orphans().await.is_empty());
    assert_eq!(f.counter("spent").await, PRICE);
}

#[tokio::test]
async fn a_late_id_is_recorded_while_another_is_submitting() {
    let mut f = Fixture::new().await;
    for (id, end) in [
        ("a", "created"),
        ("b", "withdraw"),
        ("c", "unknown"),
        ("d", "crash"),
    ] {
        let mut old = f.take(id).await;
        f.begin(&mut old).await;
        let mut new = f.take_over(id).await;
        f.begin(&mut new).await;
        let spent = f.counter("spent").await;
        let late = format!("\"late {id}\"");
        assert_eq!(f.created(&mut old, &late).await, Answer::Lost);
        Dump::of(&mut f.con).await.check();
        let doubts = f.counter("unknown_creates").await;
        let orphans = f.orphans().await.len();
        // The create under way has its own end, each accounted for.
        match end {
            "created" => {
                let twice = [
                    f.try_created(&new, "9").await,
                    f.created(&mut new, "9").await,
                ];
                assert!(twice.iter().all(|answer| is_learn(answer, &late)));
                assert_eq!(f.orphans().await.len(), orphans + 1);
                assert!(f.orphans().await[0].contains("\"remote_id\":9,"));
            }
            "withdraw" => {
                assert!(is_learn(&f.try_back(&new, BackBy::Withdraw).await, &late));
                assert!(is_learn(&f.back(&mut new, BackBy::Withdraw).await, &late));
                assert_eq!(f.counter("spent").await, spent - PRICE);
            }
            "unknown" => {
                assert!(is_learn(&f.back(&mut new, BackBy::Unknown).await, &late));
                assert_eq!(f.counter("unknown_creates").await, doubts + 1);
            }
            _ => {
                f.expire(id).await;
                let held = f.adopt().await.remove(0);
                assert_eq!(held.remote_id.as_deref(), Some(late.as_str()));
                assert_eq!(held.history.unknown_creates, 2);
                assert_eq!(f.counter("unknown_creates").await, doubts + 1);
                new = Own::of(&held);
            }
        }
        assert_eq!(
            f.finish(new.finish(Status::Solved, Some(&late))).await,
            Finished::Done
        );
    }
}

#[tokio::test]
async fn a_late_id_frees_a_request_that_waits_to_be_claimed() {
    for delay in [Duration::ZERO, Duration::from_secs(60)] {
        let mut f = Fixture::new().await;
        let (mut old, new) = stale(&mut f).await;
        f.release(&new, delay).await;
        Dump::of(&mut f.con).await.check();
        assert_eq!(f.created(&mut old, "1").await, Answer::Lost);
        Dump::of(&mut f.con).await.check();
        assert!(f.claim().await.held.is_empty(), "it is not created again");
        assert_eq!(f.adopt().await[0].remote_id.as_deref(), Some("1"));
    }
}

#[tokio::test]
async fn a_late_second_id_is_an_orphan_and_the_same_id_is_none() {
    let mut f = Fixture::new().await;
    let (mut old, mut new) = stale(&mut f).await;
    f.begin(&mut new).await;
    assert_eq!(f.created(&mut new, "2").await, Answer::Done);
    assert_eq!(f.try_created(&new, "2").await, Answer::Done);
    assert_eq!(f.created(&mut old, "2").await, Answer::Lost);
    assert!(f.orphans().await.is_empty());
    for _ in 0..2 {
        assert_eq!(f.created(&mut old, "1").await, Answer::Lost);
    }
    let note = r#"{"id":"a","remote_id":1,"api":"api-1","at":1700000000123}"#;
    assert_eq!(f.orphans().await, [note]);
    assert_eq!(f.counter("orphans").await, 1);
    // The owner itself can bring a second one.
    assert!(is_learn(&f.created(&mut new, "3").await, "2"));
    assert_eq!(f.orphans().await.len(), 2);
}

#[tokio::test]
async fn an_id_for_a_request_that_is_over_is_an_orphan() {
    let mut f = Fixture::new().await;
    let (mut old, mut new) = stale(&mut f).await;
    f.begin(&mut new).await;
    f.created(&mut new, "2").await;
    f.finish(new.finish(Status::Solved, Some("2"))).await;
    assert_eq!(f.try_created(&new, "2").await, Answer::Lost, "a repetition");
    assert!(f.orphans().await.is_empty());
    assert_eq!(f.created(&mut old, "1").await, Answer::Lost);
    assert_eq!(f.orphans().await.len(), 1);
    let _: () = f.cmd("DEL", "job", &[]).await;
    assert_eq!(f.created(&mut old, "5").await, Answer::Lost);
    assert_eq!(f.orphans().await.len(), 2);
}

#[tokio::test]
async fn an_id_that_had_its_verdict_does_not_come_back() {
    let mut f = Fixture::new().await;
    let mut own = f.waiting("a", "1").await;
    let late = Own {
        step: 1,
        ..own.clone()
    };
    let retry = BackBy::Retry {
        remote_id: "1",
        refund: Micros::ZERO,
        polls: 1,
    };
    f.back(&mut own, retry).await;
    assert_eq!(f.try_created(&late, "1").await, Answer::Done);
    let job = Dump::of(&mut f.con).await;
    assert_eq!(job.job("a").unwrap()["s"], "claimed");
    assert!(f.orphans().await.is_empty());
    assert!(matches!(f.begin(&mut own).await, Begun::Slot(_)));
    // Nor after the end.
    let mut other = f.waiting("b", "8").await;
    let first = other.clone();
    let retry = BackBy::Retry {
        remote_id: "8",
        refund: Micros::ZERO,
        polls: 1,
    };
    f.back(&mut other, retry).await;
    f.finish(other.finish(Status::Failed, None)).await;
    assert_eq!(f.try_created(&first, "8").await, Answer::Lost);
    assert!(f.orphans().await.is_empty());
    // A service may give out the id again: then it is the job.
    assert_eq!(f.created(&mut own, "1").await, Answer::Done);
    assert_eq!(Dump::of(&mut f.con).await.job("a").unwrap()["s"], "waiting");
}

#[tokio::test]
async fn a_late_success_counts_by_its_remote_id() {
    let mut f = Fixture::new().await;
    let old = f.waiting("a", "1").await;
    f.expire("a").await;
    let new = Own::of(&f.adopt().await[0]);
    assert_eq!(
        f.finish(old.finish(Status::Failed, Some("1"))).await,
        Finished::Lost
    );
    assert_eq!(
        f.finish(old.finish(Status::Solved, Some("7"))).await,
        Finished::Lost
    );
    assert_eq!(
        f.finish(old.finish(Status::Solved, None)).await,
        Finished::Lost
    );
    let success = old.finish(Status::Solved, Some("1"));
    assert_eq!(f.finish(success).await, Finished::Done);
    assert_eq!(f.finish(success).await, Finished::Done, "a repetition");
    assert_eq!(
        f.finish(new.finish(Status::Failed, Some("1"))).await,
        Finished::Lost
    );
    assert_eq!(
        f.finish(new.finish(Status::Solved, Some("1"))).await,
        Finished::Lost
    );
    assert_eq!(f.outcomes(RESULTS).await.len(), 1);
    let known = Known {
        hold: new.hold(),
        remote_id: Some("1"),
    };
    assert_eq!(f.queue.beat(&mut f.con, &[known]).await.unwrap().lost, [0]);
}

#[tokio::test]
async fn success_with_one_job_makes_the_recorded_other_one_an_orphan() {
    let mut f = Fixture::new().await;
    let own = f.waiting("a", "1").await;
    assert_eq!(
        f.finish(own.finish(Status::Solved, Some("2"))).await,
        Finished::Done
    );
    let note = r#"{"id":"a","remote_id":1,"api":"api-1","at":1700000000123}"#;
    assert_eq!(f.orphans().await, [note]);
}

#[tokio::test]
async fn a_stale_hold_changes_nothing() {
    let mut f = Fixture::new().await;
    let (old, mut new) = stale(&mut f).await;
    f.begin(&mut new).await;
    let job = |dump: &Dump| dump.job("a").cloned();
    let before = job(&Dump::of(&mut f.con).await);
    let retry = BackBy::Retry {
        remote_id: "1",
        refund: Micros(PRICE),
        polls: 1,
    };
    for by in [BackBy::Withdraw, BackBy::Unknown, retry] {
        assert_eq!(f.try_back(&old, by).await, Answer::Lost);
    }
    assert_eq!(f.try_begin(&old, None).await, Begun::Lost);
    assert_eq!(
        f.finish(old.finish(Status::Failed, None)).await,
        Finished::Lost
    );
    f.release(&old, Duration::ZERO).await;
    assert_eq!(job(&Dump::of(&mut f.con).await), before);
    assert_eq!(f.counter("spent").await, 2 * PRICE);
}

#[tokio::test]
async fn a_call_that_arrives_after_its_own_repetition_changes_nothing() {
    let mut f = Fixture::new().await;
    let mut own = f.take("a").await;
    let first = own.clone();
    f.begin(&mut own).await;
    let second = own.clone();
    f.back(&mut own, BackBy::Withdraw).await;
    // The begin of a dead connection would reserve for nobody.
    assert_eq!(f.try_begin(&first, None).await, Begun::Lost);
    f.begin(&mut own).await;
    // Its withdrawal would give back what the next create needs.
    f.try_back(&second, BackBy::Withdraw).await;
    f.try_back(&second, BackBy::Unknown).await;
    let dump = Dump::of(&mut f.con).await;
    assert_eq!(dump.job("a").unwrap()["s"], "submitting");
    assert_eq!(
        (
            dump.meta("spent"),
            dump.meta("creates"),
            dump.meta("unknown_creates")
        ),
        (PRICE, 1, 0)
    );
    f.created(&mut own, "1").await;
    f.release(&own, Duration::ZERO).await;
    // A beat would keep everybody else from what was handed back.
    let known = Known {
        hold: own.hold(),
        remote_id: Some("1"),
    };
    assert_eq!(f.queue.beat(&mut f.con, &[known]).await.unwrap().lost, [0]);
    assert_eq!(f.adopt().await.len(), 1);
}

#[tokio::test]
async fn an_id_that_is_used_again_does_not_meet_its_past() {
    let mut f = Fixture::new().await;
    let (mut old, mut second) = stale(&mut f).await;
    f.begin(&mut second).await;
    f.created(&mut second, "2").await;
    f.finish(second.finish(Status::Solved, Some("2"))).await;
    // The window is over; the tombstone is still there.
    f.age_tombstone("a").await;
    let new = f.take("a").await;
    Dump::of(&mut f.con).await.check();
    assert!(new.epoch > second.epoch);
    // The first generation's ids are other requests' jobs: known, or orphans.
    assert_eq!(f.try_created(&second, "2").await, Answer::Lost);
    assert!(f.orphans().await.is_empty());
    assert_eq!(f.created(&mut old, "1").await, Answer::Lost);
    assert_eq!(f.orphans().await.len(), 1);
    assert_eq!(
        f.finish(second.finish(Status::Solved, Some("2"))).await,
        Finished::Lost
    );
    assert!(matches!(f.try_begin(&new, None).await, Begun::Slot(_)));
    // Trimming the past leaves the present alone.
    let other = f.take("b").await;
    f.finish(other.finish(Status::Failed, None)).await;
    let dump = Dump::of(&mut f.con).await;
    dump.check();
    assert_eq!(dump.job("a").unwrap()["s"], "submitting");
}

#[tokio::test]
async fn tombstones_go_when_their_window_is_over() {
    let mut f = Fixture::new().await;
    let mut owns = Vec::new();
    for n in 0..40 {
        owns.push(f.take(&n.to_string()).await);
    }
    for own in &owns[..39] {
        f.finish(own.finish(Status::Failed, None)).await;
    }
    for own in &owns[..38] {
        f.age_tombstone(&own.id).await;
    }
    // A few with each call.
    f.finish(owns[39].finish(Status::Failed, None)).await;
    let left: u64 = f.cmd("HLEN", "job", &[]).await;
    assert_eq!(left, 40 - 18);
    for n in 40..43 {
        f.take(&n.to_string()).await;
    }
    let dump = Dump::of(&mut f.con).await;
    dump.check();
    assert!(dump.job("37").is_none() && dump.job("38").is_some() && dump.job("39").is_some());
}

#[tokio::test]
async fn a_create_that_its_owner_forgot_over_an_earlier_one_stays_in_doubt() {
    let mut f = Fixture::new().await;
    for (id, ends) in [("a", true), ("b", false)] {
        let mut old = f.take(id).await;
        f.begin(&mut old).await;
        let mut new = f.take_over(id).await;
        f.begin(&mut new).await;
        f.created(&mut old, "1").await;
        let doubts = f.counter("unknown_creates").await;
        if ends {
            let finish = new.finish(Status::Solved, Some("1"));
            assert_eq!(f.finish(finish).await, Finished::Done);
        } else {
            let retry = BackBy::Retry {
                remote_id: "1",
                refund: Micros::ZERO,
                polls: 1,
            };
            assert_eq!(f.back(&mut new, retry).await, Answer::Done);
            f.expire(id).await;
            let held = f.claim().await.held.remove(0);
            assert_eq!(held.history.unknown_creates, 2);
            assert!(!held.found_submitting, "it is counted once");
        }
        assert_eq!(f.counter("unknown_creates").await, doubts + 1);
    }
}
