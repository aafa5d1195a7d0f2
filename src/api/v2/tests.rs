//! Every body of v2 that the service's documents print, and those that services of the same shape
//! send, against what they mean; then what no body may do.

use std::sync::Arc;

use proptest::prelude::*;
use secrecy::ExposeSecret;

use super::*;
use crate::api::PollReply;
use crate::api::testing::{Decoders, answer, in_words, no_mutation_breaks, reader};
use crate::job::{Allowlist, Kinds, RemoteId, Request, RequestId, SiteRule};

const V2: Decoders = Decoders {
    create: decode_create,
    poll: decode_poll,
};

fn create(status: u16, body: impl AsRef<[u8]>) -> String {
    V2.create(status, body)
}

fn poll(status: u16, body: impl AsRef<[u8]>) -> String {
    V2.poll(status, body)
}

#[rustfmt::skip]
const CREATES: &[(u16, &str, &str)] = &[
    // As documented
    (200, r#"{"errorId": 0, "taskId": "49f9f60a-c809-4af0-93c0-0409b72e67e0"}"#, "created \"49f9f60a-c809-4af0-93c0-0409b72e67e0\""),
    (200, r#"{"errorId": 1, "errorCode": "…", "errorDescription": "…"}"#, "Unrecognised: …: …"),
    // An integer at other services; an id goes back as it came
    (200, r#"{"errorId": 0, "taskId": 7654321}"#, "created 7654321"),
    (200, r#"{"errorId": 0, "taskId": "7654321"}"#, "created \"7654321\""),
    (200, r#"{"errorId": 0, "taskId": 18446744073709551617}"#, "created 18446744073709551617"),
    (200, r#"{"errorId":0,"errorCode":"","errorDescription":"","taskId":"x","status":"idle"}"#, "created \"x\""),
    (200, r#"{"errorId": "0", "taskId": "x"}"#, "created \"x\""),
    (200, r#"{"taskId": "x"}"#, "created \"x\""),
    // An id is worth keeping whatever the HTTP status
    (502, r#"{"errorId": 0, "taskId": "x"}"#, "created \"x\""),
    (429, r#"{"errorId": 0, "taskId": "x"}"#, "created \"x\""),
    // A refusal wins over an id
    (200, r#"{"errorId": 1, "errorCode": "ERROR_X", "taskId": "x"}"#, "Unrecognised: ERROR_X"),
    (200, r#"{"errorId": 1, "errorCode": "ERROR_X", "taskId": 0}"#, "Unrecognised: ERROR_X"),
    (200, r#"{"errorId": 1, "taskId": "x", "errorId": 0}"#, "Unrecognised: "),
    // Refusals under a 4xx, as some services send them; a code outweighs the status
    (400, r#"{"errorId": 1, "errorCode": "ERROR_ZERO_BALANCE"}"#, "NoBalance: ERROR_ZERO_BALANCE"),
    (401, r#"{"errorId": 1, "errorCode": "ERROR_IP_BLOCKED"}"#, "Blocked: ERROR_IP_BLOCKED"),
    (401, r#"{"errorId": 1, "errorCode": "ERROR_X"}"#, "BadToken: ERROR_X"),
    // Without a code there are only words
    (200, r#"{"errorId": 1, "errorDescription": "Invalid client key"}"#, "BadToken: Invalid client key"),
    (200, r#"{"errorId": 1, "errorCode": "", "errorDescription": "Your balance is not enough."}"#, "NoBalance: Your balance is not enough."),
    (200, r#"{"error": true, "message": "Invalid api token."}"#, "BadToken: Invalid api token."),
    (200, r#"{"errorId": 1}"#, "Unrecognised: "),
    // With one that is not known, the words explain nothing
    (200, r#"{"errorId": 1, "errorCode": "ERROR_X", "errorDescription": "Invalid api token"}"#, "Unrecognised: ERROR_X: Invalid api token"),
    (200, r#"{"errorId": 1, "errorCode": "s3cr3t-account"}"#, "Unrecognised: [secret]"),
    // A create names no job that could be unknown, and has not failed
    (200, r#"{"errorId": 1, "errorCode": "ERROR_TASK_NOT_FOUND"}"#, "Unrecognised: ERROR_TASK_NOT_FOUND"),
    (200, r#"{"errorId": 1, "errorCode": "ERROR_JOB_STATUS"}"#, "Unrecognised: ERROR_JOB_STATUS"),
    // 429
    (429, r#"{"errorId": 1, "errorCode": "ERROR_KEY_DOES_NOT_EXIST"}"#, "throttled"),
    (429, "", "throttled"),
    // Everything else is unknown
    (200, r#"{"errorId": 0}"#, "unknown: HTTP 200, application/json: no job id"),
    (200, r#"{"errorId": 0, "taskId": ""}"#, "unknown: HTTP 200, application/json: no job id"),
    (200, r#"{"errorId": 0, "taskId": null}"#, "unknown: HTTP 200, application/json: no job id"),
    (200, r#"{"errorId": 0, "taskId": "a\u0000"}"#, "unknown: HTTP 200, application/json: no job id"),
    (200, r#"{"errorId": 0, "job_id": 7}"#, "unknown: HTTP 200, application/json: no job id"),
    (200, r#"{"errorCode": "ERROR_ZERO_BALANCE"}"#, "unknown: HTTP 200, application/json: no job id"),
    (503, r#"{"errorId": 1, "errorCode": "ERROR_SERVICE_UNAVAILABLE"}"#, "unknown: HTTP 503, application/json: no job id"),
    (200, "<html>", "unknown: HTTP 200, text/html"),
    (502, "<html>", "unknown: HTTP 502, text/html"),
    (404, r#"{"message": "Not Found"}"#, "unknown: HTTP 404, application/json: no job id"),
    (200, "", "unknown: HTTP 200, application/json, empty"),
    (200, r#"{"errorId": 0, "taskId": "49f9"#, "unknown: HTTP 200, application/json: cut short at byte 30"),
];

#[rustfmt::skip]
const POLLS: &[(u16, &str, &str)] = &[
    // As documented
    (200, r#"{"errorId": 0, "status": "ready", "solution": {"gRecaptchaResponse": "3AHJ_x"}}"#, "solved 3AHJ_x"),
    (200, r#"{"errorId": 0, "status": "processing", "errorCode": "", "errorDescription": ""}"#, "pending"),
    (200, r#"{"errorId": 1, "errorCode": "ERROR_JOB_STATUS", "errorDescription": "Job failed", "status": "fail", "solution": {}}"#, "failed: ERROR_JOB_STATUS: Job failed"),
    // Of the same shape
    (200, r#"{"errorId":0,"status":"ready","solution":{"gRecaptchaResponse":"3AHJ_x"},"cost":"0.00055","ip":"203.0.113.7","createTime":1,"endTime":2,"solveCount":1}"#, "solved 3AHJ_x"),
    (200, r#"{"errorId": 0, "status": "ready", "solution": {"token": "3AHJ_x"}}"#, "solved 3AHJ_x"),
    (200, r#"{"errorId": 0, "status": "ready", "solution": "3AHJ_x"}"#, "solved 3AHJ_x"),
    (200, r#"{"status": "processing"}"#, "pending"),
    (502, r#"{"errorId": 0, "status": "ready", "solution": {"token": "3AHJ_x"}}"#, "solved 3AHJ_x"),
    (200, r#"{"errorId": 1, "status": "fail"}"#, "failed: "),
    (200, r#"{"errorId": 1, "errorCode": "ERROR_JOB_STATUS"}"#, "failed: ERROR_JOB_STATUS"),
    (200, r#"{"errorId": 12, "errorCode": "ERROR_CAPTCHA_UNSOLVABLE"}"#, "failed: ERROR_CAPTCHA_UNSOLVABLE"),
    // A code outweighs the status beside it
    (200, r#"{"errorId": 1, "errorCode": "ERROR_KEY_DOES_NOT_EXIST", "status": "fail"}"#, "BadToken: ERROR_KEY_DOES_NOT_EXIST"),
    (200, r#"{"errorId": 1, "errorCode": "ERROR_REDIS_JOB_DATA", "status": "fail"}"#, "Passing: ERROR_REDIS_JOB_DATA"),
    (200, r#"{"errorId": 1, "errorCode": "ERROR_X", "status": "fail"}"#, "failed: ERROR_X"),
    // Success without a token is a failure
    (200, r#"{"errorId": 0, "status": "ready", "solution": {}}"#, "no token"),
    (200, r#"{"errorId": 0, "status": "ready"}"#, "no token"),
    (200, r#"{"errorId": 0, "status": "ready", "solution": {"gRecaptchaResponse": " "}}"#, "no token"),
    (200, r#"{"errorId": 1, "status": "ready", "solution": {"token": "3AHJ_x"}}"#, "Unrecognised: "),
    // Unknown statuses
    (200, r#"{"errorId": 0, "status": "idle"}"#, "status idle"),
    // No verdict
    (200, r#"{"errorId": 0}"#, "transient: HTTP 200, application/json: no status of a job"),
    (503, r#"{"errorId": 1, "errorCode": "ERROR_KEY_DOES_NOT_EXIST"}"#, "transient: HTTP 503, application/json: not decisive"),
    (200, "<html>", "transient: HTTP 200, text/html"),
    (200, "", "transient: HTTP 200, application/json, empty"),
    (200, r#"{"errorId": 0, "status": "ready", "solu"#, "transient: HTTP 200, application/json: cut short at byte 39"),
    (429, "<html>", "throttled"),
];

#[test]
fn every_answer_means_what_the_documents_say() {
    V2.assert_meanings(CREATES, POLLS);
}

#[test]
fn codes() {
    // What a code means of a create, and of a poll where that differs.
    for (code, of_create, of_poll) in [
        ("ERROR_TASK_IS_MAINTENANCE", "Passing", ""),
        ("ERROR_SERVICE_UNAVAILABLE", "Passing", ""),
        ("ERROR_REDIS_UNAVAILABLE", "Passing", ""),
        ("ERROR_REDIS_JOB_DATA", "Passing", ""),
        ("ERROR_NO_SLOT_AVAILABLE", "Passing", ""),
        ("ERROR_KEY_DOES_NOT_EXIST", "BadToken", ""),
        ("ERROR_ZERO_BALANCE", "NoBalance", ""),
        ("ERROR_IP_NOT_ALLOWED", "Blocked", ""),
        ("ERROR_IP_BLOCKED", "Blocked", ""),
        ("ERROR_ACCOUNT_SUSPENDED", "Blocked", ""),
        ("ERROR_NO_SUCH_CAPCHA_ID", "Unrecognised", "UnknownJob"),
        ("ERROR_TASK_NOT_FOUND", "Unrecognised", "UnknownJob"),
        ("ERROR_INVALID_TASK_DATA", "BadRequest", ""),
        ("ERROR_TASK_NOT_SUPPORTED", "Unrecognised", ""),
        ("error_zero_balance", "Unrecognised", ""),
    ] {
        let body = format!(r#"{{"errorId": 1, "errorCode": "{code}", "errorDescription": "why"}}"#);
        assert_eq!(create(200, &body), format!("{of_create}: {code}: why"));
        let of_poll = if of_poll.is_empty() {
            of_create
        } else {
            of_poll
        };
        assert_eq!(poll(200, &body), format!("{of_poll}: {code}: why"));
    }
}

#[test]
fn a_cut_body_is_never_a_verdict() {
    for (_, body, _) in CREATES.iter().filter(|(_, body, _)| body.ends_with('}')) {
        for cut in 0..body.len() {
            let reply = create(200, &body.as_bytes()[..cut]);
            assert!(reply.starts_with("unknown"), "{body} {cut} {reply}");
        }
    }
    for (_, body, _) in POLLS.iter().filter(|(_, body, _)| body.ends_with('}')) {
        for cut in 0..body.len() {
            let reply = poll(200, &body.as_bytes()[..cut]);
            assert!(reply.starts_with("transient"), "{body} {cut} {reply}");
        }
    }
}

fn request(kind: &str, fields: [Option<&str>; 3]) -> Request {
    let kind = Arc::clone(Kinds::built_in().get(kind).unwrap());
    let sites = Allowlist::new(vec![SiteRule::try_new("a.example.com", vec![]).unwrap()]);
    let id = RequestId::try_new("r1").unwrap();
    Request::validate(id, &kind, |n| fields[n], &sites).unwrap()
}

fn encoded(request: &Request) -> Option<String> {
    let body = encode_create(&AccountToken::try_new("KEY").unwrap(), request)?;
    Some(String::from_utf8(body).unwrap())
}

#[test]
fn a_create_is_as_documented() {
    let url = Some("https://a.example.com/x");
    assert_eq!(
        encoded(&request("recaptcha-v2", [url, Some("k\"1"), None])).unwrap(),
        r#"{"clientKey":"KEY","task":{"type":"RecaptchaV2TokenTask","websiteURL":"https://a.example.com/x","websiteKey":"k\"1"}}"#
    );
    let invisible = encoded(&request("recaptcha-v2", [url, Some("k"), Some("yes")])).unwrap();
    assert!(
        invisible.ends_with(r#","isInvisible":true}}"#),
        "{invisible}"
    );
    assert_eq!(encoded(&request("hcaptcha", [url, Some("k"), None])), None);
}

#[test]
fn a_poll_sends_the_id_back_as_it_came() {
    let token = AccountToken::try_new("KEY").unwrap();
    for (id, sent) in [
        (RemoteId::text("49f9-f60a").unwrap(), r#""49f9-f60a""#),
        (RemoteId::number("7654321").unwrap(), "7654321"),
    ] {
        let body = format!(r#"{{"clientKey":"KEY","taskId":{sent}}}"#);
        assert_eq!(encode_poll(&token, &id), body.into_bytes());
    }
}

#[test]
fn no_mutation_makes_a_panic_or_lets_a_secret_out() {
    no_mutation_breaks(V2, CREATES, POLLS, 50_000);
}

proptest! {
    #[test]
    fn no_bytes_make_a_panic(status in 100u16..600, body in prop::collection::vec(any::<u8>(), 0..300)) {
        create(status, &body);
        poll(status, &body);
    }

    #[test]
    fn any_token_comes_out_as_it_was_sent(token in "[!-~]{1,300}") {
        let body = serde_json::json!({"errorId": 0, "status": "ready", "solution": {"token": token}});
        let reply = decode_poll(&answer(200, body.to_string()), &["token".to_owned()], &reader());
        let PollReply::Solved(solved) = reply else {
            return Err(TestCaseError::fail(format!("{reply:?}")));
        };
        prop_assert_eq!(solved.expose_secret(), &token);
    }
}

#[test]
fn balances() {
    let balance = |status, body: &str| {
        in_words(decode_balance(&answer(status, body), &reader()), |b| {
            let voucher = b.voucher.map(|v| v.to_string()).unwrap_or_default();
            format!("${} {voucher} {:?}", b.amount, b.quantity)
        })
    };
    for (status, body, meaning) in [
        (
            200,
            r#"{"errorId": 0, "balance": 345.678, "quantity": 10000, "voucher_balance": 123.211}"#,
            "$345.678 123.211 Some(10000)",
        ),
        (
            200,
            r#"{"errorId": 0, "balance": 0.12345678901234567890123456789012}"#,
            "$0.123456  None",
        ),
        (
            200,
            r#"{"errorId": 0, "balance": 1.0e-5}"#,
            "$0.00001  None",
        ),
        (
            200,
            r#"{"errorId": 0, "balance": "7", "quantity": null}"#,
            "$7  None",
        ),
        (
            200,
            r#"{"errorId": 1, "errorCode": "ERROR_KEY_DOES_NOT_EXIST"}"#,
            "BadToken: ERROR_KEY_DOES_NOT_EXIST",
        ),
        (
            200,
            r#"{"errorId": 1, "errorCode": "ERROR_SERVICE_UNAVAILABLE", "balance": 5}"#,
            "Passing: ERROR_SERVICE_UNAVAILABLE",
        ),
        (
            200,
            r#"{"errorId": 0}"#,
            "unusable: HTTP 200, application/json: no balance",
        ),
        (502, "<html>", "unusable: HTTP 502, text/html"),
        (429, "", "throttled"),
    ] {
        assert_eq!(balance(status, body), meaning, "HTTP {status} {body}");
    }
    let token = AccountToken::try_new("KEY").unwrap();
    assert_eq!(encode_balance(&token), br#"{"clientKey":"KEY"}"#);
}
