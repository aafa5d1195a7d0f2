//! The account at the service, and which API a job lives at.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

use super::Protocol;

/// The account token. It travels in request bodies and nowhere else.
#[derive(Clone)]
pub struct AccountToken(SecretString);

impl AccountToken {
    /// Takes a token that is not blank, trimmed, of at most 4096 printable ASCII characters.
    #[must_use]
    pub fn try_new(text: &str) -> Option<Self> {
        let text = text.trim();
        let good =
            !text.is_empty() && text.len() <= 4096 && text.bytes().all(|b| b.is_ascii_graphic());
        good.then(|| Self(text.into()))
    }

    /// The token itself, for a request body or for masking.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// A hash of the token under `key`, from which the token cannot be had.
    #[must_use]
    pub fn fingerprint(&self, key: &[u8; 32]) -> [u8; 16] {
        let mut print = [0; 16];
        print.copy_from_slice(&blake3::keyed_hash(key, self.expose().as_bytes()).as_bytes()[..16]);
        print
    }
}

impl fmt::Debug for AccountToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccountToken([secret])")
    }
}

/// Where jobs live: only a run of the same identity may adopt them.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The base URL, canonical; `simulate:` for the simulator in the process.
    pub base_url: String,
    /// The protocol.
    pub protocol: Protocol,
    /// The account.
    pub account: AccountToken,
}

impl Identity {
    /// The base URL that stands for the simulator in the process.
    pub const SIMULATED: &'static str = "simulate:";

    /// Whether results of this API are make-believe.
    #[must_use]
    pub fn is_simulated(&self) -> bool {
        self.base_url == Self::SIMULATED
    }
}
