use super::*;

fn key(url: &str) -> Arc<RequestKey> {
    Arc::new(RequestKey {
        url: url.to_owned(),
        key: "k".to_owned(),
    })
}

fn job(id: u64, request: &Arc<RequestKey>, now: Instant) -> JobRecord {
    JobRecord::new(
        id,
        0,
        Arc::clone(request),
        now,
        JobEnd::Solved(now),
        Micros(5),
    )
}

fn receipt(job: u64, news: News) -> Receipt {
    Receipt { job, news }
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[test]
fn windows_are_half_open() {
    let mut ledger = Ledger::new(LedgerDetail::Full);
    let start = Instant::now();
    for at in [0, 400, 999, 1000, 1400, 5000] {
        ledger.arrived(start + ms(at), Some(Endpoint::Create));
    }
    ledger.arrived(start + ms(5001), Some(Endpoint::Poll));
    assert_eq!(ledger.totals().most_creates_per_second, 3);
    assert_eq!(ledger.totals().most_polls_per_second, 1);
    assert_eq!(ledger.busiest(Endpoint::Create, ms(1000)), 3);
    assert_eq!(ledger.busiest(Endpoint::Create, ms(1001)), 4);
    assert_eq!(ledger.busiest(Endpoint::Create, ms(1)), 1);
    assert_eq!(ledger.busiest(Endpoint::Create, ms(60_000)), 6);
}

#[test]
fn gaps_are_those_of_one_job() {
    let mut ledger = Ledger::new(LedgerDetail::Full);
    let start = Instant::now();
    let request = key("u");
    ledger.made(job(1, &request, start));
    ledger.made(job(2, &request, start));
    for (at, id) in [(2000, 1), (2100, 2), (4000, 1), (4200, 2), (5999, 1)] {
        ledger.polled(start + ms(at), id);
    }
    assert_eq!(ledger.job(1).unwrap().min_gap, Some(ms(1999)));
    assert_eq!(ledger.job(2).unwrap().min_gap, Some(ms(2100)));
    assert_eq!(ledger.totals().min_poll_gap_ms, Some(1999));
    assert_eq!(ledger.poll_gaps_ms().count, 3);
    assert!(ledger.polled(start, 3).is_none());
}

#[test]
fn a_create_of_a_known_job_is_noticed() {
    let mut ledger = Ledger::new(LedgerDetail::Full);
    let now = Instant::now();
    let (one, other) = (key("u"), key("v"));
    ledger.made(job(1, &one, now));
    // The answer of job 1 was never delivered: nobody knows it.
    ledger.made(job(2, &one, now));
    assert_eq!(ledger.totals().creates_of_known, 0);
    ledger.delivered(now, receipt(2, News::Created));
    ledger.made(job(3, &other, now));
    assert_eq!(ledger.totals().creates_of_known, 0);
    ledger.made(job(4, &one, now));
    assert_eq!(
        (
            ledger.totals().creates_of_known,
            ledger.totals().creates_of_polled
        ),
        (1, 0)
    );
    ledger.polled(now, 2);
    ledger.made(job(5, &one, now));
    assert_eq!(
        (
            ledger.totals().creates_of_known,
            ledger.totals().creates_of_polled
        ),
        (2, 1)
    );
    assert_eq!(ledger.requests()[0].1.jobs, 4);
}

#[test]
fn after_a_failure_was_told_another_create_is_right() {
    let mut ledger = Ledger::new(LedgerDetail::Full);
    let now = Instant::now();
    let request = key("u");
    ledger.made(job(1, &request, now));
    ledger.delivered(now, receipt(1, News::Created));
    ledger.polled(now, 1);
    ledger.delivered(now, receipt(1, News::Ended(Told::Failed)));
    ledger.delivered(now, receipt(1, News::Ended(Told::Failed)));
    ledger.made(job(2, &request, now));
    assert_eq!(ledger.totals().creates_of_known, 0);
    assert_eq!(ledger.totals().failed, 1);
    // A solved one stays known for good.
    ledger.delivered(now, receipt(2, News::Created));
    ledger.delivered(now, receipt(2, News::Ended(Told::Solved)));
    ledger.made(job(3, &request, now));
    assert_eq!(ledger.totals().creates_of_known, 1);
    assert_eq!(ledger.totals().in_flight, 1);
}

#[test]
fn polls_after_the_end_are_counted() {
    let mut ledger = Ledger::new(LedgerDetail::Full);
    let now = Instant::now();
    ledger.made(job(1, &key("u"), now));
    ledger.polled(now, 1);
    ledger.delivered(now + ms(30), receipt(1, News::Ended(Told::Solved)));
    assert_eq!(ledger.totals().polls_after_end, 0);
    ledger.polled(now, 1);
    assert_eq!(ledger.totals().polls_after_end, 1);
    assert_eq!(ledger.fetch_delay_ms().max, 30);
    assert_eq!(ledger.polls_of_a_job().max, 1);
}

#[test]
fn what_is_given_back_is_no_longer_billed() {
    let mut ledger = Ledger::new(LedgerDetail::Full);
    ledger.made(job(1, &key("u"), Instant::now()));
    assert_eq!(ledger.totals().billed_micros, 5);
    assert_eq!(ledger.refund(1), Micros(5));
    assert_eq!(ledger.refund(1), Micros::ZERO);
    assert_eq!(ledger.totals().billed_micros, 0);
}

#[test]
fn counters_forget_what_ended_and_nothing_else() {
    let mut ledger = Ledger::new(LedgerDetail::Counters);
    let now = Instant::now();
    for id in 1..=3 {
        let request = key(&format!("u{id}"));
        ledger.create_of(&request);
        ledger.made(job(id, &request, now));
        ledger.arrived(now, Some(Endpoint::Create));
    }
    ledger.delivered(now, receipt(1, News::Ended(Told::Solved)));
    ledger.delivered(now, receipt(2, News::Ended(Told::Failed)));
    ledger.arrived(now + MEMORY_OF_ENDED - ms(1), Some(Endpoint::Poll));
    assert_eq!(ledger.jobs().len(), 3);
    ledger.arrived(now + MEMORY_OF_ENDED, Some(Endpoint::Poll));
    assert_eq!(ledger.jobs().iter().map(|j| j.id).collect::<Vec<_>>(), [3]);
    assert_eq!(ledger.requests().len(), 1);
    assert!(ledger.creates.all.is_empty());
    assert_eq!(ledger.totals().jobs, 3);
}

#[test]
fn a_tag_is_the_query_or_the_fragment() {
    assert_eq!(key("https://a/b?row=1#x").tag(), "row=1#x");
    assert_eq!(key("https://a/b#row-7").tag(), "row-7");
    assert_eq!(key("https://a/b").tag(), "");
}

proptest::proptest! {
    #[test]
    fn the_busiest_window_is_that_of_counting_by_hand(
        steps in proptest::collection::vec(0_u64..700, 1..60),
        window in 1_u64..3000,
    ) {
        let start = Instant::now();
        let mut ledger = Ledger::new(LedgerDetail::Full);
        let mut at = 0;
        let mut arrivals = Vec::new();
        for step in steps {
            at += step;
            arrivals.push(at);
            ledger.arrived(start + ms(at), Some(Endpoint::Poll));
        }
        let by_hand = |window: u64| {
            let within = |last: &u64| arrivals.iter().filter(|a| **a <= *last && **a + window > *last).count();
            arrivals.iter().map(within).max().unwrap_or(0)
        };
        // Several arrivals at one instant: the last of them sees them all.
        proptest::prop_assert_eq!(ledger.busiest(Endpoint::Poll, ms(window)), by_hand(window));
        proptest::prop_assert_eq!(ledger.totals().most_polls_per_second, by_hand(1000) as u64);
    }
}
