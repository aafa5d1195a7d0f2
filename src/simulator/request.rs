//! Requests of protocol v1, decoded as strictly as can be: whatever is missing, misspelt, superfluous
//! or of the wrong type is refused, so that a client that passes here passes at the service.

use std::sync::Arc;

use serde_json::{Map, Value};
use url::Url;

use crate::job::FieldType;

use super::fault::Endpoint;
use super::record::RequestKey;
use super::settings::{JobIds, JobType, SimulatorSettings};

/// Words of a refusal for the account token. As documented.
pub(super) const BAD_TOKEN: &str = "Invalid api token.";

/// What an HTTP request says, the body still raw. The body holds the account token, so there is no
/// `Debug`.
#[derive(Clone, Copy)]
pub struct HttpRequest<'a> {
    /// The method.
    pub method: &'a str,
    /// The path, without a query.
    pub path: &'a str,
    /// The `Content-Type` header; empty where there is none.
    pub content_type: &'a str,
    /// The body.
    pub body: &'a [u8],
}

impl<'a> HttpRequest<'a> {
    /// A POST of JSON.
    #[must_use]
    pub fn post_json(path: &'a str, body: &'a [u8]) -> Self {
        Self {
            method: "POST",
            path,
            content_type: "application/json",
            body,
        }
    }
}

/// What a well-made request wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    /// A job of the type at that place of the settings.
    Create {
        job_type: usize,
        request: Arc<RequestKey>,
    },
    /// The result of a job; `None` for an id that can be none of ours.
    Poll(Option<u64>),
    Balance,
    Service,
}

/// The endpoint at a path of v1. Those of v2 will stand beside it, under `/v2`.
pub(super) fn endpoint_at(path: &str) -> Option<Endpoint> {
    match path {
        "/api/createJob" => Some(Endpoint::Create),
        "/api/getJobResult" => Some(Endpoint::Poll),
        "/api/getBalance" => Some(Endpoint::Balance),
        "/api/getService" => Some(Endpoint::Service),
        _ => None,
    }
}

/// Reads a request, or says in the service's words why it is refused.
pub(super) fn decode(
    settings: &SimulatorSettings,
    endpoint: Endpoint,
    request: &HttpRequest<'_>,
) -> Result<Demand, String> {
    let media_type = request.content_type.split(';').next().unwrap_or_default();
    if !media_type.trim().eq_ignore_ascii_case("application/json") {
        return Err("The request must be of type application/json.".to_owned());
    }
    let Ok(Value::Object(mut body)) = serde_json::from_slice(request.body) else {
        return Err("The request is not a JSON object.".to_owned());
    };
    match take(&mut body, "api_token")? {
        Value::String(token) if accepts(settings, &token) => {}
        Value::String(_) => return Err(BAD_TOKEN.to_owned()),
        _ => return Err("The api_token field must be a string.".to_owned()),
    }
    let demand = match endpoint {
        Endpoint::Create => {
            let Value::Object(data) = take(&mut body, "data")? else {
                return Err("The data field must be an object.".to_owned());
            };
            create(settings, data)?
        }
        Endpoint::Poll => Demand::Poll(job_id(settings.job_ids, &take(&mut body, "job_id")?)?),
        Endpoint::Balance => Demand::Balance,
        Endpoint::Service => Demand::Service,
    };
    nothing_left(&body, "")?;
    Ok(demand)
}

fn create(settings: &SimulatorSettings, mut data: Map<String, Value>) -> Result<Demand, String> {
    let Value::String(id) = take(&mut data, "type_job_id")? else {
        return Err("The type_job_id field must be a string.".to_owned());
    };
    let Some(job_type) = settings.job_types.iter().position(|t| t.id == id) else {
        return Err("The type_job_id is invalid.".to_owned());
    };
    let request = identity(&settings.job_types[job_type], &mut data)?;
    nothing_left(&data, "data.")?;
    Ok(Demand::Create {
        job_type,
        request: Arc::new(request),
    })
}

/// Takes the fields of a type out of `data`. Gives the first URL and the site key.
fn identity(job_type: &JobType, data: &mut Map<String, Value>) -> Result<RequestKey, String> {
    let mut request = RequestKey::default();
    for field in &job_type.fields {
        let name = &field.name;
        let value = match take(data, name) {
            Ok(value) => value,
            Err(_) if !field.required => continue,
            Err(why) => return Err(why),
        };
        match (field.field_type, value) {
            (FieldType::Bool, Value::Bool(_)) => {}
            (FieldType::Bool, _) => return Err(format!("The {name} field must be true or false.")),
            (_, Value::String(text)) if text.trim().is_empty() => {
                return Err(format!("The {name} field is required."));
            }
            (FieldType::Url, Value::String(text)) => {
                let good = Url::parse(&text).is_ok_and(|u| matches!(u.scheme(), "http" | "https"));
                if !good {
                    return Err(format!("The {name} format is invalid."));
                }
                if request.url.is_empty() {
                    request.url = text;
                }
            }
            (FieldType::Text, Value::String(text)) => {
                if field.is_key {
                    request.key = text;
                }
            }
            _ => return Err(format!("The {name} field must be a string.")),
        }
    }
    Ok(request)
}

