//! What a simulator is to be like.

use std::time::Duration;

use crate::api::{AccountToken, Protocol};
use crate::job::{FieldType, Kinds, Micros, Role};

use super::distribution::Distribution;
use super::rates::FaultRates;
use super::script::Script;
use super::token::TokenStyle;

/// The settings of a simulator. The defaults are a healthy service.
#[derive(Clone, Debug)]
pub struct SimulatorSettings {
    /// What everything random comes from: the same seed and the same requests in the same order are
    /// answered in the same way.
    pub seed: u64,
    /// From the arrival of a create to the end of its solve.
    pub solve_time: Distribution,
    /// Share of jobs whose solve fails, 0 to 1.
    pub fail_rate: f64,
    /// Share of jobs that stay pending for ever, 0 to 1.
    pub never_rate: f64,
    /// From the arrival of a request to its answer.
    pub latency: Distribution,
    /// What every job costs; `None` for the prices of its type. Charged at the create, refunded
    /// when a poll first finds that the solve failed.
    pub price: Option<Micros>,
    /// The balance at the start; `None` for one that is never used up.
    pub balance: Option<Micros>,
    /// The account tokens that are accepted; none for any that is not empty.
    pub accepted_tokens: Vec<AccountToken>,
    /// The types of job there are.
    pub job_types: Vec<JobType>,
    /// How answers look.
    pub shapes: Shapes,
    /// Whether v1's job ids are numbers, as documented, or strings. v2's are UUIDs, or numbers for
    /// every other job where shapes and ids take turns.
    pub job_ids: JobIds,
    /// The id of the first job. `None` takes the microseconds of the wall clock, so that the ids of
    /// a simulator and of the one that was killed before it are not the same. With a fixed one, the
    /// ids of a restarted simulator mean other jobs than before.
    pub first_job_id: Option<u64>,
    /// Whether a poll for an unknown id makes a job of it, created at that moment: for jobs that a
    /// simulator in an earlier process made.
    pub adopt_unknown: bool,
    /// Faults by rate.
    pub rates: FaultRates,
    /// Faults by script. Decides before the rates.
    pub script: Script,
    /// What the ledger keeps.
    pub ledger: LedgerDetail,
    /// An idle connection is closed after so long.
    pub keep_alive: Duration,
}

/// How answers look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shapes {
    /// In turn, all shapes that are documented or reported, also those that are no strict JSON.
    All,
    /// The plainest one of each answer, strict JSON.
    Plain,
}

/// The JSON type of job ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobIds {
    /// `123456`
    Numbers,
    /// `"job-123456"`
    Strings,
}

/// What the ledger keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LedgerDetail {
    /// Every job and the time of every call. Memory grows with them.
    Full,
    /// Counts and histograms. A job is forgotten a minute after its end was told, a request with its
    /// last job: a create for it is no longer recognised as one of a known job.
    Counters,
}

/// A type of job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobType {
    /// Its name in the list of services.
    pub name: String,
    /// What a job costs.
    pub price: Micros,
    /// What its tokens look like.
    pub style: TokenStyle,
    /// How v1 speaks of it.
    pub v1: Option<Spelling>,
    /// How v2 speaks of it.
    pub v2: Option<Spelling>,
}

/// How a protocol speaks of a type: not the same for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spelling {
    /// `type_job_id` in v1, `type` in v2.
    pub id: String,
    /// The members beside it.
    pub fields: Vec<Field>,
}

/// A member of v1's `data` or v2's `task`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its exact name.
    pub name: String,
    /// Its type.
    pub field_type: FieldType,
    /// Whether it must be there.
    pub required: bool,
    /// Whether it is the site key.
    pub is_key: bool,
}

impl JobType {
    /// How `protocol` speaks of it, where it does.
    #[must_use]
    pub fn spelling(&self, protocol: Protocol) -> Option<&Spelling> {
        match protocol {
            Protocol::V1 => self.v1.as_ref(),
            Protocol::V2 => self.v2.as_ref(),
        }
    }

    /// The two types of the documents: hCaptcha (`11`, v1 alone) and reCAPTCHA v2 (`1`). Written down here and
    /// not taken from `jobs/`, so that a misspelling there is found.
    #[must_use]
    pub fn documented() -> Vec<Self> {
        let field = |name: &str, field_type, required, is_key| Field {
            name: name.to_owned(),
            field_type,
            required,
            is_key,
        };
        let spelling = |id: &str, fields| {
            let id = id.to_owned();
            Some(Spelling { id, fields })
        };
        let recaptcha = vec![
            field("websiteURL", FieldType::Url, true, false),
            field("websiteKey", FieldType::Text, true, true),
            field("isInvisible", FieldType::Bool, false, false),
        ];
        vec![
            Self {
                name: "hCaptcha token".to_owned(),
                price: Micros(1_000),
                style: TokenStyle::HCaptcha,
                v1: spelling(
                    "11",
                    vec![
                        field("website_url", FieldType::Url, true, false),
                        field("website_key", FieldType::Text, true, true),
                    ],
                ),
                v2: None,
            },
            Self {
                name: "reCaptcha v2".to_owned(),
                price: Micros(550),
                style: TokenStyle::Recaptcha,
                v1: spelling("1", recaptcha.clone()),
                v2: spelling("RecaptchaV2TokenTask", recaptcha),
            },
        ]
    }
}

