//! Messages of v1: encoded and decoded, and what stands around them in results.

use bytes::Bytes;
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use pollwheel::api::{Answer, RefusalRules, pieces};
use pollwheel::job::RemoteId;
use pollwheel::sink::{csv, json};

use crate::rows::{self, TOKEN};

fn answer(body: String) -> Answer {
    Answer {
        status: 200,
        retry_after: None,
        content_type: "application/json".to_owned(),
        body: Bytes::from(body),
    }
}

#[divan::bench]
fn encode_create(bencher: Bencher<'_, '_>) {
    let folder = tempfile::tempdir().unwrap();
    let request = crate::csv::claimed(folder.path(), 1).1.remove(0).request;
    let account = rows::identity().account;
    bencher
        .counter(ItemsCount::new(1_usize))
        .bench_local(|| pieces::encode_create(&account, black_box(&request)));
}

#[divan::bench]
fn encode_poll(bencher: Bencher<'_, '_>) {
    let account = rows::identity().account;
    let id = RemoteId::number("1795380688135416").unwrap();
    bencher
        .counter(ItemsCount::new(1_usize))
        .bench_local(|| pieces::encode_poll(&account, black_box(&id)));
}

#[divan::bench]
fn decode_created(bencher: Bencher<'_, '_>) {
    let body = r#"{"error": false, "job_id": 1795380688135416, "message": "Create job success."}"#;
    let (answer, account, rules) = (
        answer(body.to_owned()),
        rows::identity().account,
        RefusalRules::default(),
    );
    bencher
        .counter(BytesCount::of_str(body))
        .bench_local(|| pieces::decode_create(black_box(&answer), &account, &rules));
}

/// The three answers to a poll: pending, a strict token, and a token as it is really printed, which is no JSON.
#[divan::bench(args = ["pending", "solved", "loose"])]
fn decode_poll(bencher: Bencher<'_, '_>, which: &str) {
    let body = match which {
        "pending" => r#"{"error": false, "status": "running"}"#.to_owned(),
        "solved" => format!(r#"{{"error": false, "status": "success", "result": "{TOKEN}"}}"#),
        _ => format!(
            "{{\n\t\"error\": false,\n\t\"status\": \"success\",\n\t\"result\":{{\n\t\t\"{TOKEN}\"\n\t}}\n}}"
        ),
    };
    let (account, rules) = (rows::identity().account, RefusalRules::default());
    let members = ["gRecaptchaResponse".to_owned(), "token".to_owned()];
    let bytes = BytesCount::of_str(&body);
    let answer = answer(body);
    bencher
        .counter(bytes)
        .bench_local(|| pieces::decode_poll(black_box(&answer), &members, &account, &rules));
}

#[divan::bench]
fn result_as_csv(bencher: Bencher<'_, '_>) {
    let outcome = rows::outcome(1_795_380_688_135_416);
    let cells = b"row-1,https://shop.example.com/login?row=1,10000000-ffff-ffff";
    bencher
        .counter(ItemsCount::new(1_usize))
        .bench_local(|| csv::outcome_line(black_box(cells), &outcome, b','));
}

#[divan::bench]
fn result_as_json(bencher: Bencher<'_, '_>) {
    let outcome = rows::outcome(1_795_380_688_135_416);
    let about = json::About {
        id: Some("row-1"),
        job: Some("hcaptcha"),
        ..json::About::default()
    };
    bencher
        .counter(ItemsCount::new(1_usize))
        .bench_local(|| json::outcome(black_box(about), &outcome));
}
