//! The allowlist at the door of a large file: what most rows hold is let through without the parser.
//!
//! What must stay true: a [`Gate`] says of every URL what its [`Allowlist`] says, to the letter. Its shortcut
//! takes only an origin that the parser was seen to leave as it is, and that is listed for any site key,
//! followed by a path and a query of which the parser changes nothing. All else goes the long way.

use std::borrow::Cow;
use std::collections::HashSet;

use memchr::memchr3;

use super::site::LONGEST_URL;
use super::{Allowlist, SiteError};

/// Most origins that are remembered, and the longest one, in bytes.
const MOST_ORIGINS: usize = 4096;
const LONGEST_ORIGIN: usize = 300;

/// Bytes that the URL parser leaves as they are in a path and in a query. Some that it also leaves are not
/// here, since they are rare.
const LEFT_ALONE: [bool; 256] = {
    let mut table = [false; 256];
    let bytes =
        b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~/?=&%+,;:@!$()*";
    let mut n = 0;
    while n < bytes.len() {
        table[bytes[n] as usize] = true;
        n += 1;
    }
    table
};

/// An allowlist that remembers which origins it has let through.
#[derive(Clone, Debug)]
pub struct Gate {
    sites: Allowlist,
    /// Such as `https://shop.example.com:8443`: each stands in a URL as the parser gives it, and is listed for
    /// any site key.
    origins: HashSet<Box<str>>,
    /// The one of them that was met last; most rows come in runs of one site.
    last: Box<str>,
}

impl Gate {
    /// A gate that lets pass what is on the list.
    #[must_use]
    pub fn new(sites: Allowlist) -> Self {
        Self {
            sites,
            origins: HashSet::new(),
            last: Box::default(),
        }
    }

    /// The list.
    #[must_use]
    pub fn sites(&self) -> &Allowlist {
        &self.sites
    }

    /// As [`Allowlist::authorize`]. Borrowed where the URL is sent as it stands.
    ///
    /// # Errors
    ///
    /// As [`Allowlist::authorize`].
    pub fn authorize<'a>(
        &mut self,
        url: &'a str,
        site_key: Option<&str>,
    ) -> Result<Cow<'a, str>, SiteError> {
        let url = url.trim_matches(' ');
        let origin = origin(url);
        let is_known = origin.is_some_and(|origin| self.is_known(origin));
        if let Some(origin) = origin
            && is_known
            && url.len() < LONGEST_URL
        {
            match &url[origin.len()..] {
                "" => return Ok(Cow::Owned(format!("{origin}/"))),
                rest if is_left_alone(rest) => return Ok(Cow::Borrowed(url)),
                _ => {}
            }
        }
        let pass = self.sites.decide(url, site_key)?;
        if let Some(origin) = origin
            && !is_known
            && pass.any_key
            && self.origins.len() < MOST_ORIGINS
            && let Some(rest) = pass.url.as_str().strip_prefix(origin)
            && rest.starts_with('/')
        {
            self.origins.insert(origin.into());
        }
        Ok(Cow::Owned(pass.url.into()))
    }

    fn is_known(&mut self, origin: &str) -> bool {
        if *self.last == *origin {
            return true;
        }
        let known = self.origins.get(origin);
        if let Some(known) = known {
            self.last.clone_from(known);
        }
        known.is_some()
    }
}

/// What stands before the path, if it is of a usual form.
fn origin(url: &str) -> Option<&str> {
    let authority = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))?;
    let len = memchr3(b'/', b'?', b'#', authority.as_bytes()).unwrap_or(authority.len());
    let len = url.len() - authority.len() + len;
    (len <= LONGEST_ORIGIN).then(|| &url[..len])
}

