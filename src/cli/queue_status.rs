//! `status --from redis:LIST`: how a queue stands.

use std::fmt::Write;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::queue::{Desk, at_queue};
use super::{ExitCode, Failure, RedisList, StatusArgs, print};
use crate::backlog::redis::{Dead, JobState, QueueStatus};
use crate::job::{Micros, RemoteId};
use crate::redis::LinkError;
use crate::telemetry::{safe, span};

/// Dead requests and orphans that are shown to people, and that go into JSON.
const SHOWN: usize = 100;
const LISTED: u64 = 10_000;

/// Prints how a queue stands.
pub(super) fn status(args: &StatusArgs, list: &RedisList) -> Result<ExitCode, Failure> {
    let listed = if args.json { LISTED } else { SHOWN as u64 };
    let view = at_queue(&args.settings.0, list, async |desk| {
        look(desk, list, listed).await
    })?;
    print::out(&if args.json {
        view.json()?
    } else {
        view.render()
    })?;
    Ok(ExitCode::Success)
}

async fn look(desk: &mut Desk, list: &RedisList, listed: u64) -> Result<QueueView, LinkError> {
    let status = desk
        .ask(async |queue, connection| queue.status(connection).await)
        .await?;
    let dead = desk
        .ask(async |queue, connection| queue.dead_list(connection, listed).await)
        .await?;
    let orphans = desk
        .ask(async |queue, connection| queue.orphan_list(connection, listed).await)
        .await?;
    Ok(QueueView::new(list, &desk.place, &status, &dead, &orphans))
}

/// A queue as it is shown; its JSON is what `--json` prints. Where the summary of a run counts the same, the
/// name is the same.
#[derive(Clone, Debug, Serialize)]
struct QueueView {
    queue: String,
    redis: String,
    workers: u64,
    paused: bool,
    /// Nothing is claimed for so long, because Redis was restarted or failed over.
    quiet_s: f64,
    /// Nothing is created for so long, because the service asked for a pause.
    hold_s: f64,
    /// In the producers' list.
    waiting: u64,
    ready: u64,
    /// To be taken up again later.
    delayed: u64,
    in_flight: InFlight,
    admitted: i64,
    solved: i64,
    failed: i64,
    rejected: i64,
    duplicates: i64,
    creates: i64,
    creates_last_minute: u64,
    unknown_creates: i64,
    polls: i64,
    retries: i64,
    #[serde(serialize_with = "crate::telemetry::dollars")]
    spend: Micros,
    dead: u64,
    orphans: u64,
    /// The latest of them.
    dead_list: Vec<DeadView>,
    /// The latest of them.
    orphan_list: Vec<OrphanView>,
}

/// Jobs that workers hold, by state and by how long they have been in it.
#[derive(Clone, Debug, Serialize)]
struct InFlight {
    total: u64,
    /// Messages that were not read yet.
    raw: u64,
    /// To be created.
    claimed: u64,
    /// A create was sent, or was about to be, and its answer is not recorded.
    submitting: u64,
    /// Jobs that exist at the service.
    waiting: u64,
    under_10s: u64,
    under_1m: u64,
    under_5m: u64,
    older: u64,
    /// States and ages are of the first 10,000 only.
    cut: bool,
}

#[derive(Clone, Debug, Serialize)]
struct DeadView {
    id: String,
    #[serde(serialize_with = "crate::sink::json::time_or_null")]
    at: Option<Timestamp>,
}

/// A job beside the one that its request went on with.
#[derive(Clone, Debug, Default, Serialize)]
struct OrphanView {
    id: Option<String>,
    remote_id: Option<String>,
    api: Option<String>,
    #[serde(serialize_with = "crate::sink::json::time_or_null")]
    at: Option<Timestamp>,
}

impl QueueView {
    fn new(
        list: &RedisList,
        place: &str,
        status: &QueueStatus,
        dead: &[Dead],
        orphans: &[String],
    ) -> Self {
        let count = |name: &str| status.counters.get(name).copied().unwrap_or_default();
        let in_flight = &status.in_flight;
        let of_state = |state| {
            in_flight
                .by_state
                .get(&state)
                .map_or(0, |ages| ages.iter().sum())
        };
        let of_age = |n: usize| in_flight.by_state.values().map(|ages| ages[n]).sum();
        let seconds = |ms: u64| ms as f64 / 1000.0;
        Self {
            queue: list.as_str().to_owned(),
            redis: place.to_owned(),
            workers: status.workers,
            paused: status.paused,
            quiet_s: seconds(status.quiet_ms),
            hold_s: seconds(status.hold_ms),
            waiting: status.waiting,
            ready: status.ready,
            delayed: status.delayed,
            in_flight: InFlight {
                total: status.held,
                raw: of_state(JobState::Raw),
                claimed: of_state(JobState::Claimed),
                submitting: of_state(JobState::Submitting),
                waiting: of_state(JobState::Waiting),
                under_10s: of_age(0),
                under_1m: of_age(1),
                under_5m: of_age(2),
                older: of_age(3),
                cut: in_flight.is_cut,
            },
            admitted: count("admitted"),
            solved: count("solved"),
            failed: count("failed"),
            rejected: count("rejected"),
            duplicates: count("duplicates"),
            creates: count("creates"),
            creates_last_minute: status.creates_in_last_minute,
            unknown_creates: count("unknown_creates"),
            polls: count("polls"),
            retries: count("retries"),
            spend: Micros(count("spent")),
            dead: status.dead,
            orphans: status.orphans,
            dead_list: dead.iter().map(DeadView::from).collect(),
            orphan_list: orphans.iter().map(|note| OrphanView::read(note)).collect(),
        }
    }

