//! The ledger as JSON, for whoever reads it over HTTP.

use serde_json::json;
use tokio::time::Instant;

use super::brain::Brain;
use super::fault::Endpoint;
use super::record::{JobEnd, Told};

impl Brain {
    /// The ledger's sums as JSON.
    #[must_use]
    pub fn totals_json(&self) -> String {
        let ledger = self.ledger();
        json!({
            "totals": ledger.totals(),
            "poll_gaps_ms": ledger.poll_gaps_ms(),
            "polls_of_a_job": ledger.polls_of_a_job(),
            "fetch_delay_ms": ledger.fetch_delay_ms(),
            "balance": self.balance().map(|b| b.to_string()),
        })
        .to_string()
    }

    /// How many calls arrived in each second since the start, as JSON: `{"creates": [20, 19], …}`.
    #[must_use]
    pub fn seconds_json(&self) -> String {
        let of = |endpoint| {
            let mut seconds: Vec<u64> = Vec::new();
            for at in self.ledger().arrivals(endpoint) {
                // Far below what a vector holds.
                let n = usize::try_from(at.duration_since(self.started_at).as_secs()).unwrap_or(0);
                if seconds.len() <= n {
                    seconds.resize(n + 1, 0);
                }
                seconds[n] += 1;
            }
            seconds
        };
        json!({"creates": of(Endpoint::Create), "polls": of(Endpoint::Poll)}).to_string()
    }

    /// The jobs remembered, one JSON object a line. Holds their (make-believe) tokens.
    #[must_use]
    pub fn jobs_json_lines(&self, now: Instant) -> String {
        let mut lines = String::new();
        for job in self.ledger().jobs() {
            let state = match job.end {
                JobEnd::Solved(at) if at <= now => "solved",
                JobEnd::Failed(at) if at <= now => "failed",
                JobEnd::Never => "never",
                JobEnd::Solved(_) | JobEnd::Failed(_) => "pending",
            };
            let told = match job.told {
                Told::Nothing => "nothing",
                Told::Lost => "lost",
                Told::Solved => "solved",
                Told::Failed => "failed",
            };
            let line = json!({
                "job_id": job.id,
                "task_id": self.task_id(job.id),
                "ordinal": job.ordinal,
                "url": job.request.url,
                "key": job.request.key,
                "tag": job.request.tag(),
                "created_ms": self.ms_since_start(job.created_at),
                "adopted": job.adopted,
                "answer_delivered": job.answer_delivered,
                "polls": job.polls,
                "min_gap_ms": job.min_gap.map(|gap| gap.as_secs_f64() * 1e3),
                "polls_after_end": job.polls_after_end,
                "state": state,
                "told": told,
                "token": self.token_of(job.id),
            });
            lines.push_str(&line.to_string());
            lines.push('\n');
        }
        lines
    }

    /// The requests remembered, one JSON object a line.
    #[must_use]
    pub fn requests_json_lines(&self) -> String {
        let mut lines = String::new();
        for (key, record) in self.ledger().requests() {
            let line = json!({
                "url": key.url,
                "key": key.key,
                "tag": key.tag(),
                "creates": record.creates,
                "jobs": record.jobs,
            });
            lines.push_str(&line.to_string());
            lines.push('\n');
        }
        lines
    }

    fn ms_since_start(&self, at: Instant) -> f64 {
        at.duration_since(self.started_at).as_secs_f64() * 1e3
    }
}
