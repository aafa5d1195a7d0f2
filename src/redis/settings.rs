//! How Redis is reached, checked as a whole before the first connection.
//!
//! What must stay true: what is in a [`Settings`] can be used. Passwords are [`SecretString`]s from here on;
//! files are read once, here.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ::redis::{ClientTlsConfig, TlsCertificates};
use secrecy::{ExposeSecret, SecretString};

use super::url::{Place, RedisUrl, UrlError};

/// How long one try to connect takes at most.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer takes at most.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest file that is taken for one with certificates, in bytes.
const LONGEST_FILE: u64 = 4 * 1024 * 1024;

/// What is set beside the URL. All of it is optional; user name and password here win over the URL's.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// User name.
    pub user: Option<String>,
    /// Password.
    pub password: Option<SecretString>,
    /// User name at the Sentinels, which have users of their own.
    pub sentinel_user: Option<String>,
    /// Password at the Sentinels.
    pub sentinel_password: Option<SecretString>,
    /// PEM file of the authorities that may have signed the server's certificate, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM file of the certificate that we show, with its chain.
    pub certificate_file: Option<PathBuf>,
    /// PEM file of its private key.
    pub key_file: Option<PathBuf>,
    /// Longest time for a try to connect; default 5 s.
    pub connect_timeout: Option<Duration>,
    /// Longest time for an answer; default 10 s.
    pub response_timeout: Option<Duration>,
}

/// How Redis is reached. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Settings {
    pub(super) url: Arc<RedisUrl>,
    pub(super) login: Login,
    pub(super) sentinel_login: Login,
    pub(super) certificates: Arc<TlsCertificates>,
    pub(super) connect_timeout: Duration,
    pub(super) response_timeout: Duration,
}

/// Who we say we are.
#[derive(Clone, Debug, Default)]
pub(super) struct Login {
    pub(super) user: Option<String>,
    pub(super) password: Option<SecretString>,
}

/// Why settings can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The URL.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// A user name without a password.
    #[error("a user name for {whom} without a password")]
    NoPassword {
        /// Redis or the Sentinels.
        whom: &'static str,
    },
    /// Something that the URL's form has no use for.
    #[error("{what} is set, but the Redis URL begins with {found}, not with {needed}")]
    Useless {
        /// What is set.
        what: &'static str,
        /// The present form.
        found: &'static str,
        /// The form that would use it.
        needed: &'static str,
    },
    /// One of certificate and key is missing.
    #[error(
        "a client certificate and its key are set together or not at all; the {missing} is missing"
    )]
    HalfPair {
        /// The one that is missing.
        missing: &'static str,
    },
    /// A file that can't be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file that does not hold what it should.
    #[error("{} holds no {what} in PEM (\"-----BEGIN …\")", path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// A time-out of no time.
    #[error("a time-out of 0 s")]
    ZeroTimeout,
}

impl Settings {
    /// Checks a URL and what is set beside it, and reads the files.
    ///
    /// # Errors
    ///
    /// What can't be used, by its name. Never a password or a file's contents.
    pub fn try_new(url: &str, access: Access) -> Result<Self, SettingsError> {
        let url = RedisUrl::parse(url)?;
        // Each wins alone: a password from a file goes with the URL's user name.
        let login = Login {
            user: access.user.or_else(|| url.user.clone()),
            password: access.password.or_else(|| url.password.clone()),
        };
        let sentinel_login = Login {
            user: access.sentinel_user,
            password: access.sentinel_password,
        };
        for (whom, login) in [("Redis", &login), ("the Sentinels", &sentinel_login)] {
            if login.user.is_some() && login.password.is_none() {
                return Err(SettingsError::NoPassword { whom });
            }
        }
        if sentinel_login.password.is_some() && !matches!(url.place, Place::Sentinel { .. }) {
            return Err(SettingsError::Useless {
                what: "a password for Sentinels",
                found: "another form",
                needed: "redis+sentinel://",
            });
        }
        let files = [&access.ca_file, &access.certificate_file, &access.key_file];
        if !url.is_tls && files.iter().any(|file| file.is_some()) {
            return Err(SettingsError::Useless {
                what: "a certificate or key for TLS",
                found: "a form without TLS",
                needed: "rediss",
            });
        }
        let certificates = certificates(
            access.ca_file.as_deref(),
            access.certificate_file.as_deref(),
            access.key_file.as_deref(),
        )?;
        let connect_timeout = access.connect_timeout.unwrap_or(CONNECT_TIMEOUT);
        let response_timeout = access.response_timeout.unwrap_or(RESPONSE_TIMEOUT);
        if connect_timeout.is_zero() || response_timeout.is_zero() {
            return Err(SettingsError::ZeroTimeout);
        }
        Ok(Self {
            url: Arc::new(url),
            login,
            sentinel_login,
            certificates: Arc::new(certificates),
            connect_timeout,
            response_timeout,
        })
    }

    /// The passwords, to be masked in what servers say.
    pub(super) fn secrets(&self) -> Vec<&str> {
        [&self.login, &self.sentinel_login]
            .into_iter()
            .filter_map(|login| login.password.as_ref())
            .map(ExposeSecret::expose_secret)
            .collect()
    }

    /// The URL, with user name and password masked.
    #[must_use]
    pub fn masked_url(&self) -> String {
        self.url.to_string()
    }
}

