//! Every body that the service's documents print, and those reported of real servers and clients,
//! against what they mean; then what no body may do.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use secrecy::ExposeSecret;

use super::*;
use crate::api::Answer;
use crate::api::{
    CreateReply, LookUpError, PollReply, Reader, Refusal, RefusalCause, RefusalRules, RetryAfter,
};
use crate::job::{Allowlist, Kinds, RemoteId, Request, RequestId, SiteRule};

const ACCOUNT: &str = "s3cr3t-account";

fn account() -> AccountToken {
    AccountToken::try_new(ACCOUNT).unwrap()
}

static MASKED: LazyLock<AccountToken> = LazyLock::new(account);
static NO_RULES: LazyLock<RefusalRules> = LazyLock::new(RefusalRules::default);

fn reader() -> Reader<'static> {
    Reader {
        account: &MASKED,
        rules: &NO_RULES,
    }
}

fn answer(status: u16, body: impl AsRef<[u8]>) -> Answer {
    let body = Bytes::copy_from_slice(body.as_ref());
    let html = body.starts_with(b"<");
    let content_type = if html {
        "text/html; charset=utf-8"
    } else {
        "application/json"
    };
    Answer {
        status,
        retry_after: None,
        content_type: content_type.to_owned(),
        body,
    }
}

/// A reply in few words: its class, and what is in it.
fn create(status: u16, body: impl AsRef<[u8]>) -> String {
    let reply = decode_create(&answer(status, body), &reader());
    let shown = format!("{reply:?}");
    assert!(!shown.contains(ACCOUNT), "{shown}");
    match reply {
        CreateReply::Created(id) => format!("created {}", id.to_json()),
        CreateReply::Refused(refusal) => refused(&refusal),
        CreateReply::Throttled(_) => "throttled".to_owned(),
        CreateReply::NotSent(_) => "not sent".to_owned(),
        CreateReply::Unknown { why, .. } => format!("unknown: {why}"),
    }
}

