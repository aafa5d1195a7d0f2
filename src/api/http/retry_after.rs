//! The `Retry-After` header: how long the service wants to be left alone.

use std::time::{Duration, SystemTime};

use hyper::header::{DATE, HeaderMap, RETRY_AFTER};

use crate::api::RetryAfter;

use super::header;

/// Longest wait that a `Retry-After` can ask for: nobody waits so long, and it fits every clock.
pub(super) const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
/// `Retry-After` (RFC 9110, 10.2.3), seconds or a date, as a time from now.
///
/// A date is taken relative to the answer's own `Date`, so that a wrong clock on either side does no
/// harm; without one, relative to `now`. A time that is past is zero, garbage is none.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<RetryAfter> {
    let text = header(headers, RETRY_AFTER.as_str());
    let wait = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // All digits, so that it can only fail by being too large.
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let until = httpdate::parse_http_date(text).ok()?;
        let sent = httpdate::parse_http_date(header(headers, DATE.as_str())).unwrap_or(now);
        until.duration_since(sent).unwrap_or_default()
    };
    Some(RetryAfter(wait.min(LONGEST_RETRY_AFTER)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_retry_after() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let wait = |headers: &[(&str, &str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.insert(
                    name.parse::<reqwest::header::HeaderName>().unwrap(),
                    value.parse().unwrap(),
                );
            }
            retry_after(&map, now).map(|RetryAfter(wait)| wait.as_secs())
        };
        let most = LONGEST_RETRY_AFTER.as_secs();
        assert_eq!(wait(&[]), None);
        for (value, seconds) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("007", Some(7)),
            ("315360001", Some(most)),
            ("18446744073709551615", Some(most)),
            ("18446744073709551616", Some(most)),
            ("9999999999999999999999999999999999", Some(most)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sunday, 06-Nov-94 08:50:37 GMT", Some(60)),
            ("Sun Nov  6 08:50:37 1994", Some(60)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(most)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("120 seconds", None),
            ("Sun, 06 Nov 1994", None),
        ] {
            assert_eq!(wait(&[("retry-after", value)]), seconds, "{value}");
        }
        // The server's clock is an hour ahead of ours; what it means is a minute.
        let ahead = [
            ("date", "Sun, 06 Nov 1994 09:49:37 GMT"),
            ("retry-after", "Sun, 06 Nov 1994 09:50:37 GMT"),
        ];
        assert_eq!(wait(&ahead), Some(60));
    }
}