    /// One line of JSON.
    fn json(&self) -> Result<String, Failure> {
        let json = serde_json::to_string(self).map_err(|e| Failure::new(ExitCode::Io, e))?;
        Ok(json + "\n")
    }

    /// The text for people.
    fn render(&self) -> String {
        let mut text = format!(
            "redis:{} at {}: {}\n",
            safe(&self.queue),
            safe(&self.redis),
            self.state()
        );
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(text, "  {name:<10} {value}");
        };
        line(
            "waiting",
            &format!(
                "{} in the list, {} ready, {} delayed",
                self.waiting, self.ready, self.delayed
            ),
        );
        line("in flight", &self.in_flight.render());
        line("solved", &self.solved.to_string());
        line("failed", &self.failed.to_string());
        line("rejected", &self.rejected.to_string());
        line("duplicates", &self.duplicates.to_string());
        let mut creates = format!(
            "{}, {} in the last minute",
            self.creates, self.creates_last_minute
        );
        if self.unknown_creates > 0 {
            creates += &format!(", {} of unknown fate (perhaps paid)", self.unknown_creates);
        }
        line("creates", &creates);
        line("retries", &self.retries.to_string());
        line("polls", &self.polls.to_string());
        line("spend", &format!("${}", self.spend));
        if self.dead > 0 {
            let _ = writeln!(
                text,
                "\n{} given up; `pollwheel requeue ID… --from redis:{}` takes them up again",
                self.dead,
                safe(&self.queue)
            );
            let dead = self
                .dead_list
                .iter()
                .map(|dead| format!("{}  {}", when(dead.at), safe(&dead.id)));
            list(&mut text, dead, self.dead);
        }
        if self.orphans > 0 {
            let orphans = if self.orphans == 1 {
                "orphan"
            } else {
                "orphans"
            };
            let _ = writeln!(
                text,
                "\n{} {orphans}, paid for beside the job that the request went on with",
                self.orphans
            );
            list(
                &mut text,
                self.orphan_list.iter().map(OrphanView::render),
                self.orphans,
            );
        }
        text
    }

    /// Whether it goes on.
    fn state(&self) -> String {
        let mut state = match self.workers {
            0 => "no worker".to_owned(),
            1 => "1 worker".to_owned(),
            n => format!("{n} workers"),
        };
        if self.paused {
            state += ", paused (`pollwheel resume` ends it)";
        }
        if self.quiet_s > 0.0 {
            let left = span(std::time::Duration::from_secs_f64(self.quiet_s));
            state += &format!(", Redis was restarted: nothing is claimed for {left}");
        }
        if self.hold_s > 0.0 {
            let left = span(std::time::Duration::from_secs_f64(self.hold_s));
            state += &format!(", nothing is created for {left}: the service asked for a pause");
        }
        state
    }
}

/// The first entries, and how many there are more.
fn list(text: &mut String, entries: impl Iterator<Item = String>, all: u64) {
    let mut shown = 0;
    for entry in entries.take(SHOWN) {
        let _ = writeln!(text, "  {entry}");
        shown += 1;
    }
    if all > shown {
        let _ = writeln!(text, "  and {} more", all - shown);
    }
}

impl OrphanView {
    /// What a note says. Of one that cannot be read, nothing is known but that it is there.
    fn read(note: &str) -> Self {
        #[derive(Deserialize)]
        struct Note {
            id: String,
            remote_id: Box<RawValue>,
            api: String,
            at: i64,
        }
        let Ok(note) = serde_json::from_str::<Note>(note) else {
            return Self::default();
        };
        Self {
            id: Some(note.id),
            remote_id: RemoteId::from_json(note.remote_id.get()).map(|id| id.to_string()),
            api: Some(note.api),
            at: Timestamp::from_millisecond(note.at).ok(),
        }
    }

    fn render(&self) -> String {
        let shown = |text: &Option<String>| match text {
            Some(text) => safe(text).into_owned(),
            None => "?".to_owned(),
        };
        let (id, remote, api) = (shown(&self.id), shown(&self.remote_id), shown(&self.api));
        format!("{}  {id}  job {remote} at {api}", when(self.at))
    }
}

fn when(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "?".to_owned(), |at| format!("{at:.0}"))
}

