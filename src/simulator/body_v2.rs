//! The bodies of v2's answers: of each message the documented shape first, then those of services of
//! the same shape. All are strict JSON.

use serde_json::Value;

use crate::job::Micros;

/// A task was made.
pub(super) fn created(id: &Value) -> [String; 2] {
    [
        format!(r#"{{"errorId": 0, "taskId": {id}}}"#),
        format!(
            r#"{{"errorId":0,"errorCode":"","errorDescription":"","taskId":{id},"status":"idle"}}"#
        ),
    ]
}

/// No.
pub(super) fn refused(code: &str, description: &str) -> [String; 2] {
    let (code, description) = (Value::from(code), Value::from(description));
    [
        format!(r#"{{"errorId": 1, "errorCode": {code}, "errorDescription": {description}}}"#),
        format!(r#"{{"errorId":21,"errorDescription":{description},"errorCode":{code}}}"#),
    ]
}

/// The token. Services of this shape send hCaptcha's under the same name.
pub(super) fn solved(token: &str) -> [String; 2] {
    [
        format!(
            r#"{{"errorId": 0, "status": "ready", "solution": {{"gRecaptchaResponse": "{token}"}}}}"#
        ),
        format!(
            r#"{{"errorId":0,"status":"ready","solution":{{"gRecaptchaResponse":"{token}"}},"cost":"0.00055","ip":"203.0.113.7","createTime":1795000000,"endTime":1795000015,"solveCount":0}}"#
        ),
    ]
}

/// Not yet.
pub(super) const PENDING: [&str; 2] = [
    r#"{"errorId": 0, "status": "processing", "errorCode": "", "errorDescription": ""}"#,
    r#"{"errorId":0,"status":"processing"}"#,
];

/// The solve failed.
pub(super) const FAILED: [&str; 2] = [
    r#"{"errorId": 1, "errorCode": "ERROR_JOB_STATUS", "errorDescription": "Job failed", "status": "fail", "solution": {}}"#,
    r#"{"errorId":1,"errorCode":"ERROR_JOB_STATUS","errorDescription":"Job failed"}"#,
];

/// A balance: a number, where v1 sends a string.
pub(super) fn balance(balance: Micros) -> String {
    format!(r#"{{"errorId": 0, "balance": {balance}, "quantity": 0, "voucher_balance": 0}}"#)
}

/// A create's answer that lost its id.
pub(super) const CREATED_WITHOUT_ID: &str = r#"{"errorId": 0}"#;
/// A status that no document names.
pub(super) const UNKNOWN_STATUS: &str = r#"{"errorId": 0, "status": "queued_for_review"}"#;
/// Success, and nothing in it.
pub(super) const EMPTY_RESULT: &str = r#"{"errorId": 0, "status": "ready", "solution": {}}"#;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn all_are_strict_and_say_what_they_mean() {
        let strict = |body: &str| serde_json::from_str::<Value>(body).expect(body);
        for body in created(&json!("x")) {
            assert_eq!(strict(&body)["taskId"], "x");
        }
        for body in refused("ERROR_X", "a \"b\"") {
            let body = strict(&body);
            assert_eq!(
                (&body["errorCode"], &body["errorDescription"]),
                (&json!("ERROR_X"), &json!("a \"b\""))
            );
            assert_ne!(body["errorId"], 0);
        }
        for body in solved("t") {
            assert_eq!(strict(&body)["solution"]["gRecaptchaResponse"], "t");
        }
        for body in PENDING {
            assert_eq!(strict(body)["status"], "processing");
        }
        for body in FAILED {
            assert_eq!(strict(body)["errorCode"], "ERROR_JOB_STATUS");
        }
        for body in [CREATED_WITHOUT_ID, UNKNOWN_STATUS, EMPTY_RESULT] {
            assert_eq!(strict(body)["errorId"], 0);
        }
        assert_eq!(
            strict(&balance(Micros(345_678_000)))["balance"],
            json!(345.678)
        );
    }
}
