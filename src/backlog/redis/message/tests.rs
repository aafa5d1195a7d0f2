//! What is taken, what is not, and that nothing panics.

use proptest::prelude::*;

use super::*;
use crate::job::SiteRule;

fn intake(default_kind: Option<&str>) -> Intake {
    Intake {
        kinds: Kinds::built_in().for_protocol("v1"),
        sites: Allowlist::new(vec![SiteRule::try_new("a.example.com", vec![]).unwrap()]),
        default_kind: default_kind.map(str::to_owned),
    }
}

fn id(text: &str) -> RequestId {
    RequestId::try_new(text).unwrap()
}

fn read(text: impl AsRef<[u8]>) -> Result<Message, Box<Rejected>> {
    intake(None).read(text.as_ref(), || id("fresh"))
}

/// A good message with `more` put at its end.
fn good(more: &str) -> String {
    format!(
        r#"{{"id":"a","job":"hcaptcha","website_url":"https://a.example.com","website_key":"k"{more}}}"#
    )
}

fn why(text: impl AsRef<[u8]>) -> String {
    read(text).unwrap_err().why.to_string()
}

#[test]
fn a_message_with_everything() {
    let text = good(
        r#","deadline":90.5,"reply_to":"reply:1","meta": {"n" : 12345678901234567890.10, "s":"\ud800"} "#,
    );
    let message = read(&text).unwrap();
    assert_eq!(message.request.id().as_str(), "a");
    assert!(message.has_own_id);
    assert_eq!(message.request.kind().name, "hcaptcha");
    assert_eq!(
        message.deadline,
        Some(Deadline::In(Duration::from_millis(90_500)))
    );
    assert_eq!(message.reply_to.as_deref(), Some("reply:1"));
    assert_eq!(
        message.meta.unwrap().get(),
        r#"{"n" : 12345678901234567890.10, "s":"\ud800"}"#
    );
    assert_eq!(message.payload, text);
}

#[test]
fn aliases_bools_and_nulls() {
    let text = r#" {"\u006aob":"recaptcha-v2","url":"https://a.example.com/","sitekey":"k","invisible":true,
        "deadline":null,"reply_to":null,"meta":null}
    "#;
    let message = read(text).unwrap();
    let values: Vec<_> = message.request.values().iter().flatten().collect();
    assert_eq!(values.len(), 3, "{values:?}");
    assert_eq!((message.deadline, message.reply_to), (None, None));
    assert_eq!(message.meta.unwrap().get(), "null");
}

