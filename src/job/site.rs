//! The allowlist: which sites, and where pinned which site keys, may be submitted.
//!
//! Hosts are compared in the form the WHATWG URL parser gives them (lower case, IDNA), and the URL
//! that is sent is the very one that was compared.

use std::fmt;

use url::{Host, Url};

use super::has_control;

/// Longest URL, in bytes.
pub(super) const LONGEST_URL: usize = 8192;

/// Why a URL or a list entry is not acceptable.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum SiteError {
    /// An allowlist entry is no host.
    #[error("`{entry}` is no site: {why}; write a host such as shop.example.com, or *.example.com")]
    BadEntry {
        /// The entry.
        entry: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A URL that cannot be what the user meant, or could be read in two ways.
    #[error("bad URL: {0}")]
    BadUrl(&'static str),
    /// The host is not listed.
    #[error(
        "site {host} is not authorised; add it with --authorized-site {host} or to [authorization] sites, if you may test it"
    )]
    NotListed {
        /// The host, in canonical form.
        host: String,
    },
    /// The host is listed for other site keys only.
    #[error(
        "site {host} is authorised for other site keys only; add this one to its `keys` in [authorization] sites, if you may test it"
    )]
    KeyNotListed {
        /// The host, in canonical form.
        host: String,
    },
}

/// One entry of the allowlist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteRule {
    host: HostRule,
    /// Empty: any site key.
    keys: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum HostRule {
    Exact(String),
    /// `.example.com` for `*.example.com`.
    Under(String),
}

impl SiteRule {
    /// An entry from `host` (exact, or `*.` and a domain) and the site keys it is pinned to (none: any).
    ///
    /// # Errors
    ///
    /// [`SiteError::BadEntry`] where `host` is not a host, or would cover a whole public suffix.
    pub fn try_new(host: &str, keys: Vec<String>) -> Result<Self, SiteError> {
        let bad = |why| SiteError::BadEntry {
            entry: host.escape_debug().to_string(),
            why,
        };
        let (wildcard, name) = match host.strip_prefix("*.") {
            Some(domain) => (true, domain),
            None => (false, host),
        };
        if name.contains('*') {
            return Err(bad("* stands only at the front, for whole labels"));
        }
        if name.contains("://") || name.contains('/') || name.contains('@') {
            return Err(bad("it is a URL; only the host is listed"));
        }
        if name.ends_with('.') {
            return Err(bad("it ends with a dot"));
        }
        let parsed = Host::parse(name).map_err(|_| bad("it is not a host name"))?;
        let host = match (&parsed, wildcard) {
            (Host::Domain(domain), true) => {
                let is_suffix = psl::suffix_str(domain).is_none_or(|suffix| suffix == domain);
                if is_suffix || !domain.contains('.') {
                    return Err(bad("it would cover a whole public suffix"));
                }
                HostRule::Under(format!(".{domain}"))
            }
            (_, true) => return Err(bad("an address has no subdomains")),
            (host, false) => HostRule::Exact(host.to_string()),
        };
        Ok(Self { host, keys })
    }

    fn covers_host(&self, host: &str) -> bool {
        match &self.host {
            HostRule::Exact(exact) => exact == host,
            HostRule::Under(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_str()),
        }
    }

    fn covers_key(&self, key: Option<&str>) -> bool {
        self.keys.is_empty() || key.is_some_and(|key| self.keys.iter().any(|k| k == key))
    }
}

impl fmt::Display for SiteRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            HostRule::Exact(host) => f.write_str(host)?,
            HostRule::Under(suffix) => write!(f, "*{suffix}")?,
        }
        match self.keys.len() {
            0 => Ok(()),
            n => write!(f, " ({n} site keys)"),
        }
    }
}

/// The operator's list. Empty means that nothing is authorised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowlist(Vec<SiteRule>);

impl Allowlist {
    /// The list of these entries.
    #[must_use]
    pub fn new(rules: Vec<SiteRule>) -> Self {
        Self(rules)
    }

    /// Whether nothing at all is authorised.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The entries.
    #[must_use]
    pub fn rules(&self) -> &[SiteRule] {
        &self.0
    }

    /// Checks a URL and gives back the form of it that may be sent. The site key is checked
    /// against entries that pin one.
    ///
    /// # Errors
    ///
    /// [`SiteError::BadUrl`] for what is no plain http(s) URL, else that its host or key is not listed.
    pub fn authorize(&self, url: &str, site_key: Option<&str>) -> Result<String, SiteError> {
        self.decide(url, site_key).map(|pass| pass.url.into())
    }

    /// As [`authorize`](Self::authorize), with what a [`Gate`](super::Gate) remembers.
    pub(super) fn decide(&self, url: &str, site_key: Option<&str>) -> Result<Pass, SiteError> {
        let url = parse_url(url)?;
        // A parsed http(s) URL has a host.
        let host = url.host_str().ok_or(SiteError::BadUrl("it has no host"))?;
        let covering = || self.0.iter().filter(|rule| rule.covers_host(host));
        if covering().any(|rule| rule.covers_key(site_key)) {
            let any_key = covering().any(|rule| rule.covers_key(None));
            return Ok(Pass { url, any_key });
        }
        let is_listed = covering().next().is_some();
        let host = host.to_owned();
        Err(if is_listed {
            SiteError::KeyNotListed { host }
        } else {
            SiteError::NotListed { host }
        })
    }
}

