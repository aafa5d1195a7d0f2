//! Every body that the service's documents print, and those reported of real servers and clients,
//! against what they mean; then what no body may do.

mod account;
mod refusals;

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use secrecy::ExposeSecret;

use super::*;
use crate::api::testing::{Decoders, account, answer, no_mutation_breaks, reader};
use crate::api::{Answer, CreateReply, PollReply, RetryAfter};
use crate::job::{Allowlist, Kinds, RemoteId, Request, RequestId, SiteRule};

const V1: Decoders = Decoders {
    create: decode_create,
    poll: decode_poll,
};

fn create(status: u16, body: impl AsRef<[u8]>) -> String {
    V1.create(status, body)
}

fn poll(status: u16, body: impl AsRef<[u8]>) -> String {
    V1.poll(status, body)
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
fn every_answer_means_what_the_documents_say() {
    V1.assert_meanings(CREATES, POLLS);
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

#[test]
fn no_mutation_makes_a_panic_or_lets_a_secret_out() {
    no_mutation_breaks(V1, CREATES, POLLS, 100_000);
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
