//! A message of ours: the row of a file as a producer would push it.

use super::{LONGEST_MESSAGE, LONGEST_META};
use crate::job::{Request, Value};

/// The message of a request, with `others` (columns that are passed through) as its `meta`: an object of
/// strings. [`Intake::read`](super::Intake::read) gives the same request back.
///
/// # Errors
///
/// Why it would not be taken: it, or its `meta`, is too long.
pub fn write(request: &Request, others: &[(String, String)]) -> Result<String, String> {
    let mut members = vec![
        member("id", request.id().as_str()),
        member("job", &request.kind().name),
    ];
    let columns = request.kind().columns.iter().zip(request.values());
    members.extend(columns.filter_map(|(column, value)| {
        Some(match value.as_ref()? {
            Value::Text(text) => member(&column.name, text),
            Value::Bool(yes) => format!("{}:{yes}", quote(&column.name)),
        })
    }));
    if !others.is_empty() {
        let meta = object(others.iter().map(|(name, value)| member(name, value)));
        if meta.len() > LONGEST_META {
            return Err("has other columns that are longer than 16 KiB as JSON".to_owned());
        }
        members.push(format!("\"meta\":{meta}"));
    }
    let message = object(members.into_iter());
    if message.len() > LONGEST_MESSAGE {
        return Err("is longer than 64 KiB as JSON".to_owned());
    }
    Ok(message)
}

fn object(members: impl Iterator<Item = String>) -> String {
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

fn member(name: &str, value: &str) -> String {
    format!("{}:{}", quote(name), quote(value))
}

fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::super::Intake;
    use super::*;
    use crate::job::{Allowlist, Kinds, RequestId, SiteRule};

    fn intake() -> Intake {
        Intake {
            kinds: Kinds::built_in(),
            sites: Allowlist::new(vec![SiteRule::try_new("a.example.com", vec![]).unwrap()]),
            default_kind: None,
        }
    }

    fn request(id: &str, url: &str, key: &str, invisible: Option<&str>) -> Request {
        let intake = intake();
        let kind = intake.kinds.get("recaptcha-v2").unwrap();
        let values = [Some(url), Some(key), invisible];
        let id = RequestId::try_new(id).unwrap();
        Request::validate(id, kind, |n| values[n], &intake.sites).unwrap()
    }

    #[test]
    fn a_row_as_a_message() {
        let request = request("a\"b", "HTTPS://a.example.com", "k", Some("yes"));
        let others = [
            ("note".to_owned(), "α\n".to_owned()),
            ("x".to_owned(), String::new()),
        ];
        insta::assert_snapshot!(write(&request, &others).unwrap(), @r#"{"id":"a\"b","job":"recaptcha-v2","website_url":"https://a.example.com/","website_key":"k","is_invisible":true,"meta":{"note":"α\n","x":""}}"#);
    }

    #[test]
    fn what_would_not_be_taken_is_refused() {
        let small = request("a", "https://a.example.com/", "k", None);
        let others = [("note".to_owned(), "\u{1}".repeat(3000))];
        assert!(write(&small, &others).unwrap_err().contains("16 KiB"));
        // 4,096 bytes of quotes and backslashes, and a URL of about as many: still short enough.
        let large = format!("https://a.example.com/{}", "\"".repeat(2700));
        let kind = small.kind();
        let values = [Some(large.as_str()), Some("k"), None];
        let id = RequestId::try_new(&"\"".repeat(512)).unwrap();
        let large = Request::validate(id, kind, |n| values[n], &intake().sites).unwrap();
        let others = [("note".to_owned(), "x".repeat(16_000))];
        let text = write(&large, &others).unwrap();
        assert!(intake().read(text.as_bytes(), || unreachable!()).is_ok());
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read_again(
            id in "[^\\x00-\\x1f\\x7f-\\u{9f}]{1,20}",
            path in "[a-z \"%é?#=&{}]{0,20}",
            key in "[^\\x00-\\x1f\\x7f-\\u{9f}]{0,20}k",
            invisible in proptest::option::of(proptest::sample::select(vec!["yes", "0"])),
            others in proptest::collection::vec(("\\PC{1,8}", "\\PC{0,20}|[\\x00-\\x1f\"\\\\]{0,9}"), 0..4),
        ) {
            let request = request(&id, &format!("https://a.example.com/{path}"), &key, invisible);
            let text = write(&request, &others).unwrap();
            let message = intake().read(text.as_bytes(), || unreachable!()).unwrap();
            proptest::prop_assert_eq!(message.request.id(), request.id());
            proptest::prop_assert_eq!(message.request.fields_hash(), request.fields_hash());
            proptest::prop_assert_eq!(&message.payload, &text);
            proptest::prop_assert_eq!(message.meta.is_some(), !others.is_empty());
            if let Some(meta) = message.meta {
                let meta: std::collections::HashMap<String, String> = serde_json::from_str(meta.get()).unwrap();
                for (name, value) in &others {
                    if others.iter().filter(|(n, _)| n == name).count() == 1 {
                        proptest::prop_assert_eq!(&meta[name], value);
                    }
                }
            }
        }
    }
}
