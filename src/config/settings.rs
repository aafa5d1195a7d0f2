//! The table of settings: each one is written down here, once.

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use tracing::Level;

use super::BaseUrl;
use super::layers::Layers;
use super::value::{
    base_url, count, delimiter, key_prefix, money, one_of, optional, path, rate, redis_url,
    required, span, switch, word,
};
use super::{ConfigError, Provenance};
use crate::api::{HttpClient, Protocol};
use crate::engine::{Rate, UnknownCreatePolicy};
use crate::job::Micros;

/// A line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its key in a file; the names of its flag and variable are made from it.
    pub key: &'static str,
    /// What its value is called in help; empty for a switch.
    pub value_name: &'static str,
    /// Its default, as it would be written; empty where there is none.
    pub default: &'static str,
    /// What it does.
    pub help: &'static str,
    /// Under which heading it stands.
    pub section: Section,
}

impl Setting {
    /// Its flag: `--max-in-flight`.
    #[must_use]
    pub fn flag(&self) -> String {
        format!("--{}", self.key.replace('_', "-"))
    }

    /// Its variable: `POLLWHEEL_MAX_IN_FLIGHT`.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("POLLWHEEL_{}", self.key.to_ascii_uppercase())
    }

    /// Whether it is on or off.
    #[must_use]
    pub fn is_switch(&self) -> bool {
        self.value_name.is_empty()
    }

    /// Whether the command line takes it. The names of files that hold secrets are kept off it, so that
    /// a secret itself is never pasted there.
    #[must_use]
    pub fn has_flag(&self) -> bool {
        !matches!(
            self.key,
            "api_token_file" | "redis_password_file" | "redis_sentinel_password_file"
        )
    }

    /// A value of it as it may be shown: a password within is masked.
    #[must_use]
    pub fn shown<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.key {
            "redis_url" if !text.is_empty() => Cow::Owned(masked_url(text)),
            _ => Cow::Borrowed(text),
        }
    }
}

/// A URL of Redis without user name and password; nothing of a text that is none.
#[must_use]
pub fn masked_url(text: &str) -> String {
    crate::redis::RedisUrl::parse(text).map_or_else(|_| "***".to_owned(), |url| url.to_string())
}

/// A heading in help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// The service and what may be sent to it.
    Service,
    /// How fast.
    Pace,
    /// What ends a job or a run.
    Limits,
    /// Input, output and journal.
    Files,
    /// The queue in Redis.
    Redis,
    /// What is told to people.
    Logs,
}

impl Section {
    /// The heading.
    #[must_use]
    pub fn heading(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::Pace => "Pace",
            Self::Limits => "Limits",
            Self::Files => "Files",
            Self::Redis => "Redis",
            Self::Logs => "Logs",
        }
    }
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