fn job_id(form: JobIds, value: &Value) -> Result<Option<u64>, String> {
    match (form, value) {
        (JobIds::Numbers, Value::Number(number)) => Ok(number.as_u64()),
        (JobIds::Numbers, _) => Err("The job_id field must be a number.".to_owned()),
        (JobIds::Strings, Value::String(text)) => {
            Ok(text.strip_prefix("job-").and_then(|n| n.parse().ok()))
        }
        (JobIds::Strings, _) => Err("The job_id field must be a string.".to_owned()),
    }
}

fn accepts(settings: &SimulatorSettings, token: &str) -> bool {
    if settings.accepted_tokens.is_empty() {
        !token.is_empty()
    } else {
        settings.accepted_tokens.iter().any(|t| t.expose() == token)
    }
}

fn take(object: &mut Map<String, Value>, name: &str) -> Result<Value, String> {
    object
        .remove(name)
        .ok_or_else(|| format!("The {name} field is required."))
}

fn nothing_left(object: &Map<String, Value>, prefix: &str) -> Result<(), String> {
    match object.keys().next() {
        // Its name is the client's text, and is not given back.
        Some(_) => Err(format!("There is an unknown field {prefix}*.")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::AccountToken;

    /// The body of the hCaptcha original, as printed.
    const HCAPTCHA: &str = r#"{
	"api_token": "YOUR_API_KEY",
	"data": {
		"type_job_id": "11",
		"website_url": "https://accounts.hcaptcha.com/demo",
		"website_key": "a5f74b19-9e45-40e0-b45d-47ff91b7a6c2"
	}
}"#;
    /// The body of the reCAPTCHA original, as printed but for the placeholder `ID`.
    const RECAPTCHA: &str = r#"{
	"api_token": "YOUR_API_KEY",
	"data": {
		"type_job_id": "1",
		"websiteURL": "http://mywebsite.com/recaptcha/test.php",
		"websiteKey": "6Lc_aCMTAAAAABx7u2N0D1XnVbI_v6ZdbM6rYf16",
		"isInvisible": false
	}
}"#;
    /// The poll of both originals, as printed.
    const POLL: &str = "{\n\t\"api_token\": \"YOUR_API_KEY\",\n\t\"job_id\": 123456\n}";

    fn v1(endpoint: Endpoint, body: &str) -> Result<Demand, String> {
        let settings = SimulatorSettings::default();
        decode(
            &settings,
            endpoint,
            &HttpRequest::post_json("", body.as_bytes()),
        )
    }

    #[test]
    fn both_originals_are_accepted_as_printed() {
        assert_eq!(
            v1(Endpoint::Create, HCAPTCHA).unwrap(),
            Demand::Create {
                job_type: 0,
                request: Arc::new(RequestKey {
                    url: "https://accounts.hcaptcha.com/demo".to_owned(),
                    key: "a5f74b19-9e45-40e0-b45d-47ff91b7a6c2".to_owned(),
                }),
            }
        );
        assert_eq!(
            v1(Endpoint::Create, RECAPTCHA).unwrap(),
            Demand::Create {
                job_type: 1,
                request: Arc::new(RequestKey {
                    url: "http://mywebsite.com/recaptcha/test.php".to_owned(),
                    key: "6Lc_aCMTAAAAABx7u2N0D1XnVbI_v6ZdbM6rYf16".to_owned(),
                }),
            }
        );
        assert_eq!(
            v1(Endpoint::Poll, POLL).unwrap(),
            Demand::Poll(Some(123_456))
        );
        let token = r#"{"api_token": "x"}"#;
        assert_eq!(v1(Endpoint::Balance, token).unwrap(), Demand::Balance);
        assert_eq!(v1(Endpoint::Service, token).unwrap(), Demand::Service);
    }

    #[test]
    fn is_invisible_may_be_left_out() {
        let without = RECAPTCHA.replace(",\n\t\t\"isInvisible\": false", "");
        assert_ne!(without, RECAPTCHA);
        assert!(v1(Endpoint::Create, &without).is_ok());
    }

    #[test]
    fn every_deviation_is_refused() {
        for (original, from, to, why) in [
            (
                HCAPTCHA,
                "\"11\"",
                "11",
                "type_job_id field must be a string",
            ),
            (HCAPTCHA, "\"11\"", "\"12\"", "type_job_id is invalid"),
            (
                HCAPTCHA,
                "type_job_id",
                "typeJobId",
                "type_job_id field is required",
            ),
            (
                HCAPTCHA,
                "website_url",
                "websiteURL",
                "website_url field is required",
            ),
            (
                HCAPTCHA,
                "website_key",
                "websiteKey",
                "website_key field is required",
            ),
            (HCAPTCHA, "\"data\"", "\"task\"", "data field is required"),
            (
                HCAPTCHA,
                "api_token",
                "clientKey",
                "api_token field is required",
            ),
            (
                HCAPTCHA,
                "\"YOUR_API_KEY\"",
                "7",
                "api_token field must be a string",
            ),
            (HCAPTCHA, "YOUR_API_KEY", "", "Invalid api token."),
            (HCAPTCHA, "https://", "", "website_url format"),
            (
                HCAPTCHA,
                "https://accounts",
                "ftp://accounts",
                "website_url format",
            ),
            (
                HCAPTCHA,
                "https://accounts.hcaptcha.com/demo",
                " ",
                "website_url field is required",
            ),
            (
                HCAPTCHA,
                "\"a5f74b19-9e45-40e0-b45d-47ff91b7a6c2\"",
                "null",
                "website_key field must be",
            ),
            (
                HCAPTCHA,
                "\"type_job_id\"",
                "\"isInvisible\": true, \"type_job_id\"",
                "unknown field data.",
            ),
            (HCAPTCHA, "\"data\"", "\"id\": 1, \"data\"", "unknown field"),
            (HCAPTCHA, "c2\"\n\t}", "c2\",\n\t}", "not a JSON object"),
            (
                RECAPTCHA,
                "websiteURL",
                "website_url",
                "websiteURL field is required",
            ),
            (
                RECAPTCHA,
                "websiteKey",
                "website_key",
                "websiteKey field is required",
            ),
            (
                RECAPTCHA,
                "false",
                "\"false\"",
                "isInvisible field must be true or false",
            ),
            (
                RECAPTCHA,
                "isInvisible",
                "is_invisible",
                "unknown field data.",
            ),
            (RECAPTCHA, "\"1\"", "\"ID\"", "type_job_id is invalid"),
            (
                POLL,
                "123456",
                "\"123456\"",
                "job_id field must be a number",
            ),
            (POLL, "job_id", "jobId", "job_id field is required"),
            (POLL, "\"job_id\"", "\"x\": 1, \"job_id\"", "unknown field"),
            (POLL, POLL, "[]", "not a JSON object"),
            (POLL, POLL, "", "not a JSON object"),
        ] {
            let body = original.replacen(from, to, 1);
            assert_ne!(body, original, "nothing was replaced: {from}");
            let endpoint = if original == POLL {
                Endpoint::Poll
            } else {
                Endpoint::Create
            };
            let message = v1(endpoint, &body).unwrap_err();
            assert!(message.contains(why), "{from} → {to}: {message}");
        }
    }

    #[test]
    fn the_content_type_is_json() {
        let settings = SimulatorSettings::default();
        let with = |content_type| {
            let request = HttpRequest {
                content_type,
                ..HttpRequest::post_json("", POLL.as_bytes())
            };
            decode(&settings, Endpoint::Poll, &request).is_ok()
        };
        assert!(with("application/json"));
        assert!(with("Application/JSON; charset=utf-8"));
        assert!(!with("text/plain"));
        assert!(!with("application/x-www-form-urlencoded"));
        assert!(!with(""));
    }

    #[test]
    fn only_the_tokens_listed_are_accepted() {
        let mut settings = SimulatorSettings::default();
        settings
            .accepted_tokens
            .push(AccountToken::try_new("right").unwrap());
        let with = |token: &str| {
            let body = format!(r#"{{"api_token": "{token}"}}"#);
            decode(
                &settings,
                Endpoint::Balance,
                &HttpRequest::post_json("", body.as_bytes()),
            )
        };
        assert_eq!(with("right"), Ok(Demand::Balance));
        assert_eq!(with("wrong"), Err(BAD_TOKEN.to_owned()));
    }

    #[test]
    fn ids_that_cannot_be_ours_are_unknown_jobs() {
        for id in ["99999999999999999999999", "-1", "1.5"] {
            let body = POLL.replace("123456", id);
            assert_eq!(v1(Endpoint::Poll, &body), Ok(Demand::Poll(None)), "{id}");
        }
        assert_eq!(job_id(JobIds::Strings, &"job-7".into()), Ok(Some(7)));
        assert_eq!(job_id(JobIds::Strings, &"7".into()), Ok(None));
        assert!(job_id(JobIds::Strings, &7.into()).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_damage_makes_a_panic_or_another_request(at in 0..300_usize, byte: u8) {
            let mut body = RECAPTCHA.as_bytes().to_vec();
            let at = at % body.len();
            body[at] = byte;
            let settings = SimulatorSettings::default();
            let request = HttpRequest::post_json("", &body);
            if let Ok(Demand::Create { job_type, request }) = decode(&settings, Endpoint::Create, &request) {
                proptest::prop_assert_eq!(job_type, 1);
                proptest::prop_assert!(!request.key.is_empty() && request.url.to_ascii_lowercase().starts_with("http"));
            }
        }
    }
}
