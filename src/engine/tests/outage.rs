//! A service that is down for two minutes of a five-minute run: what that costs, and how the run comes
//! back.

use super::*;

/// Creates per second. With these rows the run takes five minutes and a few seconds.
const RATE: usize = 20;
const ROWS: usize = 3600;
/// The outage, in seconds since the start.
const DOWN: std::ops::Range<usize> = 90..210;

/// Creates that arrived at the service in each second since the start.
fn per_second(world: &World, start: Instant) -> Vec<usize> {
    let mut seconds = vec![0; 400];
    world.brain.with(|brain| {
        for at in brain.ledger().arrivals(Endpoint::Create) {
            seconds[usize::try_from((*at - start).as_secs()).unwrap()] += 1;
        }
    });
    seconds
}

/// Runs it, and gives the creates of each second.
async fn down_for_two_minutes(fault: &str, max_in_flight: usize) -> Vec<usize> {
    let script = format!("any from {}s to {}s: {fault}", DOWN.start, DOWN.end);
    let simulator = SimulatorSettings {
        solve_time: "3s..9s".parse().unwrap(),
        latency: "20ms..80ms".parse().unwrap(),
        ..scripted(5, &script)
    };
    let mut world = World::new(ROWS, simulator);
    world.settings.max_in_flight = max_in_flight;
    world.settings.submit_rate.per_second = 20.0;
    let start = Instant::now();
    let report = world.run().await;
    let took = start.elapsed();
    assert!(matches!(report.stop, StopReason::Done), "{:?}", report.stop);
    assert_eq!(report.tally.solved, ROWS as u64, "{fault}: nothing is lost");
    world.assert_each_ended_once();
    assert!(took < Duration::from_secs(320), "{fault}: {took:?}");
    let busiest = world
        .brain
        .with(|b| b.ledger().busiest(Endpoint::Create, Duration::from_secs(1)));
    assert!(busiest <= RATE + 1, "{fault}: {busiest} in a second");
    let gap = world.brain.with(|b| b.ledger().totals().min_poll_gap_ms);
    assert!(gap >= Some(2000), "{fault}: {gap:?}");
    per_second(&world, start)
}

fn assert_full_rate(fault: &str, seconds: &[usize], from: usize) {
    for (n, creates) in seconds[from..from + 50].iter().enumerate() {
        let second = from + n;
        assert!(
            *creates >= RATE - 1,
            "{fault}: {creates} creates in second {second}: {seconds:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_costs_a_probe_a_second_and_ends_at_the_full_rate_within_five() {
    for fault in [
        "503",
        "reset_before",
        "reset_after",
        "refuse_connection",
        "html",
        "500_after",
    ] {
        // With few places the jobs of before the outage hold most of them.
        for max_in_flight in [200, 2000] {
            let seconds = down_for_two_minutes(fault, max_in_flight).await;
            let down = &seconds[DOWN];
            // Five failures, and what was on the wire by then.
            assert!(down[0] <= 8, "{fault}: {down:?}");
            assert!(down[1..].iter().all(|n| *n <= 2), "{fault}: {down:?}");
            assert!(down.iter().sum::<usize>() >= 100, "{fault}: {down:?}");
            assert_full_rate(fault, &seconds, DOWN.end + 5);
        }
    }
}

/// Connections that hang are noticed by their time-out, 30 s, and so is that they do no more.
#[tokio::test(start_paused = true)]
async fn an_outage_in_which_connections_hang_ends_with_the_last_of_them() {
    for max_in_flight in [200, 2000] {
        let seconds = down_for_two_minutes("hang for=15s", max_in_flight).await;
        assert!(seconds[DOWN][1..].iter().all(|n| *n <= 2), "{seconds:?}");
        assert_full_rate("hang for=15s", &seconds, DOWN.end + 15 + 5);
        let seconds = down_for_two_minutes("hang", max_in_flight).await;
        assert!(seconds[DOWN][1..].iter().all(|n| *n <= 2), "{seconds:?}");
        assert_full_rate("hang", &seconds, DOWN.end + 30 + 5);
    }
}
