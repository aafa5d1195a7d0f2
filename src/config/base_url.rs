//! Where the service lives.

use std::fmt;

use url::{Host, Url};

use crate::api::Protocol;

/// The URL that paths are appended to: https, or http to this machine.
///
/// The account token travels in every body, so that nothing else is acceptable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    /// Canonical, without a slash at its end.
    text: String,
    loopback: bool,
}

impl BaseUrl {
    /// Takes a URL without user-info, query and fragment.
    ///
    /// # Errors
    ///
    /// What is wrong, without the URL.
    pub fn try_new(text: &str) -> Result<Self, &'static str> {
        let url = Url::parse(text.trim())
            .map_err(|_| "not a URL; write it like https://api.example.com")?;
        let host = url
            .host()
            .ok_or("a URL with a host is needed, such as https://api.example.com")?;
        let loopback = match &host {
            Host::Domain(name) => *name == "localhost",
            Host::Ipv4(address) => address.is_loopback(),
            Host::Ipv6(address) => address.is_loopback(),
        };
        match url.scheme() {
            "https" => {}
            "http" if loopback => {}
            "http" => {
                return Err(
                    "http would send the account token in the clear; use https (http is for this machine only)",
                );
            }
            _ => return Err("only https is spoken, and http to this machine"),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a user or password does not belong in it");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("paths are appended to it, so that it has no ? and no #");
        }
        Ok(Self {
            text: url.as_str().trim_end_matches('/').to_owned(),
            loopback,
        })
    }

    /// Where the service itself speaks `protocol`.
    #[must_use]
    pub fn of_service(protocol: Protocol) -> Self {
        let text = match protocol {
            Protocol::V1 => "https://omocaptcha.com",
            Protocol::V2 => "https://api.omocaptcha.com/v2",
        };
        Self {
            text: text.to_owned(),
            loopback: false,
        }
    }

    /// The URL, canonical, without a slash at its end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is this machine: the only place where jobs may be polled more often than every 2 s.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.loopback
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_forms() {
        for (given, kept, loopback) in [
            ("https://omocaptcha.com", "https://omocaptcha.com", false),
            (
                "HTTPS://Omocaptcha.com:443/",
                "https://omocaptcha.com",
                false,
            ),
            ("https://example.com/x/", "https://example.com/x", false),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080", true),
            ("http://127.9.9.9/", "http://127.9.9.9", true),
            ("http://[::1]:1", "http://[::1]:1", true),
            ("http://localhost:1", "http://localhost:1", true),
        ] {
            let url = BaseUrl::try_new(given).unwrap();
            assert_eq!(
                (url.as_str(), url.is_loopback()),
                (kept, loopback),
                "{given}"
            );
        }
    }

    #[test]
    fn the_services_own_are_canonical() {
        for protocol in [Protocol::V1, Protocol::V2] {
            let own = BaseUrl::of_service(protocol);
            assert_eq!(BaseUrl::try_new(own.as_str()), Ok(own));
        }
    }

    #[test]
    fn what_is_no_base_url() {
        for bad in [
            "",
            "omocaptcha.com",
            "ftp://example.com",
            "http://example.com",
            "https://u@example.com",
            "https://u:p@example.com",
            "https://example.com/?x",
            "https://example.com/#x",
            "http://127.0.0.1.evil.net",
            "http://localhost.evil.net",
            "data:x",
            "http://10.0.0.1",
        ] {
            assert!(BaseUrl::try_new(bad).is_err(), "{bad}");
        }
    }
}
