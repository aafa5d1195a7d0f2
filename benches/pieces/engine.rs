//! The wheel and the limiter.

use std::num::NonZeroU32;
use std::time::Duration;

use divan::Bencher;
use divan::counter::ItemsCount;
use pollwheel::engine::Rate;
use pollwheel::engine::pieces::{Limiter, Wheel};
use tokio::time::Instant;

const ON_THE_WHEEL: [usize; 3] = [1_000, 100_000, 1_000_000];

fn runtime(is_paused: bool) -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(is_paused);
    builder.build().unwrap()
}

/// A timer a job, at odd times over 20 s.
fn loaded(count: usize) -> Wheel {
    let mut wheel = Wheel::new();
    let now = Instant::now();
    for n in 0..count {
        wheel.set(now + spread(n), n);
    }
    wheel
}

fn spread(n: usize) -> Duration {
    Duration::from_micros(100_000 + n as u64 * 7_919 % 20_000_000)
}

#[divan::bench(args = ON_THE_WHEEL)]
fn wheel_set_and_cancel(bencher: Bencher<'_, '_>, count: usize) {
    let runtime = runtime(false);
    let _entered = runtime.enter();
    let mut wheel = loaded(count);
    let mut n = 0;
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        n += 1;
        let set = wheel.set(Instant::now() + spread(n), n);
        wheel.cancel(&set);
    });
}

/// From the first timer to the last, on the paused clock: what it costs when time passes, too.
#[divan::bench(args = ON_THE_WHEEL, sample_count = 10, sample_size = 1)]
fn wheel_set_and_fire(bencher: Bencher<'_, '_>, count: usize) {
    let runtime = runtime(true);
    bencher.counter(ItemsCount::new(count)).bench_local(|| {
        runtime.block_on(async {
            let mut wheel = loaded(count);
            for _ in 0..count {
                divan::black_box(wheel.next().await);
            }
        });
    });
}

#[divan::bench]
fn limiter_slot(bencher: Bencher<'_, '_>) {
    let runtime = runtime(true);
    let _entered = runtime.enter();
    let mut now = Instant::now();
    let rate = Rate {
        per_second: 1000.0,
        burst: NonZeroU32::MIN,
    };
    let mut limiter = Limiter::new(rate, now);
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        now += Duration::from_millis(1);
        limiter.reserve(now, now + Duration::from_millis(50))
    });
}
