//! The bodies of v1's answers, and whose turn it is of either protocol's: in all the shapes that the documents print and servers are reported to send.
//!
//! Several are no strict JSON: a refusal with a trailing comma, a token in bare braces. In turn, all
//! shapes of a message are used ([`Shapes::All`]), so that any client meets each of them soon.

use serde_json::Value;

use crate::api::Protocol;
use crate::job::Micros;

use super::body_v2;
use super::ids::Ids;
use super::refusal::Refusal;
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

/// How many there are.
const MESSAGES: usize = 6;

/// Writes bodies, taking turns among their shapes.
#[derive(Clone, Debug)]
pub(super) struct BodyWriter {
    ids: Ids,
    /// By protocol and message.
    turns: [[usize; MESSAGES]; 2],
}

impl BodyWriter {
    pub(super) fn new(shapes: Shapes, job_ids: JobIds) -> Self {
        Self {
            ids: Ids { shapes, job_ids },
            turns: [[0; MESSAGES]; 2],
        }
    }

    /// The forms of ids.
    pub(super) fn ids(&self) -> Ids {
        self.ids
    }

    /// The place of the shape whose turn it is, of `count`. The plainest has place 0.
    fn turn_of(&mut self, protocol: Protocol, message: Message, count: usize) -> usize {
        if self.ids.shapes == Shapes::Plain {
            return 0;
        }
        let turn = &mut self.turns[protocol as usize][message as usize];
        *turn += 1;
        (*turn - 1) % count
    }

    fn turn(&mut self, message: Message, count: usize) -> usize {
        self.turn_of(Protocol::V1, message, count)
    }

    /// The one of v2's shapes whose turn it is.
    fn v2<T: AsRef<str>>(&mut self, message: Message, shapes: &[T]) -> String {
        let turn = self.turn_of(Protocol::V2, message, shapes.len());
        shapes[turn].as_ref().to_owned()
    }