/// A URL that may be sent.
pub(super) struct Pass {
    pub(super) url: Url,
    /// Its host is listed for any site key.
    pub(super) any_key: bool,
}

/// Parses a URL by the WHATWG rules and refuses what other parsers read otherwise.
fn parse_url(raw: &str) -> Result<Url, SiteError> {
    let raw = raw.trim_matches(' ');
    if raw.len() > LONGEST_URL {
        return Err(SiteError::BadUrl("it is longer than 8192 bytes"));
    }
    if raw.contains('\\') {
        return Err(SiteError::BadUrl("it contains a backslash"));
    }
    if has_control(raw) {
        return Err(SiteError::BadUrl("it contains a control character"));
    }
    let Some((scheme, rest)) = raw.split_once("://") else {
        return Err(SiteError::BadUrl("it must begin with https:// or http://"));
    };
    if !scheme.eq_ignore_ascii_case("https") && !scheme.eq_ignore_ascii_case("http") {
        return Err(SiteError::BadUrl("only https:// and http:// are sent"));
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(SiteError::BadUrl(
            "it contains user information before the host",
        ));
    }
    if authority.is_empty() {
        return Err(SiteError::BadUrl("it has no host"));
    }
    let url = Url::parse(raw).map_err(|_| SiteError::BadUrl("it is not a valid URL"))?;
    // The form that is sent is kept, too, and judged again when its job is taken up again.
    if url.as_str().len() > LONGEST_URL {
        return Err(SiteError::BadUrl(
            "it is longer than 8192 bytes as it is sent",
        ));
    }
    if url.host_str().is_none_or(|host| host.ends_with('.')) {
        return Err(SiteError::BadUrl("its host ends with a dot"));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[&str]) -> Allowlist {
        Allowlist::new(
            entries
                .iter()
                .map(|e| SiteRule::try_new(e, vec![]).unwrap())
                .collect(),
        )
    }

    #[test]
    fn exact_and_wildcard() {
        let sites = list(&["shop.example.com", "*.example.org", "127.0.0.1", "[::1]"]);
        for good in [
            "https://shop.example.com/login?x=1",
            "HTTPS://SHOP.Example.com",
            "http://a.example.org/",
            "https://a.b.example.org",
            "http://127.0.0.1:8080/x",
            "http://2130706433/",
            "http://[::1]/",
        ] {
            assert!(sites.authorize(good, None).is_ok(), "{good}");
        }
        for bad in [
            "https://example.com/",
            "https://example.org/",
            "https://notexample.org/",
            "https://shop.example.com.evil.net/",
            "https://evil.net/shop.example.com",
        ] {
            assert!(
                matches!(sites.authorize(bad, None), Err(SiteError::NotListed { .. })),
                "{bad}"
            );
        }
    }

    #[test]
    fn what_two_parsers_read_differently_is_refused() {
        let sites = list(&["shop.example.com", "evil.net"]);
        for bad in [
            "https://shop.example.com@evil.net/",
            "https://@shop.example.com/",
            "https://evil.net\\@shop.example.com/",
            "https://shop.example.com./",
            "https://shop.exam\tple.com/",
            "ftp://shop.example.com/",
            "https:shop.example.com",
            "//shop.example.com/",
            "https:///shop.example.com",
            "javascript://shop.example.com/%0aalert(1)",
            "shop.example.com",
            "",
        ] {
            assert!(
                matches!(sites.authorize(bad, None), Err(SiteError::BadUrl(_))),
                "{bad}"
            );
        }
    }

    #[test]
    fn what_is_sent_is_what_was_checked() {
        let sites = list(&["xn--bcher-kva.example.com"]);
        let sent = sites
            .authorize(" https://BÜCHER.example.com/a b ", None)
            .unwrap();
        assert_eq!(sent, "https://xn--bcher-kva.example.com/a%20b");
    }

    #[test]
    fn what_is_sent_is_acceptable_again() {
        let sites = list(&["a.example.com"]);
        let url = |quotes: usize| format!("https://a.example.com/{}", "\"".repeat(quotes));
        let sent = sites.authorize(&url(2700), None).unwrap();
        assert_eq!(sites.authorize(&sent, None), Ok(sent));
        // Three bytes each once they are encoded.
        assert!(matches!(
            sites.authorize(&url(2800), None),
            Err(SiteError::BadUrl(_))
        ));
    }

    #[test]
    fn a_pinned_key_is_the_only_one() {
        let rule = SiteRule::try_new("shop.example.com", vec!["k1".to_owned()]).unwrap();
        let sites = Allowlist::new(vec![rule]);
        assert!(
            sites
                .authorize("https://shop.example.com/", Some("k1"))
                .is_ok()
        );
        for key in [Some("k2"), None] {
            let refused = sites.authorize("https://shop.example.com/", key);
            assert!(matches!(refused, Err(SiteError::KeyNotListed { .. })));
        }
    }

    #[test]
    fn entries_that_cover_too_much_or_nothing() {
        for bad in [
            "*",
            "*.",
            "*.com",
            "*.co.uk",
            "*.github.io",
            "a.*.com",
            "https://x.com",
            "x.com/",
            "",
            "a b",
            "*.127.0.0.1",
            "x.com.",
            "*.localhost",
            "u@x.com",
        ] {
            assert!(SiteRule::try_new(bad, vec![]).is_err(), "{bad}");
        }
    }
}
