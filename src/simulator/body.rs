//! The bodies of answers, in all the shapes that the documents print and servers are reported to send.
//!
//! Several are no strict JSON: a refusal with a trailing comma, a token in bare braces. In turn, all
//! shapes of a message are used ([`Shapes::All`]), so that any client meets each of them soon.

use serde_json::Value;

use crate::job::Micros;

use super::settings::{JobIds, JobType, Shapes};
use super::token::TokenStyle;

/// The messages, each with a turn of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Message {
    Created,
    Refused,
    SolvedHCaptcha,
    SolvedRecaptcha,
    Pending,
    Failed,
}

/// Writes bodies, taking turns among their shapes.
#[derive(Clone, Debug)]
pub(super) struct BodyWriter {
    shapes: Shapes,
    job_ids: JobIds,
    turns: [usize; 6],
}

impl BodyWriter {
    pub(super) fn new(shapes: Shapes, job_ids: JobIds) -> Self {
        Self {
            shapes,
            job_ids,
            turns: [0; 6],
        }
    }

    /// The place of the shape whose turn it is, of `count`. The plainest has place 0.
    fn turn(&mut self, message: Message, count: usize) -> usize {
        if self.shapes == Shapes::Plain {
            return 0;
        }
        let turn = &mut self.turns[message as usize];
        *turn += 1;
        (*turn - 1) % count
    }