#[test]
fn deadlines() {
    let deadline = |text: &str| read(good(&format!(r#","deadline":{text}"#))).map(|m| m.deadline);
    let at = "2026-11-24T12:00:00Z".parse().unwrap();
    assert_eq!(
        deadline(r#""2026-11-24T13:00:00+01:00""#).unwrap(),
        Some(Deadline::At(at))
    );
    assert_eq!(
        deadline("1e2").unwrap(),
        Some(Deadline::In(Duration::from_secs(100)))
    );
    for bad in ["0", "-1", "1e999", "-1e999", "1e-999", "31536001", "1e18"] {
        let why = deadline(bad).unwrap_err().why.to_string();
        assert_eq!(
            why, "`deadline` must be more than 0 seconds and at most a year",
            "{bad}"
        );
    }
    for bad in [
        r#""90""#,
        r#""soon""#,
        r#""2026-11-24T12:00:00""#,
        "true",
        "[]",
        "{}",
        r#""\ud800""#,
    ] {
        let why = deadline(bad).unwrap_err().why.to_string();
        assert!(
            why.starts_with("`deadline` must be a number of seconds"),
            "{bad}: {why}"
        );
    }
}

#[test]
fn how_long_a_deadline_is_away() {
    let now: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
    let at = |text: &str| Deadline::At(text.parse().unwrap()).left(now);
    assert_eq!(at("2026-11-24T12:01:30.5Z"), Duration::from_millis(90_500));
    assert_eq!(at("2026-11-24T11:59:59Z"), Duration::ZERO);
    assert_eq!(at("-009999-01-03T00:00:00Z"), Duration::ZERO);
    let year = Duration::from_secs(365 * 24 * 60 * 60);
    assert_eq!(at("9999-12-30T00:00:00Z"), year);
    assert_eq!(
        Deadline::In(Duration::from_secs(7)).left(now),
        Duration::from_secs(7)
    );
}

#[test]
fn what_is_rejected_and_why() {
    let url = r#""job":"hcaptcha","website_url":"https://a.example.com","website_key":"k""#;
    for (text, expected) in [
        (
            "",
            "the message is not JSON: EOF while parsing a value at line 1 column 0",
        ),
        (
            "hello",
            "the message is not JSON: expected value at line 1 column 1",
        ),
        ("[1]", "the message must be a JSON object"),
        (
            "{}",
            "`job` is missing; it names the kind, of hcaptcha, recaptcha-v2",
        ),
        (
            r#"{"job":"hcapcha"}"#,
            "unknown job kind `hcapcha`; known are hcaptcha, recaptcha-v2",
        ),
        (
            r#"{"job":""}"#,
            "`job` must be the name of a kind, in quotes",
        ),
        (
            r#"{"job":null}"#,
            "`job` must be the name of a kind, in quotes",
        ),
        (
            &format!(r#"{{"id":17,{url}}}"#),
            "`id` must be a string; put the number in quotes",
        ),
        (
            &format!(r#"{{"id":null,{url}}}"#),
            "`id` must be a string; leave it out to be given one",
        ),
        (
            &format!(r#"{{"id":"",{url}}}"#),
            "`id` must have 1 to 512 bytes and no control characters",
        ),
        (
            &format!(r#"{{"id":"a\u0000",{url}}}"#),
            "`id` must have 1 to 512 bytes and no control characters",
        ),
        (
            &format!(r#"{{"id":"a",{url},"i\u0064":"a"}}"#),
            "`id` stands twice",
        ),
        (
            &good(r#","website_ulr":1"#),
            "unknown member `website_ulr`; did you mean `website_url`?",
        ),
        (
            &good(r#","cart":1"#),
            "unknown member `cart`; what is not for hcaptcha goes into `meta`",
        ),
        (
            &good(r#","invisible":"maybe""#),
            "unknown member `invisible`; what is not for hcaptcha goes into `meta`",
        ),
        (
            &good(r#","url":"https://a.example.com""#),
            "`url` stands beside `website_url`, and both are hcaptcha's `website_url`; leave one out",
        ),
        (&good(r#","reply_to":7"#), "`reply_to` must be a string"),
        (
            &good(&format!(r#","meta":"{}""#, "x".repeat(LONGEST_META))),
            "`meta` is longer than 16 KiB",
        ),
        (
            &good(&format!(r#","meta":{}{}"#, "[".repeat(32), "]".repeat(32))),
            "the message is nested deeper than 32 levels",
        ),
        (
            &good(&format!(r#","x":"{}""#, "x".repeat(LONGEST_MESSAGE))),
            "the message is longer than 64 KiB",
        ),
        (
            &good("} {"),
            "the message is not JSON: trailing characters at line 1 column 85",
        ),
        (
            r#"{"job":"hcaptcha","website_url":7}"#,
            "`website_url` must be a string",
        ),
        (
            r#"{"job":"hcaptcha","website_url":"https://a.example.com","website_key":"a\u0000b"}"#,
            "`website_key` contains a control character",
        ),
        (
            r#"{"job":"hcaptcha","website_url":"https://a.example.com","website_key":"\udc00"}"#,
            "`website_key` must be a string",
        ),
        (
            r#"{"job":"hcaptcha","website_url":"https://a.example.com"}"#,
            "`website_key` is empty; hcaptcha needs it",
        ),
        (
            r#"{"job":"hcaptcha","website_url":"https://u@a.example.com","website_key":"k"}"#,
            "`website_url`: bad URL: it contains user information before the host",
        ),
        (
            r#"{"job":"recaptcha-v2","website_url":"https://a.example.com","website_key":"k","invisible":"maybe"}"#,
            "`is_invisible` must be true or false",
        ),
        (
            r#"{"job":"recaptcha-v2","website_url":"https://a.example.com","website_key":"k","invisible":2}"#,
            "`is_invisible` must be true or false",
        ),
    ] {
        let rejected = read(text).unwrap_err();
        assert_eq!(rejected.why.as_str(), expected, "{text:.80}");
        assert_eq!(rejected.class, ErrorClass::InvalidRequest);
        assert_eq!(rejected.text.as_str(), &text[..text.len().min(1000)]);
    }
    assert_eq!(why(b"{\"job\":\"\xff\"}"), "the message is not UTF-8");
}

#[test]
fn a_site_that_is_not_listed_has_its_own_class() {
    let rejected = read(good("").replace("a.example", "b.example")).unwrap_err();
    assert_eq!(rejected.class, ErrorClass::SiteNotAuthorized);
    assert_eq!(rejected.id, Some(id("a")));
    assert_eq!(rejected.job.as_deref(), Some("hcaptcha"));
    assert_eq!(rejected.about().request, None, "it is a request");
    let without_id = good("")
        .replace("a.example", "b.example")
        .replace(r#""id":"a","#, "");
    let rejected = read(&without_id).unwrap_err();
    assert_eq!(rejected.about().request, Some(without_id.as_str()));
}

#[test]
fn a_rejected_message_is_answered_as_far_as_it_could_be_read() {
    let head = r#"{"id":"a","reply_to":"reply:1","meta":[1],"job":"hcaptcha""#;
    for (tail, what) in [
        (r#","website_url""#, "cut"),
        (r#","x":1}"#, "unknown member"),
        (r#","x":"#, "cut before a value"),
        (r#","job":"hcaptcha"}"#, "another member twice"),
        ("}}", "goes on"),
        (&format!(r#","x":"{}"}}"#, "x".repeat(100_000)), "too long"),
        (&format!(r#","x":{}"#, "[".repeat(60_000)), "too deep"),
    ] {
        let rejected = read(format!("{head}{tail}")).unwrap_err();
        assert_eq!(rejected.id, Some(id("a")), "{what}");
        assert_eq!(rejected.reply_to.as_deref(), Some("reply:1"), "{what}");
        assert_eq!(rejected.meta.unwrap().get(), "[1]", "{what}");
    }
    let rejected =
        read(b"{\"id\":\"a\xff\",\"reply_to\":\"reply:1\",\"meta\":\"\xff\"}").unwrap_err();
    assert_eq!((rejected.id, rejected.meta.is_none()), (None, true));
    assert_eq!(rejected.reply_to.as_deref(), Some("reply:1"));
    // Which of the two is meant, nobody knows.
    let rejected = read(r#"{"x":1,"x":1,"id":"a","id":"b","reply_to":"reply:1"}"#).unwrap_err();
    assert_eq!(rejected.id, None);
    assert_eq!(rejected.reply_to.as_deref(), Some("reply:1"));
    // What would not have been taken does not go back.
    let deep = format!(r#"{{"meta":{}{}}}"#, "[".repeat(40), "]".repeat(40));
    assert!(read(deep).unwrap_err().meta.is_none());
}

#[test]
fn many_members_cost_little() {
    let mut text = "{\"id\":\"a\"".to_owned();
    for n in 0..7000 {
        text += &format!(",\"{n}\":1");
    }
    text += "}";
    let rejected = read(text).unwrap_err();
    assert_eq!(
        rejected.why.as_str(),
        "the message has more than 128 members"
    );
    assert_eq!(rejected.id, Some(id("a")));
    let name = "w".repeat(60_000);
    let why = why(good(&format!(r#","{name}":1"#)));
    assert!(
        why.starts_with("unknown member `www") && why.len() < 200,
        "{why}"
    );
}

#[test]
fn what_is_kept_is_the_same_request_for_everybody() {
    let text = r#"  {"website_url":"HTTPS://A.example.com","website_key":"k","deadline":5,"meta":{"a":1}}"#;
    let here = intake(Some("hcaptcha"));
    let message = here.read(text.as_bytes(), || id("fre\"sh")).unwrap();
    assert!(!message.has_own_id);
    // Another worker has another kind for messages without one.
    let there = intake(Some("recaptcha-v2"));
    let again = there
        .restore(&message.payload, message.request.id())
        .unwrap();
    assert_eq!(again.request.id(), message.request.id());
    assert_eq!(again.request.fields_hash(), message.request.fields_hash());
    assert_eq!(again.payload, message.payload, "and stays as it is");
    assert_eq!(again.meta.unwrap().get(), r#"{"a":1}"#);
    assert_eq!(again.deadline, message.deadline);
}

#[test]
fn what_is_kept_is_judged_by_the_allowlist_of_now() {
    let message = read(good("")).unwrap();
    let mut stricter = intake(None);
    stricter.sites = Allowlist::default();
    let rejected = stricter.restore(&message.payload, &id("a")).unwrap_err();
    assert_eq!(rejected.class, ErrorClass::SiteNotAuthorized);
    assert_eq!(rejected.id, Some(id("a")));
    let rejected = intake(None)
        .restore(&message.payload, &id("b"))
        .unwrap_err();
    assert_eq!(
        rejected.id,
        Some(id("b")),
        "it is answered as what it was admitted as"
    );
}

#[test]
fn the_longest_message_still_fits_with_what_is_put_in() {
    let head = r#"{"website_url":"https://a.example.com","website_key":"k","meta":[]"#;
    let text = format!("{head}{}}}", " ".repeat(LONGEST_MESSAGE - head.len() - 1));
    assert_eq!(text.len(), LONGEST_MESSAGE);
    let long_id = id(&"\"".repeat(512));
    let here = intake(Some("hcaptcha"));
    let message = here.read(text.as_bytes(), || long_id.clone()).unwrap();
    assert!(message.payload.len() > LONGEST_MESSAGE);
    here.restore(&message.payload, &long_id).unwrap();
}

#[test]
fn an_id_in_use_is_a_rejection() {
    let text = good(r#","reply_to":"reply:1","meta":1"#);
    let rejected = read(&text).unwrap().conflict(text.as_bytes());
    assert_eq!(rejected.id, Some(id("a")));
    assert_eq!(rejected.class, ErrorClass::InvalidRequest);
    assert_eq!(rejected.meta.unwrap().get(), "1");
    assert!(
        rejected
            .why
            .as_str()
            .starts_with("`id` is that of a request with other fields")
    );
}

#[test]
fn a_rejection_as_json() {
    let rejected = read(r#"{"id":"a","reply_to":"x","meta":1.0,"token":"hunter2"}"#).unwrap_err();
    assert!(!format!("{rejected:?}").contains("hunter2"));
    let outcome = rejected.outcome(Timestamp::from_millisecond(1_700_000_000_000).unwrap());
    let json = crate::sink::json::outcome(rejected.about(), &outcome);
    insta::assert_snapshot!(String::from_utf8(json).unwrap(), @r#"{"id":"a","job":null,"status":"rejected","token":null,"error":"invalid_request","message":"`job` is missing; it names the kind, of hcaptcha, recaptcha-v2","remote_id":null,"attempts":0,"polls":0,"submitted_at":null,"finished_at":"2023-11-14T22:13:20.000Z","expires_at":null,"elapsed_s":null,"cost":"0","meta":1.0,"request":"{\"id\":\"a\",\"reply_to\":\"x\",\"meta\":1.0,\"token\":\"hunter2\"}"}"#);
}

/// Whatever is in it, a message ends in one of two ways, and either has a JSON form of bounded size.
fn check(text: &[u8]) -> Result<(), TestCaseError> {
    for default_kind in [None, Some("hcaptcha"), Some("nope")] {
        let intake = intake(default_kind);
        match intake.read(text, || id("fresh")) {
            Ok(message) => {
                prop_assert!(text.len() <= LONGEST_MESSAGE);
                let again = intake.restore(&message.payload, message.request.id());
                let again = again.map_err(|r| TestCaseError::fail(r.why.to_string()))?;
                prop_assert_eq!(again.request.fields_hash(), message.request.fields_hash());
                prop_assert_eq!(&again.payload, &message.payload);
                // The producer's own reader sees the same.
                let plain: serde_json::Value = match serde_json::from_str(&message.payload) {
                    Ok(plain) => plain,
                    // Lone surrogates and endless numbers in `meta` go through unread.
                    Err(_) => {
                        prop_assert!(message.meta.is_some());
                        return Ok(());
                    }
                };
                prop_assert_eq!(plain["id"].as_str(), Some(message.request.id().as_str()));
            }
            Err(rejected) => {
                let outcome = rejected.outcome(Timestamp::UNIX_EPOCH);
                let json = crate::sink::json::outcome(rejected.about(), &outcome);
                // 1,000 characters of six bytes each at worst, the meta and the rest.
                prop_assert!(json.len() < 12_000 + LONGEST_META + 3_000 + LONGEST_MESSAGE);
                prop_assert!(std::str::from_utf8(&json).is_ok());
            }
        }
    }
    Ok(())
}

fn mutate(text: &str, edits: &[(prop::sample::Index, u8, u8)]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for (at, what, byte) in edits {
        if bytes.is_empty() {
            break;
        }
        let at = at.index(bytes.len());
        match what {
            0 => bytes[at] = *byte,
            1 => bytes.insert(at, *byte),
            2 => drop(bytes.remove(at)),
            3 => bytes.truncate(at),
            _ => {
                let rest = bytes[at..].to_vec();
                bytes.extend(rest);
            }
        }
    }
    bytes
}

/// A piece of JSON, or nearly.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        "-?[0-9]{1,40}(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,6})?",
        "\"(\\\\u[dD][89a-fA-F][0-9a-f]{2}|\\\\u00[01][0-9a-f]|[a-z{}\\[\\]:, ]|\\\\[nrt\"\\\\])*\"",
        "\"\\PC{0,8}\"",
        "[\\[{]{1,50}",
        (1usize..2000).prop_map(|n| format!("{}{}", "[".repeat(n), "]".repeat(n))),
        (1usize..2000).prop_map(|n| format!("{}1{}", "{\"a\":".repeat(n), "}".repeat(n))),
        Just("\"https://a.example.com/\"".to_owned()),
        Just("\"hcaptcha\"".to_owned()),
        Just("\"recaptcha-v2\"".to_owned()),
    ]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec![
            "id", "job", "deadline", "reply_to", "meta", "website_url", "website_key", "url", "sitekey",
            "invisible", "i\\u0064",
        ]).prop_map(str::to_owned),
        1 => "[a-zA-Z_\\\\\\x00\"]{0,6}",
    ]
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check(&bytes)?;
    }

    #[test]
    fn no_mutation_of_a_message_panics(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0u8..5, prop_oneof![any::<u8>(), Just(b'"'), Just(b'{'), Just(b'\\'), Just(0)]), 1..6),
    ) {
        let text = good(r#","deadline":"2026-11-24T12:00:00Z","reply_to":"reply:1","meta":{"a":[1,"\ud800"]}"#);
        check(&mutate(&text, &edits))?;
    }

    #[test]
    fn no_members_panic(members in prop::collection::vec((name(), piece()), 0..8), base in any::<bool>()) {
        let members: Vec<_> = members.iter().map(|(n, v)| format!("\"{n}\":{v}")).collect();
        let members = members.join(",");
        let text = match base {
            true if !members.is_empty() => good(&format!(",{members}")),
            _ => format!("{{{members}}}"),
        };
        check(text.as_bytes())?;
    }

    #[test]
    fn a_good_message_is_taken(key in "[a-zA-Z0-9é\"\\\\/ -]{0,20}x", own_id in prop::option::of("[^\\x00-\\x1f\\x7f-\\u{9f}]{1,40}"), meta in piece()) {
        let meta: Option<Box<RawValue>> = serde_json::from_str(&meta).ok();
        let meta = meta.filter(|m| members::depth(m.get()) < 32);
        let mut object = serde_json::json!({"job": "hcaptcha", "websiteURL": "https://a.example.com", "sitekey": key});
        if let Some(id) = &own_id {
            object["id"] = id.as_str().into();
        }
        let mut text = object.to_string();
        if let Some(meta) = &meta {
            text.pop();
            text += &format!(",\"meta\":{}}}", meta.get());
        }
        let message = read(&text).map_err(|r| TestCaseError::fail(r.why.to_string()))?;
        prop_assert_eq!(message.request.id().as_str(), own_id.as_deref().unwrap_or("fresh"));
        prop_assert_eq!(message.meta.map(|m| m.get().to_owned()), meta.map(|m| m.get().to_owned()));
        check(text.as_bytes())?;
    }
}