fn poll(status: u16, body: impl AsRef<[u8]>) -> String {
    let members = ["gRecaptchaResponse".to_owned(), "token".to_owned()];
    let reply = decode_poll(&answer(status, body), &members, &reader());
    let shown = format!("{reply:?}");
    for secret in [ACCOUNT, "P1_", "3AHJ_"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    match reply {
        PollReply::Solved(token) => format!("solved {}", token.expose_secret()),
        PollReply::Pending => "pending".to_owned(),
        PollReply::UnknownStatus(status) => format!("status {status}"),
        PollReply::Failed(why) => format!("failed: {why}"),
        PollReply::NoToken => "no token".to_owned(),
        PollReply::Refused(refusal) => refused(&refusal),
        PollReply::Throttled(_) => "throttled".to_owned(),
        PollReply::Transient(why) => format!("transient: {why}"),
    }
}

fn refused(refusal: &Refusal) -> String {
    format!("{:?}: {}", refusal.cause, refusal.message)
}

/// The answers to a create that are printed in an original (P), reported (R), or neither.
#[rustfmt::skip]
const CREATES: &[(u16, &str, &str)] = &[
    // P
    (200, "{\n\t\"error\": false,\n\t\"job_id\": 123456,\n\t\"message\": \"Create job success.\"\n}", "created 123456"),
    (200, "{\n\t\"error\": true,\n\t\"message\": \"MESSAGE_ERROR\",\n}", "Unrecognised: MESSAGE_ERROR"),
    // R
    (200, r#"{"success": true, "job_id": 123456, "message": "Create job success."}"#, "created 123456"),
    (200, r#"{"success": false, "job_id": 123456, "message": "Create job success."}"#, "created 123456"),
    (200, r#"{"error": true, "message": "Invalid api token."}"#, "BadToken: Invalid api token."),
    // An id goes back as it came.
    (200, r#"{"error": false, "job_id": "123456"}"#, "created \"123456\""),
    (200, r#"{"job_id": "49f9f60a-c809-4af0-93c0-0409b72e67e0"}"#, "created \"49f9f60a-c809-4af0-93c0-0409b72e67e0\""),
    (200, r#"{"job_id": 18446744073709551617}"#, "created 18446744073709551617"),
    // An id is worth keeping whatever stands around it.
    (201, r#"{"job_id": 7}"#, "created 7"),
    (302, r#"{"job_id": 7}"#, "created 7"),
    (400, r#"{"job_id": 7}"#, "created 7"),
    (429, r#"{"job_id": 7}"#, "created 7"),
    (502, r#"{"error": false, "job_id": 7}"#, "created 7"),
    (200, "\u{feff}{\"job_id\": 7, \"message\": \"Tạo\ncông việc\",}\r\n", "created 7"),
    (200, r#"{"error": "", "job_id": 7}"#, "created 7"),
    (200, r#"{"error": null, "job_id": 7}"#, "created 7"),
    // "error": true wins over an id.
    (200, r#"{"error": true, "job_id": 7, "message": "no"}"#, "Unrecognised: no"),
    (200, r#"{"error": true, "job_id": 7, "error": false}"#, "Unrecognised: "),
    (200, r#"{"error": "true", "job_id": 7}"#, "Unrecognised: "),
    (200, r#"{"error": 1, "job_id": 7}"#, "Unrecognised: "),
    (500, r#"{"error": true, "job_id": 7}"#, "unknown: HTTP 500, application/json: no job id"),
    // Other refusals.
    (200, r#"{"success": false, "message": "no"}"#, "Unrecognised: no"),
    (200, r#"{"success": false, "job_id": null, "message": "no"}"#, "Unrecognised: no"),
    (200, r#"{"success": false, "job_id": 0, "message": "no"}"#, "Unrecognised: no"),
    (200, r#"{"success": false, "job_id": "0", "message": "no"}"#, "Unrecognised: no"),
    (200, r#"{"success": false, "job_id": "", "message": "no"}"#, "Unrecognised: no"),
    (400, r#"{"error": true, "message": "no"}"#, "Unrecognised: no"),
    (200, r#"{"error": "no such luck"}"#, "Unrecognised: no such luck"),
    (200, r#"{"errorId": 1, "errorCode": "ERROR_KEY_DOES_NOT_EXIST", "errorDescription": "x"}"#, "BadToken: ERROR_KEY_DOES_NOT_EXIST: x"),
    (200, r#"{"errorId": 10, "errorCode": "ERROR_ZERO_BALANCE"}"#, "NoBalance: ERROR_ZERO_BALANCE"),
    (401, r#"{"error": true, "message": "no"}"#, "BadToken: no"),
    (402, r#"{"error": true, "message": "no"}"#, "NoBalance: no"),
    (403, r#"{"error": true, "message": "no"}"#, "Unrecognised: no"),
    (200, r#"{"error": true, "message": "s3cr3t-account is bad"}"#, "Unrecognised: [secret] is bad"),
    (200, r#"{"error": true}"#, "Unrecognised: "),
    (200, r#"{"error": true, "message": ["no"]}"#, "Unrecognised: "),
    // 429, whatever the body.
    (429, "", "throttled"),
    (429, "<html>", "throttled"),
    (429, r#"{"error": true, "message": "Invalid api token."}"#, "throttled"),
    // Everything else is unknown.
    (200, r#"{"error": false, "message": "Create job success."}"#, "unknown: HTTP 200, application/json: no job id"),
    (200, r#"{"success": true, "job_id": 1.5}"#, "unknown: HTTP 200, application/json: no job id"),
    (200, r#"{"success": true, "job_id": -1}"#, "unknown: HTTP 200, application/json: no job id"),
    (200, r#"{"success": true, "job_id": [7]}"#, "unknown: HTTP 200, application/json: no job id"),
    (200, "{\"success\": true, \"job_id\": \"a\\u0000b\"}", "unknown: HTTP 200, application/json: no job id"),
    (200, r#"{"success": true, "data": {"job_id": 7}}"#, "unknown: HTTP 200, application/json: no job id"),
    (200, "[]", "unknown: HTTP 200, application/json: no job id"),
    (200, "123456", "unknown: HTTP 200, application/json: no job id"),
    (200, "null", "unknown: HTTP 200, application/json: no job id"),
    (200, "", "unknown: HTTP 200, application/json, empty"),
    (204, "", "unknown: HTTP 204, application/json, empty"),
    (200, "<html>s3cr3t-account</html>", "unknown: HTTP 200, text/html"),
    (403, "<html>", "unknown: HTTP 403, text/html"),
    (404, "<html>", "unknown: HTTP 404, text/html"),
    (502, "<html>", "unknown: HTTP 502, text/html"),
    (524, "error code: 524", "unknown: HTTP 524, application/json: not JSON at byte 0"),
    (503, r#"{"error": true, "message": "Invalid api token."}"#, "unknown: HTTP 503, application/json: no job id"),
    (302, r#"{"error": true, "message": "Invalid api token."}"#, "unknown: HTTP 302, application/json: no job id"),
    (404, r#"{"message": "not here"}"#, "unknown: HTTP 404, application/json: no job id"),
    (200, r#"{"error": false, "job_id": 1234"#, "unknown: HTTP 200, application/json: cut short at byte 31"),
    (200, r#"{"job_id": 1}{"job_id": 2}"#, "unknown: HTTP 200, application/json: more than one value at byte 13"),
];

/// The answers to a poll.
#[rustfmt::skip]
const POLLS: &[(u16, &str, &str)] = &[
    // P, hCaptcha
    (200, "{\n\t\"error\": false,\n\t\"status\": \"success\",\n\t\"result\":{\n\t\t\"P1_eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9....\"\n\t}\n}", "solved P1_eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9...."),
    (200, "{\n\t\"error\": false,\n\t\"status\": \"running\",\n\t\"result\": \"\"\n}", "pending"),
    (200, "{\n\t\"error\": false,\n\t\"status\": \"fail\",\n\t\"result\": \"\"\n}", "failed: "),
    // P, reCAPTCHA v2
    (200, "{\n\t\"error\": false,\n\t\"status\": \"success\",\n\t\"result\":{\n\t\t\"gRecaptchaResponse\": \"3AHJ_VuvYIBNBW5yyv0zRYJ75VkOKvhKj9_xGBJKnQim....\"\n\t}\n}", "solved 3AHJ_VuvYIBNBW5yyv0zRYJ75VkOKvhKj9_xGBJKnQim...."),
    (200, "{\n\t\"errorId\": 0,\n\t\"status\": \"processing\"\n}", "pending"),
    (200, "{\n\t\"error\": false,\n\t\"status\": \"fail\",\n\t\"result\": null\n}", "failed: "),
    // R
    (200, r#"{"error": false, "status": "success", "result": "P1_eyJ0"}"#, "solved P1_eyJ0"),
    (200, r#"{"error": false, "status": "success", "result": { "3AHJ_x" }}"#, "solved 3AHJ_x"),
    (200, r#"{"error": false, "status": "success", "result": "3AHJ_x"}"#, "solved 3AHJ_x"),
    (200, r#"{"error": false, "status": "waiting"}"#, "pending"),
    (200, r#"{"success": true, "status": "waiting"}"#, "pending"),
    (200, r#"{"success": false, "status": "waiting"}"#, "pending"),
    (200, r#"{"status": "waiting"}"#, "pending"),
    (200, r#"{"error": true, "message": "Invalid api token."}"#, "BadToken: Invalid api token."),
    (200, r#"{"error": true, "message": "Job not found."}"#, "UnknownJob: Job not found."),
    // v2's shape
    (200, r#"{"errorId": 0, "status": "ready", "solution": {"gRecaptchaResponse": "3AHJ_x"}}"#, "solved 3AHJ_x"),
    (200, r#"{"errorId": 0, "status": "processing", "errorCode": "", "errorDescription": ""}"#, "pending"),
    (200, r#"{"errorId": 1, "errorCode": "ERROR_JOB_STATUS", "errorDescription": "Job failed", "status": "fail", "solution": {}}"#, "failed: ERROR_JOB_STATUS: Job failed"),
    (200, r#"{"errorId": 1, "errorCode": "ERROR_KEY_DOES_NOT_EXIST"}"#, "BadToken: ERROR_KEY_DOES_NOT_EXIST"),
    (200, r#"{"errorId": 12, "status": "processing", "errorCode": "X"}"#, "Unrecognised: X"),
    // Tokens
    (200, r#"{"status": "SUCCESS", "result": " P1_x\n"}"#, "solved P1_x"),
    (200, r#"{"status": "success", "result": {"token": "P1_y"}}"#, "solved P1_y"),
    (200, r#"{"status": "success", "result": {"token": "P1_y", "gRecaptchaResponse": "3AHJ_x"}}"#, "solved 3AHJ_x"),
    (200, r#"{"status": "success", "result": {"gRecaptchaResponse": null, "token": "P1_y"}}"#, "solved P1_y"),
    (200, r#"{"status": "success", "result": "", "solution": {"token": "P1_y"}}"#, "solved P1_y"),
    (200, r#"{"success": false, "status": "success", "result": "P1_x"}"#, "solved P1_x"),
    (429, r#"{"status": "success", "result": "P1_x"}"#, "solved P1_x"),
    (502, r#"{"status": "success", "result": "P1_x"}"#, "solved P1_x"),
    // Success without a token is a failure
    (200, r#"{"error": false, "status": "success", "result": ""}"#, "no token"),
    (200, r#"{"error": false, "status": "success", "result": "  "}"#, "no token"),
    (200, r#"{"error": false, "status": "success", "result": null}"#, "no token"),
    (200, r#"{"error": false, "status": "success"}"#, "no token"),
    (200, r#"{"error": false, "status": "success", "result": {}}"#, "no token"),
    (200, r#"{"error": false, "status": "success", "result": {"other": "P1_x"}}"#, "no token"),
    (200, r#"{"error": false, "status": "success", "result": ["P1_x"]}"#, "no token"),
    (200, r#"{"error": false, "status": "success", "result": 17}"#, "no token"),
    (200, r#"{"error": false, "status": "success", "result": "P1_\u0007x"}"#, "no token"),
    (200, r#"{"error": false, "status": "success", "result": "P1_\ud800"}"#, "no token"),
    // Contradictions: fail says fail, then error is a refusal
    (200, r#"{"error": true, "status": "fail", "message": "unsolvable"}"#, "failed: unsolvable"),
    (400, r#"{"error": true, "status": "failed", "message": "unsolvable"}"#, "failed: unsolvable"),
    (200, r#"{"error": true, "status": "success", "result": "P1_x"}"#, "Unrecognised: "),
    (200, r#"{"error": true, "status": "running"}"#, "Unrecognised: "),
    (401, r#"{"error": true, "message": "no"}"#, "BadToken: no"),
    (200, r#"{"success": false, "message": "no"}"#, "Unrecognised: no"),
    (200, r#"{"error": "Unauthenticated."}"#, "BadToken: Unauthenticated."),
    // Unknown statuses
    (200, r#"{"error": false, "status": "queued"}"#, "status queued"),
    (200, r#"{"success": false, "status": "queued"}"#, "status queued"),
    (200, r#"{"error": false, "status": 1}"#, "status 1"),
    (200, "{\"status\": \"\u{1b}[31ms3cr3t-account\"}", "status \\u{1b}[31m[secret]"),
    (404, r#"{"status": 404, "path": "/api/getJobResult"}"#, "transient: HTTP 404, application/json: no status of a job"),
    // No verdict
    (200, r#"{"error": false}"#, "transient: HTTP 200, application/json: no status of a job"),
    (200, r#"{"error": false, "status": "", "result": "P1_x"}"#, "transient: HTTP 200, application/json: no status of a job"),
    (200, r#"{"error": false, "status": null}"#, "transient: HTTP 200, application/json: no status of a job"),
    (200, "[]", "transient: HTTP 200, application/json: no status of a job"),
    (200, "", "transient: HTTP 200, application/json, empty"),
    (200, "<html>", "transient: HTTP 200, text/html"),
    (502, "<html>", "transient: HTTP 502, text/html"),
    (500, r#"{"error": true, "message": "Invalid api token."}"#, "transient: HTTP 500, application/json: not decisive"),
    (500, r#"{"status": "fail"}"#, "transient: HTTP 500, application/json: not decisive"),
    (301, r#"{"status": "fail"}"#, "transient: HTTP 301, application/json: not decisive"),
    (404, r#"{"message": "x"}"#, "transient: HTTP 404, application/json: no status of a job"),
    (200, r#"{"error": false, "status": "success", "result": "P1_ey"#, "transient: HTTP 200, application/json: cut short at byte 54"),
    (429, r#"{"error": true, "message": "slow down"}"#, "throttled"),
    (429, "<html>", "throttled"),
];

#[test]
fn every_create_answer_means_what_the_documents_say() {
    for (status, body, meaning) in CREATES {
        assert_eq!(&create(*status, body), meaning, "HTTP {status} {body}");
    }
}

#[test]
fn every_poll_answer_means_what_the_documents_say() {
    for (status, body, meaning) in POLLS {
        assert_eq!(&poll(*status, body), meaning, "HTTP {status} {body}");
    }
}

#[test]
fn statuses_are_read_in_any_case() {
    for status in ["Running", "PROCESSING", " waiting ", "pending"] {
        assert_eq!(
            poll(200, format!("{{\"status\": \"{status}\"}}")),
            "pending",
            "{status}"
        );
    }
    for status in ["Fail", "FAILED"] {
        assert_eq!(
            poll(200, format!("{{\"status\": \"{status}\"}}")),
            "failed: ",
            "{status}"
        );
    }
}

#[test]
fn the_longest_token() {
    let body = |n: usize| {
        format!(
            "{{\"status\": \"success\", \"result\": \"{}\"}}",
            "x".repeat(n)
        )
    };
    assert_eq!(poll(200, body(65_536)).len(), "solved ".len() + 65_536);
    assert_eq!(poll(200, body(65_537)), "no token");
}

#[test]
fn throttling_hands_on_how_long() {
    let wait = Some(RetryAfter(Duration::from_secs(7)));
    let answer = Answer {
        retry_after: wait,
        ..answer(429, "")
    };
    assert!(matches!(decode_create(&answer, &reader()), CreateReply::Throttled(w) if w == wait));
    assert!(matches!(decode_poll(&answer, &[], &reader()), PollReply::Throttled(w) if w == wait));
}

#[test]
fn a_cut_body_is_never_a_verdict() {
    for (_, body, _) in CREATES.iter().filter(|(_, body, _)| body.starts_with('{')) {
        let whole = body.trim_end();
        for cut in (0..whole.len()).filter(|n| *n < whole.rfind('}').unwrap_or(0)) {
            let reply = create(200, &whole.as_bytes()[..cut]);
            // One row holds two bodies: cut between them it is one.
            assert!(
                reply.starts_with("unknown") || cut == 13 && whole.contains("}{"),
                "{whole} {cut} {reply}"
            );
        }
    }
    for (_, body, _) in POLLS.iter().filter(|(_, body, _)| body.starts_with('{')) {
        let whole = body.trim_end();
        for cut in 0..whole.len() - 1 {
            let reply = poll(200, &whole.as_bytes()[..cut]);
            assert!(reply.starts_with("transient"), "{whole} {cut} {reply}");
        }
    }
}

fn request(kind: &str, fields: &[(&str, &str)]) -> Request {
    let kind = Arc::clone(Kinds::built_in().get(kind).unwrap());
    let sites = ["accounts.hcaptcha.com", "mywebsite.com"];
    let rules = sites
        .iter()
        .map(|s| SiteRule::try_new(s, vec![]).unwrap())
        .collect();
    let columns = kind.columns.clone();
    Request::validate(
        RequestId::try_new("r1").unwrap(),
        &kind,
        |n| {
            fields
                .iter()
                .find(|(name, _)| columns[n].answers_to(name))
                .map(|(_, v)| *v)
        },
        &Allowlist::new(rules),
    )
    .unwrap()
}

fn encoded(request: &Request) -> String {
    let token = AccountToken::try_new("YOUR_API_KEY").unwrap();
    String::from_utf8(encode_create(&token, request).unwrap()).unwrap()
}

/// `printed` less the white space between its tokens; its strings hold none.
fn packed(printed: &str) -> String {
    printed.split_whitespace().collect()
}

#[test]
fn an_hcaptcha_create_is_the_original_s() {
    let printed = r#"{
	"api_token": "YOUR_API_KEY",
	"data": {
		"type_job_id": "11",
		"website_url": "https://accounts.hcaptcha.com/demo",
		"website_key": "a5f74b19-9e45-40e0-b45d-47ff91b7a6c2"
	}
}"#;
    let request = request(
        "hcaptcha",
        &[
            ("website_key", "a5f74b19-9e45-40e0-b45d-47ff91b7a6c2"),
            ("website_url", "https://accounts.hcaptcha.com/demo"),
        ],
    );
    assert_eq!(encoded(&request), packed(printed));
}

#[test]
fn a_recaptcha_create_is_the_original_s() {
    let printed = r#"{
	"api_token": "YOUR_API_KEY",
	"data": {
		"type_job_id": "ID",
		"websiteURL": "http://mywebsite.com/recaptcha/test.php",
		"websiteKey": "6Lc_aCMTAAAAABx7u2N0D1XnVbI_v6ZdbM6rYf16",
		"isInvisible": false
	}
}"#;
    let fields = [
        ("website_url", "http://mywebsite.com/recaptcha/test.php"),
        ("website_key", "6Lc_aCMTAAAAABx7u2N0D1XnVbI_v6ZdbM6rYf16"),
        ("is_invisible", "no"),
    ];
    let with_id = packed(printed).replace("\"ID\"", "\"1\"");
    assert_eq!(encoded(&request("recaptcha-v2", &fields)), with_id);
    let visible = with_id.replace(",\"isInvisible\":false", "");
    assert_eq!(encoded(&request("recaptcha-v2", &fields[..2])), visible);
}

#[test]
fn a_poll_is_the_original_s_and_sends_the_id_back_as_it_came() {
    let token = AccountToken::try_new("YOUR_API_KEY").unwrap();
    let printed = "{\n\t\"api_token\": \"YOUR_API_KEY\",\n\t\"job_id\": 123456\n}";
    let id = RemoteId::number("123456").unwrap();
    assert_eq!(encode_poll(&token, &id), packed(printed).into_bytes());
    let id = RemoteId::text("a\"b").unwrap();
    let body = encode_poll(&token, &id);
    assert_eq!(body, br#"{"api_token":"YOUR_API_KEY","job_id":"a\"b"}"#);
}

#[test]
fn nothing_gets_out_of_its_string() {
    let key = "k\",\"type_job_id\":\"1\\";
    let body = encoded(&request(
        "hcaptcha",
        &[
            ("website_url", "https://accounts.hcaptcha.com/"),
            ("website_key", key),
        ],
    ));
    let parsed: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(parsed["data"]["website_key"], key);
    assert_eq!(parsed["data"]["type_job_id"], "11");
}

#[test]
fn a_kind_that_does_not_speak_v1_is_not_encoded() {
    let mut kinds = Kinds::built_in();
    kinds.for_each_mut(|kind| {
        kind.protocols.clear();
    });
    let kind = kinds.get("hcaptcha").unwrap();
    let sites = Allowlist::new(vec![SiteRule::try_new("a.example.com", vec![]).unwrap()]);
    let id = RequestId::try_new("r1").unwrap();
    let fields = ["https://a.example.com", "k"];
    let request = Request::validate(id, kind, |n| Some(fields[n]), &sites).unwrap();
    assert_eq!(encode_create(&account(), &request), None);
}

/// 100,000 bodies near the documented ones: bytes flipped, cut out, doubled and put in.
#[test]
fn no_mutation_makes_a_panic_or_lets_a_secret_out() {
    let mut random = fastrand::Rng::with_seed(0x70_6f_6c_6c);
    let rows: Vec<&str> = CREATES
        .iter()
        .chain(POLLS)
        .map(|(_, body, _)| *body)
        .collect();
    let (mut created, mut solved) = (0, 0);
    for _ in 0..100_000 {
        let mut body = rows[random.usize(..rows.len())].as_bytes().to_vec();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..=body.len());
            match random.u8(..4) {
                0 if at < body.len() => body[at] = random.u8(..),
                1 => body.truncate(at),
                2 => body.insert(at, b"{}[]\",:\\0tfn-\xff"[random.usize(..14)]),
                _ => {
                    let end = random.usize(at..=body.len().min(at + 20));
                    let piece = body[at..end].to_vec();
                    let to = random.usize(..=body.len());
                    body.splice(to..to, piece);
                }
            }
        }
        let status = [200, 400, 429, 500][random.usize(..4)];
        let reply = decode_create(&answer(status, &body), &reader());
        assert!(!format!("{reply:?}").contains(ACCOUNT));
        if let CreateReply::Created(id) = reply {
            created += 1;
            assert_eq!(RemoteId::from_json(&id.to_json()), Some(id));
        }
        let reply = decode_poll(&answer(status, &body), &["token".to_owned()], &reader());
        assert!(!format!("{reply:?}").contains(ACCOUNT));
        if let PollReply::Solved(token) = reply {
            solved += 1;
            assert!(!token.expose_secret().trim().is_empty());
        }
    }
    // Else they were no mutations of these bodies, or none was read.
    assert!(created > 200 && solved > 200, "{created} {solved}");
}

proptest! {
    #[test]
    fn no_bytes_make_a_panic(status in 100u16..600, body in prop::collection::vec(any::<u8>(), 0..300)) {
        create(status, &body);
        poll(status, &body);
    }

    #[test]
    fn refused_or_created_only_after_an_answer_that_decodes(status in 100u16..600, text in "[^{\\[\"]{0,40}") {
        let class = create(status, &text);
        prop_assert!(class.starts_with(if status == 429 { "throttled" } else { "unknown" }), "{}", class);
    }

    #[test]
    fn any_token_comes_out_as_it_was_sent(token in "[!-~]{1,300}") {
        let body = serde_json::json!({"error": false, "status": "success", "result": token});
        prop_assert_eq!(&poll_plain(&body.to_string()), &token);
        let quoted = serde_json::Value::from(token.as_str());
        let braced = format!("{{\"status\": \"success\", \"result\": {{ {quoted} }}}}");
        prop_assert_eq!(&poll_plain(&braced), &token);
    }
}

fn poll_plain(body: &str) -> String {
    match decode_poll(&answer(200, body), &[], &reader()) {
        PollReply::Solved(token) => token.expose_secret().to_owned(),
        reply => format!("{reply:?}"),
    }
}

#[test]
fn words_of_refusals() {
    use RefusalCause::{
        BadRequest, BadToken, Blocked, NoBalance, Passing, UnknownJob, Unrecognised,
    };
    // What it means of a create, and of a poll where that differs.
    let table: &[(&str, RefusalCause, Option<RefusalCause>)] = &[
        ("Invalid api token.", BadToken, None),
        ("api_token is required", BadToken, None),
        ("The api token field is required.", BadToken, None),
        ("API key not found", BadToken, None),
        ("apiKey invalid", BadToken, None),
        ("Your API Key doesn't exist", BadToken, None),
        ("Invalid token", BadToken, None),
        ("Token is invalid!", BadToken, None),
        ("Unauthorized", BadToken, None),
        ("Unauthenticated.", BadToken, None),
        ("Token không hợp lệ", BadToken, None),
        ("token khong hop le", BadToken, None),
        ("Khóa tài khoản không hợp lệ", BadToken, None),
        ("Khoá tài khoản khách hàng không tồn tại", BadToken, None),
        ("Sai api token", BadToken, None),
        ("Tài khoản không tồn tại", BadToken, None),
        ("Invalid api token or job id", BadToken, None),
        ("User not found", BadToken, None),
        ("Account does not exist.", BadToken, None),
        ("Insufficient balance", NoBalance, None),
        ("Your balance is not enough.", NoBalance, None),
        ("Your balance is 0.00000", NoBalance, None),
        ("You don't have enough credits", NoBalance, None),
        ("Not enough money; please top up", NoBalance, None),
        ("Số dư không đủ", NoBalance, None),
        ("So du tai khoan khong du", NoBalance, None),
        ("Số dư tài khoản không đủ để thực hiện", NoBalance, None),
        (
            "Tài khoản không đủ tiền, vui lòng nạp thêm",
            NoBalance,
            None,
        ),
        ("Your api key has insufficient funds", NoBalance, None),
        ("Your account has been suspended", Blocked, None),
        ("Account blocked", Blocked, None),
        ("User is banned", Blocked, None),
        ("Tài khoản của bạn đã bị khóa", Blocked, None),
        ("Tài khoản đã bị khoá", Blocked, None),
        ("tai khoan bi khoa", Blocked, None),
        ("IP blocked", Blocked, None),
        ("ERROR_IP_NOT_ALLOWED", Blocked, None),
        ("ERROR_ACCOUNT_SUSPENDED", Blocked, None),
        // About one row, one kind or one moment: no fault of the account.
        ("Invalid website key", BadRequest, None),
        ("Website key does not exist", BadRequest, None),
        ("Khoá trang web không hợp lệ", BadRequest, None),
        ("Invalid sitekey", BadRequest, None),
        ("Captcha token type not supported", Unrecognised, None),
        ("Captcha token is invalid", Unrecognised, None),
        ("Invalid token type", Unrecognised, None),
        ("Unauthorized website", Unrecognised, None),
        ("This domain is blocked", Unrecognised, None),
        ("Website bị khóa", Unrecognised, None),
        ("Proxy IP is banned by the website", Unrecognised, None),
        ("Not enough workers", Unrecognised, None),
        ("Insufficient data", Unrecognised, None),
        ("Không đủ thông tin", Unrecognised, None),
        ("No workers available, 0 credits charged", Passing, None),
        ("Api token rate limit exceeded", Unrecognised, None),
        (
            "Api token is fine but for now this kind is disabled",
            Unrecognised,
            None,
        ),
        ("Api token accepted. Website key invalid.", BadRequest, None),
        ("ERROR_NO_SLOT_AVAILABLE", Passing, None),
        ("ERROR_TASK_IS_MAINTENANCE", Passing, None),
        ("System is under maintenance", Passing, None),
        ("website_url is required.", BadRequest, None),
        ("The data.websiteURL field must be a url", BadRequest, None),
        ("Missing parameter: website_key", BadRequest, None),
        ("Thiếu tham số website_url", BadRequest, None),
        ("Tham số không hợp lệ", BadRequest, None),
        ("Invalid type for website", Unrecognised, None),
        ("Dịch vụ không hợp lệ", Unrecognised, None),
        ("Hệ thống đang bảo trì, vui lòng thử lại sau", Passing, None),
        ("Server quá tải", Passing, None),
        ("Please try again later", Passing, None),
        (
            "Invalid job type, try again later",
            Unrecognised,
            Some(UnknownJob),
        ),
        ("Website key invalid, try again later", BadRequest, None),
        ("Your account is suspended, try again later", Blocked, None),
        ("MESSAGE_ERROR", Unrecognised, None),
        ("Invalid user id", Unrecognised, None),
        ("", Unrecognised, None),
        // Only a poll names a job.
        ("Job not found", Unrecognised, Some(UnknownJob)),
        ("Invalid job_id", Unrecognised, Some(UnknownJob)),
        ("job_id does not exist.", Unrecognised, Some(UnknownJob)),
        (
            "Job not found for this api token",
            Unrecognised,
            Some(UnknownJob),
        ),
        ("Công việc không tồn tại", Unrecognised, Some(UnknownJob)),
        ("Yêu cầu không tồn tại", Unrecognised, Some(UnknownJob)),
        ("ERROR_NO_SUCH_CAPCHA_ID", Unrecognised, Some(UnknownJob)),
        ("Invalid type_job_id", Unrecognised, Some(UnknownJob)),
    ];
    for (message, of_create, of_poll) in table {
        let body = serde_json::json!({"error": true, "message": message}).to_string();
        let expected = format!("{of_create:?}: {message}");
        assert_eq!(create(200, &body), expected);
        let expected = format!("{:?}: {message}", of_poll.unwrap_or(*of_create));
        assert_eq!(poll(200, &body), expected);
    }
}

#[test]
fn diacritics_may_be_composed_or_not() {
    // "số dư không đủ" with combining marks.
    let body =
        "{\"error\": true, \"message\": \"so\u{302}\u{301} du\u{31b} kho\u{302}ng đu\u{309}\"}";
    assert!(
        create(200, body).starts_with("NoBalance"),
        "{}",
        create(200, body)
    );
}

/// The answers to getBalance that are printed, and what else may come.
#[rustfmt::skip]
const BALANCES: &[(u16, &str, &str)] = &[
    (200, r#"{"error": false, "balance": "0.00000", "message": "Get balance success."}"#, "$0"),
    (200, r#"{"error": true, "message": "Invalid api token."}"#, "BadToken: Invalid api token."),
    (200, r#"{"error": false, "balance": "12.34567"}"#, "$12.34567"),
    (200, r#"{"error": false, "balance": 12.34567}"#, "$12.34567"),
    (200, r#"{"success": true, "balance": "1.99999999"}"#, "$1.999999"),
    (200, r#"{"error": false, "balance": "-0.5"}"#, "$-0.5"),
    (401, r#"{"error": true, "message": "s3cr3t-account"}"#, "BadToken: [secret]"),
    (200, r#"{"error": true, "balance": "5"}"#, "Unrecognised: "),
    (200, r#"{"error": false, "balance": null}"#, "unusable: HTTP 200, application/json: no balance"),
    (200, r#"{"error": false, "balance": "plenty"}"#, "unusable: HTTP 200, application/json: no balance"),
    (200, r#"{"error": false}"#, "unusable: HTTP 200, application/json: no balance"),
    (404, r#"{"balance": "5"}"#, "unusable: HTTP 404, application/json: no balance"),
    (502, r#"{"balance": "5"}"#, "unusable: HTTP 502, application/json: no balance"),
    (500, r#"{"error": true, "message": "Invalid api token."}"#, "unusable: HTTP 500, application/json: no balance"),
    (200, "<html>", "unusable: HTTP 200, text/html"),
    (502, "<html>", "unusable: HTTP 502, text/html"),
    (200, "", "unusable: HTTP 200, application/json, empty"),
    (200, r#"{"error": false, "balance": "0.0"#, "unusable: HTTP 200, application/json: cut short at byte 32"),
    (429, "", "throttled"),
];

fn in_words<T>(reply: Result<T, LookUpError>, told: impl FnOnce(T) -> String) -> String {
    match reply {
        Ok(found) => told(found),
        Err(LookUpError::Refused(refusal)) => refused(&refusal),
        Err(LookUpError::Throttled(_)) => "throttled".to_owned(),
        Err(LookUpError::NoAnswer(why)) => format!("no answer: {why}"),
        Err(LookUpError::Unusable(why)) => format!("unusable: {why}"),
    }
}

#[test]
fn every_balance_means_what_the_documents_say() {
    for (status, body, meaning) in BALANCES {
        let reply = decode_balance(&answer(*status, body), &reader());
        let words = in_words(reply, |balance| {
            assert_eq!((balance.voucher, balance.quantity), (None, None));
            format!("${}", balance.amount)
        });
        assert_eq!(&words, meaning, "HTTP {status} {body}");
    }
}

#[test]
fn services_are_told_in_their_own_words() {
    let services = |body: &str| {
        in_words(decode_services(&answer(200, body), &reader()), |list| {
            list.iter()
                .map(|s| {
                    let price = s.price.map(|p| p.to_string()).unwrap_or_default();
                    let active = s.is_active;
                    format!(
                        "{}|{}|{price}|{}|{}|{active:?}",
                        s.id, s.name, s.avg_success, s.avg_time
                    )
                })
                .collect::<Vec<_>>()
                .join(" ")
        })
    };
    assert_eq!(
        services(
            r#"{"error": false, "service": [{"id": 1, "name": "reCaptcha v2", "price": "0.00055", "avg_success": "98%", "avg_time": "15s", "is_active": 1, "x": []}], "message": "…"}"#
        ),
        "1|reCaptcha v2|0.00055|98%|15s|Some(true)"
    );
    assert_eq!(
        services(
            r#"{"service": [{"id": "11", "price": 0.001, "avg_time": 15, "is_active": "0"}, {"name": "x"}, 7, {"id": 3, "name": "\u001b[2J s3cr3t-account"}]}"#
        ),
        "11||0.001||15|Some(false) 3|\\u{1b}[2J [secret]||||None"
    );
    assert_eq!(services(r#"{"error": false, "service": []}"#), "");
    assert_eq!(
        services(r#"{"error": false, "service": null}"#),
        "unusable: HTTP 200, application/json: no list of services"
    );
    assert_eq!(
        services(r#"{"error": true, "message": "Invalid api token."}"#),
        "BadToken: Invalid api token."
    );
}

#[test]
fn questions_about_the_account_carry_its_token_and_nothing_else() {
    let token = AccountToken::try_new("YOUR_API_KEY").unwrap();
    assert_eq!(encode_balance(&token), br#"{"api_token":"YOUR_API_KEY"}"#);
    assert_eq!(encode_services(&token), br#"{"api_token":"YOUR_API_KEY"}"#);
}
