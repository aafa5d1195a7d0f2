//! Redis that forgot its scripts, is full, or holds a great deal.

use super::*;

/// Commands that Redis has run so far, those inside of scripts included.
async fn commands(f: &mut Fixture) -> u64 {
    info(f, "stats", "total_commands_processed:").await
}

async fn info(f: &mut Fixture, section: &str, name: &str) -> u64 {
    let text: String = ::redis::cmd("INFO")
        .arg(section)
        .query_async(&mut f.con)
        .await
        .unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap().trim().parse().unwrap()
}

#[tokio::test]
async fn a_script_that_redis_forgot_is_loaded_again() {
    let mut f = Fixture::new().await;
    let mut own = f.take("a").await;
    for _ in 0..2 {
        let mut flush = ::redis::cmd("SCRIPT");
        flush
            .arg("FLUSH")
            .query_async::<()>(&mut f.con)
            .await
            .unwrap();
        assert!(matches!(f.begin(&mut own).await, Begun::Slot(_)));
        assert_eq!(f.counter("creates").await, 1);
        f.back(&mut own, BackBy::Withdraw).await;
    }
}

#[tokio::test]
async fn a_full_redis_takes_no_new_work_and_ends_what_there_is() {
    let mut f = Fixture::new().await;
    let [a, b] = [f.waiting("a", "1").await, f.waiting("b", "2").await];
    let mut c = f.take("c").await;
    f.begin(&mut c).await;
    let mut d = f.take("d").await;
    f.begin(&mut d).await;
    let e = f.take("e").await;
    let raw = f.raw("g").await;
    f.push(&["f"]).await;
    let mut full = ::redis::cmd("CONFIG");
    full.arg("SET")
        .arg("maxmemory")
        .arg(1)
        .query_async::<()>(&mut f.con)
        .await
        .unwrap();

    let refused = [
        f.queue
            .claim(&mut f.con, 10, None)
            .await
            .map(drop)
            .unwrap_err(),
        f.queue
            .push(&mut f.con, &["x"], None)
            .await
            .map(drop)
            .unwrap_err(),
        {
            let item = Begin {
                hold: e.hold(),
                reserve: Micros(1),
            };
            let spending = Spending {
                api: API,
                pace: FAST,
                cap: None,
            };
            f.queue
                .begin(&mut f.con, spending, &[item])
                .await
                .map(drop)
                .unwrap_err()
        },
        {
            let item = Admit {
                key: &raw.key,
                epoch: raw.epoch,
                id: "g",
                hash: "",
                payload: "",
                not_after_in_ms: None,
            };
            f.queue
                .admit(&mut f.con, &[item])
                .await
                .map(drop)
                .unwrap_err()
        },
    ];
    for error in refused {
        assert_eq!(error.code(), Some("OOM"), "{error}");
    }
    assert_eq!(f.created(&mut c, "3").await, Answer::Done);
    assert_eq!(f.back(&mut d, BackBy::Withdraw).await, Answer::Done);
    assert_eq!(
        f.finish(a.finish(Status::Solved, Some("1"))).await,
        Finished::Done
    );
    let known = Known {
        hold: b.hold(),
        remote_id: Some("2"),
    };
    assert!(
        f.queue
            .beat(&mut f.con, &[known])
            .await
            .unwrap()
            .lost
            .is_empty()
    );
    f.queue
        .penalise(&mut f.con, Duration::from_secs(1))
        .await
        .unwrap();
    f.queue.settle_in(&mut f.con, "run").await.unwrap();
    f.queue.status(&mut f.con).await.unwrap();
    for own in [&b, &e] {
        f.release(own, Duration::ZERO).await;
    }
    assert_eq!(f.adopt().await[0].id, "b");
    assert_eq!(f.outcomes(RESULTS).await, ["a"]);
}