macro_rules! settings {
    ($($(#[doc = $help:literal])+ $section:ident $key:ident: $type:ty = $parse:expr, $value_name:literal, $default:literal;)+) => {
        /// All settings of a run, checked.
        #[derive(Clone, Debug)]
        pub struct Settings {
            $($(#[doc = $help])+ pub $key: $type,)+
        }

        /// The table, in the order of help and `check`.
        pub const SETTINGS: &[Setting] = &[$(Setting {
            key: stringify!($key),
            value_name: $value_name,
            default: $default,
            help: concat!($($help),+),
            section: Section::$section,
        },)+];

        /// Reads every setting from its layers.
        pub(super) fn resolve(layers: &Layers<'_>) -> Result<(Settings, Vec<Provenance>), ConfigError> {
            let mut settings = SETTINGS.iter();
            let mut provenance = Vec::new();
            let settings = Settings {
                $($key: {
                    // One `next` for each field: fields and table come from the same lines.
                    let setting = settings.next().unwrap_or(&SETTINGS[0]);
                    layers.resolve(setting, $parse, &mut provenance)?
                },)+
            };
            Ok((settings, provenance))
        }
    };
}

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

settings! {
    /// The service; paths are appended to it [default: omocaptcha.com's for the protocol]
    Service base_url: Option<BaseUrl> = optional(base_url), "URL", "";
    /// The protocol it speaks: v1 (createJob) or v2 (createTask)
    Service protocol: Protocol = required(one_of(PROTOCOLS)), "NAME", "v1";
    /// File that holds the account token; POLLWHEEL_API_TOKEN goes before it
    Service api_token_file: Option<PathBuf> = optional(path), "FILE", "";
    /// What speaks HTTP to it: hyper, or reqwest, which does the same and takes more CPU time
    Service http_client: HttpClient = required(one_of(HTTP_CLIENTS)), "NAME", "hyper";
    /// Use a make-believe service inside this process; needs no account token
    Service simulate: bool = switch, "", "false";
    /// Folder of further job kinds, one TOML file each, beside the built-in ones
    Service jobs: Option<PathBuf> = optional(path), "DIR", "";
    /// Kind of the rows without a `job` of their own
    Service job: Option<String> = optional(word), "KIND", "";

    /// Most requests under way at a time
    Pace max_in_flight: usize = required(count(1..=1_000_000)), "N", "200";
    /// Most creates per time: 10/s, 0.5/s, 600/m
    Pace submit_rate: Rate = required(rate), "N/s", "10/s";
    /// Most polls per time [default: as many as come due]
    Pace poll_rate: Option<Rate> = optional(rate), "N/s", "";
    /// Time between two polls of a job; also caps the first wait. At least 2s for every host but loopback [default: the kind's, 2s]
    Pace poll_interval: Option<Duration> = optional(span(Duration::from_millis(1)..=DAY)), "TIME", "";
    /// Most HTTP exchanges at a time
    Pace max_connections: usize = required(count(1..=1024)), "N", "32";

    /// Give a job up when it is still pending this long after its create [default: the kind's, 180s]
    Limits timeout: Option<Duration> = optional(span(SECOND..=DAY)), "TIME", "";
    /// Most jobs created for a row because solves fail [default: the kind's, 2]
    Limits attempts: Option<u32> = optional(count(1..=100)), "N", "";
    /// What becomes of a row whose create has an unknown fate: retry (may pay twice) or fail
    Limits on_unknown_create: UnknownCreatePolicy = required(one_of(UNKNOWN_CREATE)), "POLICY", "retry";
    /// Most rows begun in this run
    Limits limit: Option<u64> = optional(count(1..=u64::MAX)), "N", "";
    /// Begin nothing new after this time
    Limits max_runtime: Option<Duration> = optional(span(Duration::ZERO..=YEAR)), "TIME", "";
    /// Stop after so many failures in a row: failed solves, time-outs, creates of unknown fate
    Limits max_failures: Option<u64> = optional(count(1..=u64::MAX)), "N", "";
    /// Most US dollars that all runs on the journal spend together
    Limits max_spend: Option<Micros> = optional(money), "DOLLARS", "";
    /// How long jobs under way are polled on after a signal; creates on the wire are waited for, 30s at most
    Limits drain_timeout: Duration = required(span(Duration::ZERO..=DAY)), "TIME", "30s";
    /// How long to wait for another run that holds the lock
    Limits lock_wait: Duration = required(span(Duration::ZERO..=DAY)), "TIME", "0s";

    /// The journal [default: OUTPUT.journal, or INPUT.journal where the output is a stream]
    Files journal: Option<PathBuf> = optional(path), "FILE", "";
    /// Reject bad rows and run the others, instead of sending nothing
    Files skip_bad_rows: bool = switch, "", "false";
    /// Put the output in the input's order at the end
    Files ordered: bool = switch, "", "false";
    /// Move journal and output to .bak and start anew
    Files fresh: bool = switch, "", "false";
    /// Let --fresh give up jobs that are paid and under way
    Files abandon_paid: bool = switch, "", "false";
    /// Take failed rows, and rejected ones that were mended, up again; their lines are replaced
    Files retry_failed: bool = switch, "", "false";
    /// What separates columns: , ; | : tab [default: found in the header]
    Files delimiter: Option<u8> = optional(delimiter), "CHAR", "";
    /// Write the run's totals to this file, as JSON
    Files summary: Option<PathBuf> = optional(path), "FILE", "";

    /// Where Redis is: redis://HOST:6379/0, rediss:// over TLS, unix:///PATH, redis+sentinel://HOST/NAME, redis+cluster://HOST,HOST
    Redis redis_url: Option<SecretString> = optional(redis_url), "URL", "";
    /// User name at Redis
    Redis redis_username: Option<String> = optional(word), "NAME", "";
    /// File that holds Redis' password; POLLWHEEL_REDIS_PASSWORD goes before it
    Redis redis_password_file: Option<PathBuf> = optional(path), "FILE", "";
    /// User name at the Sentinels
    Redis redis_sentinel_username: Option<String> = optional(word), "NAME", "";
    /// File that holds the Sentinels' password; POLLWHEEL_REDIS_SENTINEL_PASSWORD goes before it
    Redis redis_sentinel_password_file: Option<PathBuf> = optional(path), "FILE", "";
    /// PEM file of the authorities that may have signed Redis' certificate [default: the system's]
    Redis redis_ca_file: Option<PathBuf> = optional(path), "FILE", "";
    /// PEM file of the certificate to show to Redis
    Redis redis_cert_file: Option<PathBuf> = optional(path), "FILE", "";
    /// PEM file of its private key
    Redis redis_key_file: Option<PathBuf> = optional(path), "FILE", "";
    /// What the queue's own keys begin with
    Redis redis_prefix: String = required(key_prefix), "TEXT", "pollwheel:";
    /// How long a job stays with a worker that is not heard of
    Redis redis_lease: Duration = required(span(SECOND..=HOUR)), "TIME", "30s";
    /// How long Redis may be away before a worker gives up
    Redis redis_patience: Duration = required(span(Duration::ZERO..=DAY)), "TIME", "5m";
    /// How long after its end a request that comes again is known for a repeat
    Redis repeat_window: Duration = required(span(Duration::ZERO..=WEEK)), "TIME", "10m";
    /// What reply lists that producers name must begin with
    Redis reply_prefix: String = required(key_prefix), "TEXT", "reply:";
    /// Put each outcome under this text and its id, too, for GET
    Redis result_key_prefix: Option<String> = optional(key_prefix), "TEXT", "";
    /// How long those stay; one with a token never longer than the token is good for
    Redis result_ttl: Duration = required(span(SECOND..=WEEK)), "TIME", "120s";
    /// Most requests under way at a time, over all workers
    Redis max_fleet_in_flight: Option<u64> = optional(count(1..=1_000_000_000)), "N", "";
    /// Work although Redis may evict keys, or keeps nothing on disk
    Redis allow_unsafe_redis: bool = switch, "", "false";

    /// How log lines are written: text or json
    Logs log_format: LogFormat = required(one_of(LOG_FORMATS)), "FORMAT", "text";
    /// What is logged: error, warn, info, debug or trace
    Logs log_level: Level = required(one_of(LOG_LEVELS)), "LEVEL", "info";
}

const PROTOCOLS: &[(&str, Protocol)] = &[("v1", Protocol::V1), ("v2", Protocol::V2)];
const HTTP_CLIENTS: &[(&str, HttpClient)] = &[
    (HttpClient::Hyper.as_str(), HttpClient::Hyper),
    (HttpClient::Reqwest.as_str(), HttpClient::Reqwest),
];
const UNKNOWN_CREATE: &[(&str, UnknownCreatePolicy)] = &[
    ("retry", UnknownCreatePolicy::Retry),
    ("fail", UnknownCreatePolicy::Fail),
];
const LOG_FORMATS: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];
const LOG_LEVELS: &[(&str, Level)] = &[
    ("error", Level::ERROR),
    ("warn", Level::WARN),
    ("info", Level::INFO),
    ("debug", Level::DEBUG),
    ("trace", Level::TRACE),
];

/// The sites, which are a list and, in a file, a table of their own.
pub(super) const AUTHORIZED_SITE: Setting = Setting {
    key: "authorized_site",
    value_name: "HOST",
    default: "",
    help: "A site that may be submitted, such as shop.example.com or *.example.com (repeatable; replaces the configured list)",
    section: Section::Service,
};

impl Settings {
    /// The service that is meant: the one given, or else the one that the protocol was made for.
    #[must_use]
    pub fn service(&self) -> BaseUrl {
        self.base_url
            .clone()
            .unwrap_or_else(|| BaseUrl::of_service(self.protocol))
    }

    /// Least time between two polls of a job: what the service asks for, lifted for this machine.
    #[must_use]
    pub fn poll_floor(&self) -> Duration {
        if self.simulate || self.service().is_loopback() {
            Duration::ZERO
        } else {
            Self::POLL_FLOOR
        }
    }

    /// The time that the service asks its clients to wait between two polls of a job.
    pub const POLL_FLOOR: Duration = Duration::from_secs(2);

    /// Whether only errors are told.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.log_level == Level::ERROR
    }
}
