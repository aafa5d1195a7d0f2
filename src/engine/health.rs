//! How the service is doing, judged from the answers it gives. Pure.
//!
//! Three judgements, each reset by a success:
//!
//! * the **circuit**: most calls fail, so creates go out one at a time, a second after the last failure;
//! * **unreachable**: nothing but faults for so long that going on is pointless;
//! * **refusals**: five in a row that nothing explains are no verdict on five rows but on the account,
//!   and twenty in a row for a bad request none on twenty rows but on how they are sent.

use std::time::Duration;

use tokio::time::Instant;

/// Failed creates in a row that open the circuit.
const CREATES_TO_OPEN: u32 = 5;
/// Failed polls in a row that open it.
const POLLS_TO_OPEN: u32 = 10;
/// Time between two probes while the circuit is open.
pub(super) const PROBE_EVERY: Duration = Duration::from_secs(1);
/// Unexplained refusals in a row that stop the run.
const REFUSALS_TO_STOP: u32 = 5;
/// Bad requests in a row that stop the run.
const BAD_REQUESTS_TO_STOP: u32 = 20;
/// A service that never answered in this run is given up after this time and so many faults.
const NEVER_ANSWERED: (Duration, u32) = (Duration::from_secs(15), 3);
/// A service that did answer once is given up after this time.
const WENT_AWAY: Duration = Duration::from_secs(10 * 60);

/// The state of the service.
#[derive(Debug, Default)]
pub(super) struct Health {
    failed_creates: u32,
    failed_polls: u32,
    refusals: u32,
    bad_requests: u32,
    faults: u32,
    first_contact: Option<Instant>,
    faulty_since: Option<Instant>,
    answered: bool,
    /// Creates that succeeded and jobs that were solved, in this run.
    successes: u64,
}

impl Health {
    /// An exchange begins.
    pub(super) fn contact(&mut self, now: Instant) {
        self.first_contact.get_or_insert(now);
    }

    /// A job was created.
    pub(super) fn create_succeeded(&mut self) {
        self.answered();
        self.failed_creates = 0;
        self.failed_polls = 0;
        self.refusals = 0;
        self.bad_requests = 0;
        self.successes += 1;
    }

    /// A job was solved.
    pub(super) fn solved(&mut self) {
        self.refusals = 0;
        self.successes += 1;
    }

    /// A poll was answered, whatever it said.
    pub(super) fn poll_succeeded(&mut self) {
        self.answered();
        self.failed_polls = 0;
    }

    /// A create brought no answer that says anything.
    pub(super) fn create_failed(&mut self, now: Instant) {
        self.failed_creates = self.failed_creates.saturating_add(1);
        self.fault(now);
    }

    /// The service answered that it can take no job for now: it is there, but more creates than a
    /// probe a second would only be refused as well.
    pub(super) fn create_put_off(&mut self) {
        self.answered();
        self.failed_creates = self.failed_creates.saturating_add(1);
    }

    /// A poll brought no answer that says anything.
    pub(super) fn poll_failed(&mut self, now: Instant) {
        self.failed_polls = self.failed_polls.saturating_add(1);
        self.fault(now);
    }

    /// The service refused and nothing explains why. Returns whether that was one too many.
    pub(super) fn refused(&mut self) -> bool {
        self.answered();
        self.refusals += 1;
        self.refusals >= REFUSALS_TO_STOP
    }

    /// The service named what is wrong in a create. Returns whether that was one too many.
    pub(super) fn bad_request(&mut self) -> bool {
        self.answered();
        self.bad_requests += 1;
        self.bad_requests >= BAD_REQUESTS_TO_STOP
    }

    /// The service is there: it answered something that can be decoded.
    pub(super) fn answered(&mut self) {
        self.answered = true;
        self.faults = 0;
        self.faulty_since = None;
    }

    /// Whether creates are held to one probe at a time.
    pub(super) fn is_open(&self) -> bool {
        self.failed_creates >= CREATES_TO_OPEN || self.failed_polls >= POLLS_TO_OPEN
    }

    /// Whether the service is given up.
    pub(super) fn is_unreachable(&self, now: Instant) -> bool {
        let lasting = |since: Option<Instant>| {
            since.map_or(Duration::ZERO, |s| now.saturating_duration_since(s))
        };
        if self.answered {
            lasting(self.faulty_since) >= WENT_AWAY
        } else {
            self.faults >= NEVER_ANSWERED.1 && lasting(self.first_contact) >= NEVER_ANSWERED.0
        }
    }

    /// A count that grows with every success: two equal readings had none between them.
    pub(super) fn successes(&self) -> u64 {
        self.successes
    }

    fn fault(&mut self, now: Instant) {
        self.faults = self.faults.saturating_add(1);
        self.faulty_since.get_or_insert(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_circuit_opens_on_failures_in_a_row_and_closes_on_a_success() {
        let now = Instant::now();
        let mut health = Health::default();
        for _ in 0..4 {
            health.create_failed(now);
        }
        health.poll_succeeded();
        assert!(!health.is_open());
        health.create_failed(now);
        assert!(
            health.is_open(),
            "an answered poll says nothing about creates"
        );
        health.create_succeeded();
        assert!(!health.is_open());
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_never_answered_is_given_up_soon_and_another_late() {
        let start = Instant::now();
        let mut health = Health::default();
        health.contact(start);
        (0..3).for_each(|_| health.create_failed(start));
        assert!(!health.is_unreachable(start + Duration::from_secs(14)));
        assert!(health.is_unreachable(start + Duration::from_secs(15)));
        health.poll_succeeded();
        health.poll_failed(start);
        assert!(!health.is_unreachable(start + Duration::from_secs(599)));
        assert!(health.is_unreachable(start + Duration::from_secs(600)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_is_busy_is_probed_and_never_given_up() {
        let start = Instant::now();
        let mut health = Health::default();
        health.contact(start);
        (0..4).for_each(|_| health.create_put_off());
        assert!(!health.is_open());
        health.create_put_off();
        assert!(health.is_open());
        assert!(!health.is_unreachable(start + Duration::from_secs(86_400)));
        health.create_succeeded();
        assert!(!health.is_open());
    }

    #[test]
    fn twenty_bad_requests_in_a_row_are_too_many() {
        let mut health = Health::default();
        assert!(!(0..19).any(|_| health.bad_request()));
        health.create_succeeded();
        assert!(!(0..19).any(|_| health.bad_request()));
        assert!(health.bad_request());
    }

    #[test]
    fn five_refusals_in_a_row_are_too_many() {
        let mut health = Health::default();
        assert!(!(0..4).any(|_| health.refused()));
        health.solved();
        assert!(!(0..4).any(|_| health.refused()));
        assert!(health.refused());
    }
}