    /// A job was made.
    pub(super) fn created(&mut self, protocol: Protocol, job_id: u64) -> String {
        let id = self.ids.to_json(protocol, job_id);
        if protocol == Protocol::V2 {
            return self.v2(Message::Created, &body_v2::created(&id));
        }
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
    pub(super) fn refused(&mut self, protocol: Protocol, refusal: &Refusal) -> String {
        if protocol == Protocol::V2 {
            let (code, description) = refusal.code();
            return self.v2(Message::Refused, &body_v2::refused(code, description));
        }
        let message = Value::from(refusal.words());
        match self.turn(Message::Refused, 3) {
            0 => format!(r#"{{"error": true, "message": {message}}}"#),
            1 => format!("{{\n\t\"error\": true,\n\t\"message\": {message},\n}}"),
            _ => format!(r#"{{"error": true, "message": {message},}}"#),
        }
    }

    /// The token.
    pub(super) fn solved(&mut self, protocol: Protocol, style: TokenStyle, token: &str) -> String {
        if protocol == Protocol::V2 {
            return self.v2(Message::SolvedRecaptcha, &body_v2::solved(token));
        }
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
    pub(super) fn pending(&mut self, protocol: Protocol) -> String {
        if protocol == Protocol::V2 {
            return self.v2(Message::Pending, &body_v2::PENDING);
        }
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
    pub(super) fn failed(&mut self, protocol: Protocol) -> String {
        if protocol == Protocol::V2 {
            return self.v2(Message::Failed, &body_v2::FAILED);
        }
        let shapes = [
            r#"{"error": false, "status": "fail", "result": ""}"#,
            r#"{"error": false, "status": "fail", "result": null}"#,
        ];
        shapes[self.turn(Message::Failed, shapes.len())].to_owned()
    }
}

/// A balance, in v1 with the five decimals of the documents.
pub(super) fn balance(protocol: Protocol, balance: Micros) -> String {
    if protocol == Protocol::V2 {
        return body_v2::balance(balance);
    }
    format!(
        r#"{{"error": false, "balance": "{}", "message": "Get balance success."}}"#,
        dollars(balance)
    )
}

/// The services that v1 knows.
pub(super) fn services(types: &[JobType], price: Option<Micros>) -> String {
    let entry = |t: &JobType| {
        let id = &t.v1.as_ref()?.id;
        let entry = serde_json::json!({
            // A number here although it is a string in a create.
            "id": id.parse::<u64>().map_or_else(|_| Value::from(id.as_str()), Value::from),
            "name": t.name,
            "price": dollars(price.unwrap_or(t.price)),
            "avg_success": "98%",
            "avg_time": "15s",
            "is_active": 1,
        });
        Some(entry)
    };
    let list = Value::from(types.iter().filter_map(entry).collect::<Vec<_>>());
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
pub(super) fn created_without_id(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::V1 => r#"{"error": false, "message": "Create job success."}"#,
        Protocol::V2 => body_v2::CREATED_WITHOUT_ID,
    }
}

/// A status that no document names.
pub(super) fn unknown_status(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::V1 => r#"{"error": false, "status": "queued_for_review", "result": ""}"#,
        Protocol::V2 => body_v2::UNKNOWN_STATUS,
    }
}

/// Success, and nothing in it.
pub(super) fn empty_result(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::V1 => r#"{"error": false, "status": "success", "result": ""}"#,
        Protocol::V2 => body_v2::EMPTY_RESULT,
    }
}

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
        let created: Vec<_> = (0..4)
            .map(|_| writer.created(Protocol::V1, 123_456))
            .collect();
        assert!(created.contains(
            &"{\n\t\"error\": false,\n\t\"job_id\": 123456,\n\t\"message\": \"Create job success.\"\n}".to_owned()
        ));
        let refused: Vec<_> = (0..3)
            .map(|_| writer.refused(Protocol::V1, &Refusal::Scripted("MESSAGE_ERROR".to_owned())))
            .collect();
        assert!(
            refused.contains(
                &"{\n\t\"error\": true,\n\t\"message\": \"MESSAGE_ERROR\",\n}".to_owned()
            )
        );
        let solved: Vec<_> = (0..2)
            .map(|_| writer.solved(Protocol::V1, TokenStyle::HCaptcha, "P1_x"))
            .collect();
        assert!(solved.contains(
            &"{\n\t\"error\": false,\n\t\"status\": \"success\",\n\t\"result\":{\n\t\t\"P1_x\"\n\t}\n}".to_owned()
        ));
        let pending: Vec<_> = (0..6).map(|_| writer.pending(Protocol::V1)).collect();
        assert!(
            pending.contains(&"{\n\t\"errorId\": 0,\n\t\"status\": \"processing\"\n}".to_owned())
        );
    }

    #[test]
    fn strict_shapes_say_what_they_mean() {
        let mut writer = all();
        for _ in 0..4 {
            let body = strict(&writer.created(Protocol::V1, 7)).unwrap();
            assert_eq!(body["job_id"], 7);
            assert_ne!(body["error"], true);
        }
        for _ in 0..6 {
            let body = strict(&writer.pending(Protocol::V1)).unwrap();
            assert!(matches!(
                body["status"].as_str(),
                Some("running" | "processing" | "waiting")
            ));
        }
        let results: Vec<_> = (0..2)
            .map(|_| strict(&writer.failed(Protocol::V1)).unwrap()["result"].clone())
            .collect();
        assert_eq!(results, [Value::from(""), Value::Null]);
        let results: Vec<_> = (0..3)
            .map(|_| {
                strict(&writer.solved(Protocol::V1, TokenStyle::Recaptcha, "t"))
                    .map(|b| b["result"].clone())
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
        let loose = (0..6).filter(|_| {
            strict(&writer.refused(Protocol::V1, &Refusal::Scripted("no".to_owned()))).is_none()
        });
        assert_eq!(loose.count(), 4);
        for body in [
            created_without_id(Protocol::V1),
            unknown_status(Protocol::V1),
            empty_result(Protocol::V1),
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
            assert_eq!(
                strict(&writer.created(Protocol::V1, 7)).unwrap()["job_id"],
                "job-7"
            );
            assert_eq!(
                strict(&writer.refused(Protocol::V1, &Refusal::Scripted("a \"b\"".to_owned())))
                    .unwrap()["message"],
                "a \"b\""
            );
            assert_eq!(
                strict(&writer.solved(Protocol::V1, TokenStyle::HCaptcha, "t")).unwrap()["result"],
                "t"
            );
            assert_eq!(
                strict(&writer.pending(Protocol::V1)).unwrap()["status"],
                "running"
            );
            assert_eq!(
                strict(&writer.failed(Protocol::V1)).unwrap()["status"],
                "fail"
            );
        }
    }

    #[test]
    fn amounts_have_five_decimals() {
        assert_eq!(
            strict(&balance(Protocol::V1, Micros::ZERO)).unwrap()["balance"],
            "0.00000"
        );
        assert_eq!(
            strict(&balance(Protocol::V1, Micros(1_234_550))).unwrap()["balance"],
            "1.23455"
        );
        let body = strict(&services(&JobType::documented(), None)).unwrap();
        assert_eq!(body["service"][1]["id"], 1);
        assert_eq!(body["service"][1]["price"], "0.00055");
    }
}
