//! Requests of both protocols, decoded as strictly as can be: whatever is missing, misspelt, superfluous
//! or of the wrong type is refused, so that a client that passes here passes at the service.
//!
//! The one leniency is v2's: members that clients of its shape send to every service of it
//! ([`TOLERATED`]) are passed over.

use std::sync::Arc;

use serde_json::{Map, Value};
use url::Url;

use crate::api::Protocol;
use crate::job::FieldType;

use super::fault::Endpoint;
use super::ids::Ids;
use super::record::RequestKey;
use super::refusal::Refusal;
use super::settings::{SimulatorSettings, Spelling};

/// Members of v2's createTask that say who wrote the client or how to tell it the result.
const TOLERATED: [&str; 3] = ["softId", "languagePool", "callbackUrl"];

/// What a protocol calls the members of its requests.
struct Names {
    token: &'static str,
    data: &'static str,
    job_type: &'static str,
    job_id: &'static str,
}

fn names(protocol: Protocol) -> Names {
    match protocol {
        Protocol::V1 => Names {
            token: "api_token",
            data: "data",
            job_type: "type_job_id",
            job_id: "job_id",
        },
        Protocol::V2 => Names {
            token: "clientKey",
            data: "task",
            job_type: "type",
            job_id: "taskId",
        },
    }
}

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

/// The protocol and the endpoint at a path. v2 has no list of services.
pub(super) fn endpoint_at(path: &str) -> Option<(Protocol, Endpoint)> {
    let v1 = |endpoint| Some((Protocol::V1, endpoint));
    let v2 = |endpoint| Some((Protocol::V2, endpoint));
    match path {
        "/api/createJob" => v1(Endpoint::Create),
        "/api/getJobResult" => v1(Endpoint::Poll),
        "/api/getBalance" => v1(Endpoint::Balance),
        "/api/getService" => v1(Endpoint::Service),
        _ => match path.strip_prefix("/v2").unwrap_or(path) {
            "/createTask" => v2(Endpoint::Create),
            "/getTaskResult" => v2(Endpoint::Poll),
            "/getBalance" => v2(Endpoint::Balance),
            _ => None,
        },
    }
}

/// Reads a request, or says why it is refused.
pub(super) fn decode(
    settings: &SimulatorSettings,
    protocol: Protocol,
    endpoint: Endpoint,
    request: &HttpRequest<'_>,
) -> Result<Demand, Refusal> {
    let media_type = request.content_type.split(';').next().unwrap_or_default();
    if !media_type.trim().eq_ignore_ascii_case("application/json") {
        return Err(malformed("The request must be of type application/json."));
    }
    let Ok(Value::Object(mut body)) = serde_json::from_slice(request.body) else {
        return Err(malformed("The request is not a JSON object."));
    };
    let names = names(protocol);
    match take(&mut body, names.token)? {
        Value::String(token) if accepts(settings, &token) => {}
        Value::String(_) => return Err(Refusal::BadToken),
        _ => {
            return Err(malformed(&format!(
                "The {} field must be a string.",
                names.token
            )));
        }
    }
    let demand = match endpoint {
        Endpoint::Create => {
            let Value::Object(data) = take(&mut body, names.data)? else {
                return Err(malformed(&format!(
                    "The {} field must be an object.",
                    names.data
                )));
            };
            if protocol == Protocol::V2 {
                body.retain(|name, _| !TOLERATED.contains(&name.as_str()));
            }
            create(settings, protocol, &names, data)?
        }
        Endpoint::Poll => {
            let ids = Ids {
                shapes: settings.shapes,
                job_ids: settings.job_ids,
            };
            let sent = take(&mut body, names.job_id)?;
            if let Some(why) = ids.wrong_type(protocol, &sent) {
                return Err(malformed(&format!("The {} field {why}.", names.job_id)));
            }
            Demand::Poll(ids.read(protocol, &sent))
        }
        Endpoint::Balance => Demand::Balance,
        Endpoint::Service => Demand::Service,
    };
    nothing_left(&body, "")?;
    Ok(demand)
}

fn malformed(why: &str) -> Refusal {
    Refusal::Malformed(why.to_owned())
}