impl SimulatorSettings {
    /// Settings for a simulator in the process of a run: quick, so that a demonstration ends soon,
    /// lean, and answering for the jobs of the process before it.
    #[must_use]
    pub fn in_process() -> Self {
        Self {
            solve_time: Distribution::Uniform(Duration::from_secs(1), Duration::from_secs(3)),
            adopt_unknown: true,
            ledger: LedgerDetail::Counters,
            ..Self::default()
        }
    }

    /// Settings for tests of others: no latency, plain shapes, ids from 1 on, all in the ledger.
    #[must_use]
    pub fn exact(solve_time: Duration) -> Self {
        Self {
            solve_time: Distribution::Fixed(solve_time),
            latency: Distribution::ZERO,
            shapes: Shapes::Plain,
            first_job_id: Some(1),
            ..Self::default()
        }
    }

    /// The place of the type that `protocol` calls `id`.
    pub(super) fn job_type(&self, protocol: Protocol, id: &str) -> Option<usize> {
        let called = |t: &JobType| t.spelling(protocol).is_some_and(|s| s.id == id);
        self.job_types.iter().position(called)
    }

    /// Adds the kinds of a user whose name in a protocol is not there yet.
    pub fn add_kinds(&mut self, kinds: &Kinds) {
        for kind in kinds.iter() {
            for protocol in [Protocol::V1, Protocol::V2] {
                let Some(terms) = kind.protocols.get(protocol.as_str()) else {
                    continue;
                };
                if self.job_type(protocol, &terms.wire_type).is_some() {
                    continue;
                }
                let field = |column: &crate::job::Column| {
                    Some(Field {
                        name: column.wire.get(protocol.as_str())?.clone(),
                        field_type: column.field_type,
                        required: column.required,
                        is_key: column.role == Some(Role::SiteKey),
                    })
                };
                let spelling = Spelling {
                    id: terms.wire_type.clone(),
                    fields: kind.columns.iter().filter_map(field).collect(),
                };
                let (v1, v2) = match protocol {
                    Protocol::V1 => (Some(spelling), None),
                    Protocol::V2 => (None, Some(spelling)),
                };
                self.job_types.push(JobType {
                    name: kind.description.clone(),
                    price: kind.reserve(),
                    style: TokenStyle::Recaptcha,
                    v1,
                    v2,
                });
            }
        }
    }
}

impl Default for SimulatorSettings {
    fn default() -> Self {
        Self {
            seed: 1,
            solve_time: Distribution::Uniform(Duration::from_secs(2), Duration::from_secs(8)),
            fail_rate: 0.0,
            never_rate: 0.0,
            latency: Distribution::Uniform(Duration::from_millis(10), Duration::from_millis(50)),
            price: None,
            balance: None,
            accepted_tokens: Vec::new(),
            job_types: JobType::documented(),
            shapes: Shapes::All,
            job_ids: JobIds::Numbers,
            first_job_id: None,
            adopt_unknown: false,
            rates: FaultRates::default(),
            script: Script::default(),
            ledger: LedgerDetail::Full,
            keep_alive: Duration::from_secs(75),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Kind;

    #[test]
    fn the_kinds_built_in_speak_as_the_documents_do() {
        let mut settings = SimulatorSettings::default();
        let documented = settings.job_types.clone();
        settings.add_kinds(&Kinds::built_in());
        assert_eq!(settings.job_types, documented);
        for kind in Kinds::built_in().iter() {
            for (protocol, terms) in &kind.protocols {
                let spoken = if protocol == "v1" {
                    Protocol::V1
                } else {
                    Protocol::V2
                };
                let n = settings.job_type(spoken, &terms.wire_type).unwrap();
                let spelling = documented[n].spelling(spoken).unwrap();
                let names: Vec<_> = spelling.fields.iter().map(|f| &f.name).collect();
                let wire: Vec<_> = kind.columns.iter().map(|c| &c.wire[protocol]).collect();
                assert_eq!(names, wire);
                assert_eq!(Some(documented[n].price), kind.price);
            }
        }
    }

    #[test]
    fn a_users_kind_is_added() {
        let text = include_str!("../../jobs/hcaptcha.toml").replace("\"11\"", "\"77\"");
        let mut kinds = Kinds::built_in();
        kinds.insert(Kind::from_toml("k.toml", &text.replace("\"hcaptcha\"", "\"mine\"")).unwrap());
        let mut settings = SimulatorSettings::default();
        settings.add_kinds(&kinds);
        assert_eq!(settings.job_types.len(), 3);
        let spelling = settings.job_types[2].v1.as_ref().unwrap();
        assert_eq!(spelling.fields[0].name, "website_url");
        assert!(spelling.fields[1].is_key);
        assert_eq!(settings.job_types[2].v2, None);
    }
}
