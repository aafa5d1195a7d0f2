//! Outcomes as JSON: one object, its members always in the same order.
//!
//! `id`, `job`, then [`RESULT_COLUMNS`] (numbers where they are counts or seconds, `cost` a decimal in a
//! string, what is absent `null`), then `meta`, `reply_error` and `request` where there are any.
//!
//! What must stay true: the same values give the same bytes; `meta` stands there byte for byte as the
//! producer wrote it.

use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::{rfc3339, seconds};
#[cfg(doc)]
use crate::job::RESULT_COLUMNS;
use crate::job::{Micros, Outcome, RemoteId};

/// Most outcomes are no longer than this many bytes; a token is the most of it.
const USUAL_LENGTH: usize = 1024;

/// What stands around an outcome.
#[derive(Clone, Copy, Debug, Default)]
pub struct About<'a> {
    /// The request's id; a message that was rejected may have none.
    pub id: Option<&'a str>,
    /// Its kind's name.
    pub job: Option<&'a str>,
    /// What the producer wants back.
    pub meta: Option<&'a RawValue>,
    /// Why the outcome does not stand where the producer wanted it.
    pub reply_error: Option<&'a str>,
    /// The beginning of a message that was no request.
    pub request: Option<&'a str>,
}

#[derive(Serialize)]
struct Object<'a> {
    id: Option<&'a str>,
    job: Option<&'a str>,
    status: &'static str,
    token: Option<&'a str>,
    error: Option<&'static str>,
    /// `null` where solved.
    message: Option<&'a str>,
    #[serde(serialize_with = "shown")]
    remote_id: Option<&'a RemoteId>,
    attempts: u32,
    polls: u32,
    #[serde(serialize_with = "time_or_null")]
    submitted_at: Option<Timestamp>,
    #[serde(serialize_with = "time_or_null")]
    finished_at: Option<Timestamp>,
    #[serde(serialize_with = "time_or_null")]
    expires_at: Option<Timestamp>,
    elapsed_s: Option<Box<RawValue>>,
    #[serde(serialize_with = "amount")]
    cost: Micros,
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<&'a str>,
}

/// An outcome's JSON, without a line end.
#[must_use]
pub fn outcome(about: About<'_>, outcome: &Outcome) -> Vec<u8> {
    let elapsed = outcome
        .elapsed
        .map(|e| RawValue::from_string(seconds(e).to_string()));
    let object = Object {
        id: about.id,
        job: about.job,
        status: outcome.status.as_str(),
        token: outcome.token.as_ref().map(|t| t.expose_secret()),
        error: outcome.error.map(|e| e.as_str()),
        message: Some(outcome.message.as_str()).filter(|m| !m.is_empty()),
        remote_id: outcome.remote_id.as_ref(),
        attempts: outcome.attempts,
        polls: outcome.polls,
        submitted_at: outcome.submitted_at,
        finished_at: Some(outcome.finished_at),
        expires_at: outcome.expires_at,
        elapsed_s: elapsed.and_then(Result::ok),
        cost: outcome.cost,
        meta: about.meta,
        reply_error: about.reply_error,
        request: about.request,
    };
    let mut json = Vec::with_capacity(USUAL_LENGTH);
    serde_json::to_writer(&mut json, &object)
        .unwrap_or_else(|_| unreachable!("an object of texts and numbers has a JSON form"));
    json
}

/// An object whose members are strings: `{"note":"α","x":""}`. The order stays.
#[must_use]
pub fn strings<'a>(members: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut json = Vec::with_capacity(256);
    json.push(b'{');
    for (name, text) in members {
        if json.len() > 1 {
            json.push(b',');
        }
        for (string, then) in [(name, b":".as_slice()), (text, b"")] {
            serde_json::to_writer(&mut json, string)
                .unwrap_or_else(|_| unreachable!("a text has a JSON form, and memory takes it"));
            json.extend_from_slice(then);
        }
    }
    json.push(b'}');
    String::from_utf8(json).unwrap_or_else(|_| unreachable!("JSON of texts is UTF-8"))
}

fn shown<S: Serializer>(id: &Option<&RemoteId>, out: S) -> Result<S::Ok, S::Error> {
    match id {
        Some(id) => out.collect_str(id),
        None => out.serialize_none(),
    }
}

/// A [time](rfc3339), or `null`.
pub(crate) fn time_or_null<S: Serializer>(
    time: &Option<Timestamp>,
    out: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => out.collect_str(&rfc3339(*time)),
        None => out.serialize_none(),
    }
}