fn create(
    settings: &SimulatorSettings,
    protocol: Protocol,
    names: &Names,
    mut data: Map<String, Value>,
) -> Result<Demand, Refusal> {
    let name = names.job_type;
    let Value::String(id) = take(&mut data, name)? else {
        return Err(malformed(&format!("The {name} field must be a string.")));
    };
    let found = settings.job_type(protocol, &id).and_then(|n| {
        let spelling = settings.job_types[n].spelling(protocol)?;
        Some((n, spelling))
    });
    let Some((job_type, spelling)) = found else {
        return Err(malformed(&format!("The {name} is invalid.")));
    };
    let request = identity(spelling, &mut data)?;
    nothing_left(&data, &format!("{}.", names.data))?;
    Ok(Demand::Create {
        job_type,
        request: Arc::new(request),
    })
}

/// Takes the fields of a type out of its object. Gives the first URL and the site key.
fn identity(spelling: &Spelling, data: &mut Map<String, Value>) -> Result<RequestKey, Refusal> {
    let mut request = RequestKey::default();
    for field in &spelling.fields {
        let name = &field.name;
        let value = match take(data, name) {
            Ok(value) => value,
            Err(_) if !field.required => continue,
            Err(why) => return Err(why),
        };
        match (field.field_type, value) {
            (FieldType::Bool, Value::Bool(_)) => {}
            (FieldType::Bool, _) => {
                return Err(malformed(&format!(
                    "The {name} field must be true or false."
                )));
            }
            (_, Value::String(text)) if text.trim().is_empty() => {
                return Err(malformed(&format!("The {name} field is required.")));
            }
            (FieldType::Url, Value::String(text)) => {
                let good = Url::parse(&text).is_ok_and(|u| matches!(u.scheme(), "http" | "https"));
                if !good {
                    return Err(malformed(&format!("The {name} format is invalid.")));
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
            _ => return Err(malformed(&format!("The {name} field must be a string."))),
        }
    }
    Ok(request)
}

fn accepts(settings: &SimulatorSettings, token: &str) -> bool {
    if settings.accepted_tokens.is_empty() {
        !token.is_empty()
    } else {
        settings.accepted_tokens.iter().any(|t| t.expose() == token)
    }
}

fn take(object: &mut Map<String, Value>, name: &str) -> Result<Value, Refusal> {
    object
        .remove(name)
        .ok_or_else(|| malformed(&format!("The {name} field is required.")))
}

fn nothing_left(object: &Map<String, Value>, prefix: &str) -> Result<(), Refusal> {
    match object.keys().next() {
        // Its name is the client's text, and is not given back.
        Some(_) => Err(malformed(&format!("There is an unknown field {prefix}*."))),
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

    fn spoken(protocol: Protocol, endpoint: Endpoint, body: &str) -> Result<Demand, String> {
        let request = HttpRequest::post_json("", body.as_bytes());
        decode(&SimulatorSettings::default(), protocol, endpoint, &request)
            .map_err(|refusal| refusal.words().to_owned())
    }

    fn v1(endpoint: Endpoint, body: &str) -> Result<Demand, String> {
        spoken(Protocol::V1, endpoint, body)
    }

    fn v2(endpoint: Endpoint, body: &str) -> Result<Demand, String> {
        spoken(Protocol::V2, endpoint, body)
    }

    const V2_CREATE: &str = r#"{"clientKey": "K", "task": {"type": "RecaptchaV2TokenTask", "websiteURL": "https://a.example.com/", "websiteKey": "k"}}"#;
    const V2_POLL: &str = r#"{"clientKey": "K", "taskId": "00000000-0000-4000-8000-000000000008"}"#;

    #[test]
    fn v2_is_accepted_as_documented() {
        let created = v2(Endpoint::Create, V2_CREATE).unwrap();
        assert!(matches!(created, Demand::Create { job_type: 1, .. }));
        let invisible = V2_CREATE.replace("\"k\"", "\"k\", \"isInvisible\": true");
        assert!(v2(Endpoint::Create, &invisible).is_ok());
        let client = V2_CREATE.replacen('{', "{\"softId\": 0, \"languagePool\": \"en\", ", 1);
        assert!(v2(Endpoint::Create, &client).is_ok());
        assert_eq!(v2(Endpoint::Poll, V2_POLL), Ok(Demand::Poll(Some(8))));
        assert_eq!(
            v2(Endpoint::Balance, r#"{"clientKey": "K"}"#),
            Ok(Demand::Balance)
        );
    }

    #[test]
    fn every_deviation_from_v2_is_refused() {
        for (endpoint, original, from, to, why) in [
            (
                Endpoint::Create,
                V2_CREATE,
                "clientKey",
                "api_token",
                "clientKey field is required",
            ),
            (
                Endpoint::Create,
                V2_CREATE,
                "\"K\"",
                "\"\"",
                "Invalid api token.",
            ),
            (
                Endpoint::Create,
                V2_CREATE,
                "\"task\"",
                "\"data\"",
                "task field is required",
            ),
            (
                Endpoint::Create,
                V2_CREATE,
                "\"type\"",
                "\"type_job_id\"",
                "type field is required",
            ),
            (
                Endpoint::Create,
                V2_CREATE,
                "RecaptchaV2TokenTask",
                "1",
                "type is invalid",
            ),
            (
                Endpoint::Create,
                V2_CREATE,
                "RecaptchaV2TokenTask",
                "HCaptchaTokenTask",
                "type is invalid",
            ),
            (
                Endpoint::Create,
                V2_CREATE,
                "websiteURL",
                "website_url",
                "websiteURL field is required",
            ),
            (
                Endpoint::Create,
                V2_CREATE,
                "\"task\"",
                "\"soft\": 1, \"task\"",
                "unknown field",
            ),
            (
                Endpoint::Create,
                V2_CREATE,
                "\"type\"",
                "\"softId\": 1, \"type\"",
                "unknown field task.",
            ),
            (
                Endpoint::Poll,
                V2_POLL,
                "taskId",
                "job_id",
                "taskId field is required",
            ),
            (
                Endpoint::Poll,
                V2_POLL,
                "\"00000000-0000-4000-8000-000000000008\"",
                "null",
                "taskId field must be",
            ),
            (
                Endpoint::Poll,
                V2_POLL,
                "\"taskId\"",
                "\"softId\": 1, \"taskId\"",
                "unknown field",
            ),
        ] {
            let body = original.replacen(from, to, 1);
            assert_ne!(body, original, "nothing was replaced: {from}");
            let message = v2(endpoint, &body).unwrap_err();
            assert!(message.contains(why), "{from} → {to}: {message}");
        }
    }

    #[test]
    fn paths() {
        let v2 = |endpoint| Some((Protocol::V2, endpoint));
        assert_eq!(
            endpoint_at("/api/createJob"),
            Some((Protocol::V1, Endpoint::Create))
        );
        assert_eq!(endpoint_at("/v2/createTask"), v2(Endpoint::Create));
        assert_eq!(endpoint_at("/createTask"), v2(Endpoint::Create));
        assert_eq!(endpoint_at("/v2/getBalance"), v2(Endpoint::Balance));
        assert_eq!(endpoint_at("/v2/getService"), None);
        assert_eq!(endpoint_at("/v2/v2/createTask"), None);
        assert_eq!(endpoint_at("/v2"), None);
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
            decode(&settings, Protocol::V1, Endpoint::Poll, &request).is_ok()
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
                Protocol::V1,
                Endpoint::Balance,
                &HttpRequest::post_json("", body.as_bytes()),
            )
        };
        assert_eq!(with("right"), Ok(Demand::Balance));
        assert_eq!(with("wrong"), Err(Refusal::BadToken));
    }

    #[test]
    fn ids_that_cannot_be_ours_are_unknown_jobs() {
        for id in ["99999999999999999999999", "-1", "1.5"] {
            let body = POLL.replace("123456", id);
            assert_eq!(v1(Endpoint::Poll, &body), Ok(Demand::Poll(None)), "{id}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_damage_makes_a_panic_or_another_request(at in 0..300_usize, byte: u8) {
            let mut body = RECAPTCHA.as_bytes().to_vec();
            let at = at % body.len();
            body[at] = byte;
            let settings = SimulatorSettings::default();
            let request = HttpRequest::post_json("", &body);
            if let Ok(Demand::Create { job_type, request }) = decode(&settings, Protocol::V1, Endpoint::Create, &request) {
                proptest::prop_assert_eq!(job_type, 1);
                proptest::prop_assert!(!request.key.is_empty() && request.url.to_ascii_lowercase().starts_with("http"));
            }
        }
    }
}