fn certificates(
    ca: Option<&Path>,
    certificate: Option<&Path>,
    key: Option<&Path>,
) -> Result<TlsCertificates, SettingsError> {
    let root_cert = ca.map(|path| pem(path, "certificate", None)).transpose()?;
    let client_tls = match (certificate, key) {
        (None, None) => None,
        (Some(_), None) => return Err(SettingsError::HalfPair { missing: "key" }),
        (None, Some(_)) => {
            return Err(SettingsError::HalfPair {
                missing: "certificate",
            });
        }
        (Some(certificate), Some(key)) => {
            let client_cert = pem(certificate, "certificate", None)?;
            let client_key = pem(key, "private key", Some(&client_cert))?;
            Some(ClientTlsConfig {
                client_cert,
                client_key,
            })
        }
    };
    Ok(TlsCertificates {
        client_tls,
        root_cert,
    })
}

/// Reads a PEM file and has the client library read it: a certificate, or, beside one, its private key.
fn pem(
    path: &Path,
    what: &'static str,
    certificate: Option<&[u8]>,
) -> Result<Vec<u8>, SettingsError> {
    let not_pem = || SettingsError::NotPem {
        path: path.to_owned(),
        what,
    };
    let unreadable = |source| SettingsError::Unreadable {
        path: path.to_owned(),
        source,
    };
    if std::fs::metadata(path).map_err(unreadable)?.len() > LONGEST_FILE {
        return Err(not_pem());
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    let tried = match certificate {
        // It would take a file without any for an empty list.
        None if !is_certificate(&bytes) => return Err(not_pem()),
        None => TlsCertificates {
            client_tls: None,
            root_cert: Some(bytes.clone()),
        },
        Some(certificate) => TlsCertificates {
            client_tls: Some(ClientTlsConfig {
                client_cert: certificate.to_vec(),
                client_key: bytes.clone(),
            }),
            root_cert: None,
        },
    };
    ::redis::Client::build_with_tls("rediss://localhost", tried).map_err(|_| not_pem())?;
    Ok(bytes)
}

fn is_certificate(bytes: &[u8]) -> bool {
    let begin = b"-----BEGIN CERTIFICATE-----";
    bytes.windows(begin.len()).any(|part| part == begin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(url: &str, access: Access) -> String {
        let fault = Settings::try_new(url, access).unwrap_err();
        let text = format!("{fault} {fault:?}");
        assert!(!text.contains("hunter2"), "{text}");
        fault.to_string()
    }

    fn secret(text: &str) -> Option<SecretString> {
        Some(SecretString::from(text.to_owned()))
    }

    #[test]
    fn settings_win_over_the_url() {
        let access = Access {
            password: secret("hunter2"),
            ..Access::default()
        };
        let settings = Settings::try_new("redis://worker:other@h", access).unwrap();
        assert_eq!(settings.login.user.as_deref(), Some("worker"));
        let password = settings.login.password.as_ref().unwrap();
        assert_eq!(password.expose_secret(), "hunter2");
        assert_eq!(settings.masked_url(), "redis://***@h:6379");
        let shown = format!("{settings:?}");
        assert!(
            !shown.contains("hunter2") && !shown.contains("other"),
            "{shown}"
        );
        assert_eq!(settings.connect_timeout, Duration::from_secs(5));
        assert_eq!(settings.response_timeout, Duration::from_secs(10));
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        assert_eq!(
            fault("redis://hunter2@h", Access::default()),
            "a user name for Redis without a password"
        );
        let sentinel = || Access {
            sentinel_password: secret("hunter2"),
            ..Access::default()
        };
        assert!(fault("redis://h", sentinel()).contains("Sentinels"));
        assert!(Settings::try_new("redis+sentinel://h/m", sentinel()).is_ok());
        let user = Access {
            sentinel_user: Some("s".into()),
            ..Access::default()
        };
        assert!(fault("redis+sentinel://h/m", user).contains("the Sentinels"));
        let ca = Access {
            ca_file: Some("ca.pem".into()),
            ..Access::default()
        };
        assert!(fault("redis://h", ca).contains("not with rediss"));
        let timeout = Access {
            response_timeout: Some(Duration::ZERO),
            ..Access::default()
        };
        assert!(fault("redis://h", timeout).contains("time-out"));
        let half = Access {
            key_file: Some("k.pem".into()),
            ..Access::default()
        };
        assert!(fault("rediss://h", half).contains("the certificate is missing"));
    }

    #[test]
    fn files_that_hold_no_certificate_are_refused_without_being_shown() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let ca = |path: PathBuf| Access {
            ca_file: Some(path),
            ..Access::default()
        };
        let missing = fault("rediss://h", ca(folder.path().join("none")));
        assert!(missing.ends_with("none cannot be read"), "{missing}");
        let half = "-----BEGIN CERTIFICATE-----\nhunter2\n-----END CERTIFICATE-----\n";
        for text in ["", "hunter2", half] {
            let text = fault("rediss://h", ca(write("ca.pem", text)));
            assert!(text.contains("holds no certificate in PEM"), "{text}");
        }
        let generated = rcgen::generate_simple_self_signed(["h".to_owned()]).unwrap();
        let certificate = write("c.pem", &generated.cert.pem());
        assert!(Settings::try_new("rediss://h", ca(certificate.clone())).is_ok());
        let pair = |key: PathBuf| Access {
            certificate_file: Some(certificate.clone()),
            key_file: Some(key),
            ..Access::default()
        };
        let text = fault("rediss://h", pair(write("k.pem", "hunter2")));
        assert!(text.contains("holds no private key in PEM"), "{text}");
        let key = write("k.pem", &generated.signing_key.serialize_pem());
        assert!(Settings::try_new("rediss+cluster://h", pair(key)).is_ok());
    }
}
