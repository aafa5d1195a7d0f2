//! A [`Transport`] straight into a [`Brain`](super::Brain): no sockets, time by tokio's clock alone,
//! so that it runs on the paused one.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::api::{Answer, Fault, RetryAfter, Transport};

use super::brain::SharedBrain;
use super::reaction::{Effect, Reply};
use super::record::Receipt;
use super::request::HttpRequest;

/// Largest body that a transport hands on.
const LARGEST_BODY: usize = 1 << 20;

/// How long an exchange may take when nothing else is said.
const PATIENCE: Duration = Duration::from_secs(30);

/// Exchanges with a simulator in the process.
#[derive(Clone, Debug)]
pub struct SimulatedTransport {
    brain: SharedBrain,
    patience: Duration,
}

impl SimulatedTransport {
    /// Exchanges with `brain`, each of 30 s at most.
    #[must_use]
    pub fn new(brain: SharedBrain) -> Self {
        Self {
            brain,
            patience: PATIENCE,
        }
    }

    /// The same with another limit to the time of an exchange.
    #[must_use]
    pub fn with_timeout(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The simulator behind it.
    #[must_use]
    pub fn brain(&self) -> &SharedBrain {
        &self.brain
    }

    async fn exchange(&self, path: &str, body: &[u8]) -> Result<Answer, Fault> {
        let now = Instant::now();
        let request = HttpRequest::post_json(path, body);
        let reaction = self.brain.with(|brain| brain.handle(now, &request));
        if reaction.delay > Duration::ZERO {
            sleep(reaction.delay).await;
        }
        let after = |what: &str| Err(Fault::AfterSend(what.to_owned()));
        match reaction.effect {
            Effect::Answer(reply) => self.answer(reply, reaction.receipt),
            Effect::Slow { reply, over } => {
                sleep(over).await;
                self.answer(reply, reaction.receipt)
            }
            Effect::RefuseConnection => Err(Fault::NotSent("connection refused".to_owned())),
            Effect::Reset => after("connection reset by peer"),
            Effect::CutShort { .. } => after("the answer ended before its announced length"),
            Effect::Hang(hold) => {
                sleep(hold).await;
                after("connection reset by peer")
            }
        }
    }

    fn answer(&self, reply: Reply, receipt: Option<Receipt>) -> Result<Answer, Fault> {
        if reply.body.len() > LARGEST_BODY {
            return Err(Fault::AfterSend(
                "the answer is larger than 1 MiB".to_owned(),
            ));
        }
        let now = Instant::now();
        let retry_after = self.brain.with(|brain| {
            if let Some(receipt) = receipt {
                brain.delivered(now, receipt);
            }
            let wall = brain.wall(now);
            reply.retry_after.as_deref().and_then(|header| {
                let seconds = header.parse().map(Duration::from_secs).ok();
                let until =
                    |date: std::time::SystemTime| date.duration_since(wall).unwrap_or_default();
                seconds.or_else(|| httpdate::parse_http_date(header).ok().map(until))
            })
        });
        Ok(Answer {
            status: reply.status,
            retry_after: retry_after.map(RetryAfter),
            content_type: reply.content_type.to_owned(),
            body: reply.body,
        })
    }
}

impl Transport for SimulatedTransport {
    async fn post(&self, path: &'static str, body: Vec<u8>) -> Result<Answer, Fault> {
        let late = |_| Fault::AfterSend(format!("no answer within {:?}", self.patience));
        timeout(self.patience, self.exchange(path, &body))
            .await
            .map_err(late)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::SimulatorSettings;

    const CREATE: &str = r#"{"api_token":"t","data":{"type_job_id":"11","website_url":"https://a.example.com/#1","website_key":"k"}}"#;

    fn transport(script: &str) -> SimulatedTransport {
        let mut settings = SimulatorSettings::exact(Duration::from_secs(5));
        settings.script = script.parse().unwrap();
        SimulatedTransport::new(SharedBrain::new(settings))
    }

    async fn create(transport: &SimulatedTransport) -> Result<Answer, Fault> {
        transport.post("/api/createJob", CREATE.into()).await
    }

    async fn poll(transport: &SimulatedTransport) -> Result<Answer, Fault> {
        let body = r#"{"api_token":"t","job_id":1}"#;
        transport.post("/api/getJobResult", body.into()).await
    }

    fn jobs(transport: &SimulatedTransport) -> u64 {
        transport.brain.with(|brain| brain.ledger().totals().jobs)
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_from_create_to_token() {
        let transport = transport("");
        let created = create(&transport).await.unwrap();
        assert_eq!(
            (created.status, created.content_type.as_str()),
            (200, "application/json")
        );
        assert!(
            std::str::from_utf8(&created.body)
                .unwrap()
                .contains("\"job_id\": 1,")
        );
        sleep(Duration::from_millis(4999)).await;
        let pending = poll(&transport).await.unwrap();
        assert!(
            std::str::from_utf8(&pending.body)
                .unwrap()
                .contains("running")
        );
        sleep(Duration::from_millis(1)).await;
        let solved = poll(&transport).await.unwrap();
        let token = transport.brain().with(|brain| brain.token_of(1));
        assert!(std::str::from_utf8(&solved.body).unwrap().contains(&token));
        assert_eq!(
            transport.brain.with(|brain| brain.ledger().totals().solved),
            1
        );
    }

    #[tokio::test(start_paused = true)]
    async fn faults_tell_whether_anything_was_sent() {
        for (script, expected, jobs_made) in [
            ("create: refuse_connection", "NotSent", 0),
            ("create: reset_before", "AfterSend", 0),
            ("create: reset_after", "AfterSend", 1),
            ("create: cut", "AfterSend", 1),
            ("create: huge", "AfterSend", 1),
            ("create: hang", "AfterSend", 0),
            ("create: hang_after", "AfterSend", 1),
            ("create: slow over=31s", "AfterSend", 1),
        ] {
            let transport = transport(script);
            let fault = create(&transport).await.unwrap_err();
            assert!(
                format!("{fault:?}").starts_with(expected),
                "{script}: {fault:?}"
            );
            assert_eq!(jobs(&transport), jobs_made, "{script}");
            let delivered = transport
                .brain
                .with(|b| b.ledger().job(1).map(|j| j.answer_delivered));
            assert_ne!(delivered, Some(true), "{script}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn time_passes_as_scripted() {
        for (script, takes) in [
            ("create: slow over=3s", 3000),
            ("create: delay for=4s", 4000),
            ("create: hang", 30_000),
            ("create: hang for=7s", 7000),
            ("create: html", 0),
        ] {
            let transport = transport(script);
            let start = Instant::now();
            let _ = create(&transport).await;
            assert_eq!(start.elapsed(), Duration::from_millis(takes), "{script}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_in_both_forms() {
        for (script, seconds) in [
            ("create: 429", None),
            ("create: 429 retry-after=2", Some(2)),
            ("create: 429 retry-after=1y", Some(31_557_600)),
        ] {
            let answer = create(&transport(script)).await.unwrap();
            assert_eq!(answer.status, 429);
            assert_eq!(
                answer.retry_after.map(|r| r.0),
                seconds.map(Duration::from_secs),
                "{script}"
            );
        }
        let answer = create(&transport("create: 503 retry-after=date+90s"))
            .await
            .unwrap();
        let wait = answer.retry_after.unwrap().0;
        // A date has whole seconds.
        assert!((89..=90).contains(&wait.as_secs()), "{wait:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_gave_up_has_a_job_all_the_same() {
        let transport = transport("create: delay for=10s").with_timeout(Duration::from_secs(1));
        assert!(create(&transport).await.is_err());
        assert_eq!(jobs(&transport), 1);
        let delivered = transport
            .brain
            .with(|b| b.ledger().job(1).map(|j| j.answer_delivered));
        assert_eq!(delivered, Some(false));
    }
}
