//! Questions about the account: its balance, the services.

use super::super::*;
use crate::api::testing::{answer, in_words, reader};

/// The answers to getBalance that are printed, and what else may come.
#[rustfmt::skip]
const BALANCES: &[(u16, &str, &str)] = &[
    (200, r#"{"error": false, "balance": "0.00000", "message": "Get balance success."}"#, "$0"),
    (200, r#"{"error": true, "message": "Invalid api token."}"#, "BadToken: Invalid api token."),
    (200, r#"{"error": false, "balance": "12.34567"}"#, "$12.34567"),
    (200, r#"{"error": false, "balance": 12.34567}"#, "$12.34567"),
    (200, r#"{"success": true, "balance": "1.99999999"}"#, "$1.999999"),
    (200, r#"{"error": false, "balance": "-0.5"}"#, "$-0.5"),
    (401, r#"{"error": true, "message": "s3cr3t-account"}"#, "BadToken: [secret]"),
    (200, r#"{"error": true, "balance": "5"}"#, "Unrecognised: "),
    (200, r#"{"error": false, "balance": null}"#, "unusable: HTTP 200, application/json: no balance"),
    (200, r#"{"error": false, "balance": "plenty"}"#, "unusable: HTTP 200, application/json: no balance"),
    (200, r#"{"error": false}"#, "unusable: HTTP 200, application/json: no balance"),
    (404, r#"{"balance": "5"}"#, "unusable: HTTP 404, application/json: no balance"),
    (502, r#"{"balance": "5"}"#, "unusable: HTTP 502, application/json: no balance"),
    (500, r#"{"error": true, "message": "Invalid api token."}"#, "unusable: HTTP 500, application/json: no balance"),
    (200, "<html>", "unusable: HTTP 200, text/html"),
    (502, "<html>", "unusable: HTTP 502, text/html"),
    (200, "", "unusable: HTTP 200, application/json, empty"),
    (200, r#"{"error": false, "balance": "0.0"#, "unusable: HTTP 200, application/json: cut short at byte 32"),
    (429, "", "throttled"),
];

#[test]
fn every_balance_means_what_the_documents_say() {
    for (status, body, meaning) in BALANCES {
        let reply = decode_balance(&answer(*status, body), &reader());
        let words = in_words(reply, |balance| {
            assert_eq!((balance.voucher, balance.quantity), (None, None));
            format!("${}", balance.amount)
        });
        assert_eq!(&words, meaning, "HTTP {status} {body}");
    }
}

#[test]
fn services_are_told_in_their_own_words() {
    let services = |body: &str| {
        in_words(decode_services(&answer(200, body), &reader()), |list| {
            list.iter()
                .map(|s| {
                    let price = s.price.map(|p| p.to_string()).unwrap_or_default();
                    let active = s.is_active;
                    format!(
                        "{}|{}|{price}|{}|{}|{active:?}",
                        s.id, s.name, s.avg_success, s.avg_time
                    )
                })
                .collect::<Vec<_>>()
                .join(" ")
        })
    };
    assert_eq!(
        services(
            r#"{"error": false, "service": [{"id": 1, "name": "reCaptcha v2", "price": "0.00055", "avg_success": "98%", "avg_time": "15s", "is_active": 1, "x": []}], "message": "…"}"#
        ),
        "1|reCaptcha v2|0.00055|98%|15s|Some(true)"
    );
    assert_eq!(
        services(
            r#"{"service": [{"id": "11", "price": 0.001, "avg_time": 15, "is_active": "0"}, {"name": "x"}, 7, {"id": 3, "name": "\u001b[2J s3cr3t-account"}]}"#
        ),
        "11||0.001||15|Some(false) 3|\\u{1b}[2J [secret]||||None"
    );
    assert_eq!(services(r#"{"error": false, "service": []}"#), "");
    assert_eq!(
        services(r#"{"error": false, "service": null}"#),
        "unusable: HTTP 200, application/json: no list of services"
    );
    assert_eq!(
        services(r#"{"error": true, "message": "Invalid api token."}"#),
        "BadToken: Invalid api token."
    );
}

#[test]
fn questions_about_the_account_carry_its_token_and_nothing_else() {
    let token = AccountToken::try_new("YOUR_API_KEY").unwrap();
    assert_eq!(encode_balance(&token), br#"{"api_token":"YOUR_API_KEY"}"#);
    assert_eq!(encode_services(&token), br#"{"api_token":"YOUR_API_KEY"}"#);
}