impl InFlight {
    fn render(&self) -> String {
        let list = |parts: &[(u64, &str)]| {
            let parts = parts.iter().filter(|(n, _)| *n > 0);
            let parts: Vec<_> = parts.map(|(n, what)| format!("{n} {what}")).collect();
            parts.join(", ")
        };
        let states = list(&[
            (self.waiting, "at the service"),
            (self.submitting, "being created"),
            (self.claimed, "to be created"),
            (self.raw, "not read yet"),
        ]);
        let ages = list(&[
            (self.under_10s, "under 10s"),
            (self.under_1m, "under 1m"),
            (self.under_5m, "under 5m"),
            (self.older, "older"),
        ]);
        let cut = if self.cut {
            " (of the first 10000)"
        } else {
            ""
        };
        match self.total {
            0 => "0".to_owned(),
            n => format!("{n}: {states}; since: {ages}{cut}"),
        }
    }
}

impl From<&Dead> for DeadView {
    fn from(dead: &Dead) -> Self {
        Self {
            id: dead.id.clone(),
            at: Timestamp::from_millisecond(dead.at_ms).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy() -> QueueView {
        let mut status = QueueStatus {
            waiting: 1200,
            ready: 3,
            delayed: 5,
            held: 42,
            dead: 120,
            orphans: 1,
            workers: 2,
            paused: true,
            quiet_ms: 1500,
            hold_ms: 3000,
            creates_in_last_minute: 12,
            counters: [
                ("solved", 240),
                ("failed", 6),
                ("rejected", 2),
                ("duplicates", 3),
                ("creates", 289),
                ("unknown_creates", 1),
                ("polls", 900),
                ("retries", 4),
                ("spent", 289_000),
                ("admitted", 290),
            ]
            .map(|(name, n)| (name.to_owned(), n))
            .into(),
            ..QueueStatus::default()
        };
        status.in_flight.by_state = [
            (JobState::Waiting, [20, 10, 8, 2]),
            (JobState::Submitting, [1, 0, 0, 0]),
            (JobState::Claimed, [1, 0, 0, 0]),
        ]
        .into();
        let dead = Dead {
            id: "order-17\u{1b}".to_owned(),
            at_ms: 1_700_000_000_000,
            payload: String::new(),
        };
        let note = r#"{"id":"order-18","remote_id":12345678901234567890123,"api":"https://example.com v1","at":1700000000000}"#;
        QueueView::new(
            &"redis:solve:requests".parse().unwrap(),
            "redis://***@h:6379",
            &status,
            &[dead],
            &[note.to_owned(), "{".to_owned()],
        )
    }

    #[test]
    fn a_busy_queue() {
        insta::assert_snapshot!(busy().render(), @r"
        redis:solve:requests at redis://***@h:6379: 2 workers, paused (`pollwheel resume` ends it), Redis was restarted: nothing is claimed for 1.5s, nothing is created for 3.0s: the service asked for a pause
          waiting    1200 in the list, 3 ready, 5 delayed
          in flight  42: 40 at the service, 1 being created, 1 to be created; since: 22 under 10s, 10 under 1m, 8 under 5m, 2 older
          solved     240
          failed     6
          rejected   2
          duplicates 3
          creates    289, 12 in the last minute, 1 of unknown fate (perhaps paid)
          retries    4
          polls      900
          spend      $0.289

        120 given up; `pollwheel requeue ID… --from redis:solve:requests` takes them up again
          2023-11-14T22:13:20Z  order-17\u{1b}
          and 119 more

        1 orphan, paid for beside the job that the request went on with
          2023-11-14T22:13:20Z  order-18  job 12345678901234567890123 at https://example.com v1
          ?  ?  job ? at ?
        ");
    }

    #[test]
    fn a_new_queue() {
        let view = QueueView::new(
            &"redis:q".parse().unwrap(),
            "redis://h:6379",
            &QueueStatus::default(),
            &[],
            &[],
        );
        insta::assert_snapshot!(view.render(), @r"
        redis:q at redis://h:6379: no worker
          waiting    0 in the list, 0 ready, 0 delayed
          in flight  0
          solved     0
          failed     0
          rejected   0
          duplicates 0
          creates    0, 0 in the last minute
          retries    0
          polls      0
          spend      $0
        ");
    }

    #[test]
    fn for_machines() {
        insta::assert_snapshot!(busy().json().unwrap(), @r#"{"queue":"solve:requests","redis":"redis://***@h:6379","workers":2,"paused":true,"quiet_s":1.5,"hold_s":3.0,"waiting":1200,"ready":3,"delayed":5,"in_flight":{"total":42,"raw":0,"claimed":1,"submitting":1,"waiting":40,"under_10s":22,"under_1m":10,"under_5m":8,"older":2,"cut":false},"admitted":290,"solved":240,"failed":6,"rejected":2,"duplicates":3,"creates":289,"creates_last_minute":12,"unknown_creates":1,"polls":900,"retries":4,"spend":0.289,"dead":120,"orphans":1,"dead_list":[{"id":"order-17\u001b","at":"2023-11-14T22:13:20.000Z"}],"orphan_list":[{"id":"order-18","remote_id":"12345678901234567890123","api":"https://example.com v1","at":"2023-11-14T22:13:20.000Z"},{"id":null,"remote_id":null,"api":null,"at":null}]}"#);
    }
}
