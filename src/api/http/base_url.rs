//! The base URL: where the account token may go.
//!
//! What must stay true: one that was checked is https, or leads to this machine. Errors name the
//! fault and never the URL, which may hold a password.

use url::{Host, Url};

use super::TransportSetupError;

/// A base URL that was checked.
#[derive(Clone, Debug)]
pub(super) struct BaseUrl {
    /// Canonical, without a slash at the end.
    pub(super) text: String,
    /// `host:port`, for messages.
    pub(super) place: String,
    /// Whether it is spoken to over TLS.
    pub(super) is_https: bool,
    /// Whether the host is the name `localhost`.
    pub(super) is_localhost: bool,
    /// Whether it is this machine.
    pub(super) is_loopback: bool,
}

impl BaseUrl {
    /// Checks `text`.
    ///
    /// # Errors
    ///
    /// One that is neither https nor on this machine, or holds more than host and path.
    pub(super) fn try_new(text: &str) -> Result<Self, TransportSetupError> {
        let bad = TransportSetupError::BadBaseUrl;
        let url =
            Url::parse(text.trim()).map_err(|_| bad("is no URL; write it like https://host"))?;
        let is_https = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(bad("must begin with https://")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("contains user information; take it out"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(bad("contains a query or a fragment; take it out"));
        }
        let (is_localhost, is_loopback) = match url.host() {
            Some(Host::Domain(host)) => (host == "localhost", host == "localhost"),
            Some(Host::Ipv4(ip)) => (false, ip.is_loopback()),
            Some(Host::Ipv6(ip)) => (false, ip.is_loopback()),
            None => return Err(bad("has no host")),
        };
        if !is_https && !is_loopback {
            return Err(bad(
                "must begin with https://: the account token would leave unencrypted",
            ));
        }
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or_default();
        Ok(Self {
            text: url.as_str().trim_end_matches('/').to_owned(),
            place: format!("{host}:{port}"),
            is_https,
            is_localhost,
            is_loopback,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls() {
        for (url, canonical, loopback) in [
            ("https://omocaptcha.com", "https://omocaptcha.com", false),
            (
                " HTTPS://OmoCaptcha.com:443/ ",
                "https://omocaptcha.com",
                false,
            ),
            (
                "https://api.example.com/v2//",
                "https://api.example.com/v2",
                false,
            ),
            (
                "https://api.example.com:8443/a/../b",
                "https://api.example.com:8443/b",
                false,
            ),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080", true),
            ("http://127.9.9.9/", "http://127.9.9.9", true),
            ("http://[::1]:1/x/", "http://[::1]:1/x", true),
            ("http://localhost", "http://localhost", true),
            ("https://localhost:8443", "https://localhost:8443", true),
            ("https://192.168.1.1", "https://192.168.1.1", false),
        ] {
            let base = BaseUrl::try_new(url).unwrap();
            assert_eq!(
                (base.text.as_str(), base.is_loopback),
                (canonical, loopback),
                "{url}"
            );
        }
        for bad in [
            "",
            "omocaptcha.com",
            "https://",
            "ftp://x.com",
            "file:///etc/passwd",
            "http://omocaptcha.com",
            "http://192.168.1.1",
            "http://0.0.0.0",
            "http://128.0.0.1",
            "http://[::2]",
            "http://localhost.",
            "http://localhost.evil.net",
            "http://127.0.0.1.evil.net",
            "http://[::ffff:8.8.8.8]",
            "https://hunter2@x.com",
            "https://u:hunter2@x.com",
            "https://:hunter2@x.com",
            "https://x.com/?hunter2",
            "https://x.com/#hunter2",
            "https://x.com?",
        ] {
            let e = BaseUrl::try_new(bad).unwrap_err();
            assert!(matches!(e, TransportSetupError::BadBaseUrl(_)), "{bad}");
            assert!(!e.to_string().contains("hunter2"), "{e}");
        }
    }
}