    /// A job was made.
    pub(super) fn created(&mut self, job_id: u64) -> String {
        let id = match self.job_ids {
            JobIds::Numbers => job_id.to_string(),
            JobIds::Strings => format!("\"job-{job_id}\""),
        };
        match self.turn(Message::Created, 4) {
            0 => format!(r#"{{"error": false, "job_id": {id}, "message": "Create job success."}}"#),
            1 => format!(
                "{{\n\t\"error\": false,\n\t\"job_id\": {id},\n\t\"message\": \"Create job success.\"\n}}"
            ),
            2 => {
                format!(r#"{{"success": true, "job_id": {id}, "message": "Create job success."}}"#)
            }
            // One public document prints it so.
            _ => {
                format!(r#"{{"success": false, "job_id": {id}, "message": "Create job success."}}"#)
            }
        }
    }

    /// No.
    pub(super) fn refused(&mut self, message: &str) -> String {
        let message = Value::from(message);
        match self.turn(Message::Refused, 3) {
            0 => format!(r#"{{"error": true, "message": {message}}}"#),
            1 => format!("{{\n\t\"error\": true,\n\t\"message\": {message},\n}}"),
            _ => format!(r#"{{"error": true, "message": {message},}}"#),
        }
    }

    /// The token.
    pub(super) fn solved(&mut self, style: TokenStyle, token: &str) -> String {
        let plain = || format!(r#"{{"error": false, "status": "success", "result": "{token}"}}"#);
        let braces = || {
            format!(
                "{{\n\t\"error\": false,\n\t\"status\": \"success\",\n\t\"result\":{{\n\t\t\"{token}\"\n\t}}\n}}"
            )
        };
        match style {
            TokenStyle::HCaptcha => match self.turn(Message::SolvedHCaptcha, 2) {
                0 => plain(),
                _ => braces(),
            },
            TokenStyle::Recaptcha => match self.turn(Message::SolvedRecaptcha, 3) {
                0 => format!(
                    r#"{{"error": false, "status": "success", "result": {{"gRecaptchaResponse": "{token}"}}}}"#
                ),
                1 => braces(),
                _ => plain(),
            },
        }
    }

    /// Not yet.
    pub(super) fn pending(&mut self) -> String {
        let shapes = [
            r#"{"error": false, "status": "running", "result": ""}"#,
            "{\n\t\"errorId\": 0,\n\t\"status\": \"processing\"\n}",
            r#"{"error": false, "status": "waiting", "result": ""}"#,
            r#"{"success": true, "status": "running", "result": ""}"#,
            r#"{"success": true, "status": "waiting"}"#,
            r#"{"status": "processing"}"#,
        ];
        shapes[self.turn(Message::Pending, shapes.len())].to_owned()
    }

    /// The solve failed.
    pub(super) fn failed(&mut self) -> String {
        let shapes = [
            r#"{"error": false, "status": "fail", "result": ""}"#,
            r#"{"error": false, "status": "fail", "result": null}"#,
        ];
        shapes[self.turn(Message::Failed, shapes.len())].to_owned()
    }
}

/// A balance, with the five decimals of the documents.
pub(super) fn balance(balance: Micros) -> String {
    format!(
        r#"{{"error": false, "balance": "{}", "message": "Get balance success."}}"#,
        dollars(balance)
    )
}

/// The services.
pub(super) fn services(types: &[JobType], price: Option<Micros>) -> String {
    let entry = |t: &JobType| {
        serde_json::json!({
            // A number here although it is a string in a create.
            "id": t.id.parse::<u64>().map_or_else(|_| Value::from(t.id.as_str()), Value::from),
            "name": t.name,
            "price": dollars(price.unwrap_or(t.price)),
            "avg_success": "98%",
            "avg_time": "15s",
            "is_active": 1,
        })
    };
    let list = Value::from(types.iter().map(entry).collect::<Vec<_>>());
    format!(r#"{{"error": false, "service": {list}, "message": "Get service success."}}"#)
}

fn dollars(amount: Micros) -> String {
    let hundred_thousandths = amount.0 / 10;
    format!(
        "{}.{:05}",
        hundred_thousandths / 100_000,
        hundred_thousandths % 100_000
    )
}

/// A create's answer that lost its id.
pub(super) const CREATED_WITHOUT_ID: &str = r#"{"error": false, "message": "Create job success."}"#;
/// A status that no document names.
pub(super) const UNKNOWN_STATUS: &str =
    r#"{"error": false, "status": "queued_for_review", "result": ""}"#;
/// Success, and nothing in it.
pub(super) const EMPTY_RESULT: &str = r#"{"error": false, "status": "success", "result": ""}"#;
/// An answer of an overloaded service, in its own words.
pub(super) const JSON_ERROR: &str = r#"{"message": "Server Error"}"#;
/// An answer to too many requests.
pub(super) const JSON_THROTTLED: &str = r#"{"message": "Too Many Attempts."}"#;

/// The page of a proxy in front of the service.
pub(super) fn html_page(title: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html><head><title>{title}</title></head>\n<body><center><h1>{title}</h1></center>\
         <hr><center>cloudflare</center></body></html>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> BodyWriter {
        BodyWriter::new(Shapes::All, JobIds::Numbers)
    }

    fn strict(body: &str) -> Option<Value> {
        serde_json::from_str(body).ok()
    }

    #[test]
    fn the_originals_bodies_are_among_the_shapes() {
        let mut writer = all();
        let created: Vec<_> = (0..4).map(|_| writer.created(123_456)).collect();
        assert!(created.contains(
            &"{\n\t\"error\": false,\n\t\"job_id\": 123456,\n\t\"message\": \"Create job success.\"\n}".to_owned()
        ));
        let refused: Vec<_> = (0..3).map(|_| writer.refused("MESSAGE_ERROR")).collect();
        assert!(
            refused.contains(
                &"{\n\t\"error\": true,\n\t\"message\": \"MESSAGE_ERROR\",\n}".to_owned()
            )
        );
        let solved: Vec<_> = (0..2)
            .map(|_| writer.solved(TokenStyle::HCaptcha, "P1_x"))
            .collect();
        assert!(solved.contains(
            &"{\n\t\"error\": false,\n\t\"status\": \"success\",\n\t\"result\":{\n\t\t\"P1_x\"\n\t}\n}".to_owned()
        ));
        let pending: Vec<_> = (0..6).map(|_| writer.pending()).collect();
        assert!(
            pending.contains(&"{\n\t\"errorId\": 0,\n\t\"status\": \"processing\"\n}".to_owned())
        );
    }

    #[test]
    fn strict_shapes_say_what_they_mean() {
        let mut writer = all();
        for _ in 0..4 {
            let body = strict(&writer.created(7)).unwrap();
            assert_eq!(body["job_id"], 7);
            assert_ne!(body["error"], true);
        }
        for _ in 0..6 {
            let body = strict(&writer.pending()).unwrap();
            assert!(matches!(
                body["status"].as_str(),
                Some("running" | "processing" | "waiting")
            ));
        }
        let results: Vec<_> = (0..2)
            .map(|_| strict(&writer.failed()).unwrap()["result"].clone())
            .collect();
        assert_eq!(results, [Value::from(""), Value::Null]);
        let results: Vec<_> = (0..3)
            .map(|_| {
                strict(&writer.solved(TokenStyle::Recaptcha, "t")).map(|b| b["result"].clone())
            })
            .collect();
        assert_eq!(
            results,
            [
                Some(serde_json::json!({"gRecaptchaResponse": "t"})),
                None,
                Some(Value::from("t"))
            ]
        );
        let loose = (0..6).filter(|_| strict(&writer.refused("no")).is_none());
        assert_eq!(loose.count(), 4);
        for body in [
            CREATED_WITHOUT_ID,
            UNKNOWN_STATUS,
            EMPTY_RESULT,
            JSON_ERROR,
            JSON_THROTTLED,
        ] {
            assert!(strict(body).is_some(), "{body}");
        }
    }

    #[test]
    fn plain_shapes_are_strict_and_always_the_same() {
        let mut writer = BodyWriter::new(Shapes::Plain, JobIds::Strings);
        for _ in 0..3 {
            assert_eq!(strict(&writer.created(7)).unwrap()["job_id"], "job-7");
            assert_eq!(
                strict(&writer.refused("a \"b\"")).unwrap()["message"],
                "a \"b\""
            );
            assert_eq!(
                strict(&writer.solved(TokenStyle::HCaptcha, "t")).unwrap()["result"],
                "t"
            );
            assert_eq!(strict(&writer.pending()).unwrap()["status"], "running");
            assert_eq!(strict(&writer.failed()).unwrap()["status"], "fail");
        }
    }

    #[test]
    fn amounts_have_five_decimals() {
        assert_eq!(
            strict(&balance(Micros::ZERO)).unwrap()["balance"],
            "0.00000"
        );
        assert_eq!(
            strict(&balance(Micros(1_234_550))).unwrap()["balance"],
            "1.23455"
        );
        let body = strict(&services(&JobType::documented(), None)).unwrap();
        assert_eq!(body["service"][1]["id"], 1);
        assert_eq!(body["service"][1]["price"], "0.00055");
    }
}