#[tokio::test]
async fn a_claim_costs_the_same_however_many_wait() {
    let mut f = Fixture::new().await;
    let message = "x".repeat(200);
    let messages = vec![message.as_str(); 500];
    f.push(&messages).await;
    // Loads the script.
    f.queue.claim(&mut f.con, 1, None).await.unwrap();
    let mut cost = Vec::new();
    for waiting in [0, 100_000] {
        for _ in 0..waiting / 500 {
            f.push(&messages).await;
        }
        let before = commands(&mut f).await;
        let claimed = f.queue.claim(&mut f.con, 128, None).await.unwrap();
        assert_eq!(claimed.raw.len(), 128);
        cost.push(commands(&mut f).await - before);
        // What is left is as it was.
        let left: u64 = f.cmd("LLEN", "list", &[]).await;
        assert_eq!(
            left,
            499 - 128 + waiting - if waiting > 0 { 128 } else { 0 }
        );
    }
    assert_eq!(cost[0], cost[1]);
    assert!(cost[0] < 30, "{cost:?}");
}

#[tokio::test]
async fn an_idle_worker_costs_a_dozen_commands() {
    let mut f = Fixture::new().await;
    f.claim().await;
    f.adopt().await;
    let before = commands(&mut f).await;
    f.claim().await;
    f.adopt().await;
    // One of them is INFO.
    let pair = commands(&mut f).await - before - 1;
    assert!(pair <= 12, "{pair}");
}

#[tokio::test]
async fn huge_messages_are_cut_and_taken_a_few_at_a_time() {
    let mut f = Fixture::new().await;
    let huge = "x".repeat(1 << 20);
    f.push(&vec![huge.as_str(); 40]).await;
    f.push(&["small"]).await;
    let claimed = f.claim().await;
    assert_eq!(claimed.raw.len(), 16);
    assert!(
        claimed
            .raw
            .iter()
            .all(|raw| raw.text.len() == 64 * 1024 + 1)
    );
    assert_eq!(f.cmd::<u64>("LLEN", "list", &[]).await, 25);
    let stored: u64 = f.cmd("HSTRLEN", "payload", &[&claimed.raw[0].key]).await;
    assert_eq!(stored, 64 * 1024 + 1);
    f.claim().await;
    let last = f.claim().await.raw;
    assert_eq!(last.last().unwrap().text, b"small");
}

#[tokio::test]
async fn batches_larger_than_one_call_and_larger_than_luas_stack() {
    let mut f = Fixture::new().await;
    let mut items = Vec::new();
    let mut raws = Vec::new();
    let ids: Vec<String> = (0..1000).map(|n| format!("id {n}")).collect();
    f.push(&ids.iter().map(String::as_str).collect::<Vec<_>>())
        .await;
    while raws.len() < 1000 {
        raws.extend(f.claim().await.raw);
    }
    for (raw, id) in raws.iter().zip(&ids) {
        items.push(Admit {
            key: &raw.key,
            epoch: raw.epoch,
            id,
            hash: id,
            payload: id,
            not_after_in_ms: None,
        });
    }
    let admitted = f.queue.admit(&mut f.con, &items).await.unwrap();
    let owns: Vec<Own> = admitted
        .iter()
        .zip(&ids)
        .map(|(admission, id)| match admission {
            Admission::Admitted(epoch) => Own {
                id: id.clone(),
                epoch: *epoch,
                step: 0,
            },
            other => panic!("{other:?}"),
        })
        .collect();
    let begins: Vec<Begin<'_>> = owns
        .iter()
        .map(|own| Begin {
            hold: own.hold(),
            reserve: Micros(PRICE),
        })
        .collect();
    let spending = Spending {
        api: API,
        pace: FAST,
        cap: None,
    };
    let begun = f.queue.begin(&mut f.con, spending, &begins).await.unwrap();
    assert!(begun.iter().all(|one| matches!(one, Begun::Slot(_))));
    assert_eq!(f.counter("spent").await, 1000 * PRICE);
    let status = f.queue.status(&mut f.con).await.unwrap();
    assert_eq!(
        status.in_flight.by_state[&JobState::Submitting]
            .iter()
            .sum::<u64>(),
        1000
    );
    super::dump::Dump::of(&mut f.con).await.check();
}
