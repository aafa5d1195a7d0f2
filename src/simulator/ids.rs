//! How a job's id is written. v1 sends numbers, v2 sends UUIDs, and services of v2's shape send
//! numbers too.
//!
//! What must stay true: the form depends on the id and the settings alone, and an id is understood in
//! that form only. A client that sends it back otherwise than it came is found out.

use serde_json::Value;

use crate::api::Protocol;

use super::settings::{JobIds, Shapes};

/// The forms of ids.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ids {
    pub(super) shapes: Shapes,
    pub(super) job_ids: JobIds,
}

impl Ids {
    /// The id as it is sent.
    pub(super) fn to_json(self, protocol: Protocol, id: u64) -> Value {
        match (protocol, self.job_ids) {
            (Protocol::V1, JobIds::Numbers) => id.into(),
            (Protocol::V1, JobIds::Strings) => format!("job-{id}").into(),
            (Protocol::V2, JobIds::Numbers) if self.shapes == Shapes::All && id % 2 == 1 => {
                id.into()
            }
            (Protocol::V2, _) => uuid(id).into(),
        }
    }

    /// The id that was sent back; `None` where it can be none of ours.
    pub(super) fn read(self, protocol: Protocol, sent: &Value) -> Option<u64> {
        let id = match sent {
            Value::Number(number) => number.as_u64()?,
            Value::String(text) => match text.strip_prefix("job-") {
                Some(number) => number.parse().ok()?,
                None => of_uuid(text)?,
            },
            _ => return None,
        };
        (self.to_json(protocol, id) == *sent).then_some(id)
    }

    /// What is wrong with the JSON type of an id, where something is.
    pub(super) fn wrong_type(self, protocol: Protocol, sent: &Value) -> Option<&'static str> {
        match (protocol, self.job_ids, sent) {
            (Protocol::V1, JobIds::Numbers, Value::Number(_))
            | (Protocol::V1, JobIds::Strings, Value::String(_))
            | (Protocol::V2, _, Value::Number(_) | Value::String(_)) => None,
            (Protocol::V1, JobIds::Numbers, _) => Some("must be a number"),
            (Protocol::V1, JobIds::Strings, _) => Some("must be a string"),
            (Protocol::V2, ..) => Some("must be a string or a number"),
        }
    }
}

/// The id as a UUID of version 4: its first 12 digits before the version, its last 4 at the end.
fn uuid(id: u64) -> String {
    format!(
        "{:08x}-{:04x}-4000-8000-{:012x}",
        id >> 32,
        id >> 16 & 0xffff,
        id & 0xffff
    )
}

fn of_uuid(text: &str) -> Option<u64> {
    let digits = [text.get(..8)?, text.get(9..13)?, text.get(32..)?].concat();
    u64::from_str_radix(&digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for (protocol, shapes, job_ids, id, form) in [
            (Protocol::V1, Shapes::All, JobIds::Numbers, 7, "7"),
            (Protocol::V1, Shapes::All, JobIds::Strings, 7, "\"job-7\""),
            (Protocol::V2, Shapes::All, JobIds::Numbers, 7, "7"),
            (
                Protocol::V2,
                Shapes::Plain,
                JobIds::Numbers,
                7,
                "\"00000000-0000-4000-8000-000000000007\"",
            ),
            (
                Protocol::V2,
                Shapes::All,
                JobIds::Numbers,
                0x0123_4567_89ab_cdee,
                "\"01234567-89ab-4000-8000-00000000cdee\"",
            ),
        ] {
            let ids = Ids { shapes, job_ids };
            let sent = ids.to_json(protocol, id);
            assert_eq!(sent.to_string(), form);
            assert_eq!(ids.read(protocol, &sent), Some(id));
        }
    }

    #[test]
    fn no_other_form_is_understood() {
        let ids = Ids {
            shapes: Shapes::All,
            job_ids: JobIds::Numbers,
        };
        for sent in [
            serde_json::json!("7"),
            serde_json::json!(8),
            serde_json::json!("00000000-0000-4000-8000-000000000007"),
            serde_json::json!("00000000-0000-4000-8000-00000000000a "),
            serde_json::json!("00000000-0000-4000-8000-00000000000A"),
            serde_json::json!("job-8"),
            serde_json::json!(null),
            serde_json::json!(-7),
        ] {
            assert_eq!(ids.read(Protocol::V2, &sent), None, "{sent}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_id_comes_back(id: u64, plain: bool) {
            let shapes = if plain { Shapes::Plain } else { Shapes::All };
            let ids = Ids { shapes, job_ids: JobIds::Numbers };
            let sent = ids.to_json(Protocol::V2, id);
            proptest::prop_assert_eq!(ids.read(Protocol::V2, &sent), Some(id));
        }
    }
}