fn amount<S: Serializer>(amount: &Micros, out: S) -> Result<S::Ok, S::Error> {
    out.collect_str(amount)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::job::{ErrorClass, RESULT_COLUMNS, Status};
    use crate::sink::csv;

    fn solved() -> Outcome {
        Outcome {
            status: Status::Solved,
            token: Some("P1_tok\"en".to_owned().into()),
            error: None,
            message: String::new(),
            remote_id: RemoteId::number("12345678901234567890123"),
            attempts: 2,
            polls: 7,
            submitted_at: Timestamp::from_millisecond(1_700_000_000_000).ok(),
            finished_at: Timestamp::from_millisecond(1_700_000_012_300).unwrap(),
            expires_at: Timestamp::from_millisecond(1_700_000_132_300).ok(),
            elapsed: Some(Duration::from_millis(12_300)),
            cost: Micros(1000),
        }
    }

    fn text(about: About<'_>, of: &Outcome) -> String {
        String::from_utf8(outcome(about, of)).unwrap()
    }

    #[test]
    fn a_solved_request() {
        let meta: Box<RawValue> =
            serde_json::from_str("{\"cart\" : 12345678901234567890.10,\n \"x\":\"\\ud800\"}")
                .unwrap();
        let about = About {
            id: Some("order-17"),
            job: Some("hcaptcha"),
            meta: Some(&meta),
            ..About::default()
        };
        insta::assert_snapshot!(text(about, &solved()), @r#"
        {"id":"order-17","job":"hcaptcha","status":"solved","token":"P1_tok\"en","error":null,"message":null,"remote_id":"12345678901234567890123","attempts":2,"polls":7,"submitted_at":"2023-11-14T22:13:20.000Z","finished_at":"2023-11-14T22:13:32.300Z","expires_at":"2023-11-14T22:15:32.300Z","elapsed_s":12.300,"cost":"0.001","meta":{"cart" : 12345678901234567890.10,
         "x":"\ud800"}}
        "#);
    }

    #[test]
    fn a_rejected_message() {
        let why = "the message is not JSON".to_owned();
        let finished = solved().finished_at;
        let rejected = Outcome::rejected(ErrorClass::InvalidRequest, why, finished);
        let about = About {
            reply_error: Some("reply_to must begin with reply:"),
            request: Some("{\"id\":\u{fffd}"),
            ..About::default()
        };
        insta::assert_snapshot!(text(about, &rejected), @r#"{"id":null,"job":null,"status":"rejected","token":null,"error":"invalid_request","message":"the message is not JSON","remote_id":null,"attempts":0,"polls":0,"submitted_at":null,"finished_at":"2023-11-14T22:13:32.300Z","expires_at":null,"elapsed_s":null,"cost":"0","reply_error":"reply_to must begin with reply:","request":"{\"id\":�"}"#);
    }

    /// The members' order, as a reader of the text sees it.
    fn names(json: &str) -> Vec<String> {
        let mut found = Vec::new();
        let object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(json).unwrap();
        for name in object.keys() {
            found.push((json.find(&format!("\"{name}\":")).unwrap(), name.clone()));
        }
        found.sort();
        found.into_iter().map(|(_, name)| name).collect()
    }

    #[test]
    fn the_members_are_the_columns_of_a_file() {
        let names = names(&text(About::default(), &solved()));
        assert_eq!(names[..2], ["id", "job"]);
        assert_eq!(names[2..], RESULT_COLUMNS);
    }

    proptest::proptest! {
        /// What a file says and what JSON says is the same, whatever stands in it.
        #[test]
        fn a_file_and_json_say_the_same(
            message in "\\PC{0,20}|[\"\\\\\\x00-\\x1f]{0,5}",
            token in proptest::option::of("[!-~]{1,30}"),
            polls in 0u32..1000,
            millis in proptest::option::of(0u64..10_000_000),
            cost in 0i64..10_000_000,
        ) {
            let sent = Outcome {
                message: message.clone(),
                token: token.clone().map(Into::into),
                polls,
                elapsed: millis.map(Duration::from_millis),
                cost: Micros(cost),
                ..solved()
            };
            let read: serde_json::Value = serde_json::from_slice(&outcome(About::default(), &sent)).unwrap();
            let line = csv::outcome_line(b"x", &sent, b',');
            let mut reader = ::csv::ReaderBuilder::new().has_headers(false).from_reader(&line[..]);
            let cells = reader.records().next().unwrap().unwrap();
            for (name, cell) in RESULT_COLUMNS.iter().zip(cells.iter().skip(1)) {
                let json = match &read[name] {
                    serde_json::Value::Null => String::new(),
                    serde_json::Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                match *name {
                    "message" => proptest::prop_assert_eq!(&json, &message),
                    // `12.300` is a number that serde_json shows as 12.3.
                    "elapsed_s" if !cell.is_empty() => {
                        proptest::prop_assert_eq!(read[name].as_f64(), cell.parse::<f64>().ok());
                    }
                    _ => proptest::prop_assert_eq!(json, cell),
                }
            }
        }
    }
}
