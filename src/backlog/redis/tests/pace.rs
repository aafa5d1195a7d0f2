//! The fleet's limits.

use super::*;

const PERIOD: u64 = 50_000;

/// The server's clock in microseconds.
async fn time(f: &mut Fixture) -> i64 {
    let (s, us): (i64, i64) = ::redis::cmd("TIME").query_async(&mut f.con).await.unwrap();
    s * 1_000_000 + us
}

async fn begin_at(f: &mut Fixture, own: &mut Own, pace: Pace) -> Begun {
    let spending = Spending {
        api: API,
        pace,
        cap: None,
    };
    let item = Begin {
        hold: own.hold(),
        reserve: Micros(PRICE),
    };
    let begun = f
        .queue
        .begin(&mut f.con, spending, &[item])
        .await
        .unwrap()
        .remove(0);
    if matches!(begun, Begun::Slot(_)) {
        own.step += 1;
    }
    begun
}

#[tokio::test]
async fn slots_of_all_callers_keep_to_the_rate_and_none_is_lost() {
    for burst in [1_u32, 4] {
        let mut f = Fixture::new().await;
        let pace = Pace {
            period_us: PERIOD,
            burst,
            horizon: Duration::from_millis(100),
        };
        let mut owns = Vec::new();
        for n in 0..20 {
            owns.push(f.take(&n.to_string()).await);
        }
        let (mut slots, mut n) = (Vec::new(), 0);
        while !owns.is_empty() {
            // In turns, one of them twice because its answer was lost.
            n = (n + 7) % owns.len();
            let before = time(&mut f).await;
            let begun = begin_at(&mut f, &mut owns[n], pace).await;
            let after = time(&mut f).await;
            match begun {
                Begun::Slot(delay) => {
                    assert!((0..=100_000).contains(&delay));
                    slots.push((before + delay, after + delay));
                    owns.remove(n);
                }
                Begun::NotYet(delay) => {
                    assert!(delay > pace.horizon);
                    // The server's clock need not be waited for: time is what it says.
                    let tat: i64 = f.cmd("HGET", "limit", &["tat"]).await;
                    let us = i64::try_from(delay.as_micros()).unwrap();
                    let slot = tat - i64::from(burst - 1) * PERIOD as i64;
                    assert!((before + us..=after + us).contains(&slot));
                    tokio::time::sleep(delay - pace.horizon).await;
                }
                other => panic!("{other:?}"),
            }
        }
        // Slot k + burst comes a burst of periods after slot k, as far as one can see from outside.
        for (k, first) in slots.iter().enumerate() {
            for (j, later) in slots.iter().enumerate().skip(k + burst as usize) {
                let least = (j - k + 1 - burst as usize) as i64 * PERIOD as i64;
                assert!(later.1 - first.0 >= least, "slots {k} and {j}");
            }
        }
        // None is lost: time went by for as many periods as the slots needed, and no more.
        let tat: i64 = f.cmd("HGET", "limit", &["tat"]).await;
        assert_eq!(f.counter("creates").await, 20);
        assert!(tat - slots[0].0 >= 20 * PERIOD as i64);
    }
}

#[tokio::test]
async fn a_batch_gets_slots_up_to_the_horizon_and_no_slot_is_skipped() {
    let mut f = Fixture::new().await;
    let pace = Pace {
        period_us: 40_000_000,
        burst: 2,
        horizon: Duration::from_secs(100),
    };
    let mut owns = Vec::new();
    for n in 0..6 {
        owns.push(f.take(&n.to_string()).await);
    }
    let lost = Own {
        epoch: Epoch(999),
        ..owns[0].clone()
    };
    let holds = [
        &owns[0], &owns[1], &lost, &owns[2], &owns[3], &owns[4], &owns[0],
    ];
    let items = holds.map(|own| Begin {
        hold: own.hold(),
        reserve: Micros(PRICE),
    });
    let spending = Spending {
        api: API,
        pace,
        cap: None,
    };
    let begun = f.queue.begin(&mut f.con, spending, &items).await.unwrap();
    assert_eq!(begun[..2], [Begun::Slot(0), Begun::Slot(0)]);
    assert_eq!(begun[2], Begun::Lost);
    assert_eq!(
        begun[3..5],
        [Begun::Slot(40_000_000), Begun::Slot(80_000_000)]
    );
    assert_eq!(begun[5], Begun::NotYet(Duration::from_secs(120)));
    // One that was begun in this very batch is a repetition.
    assert_eq!(begun[6], Begun::Slot(0));
    assert_eq!(f.counter("spent").await, 4 * PRICE);
    let status = f.queue.status(&mut f.con).await.unwrap();
    assert_eq!(status.creates_in_last_minute, 4);
}

#[tokio::test]
async fn a_penalty_moves_every_slot_and_leaves_no_burst_behind_it() {
    let mut f = Fixture::new().await;
    let pace = Pace {
        period_us: 1_000_000,
        burst: 5,
        horizon: Duration::from_secs(100),
    };
    f.queue
        .penalise(&mut f.con, Duration::from_secs(60))
        .await
        .unwrap();
    f.queue
        .penalise(&mut f.con, Duration::from_secs(1))
        .await
        .unwrap();
    let mut before = None;
    for id in ["a", "b", "c"] {
        let mut own = f.take(id).await;
        let Begun::Slot(delay) = begin_at(&mut f, &mut own, pace).await else {
            panic!("no slot");
        };
        let slot = time(&mut f).await + delay;
        assert!(delay > 59_000_000);
        if let Some(before) = before {
            assert!(slot - before > 900_000, "a period after the one before");
        }
        before = Some(slot);
    }
    let mut own = f.take("d").await;
    let near = Pace {
        horizon: Duration::from_millis(100),
        ..pace
    };
    assert!(
        matches!(begin_at(&mut f, &mut own, near).await, Begun::NotYet(delay) if delay > Duration::from_secs(61))
    );
}

#[tokio::test]
async fn limits_of_another_clock_do_not_hold_for_ever() {
    let mut f = Fixture::new().await;
    let far = (time(&mut f).await + 100_000_000_000).to_string();
    let _: () = f
        .cmd("HSET", "limit", &["tat", &far, "hold", &far, "ptat", &far])
        .await;
    let mut own = f.take("a").await;
    let pace = Pace {
        period_us: 10_000,
        burst: 1,
        horizon: Duration::from_millis(100),
    };
    assert_eq!(begin_at(&mut f, &mut own, pace).await, Begun::Slot(10_000));
    let slots = f.queue.poll_slots(&mut f.con, 1, pace).await.unwrap();
    assert_eq!(slots.given, [Duration::from_micros(10_000)]);
}

#[tokio::test]
async fn poll_slots_are_given_up_to_the_horizon() {
    let mut f = Fixture::new().await;
    let pace = Pace {
        period_us: 40_000_000,
        burst: 1,
        horizon: Duration::from_secs(100),
    };
    let slots = f.queue.poll_slots(&mut f.con, 9, pace).await.unwrap();
    let us: Vec<u128> = slots.given.iter().map(Duration::as_micros).collect();
    assert_eq!(us, [0, 40_000_000, 80_000_000]);
    assert_eq!(slots.next, Duration::from_secs(120));
    let slots = f.queue.poll_slots(&mut f.con, 9, pace).await.unwrap();
    assert!(slots.given.is_empty() && slots.next > pace.horizon);
    // Creates have a limit of their own.
    let mut own = f.take("a").await;
    assert_eq!(begin_at(&mut f, &mut own, pace).await, Begun::Slot(0));
}