/// Whether the parser changes nothing of what stands behind an origin: it begins with a slash, holds no byte that
/// is encoded or dropped, and no segment that may be `.` or `..`, also written with `%2e`.
fn is_left_alone(rest: &str) -> bool {
    let mut before = 0;
    for &byte in rest.as_bytes() {
        if !LEFT_ALONE[usize::from(byte)] || (before == b'/' && matches!(byte, b'.' | b'%')) {
            return false;
        }
        before = byte;
    }
    rest.starts_with('/')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::job::SiteRule;

    fn list() -> Allowlist {
        let rule = |host: &str, keys: &[&str]| {
            let keys = keys.iter().map(|key| (*key).to_owned()).collect();
            SiteRule::try_new(host, keys).unwrap()
        };
        Allowlist::new(vec![
            rule("a.example.com", &[]),
            rule("*.example.org", &[]),
            rule("pinned.example.com", &["k1"]),
            rule("*.example.net", &["k1"]),
            rule("b.example.net", &[]),
            rule("127.0.0.1", &[]),
            rule("[::1]", &[]),
            rule("xn--bcher-kva.example.com", &[]),
        ])
    }

    /// Both are asked twice: the second time the gate may know the origin.
    fn assert_same(gate: &mut Gate, url: &str, key: Option<&str>) {
        let slow = list().authorize(url, key);
        for _ in 0..2 {
            let fast = gate.authorize(url, key).map(Cow::into_owned);
            assert_eq!(fast, slow, "{url:?}, {key:?}");
        }
    }

    #[test]
    fn a_usual_url_is_not_parsed_again() {
        let mut gate = Gate::new(list());
        let first = "https://a.example.com/login?x=1";
        assert!(matches!(gate.authorize(first, None), Ok(Cow::Owned(_))));
        for url in [
            first,
            "https://a.example.com/",
            "https://a.example.com/a/b.html?c=%20",
        ] {
            assert_eq!(gate.authorize(url, None), Ok(Cow::Borrowed(url)));
            assert!(
                matches!(gate.authorize(url, None), Ok(Cow::Borrowed(_))),
                "{url}"
            );
        }
    }

    #[test]
    fn a_pinned_key_is_looked_at_each_time() {
        let mut gate = Gate::new(list());
        let url = "https://pinned.example.com/x";
        for _ in 0..2 {
            assert!(gate.authorize(url, Some("k1")).is_ok());
            assert!(gate.authorize(url, Some("k2")).is_err());
            assert!(gate.authorize(url, None).is_err());
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut gate = Gate::new(list());
        for n in 0..MOST_ORIGINS + 10 {
            assert!(
                gate.authorize(&format!("https://h{n}.example.org/"), None)
                    .is_ok()
            );
        }
        assert_eq!(gate.origins.len(), MOST_ORIGINS);
        let long = format!("https://a.example.com:{}80/", "0".repeat(LONGEST_ORIGIN));
        assert_same(&mut gate, &long, None);
    }

    #[test]
    fn every_byte_in_every_place() {
        let mut gate = Gate::new(list());
        assert_same(&mut gate, "https://a.example.com/", None);
        for byte in 0..=0x24f_u32 {
            let Some(c) = char::from_u32(byte) else {
                continue;
            };
            for url in [
                format!("https://a.example.com/x{c}y"),
                format!("https://a.example.com/{c}"),
                format!("https://a.example.com/{c}/x"),
                format!("https://a.example.com/x?{c}y"),
                format!("https://a.example.com/x?y/{c}"),
                format!("https://a.example.com{c}/x"),
                format!("https://a.example.com/x{c}"),
                format!("{c}https://a.example.com/x"),
                format!("https://{c}a.example.com/x"),
                format!("https:/{c}/a.example.com/x"),
                format!("https://a.example.com{c}"),
            ] {
                assert_same(&mut gate, &url, None);
            }
        }
        for segment in [
            ".", "..", "%2e", "%2E%2e", ".%2e", "...", "%2f", "%", "%zz", "c:", "c|",
        ] {
            for place in [
                "/{}", "/x/{}", "/{}/", "/x/{}/y", "/x?{}", "/x?/{}", "/x/{}?q", "?{}",
            ] {
                let rest = place.replace("{}", segment);
                assert_same(&mut gate, &format!("https://a.example.com{rest}"), None);
            }
        }
        for len in [8150, 8169, 8170, 8171, 8172] {
            let url = format!("https://a.example.com/{}", "x".repeat(len));
            assert_same(&mut gate, &url, None);
        }
    }

    fn url() -> impl Strategy<Value = String> {
        let scheme = prop::sample::select(vec![
            "https://",
            "http://",
            "HTTPS://",
            "ftp://",
            " https://",
            "https:/",
        ]);
        let host = prop::sample::select(vec![
            "a.example.com",
            "A.example.com",
            "a.example.com.",
            "b.example.org",
            "c.d.example.org",
            "example.org",
            "pinned.example.com",
            "b.example.net",
            "c.example.net",
            "127.0.0.1",
            "2130706433",
            "[::1]",
            "[0::1]",
            "bücher.example.com",
            "xn--bcher-kva.example.com",
            "u@a.example.com",
            "evil.net",
            "",
        ]);
        let port = prop::sample::select(vec![
            "", "", "", ":80", ":443", ":8080", ":08080", ":", ":99999", ":x",
        ]);
        let rest = "(/[a-z]{0,3}(\\.|%2[eE]|[ -~é\\t\\\\]){0,3}){0,4}([?#][ -~é]{0,6}){0,2} ?";
        (scheme, host, port, rest)
            .prop_map(|(scheme, host, port, rest)| format!("{scheme}{host}{port}{rest}"))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn a_gate_says_what_its_list_says(urls in prop::collection::vec((url(), 0_usize..3), 1..8)) {
            let mut gate = Gate::new(list());
            for (url, key) in urls {
                assert_same(&mut gate, &url, [None, Some("k1"), Some("k2")][key]);
            }
        }
    }
}
