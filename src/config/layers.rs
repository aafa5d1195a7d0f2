//! The four layers, laid over each other.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use secrecy::ExposeSecret;

use super::environment::variable;
use super::file::ConfigFile;
use super::redis::{self, FoundRedis};
use super::settings::{AUTHORIZED_SITE, SETTINGS, resolve};
use super::token::{self, FoundToken};
use super::value::{Parsed, Text};
use super::{ConfigError, DEFAULT_FILE, Environment, Origin, Provenance, Setting, Settings};
use crate::api::{AccountToken, Identity, RefusalRules};
use crate::job::{Allowlist, Kinds, SiteRule, closest};
use crate::redis::RedisUrl;

/// The command line's part of the settings: the top layer.
#[derive(Clone, Default)]
pub struct Flags {
    values: BTreeMap<&'static str, (String, String)>,
    sites: Vec<String>,
    config: Option<PathBuf>,
}

impl Flags {
    /// Takes a value for a setting, and the flag that gave it, as it was written.
    pub fn set(&mut self, setting: &'static str, text: impl Into<String>, flag: impl Into<String>) {
        self.values.insert(setting, (text.into(), flag.into()));
    }

    /// Takes an authorised site.
    pub fn add_site(&mut self, host: impl Into<String>) {
        self.sites.push(host.into());
    }

    /// Takes the configuration file's path.
    pub fn set_config(&mut self, path: PathBuf) {
        self.config = Some(path);
    }
}

/// Values are shown as `check` shows them: one may be a URL with a password.
impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |key: &str, text| {
            let setting = SETTINGS.iter().find(|s| s.key == key);
            setting.map_or(Cow::Borrowed("***"), |s| s.shown(text))
        };
        let values = self.values.iter();
        let values: BTreeMap<_, _> = values
            .map(|(key, (text, flag))| (key, (shown(key, text), flag)))
            .collect();
        f.debug_struct("Flags")
            .field("values", &values)
            .field("sites", &self.sites)
            .field("config", &self.config)
            .finish()
    }
}

/// Everything that a run, or a check of one, is told.
#[derive(Debug)]
pub struct Config {
    /// The settings.
    pub settings: Settings,
    /// The sites that may be submitted.
    pub sites: Allowlist,
    /// The kinds of job, with the settings that change all of them laid over.
    pub kinds: Kinds,
    /// What the service's refusals mean, where the configuration file says so.
    pub refusals: RefusalRules,
    /// Where each value came from, in the table's order; the sites and the rules come last.
    pub provenance: Vec<Provenance>,
    /// What to tell the user before anything else.
    pub warnings: Vec<String>,
    environment: Environment,
}

impl Config {
    /// Reads all layers. Without `--config`, `./config.toml` is read where there is one.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, with its place. The account token is not looked for yet.
    pub fn load(flags: &Flags, environment: Environment) -> Result<Self, ConfigError> {
        let default = Path::new(DEFAULT_FILE);
        Self::load_beside(flags, environment, default.exists().then_some(default))
    }

    fn load_beside(
        flags: &Flags,
        environment: Environment,
        default: Option<&Path>,
    ) -> Result<Self, ConfigError> {
        let named = match (&flags.config, environment.get("config")) {
            (Some(path), _) => Some(path.as_path()),
            (None, Some(path)) => Some(Path::new(path.ok_or_else(|| not_utf8("config"))?)),
            (None, None) => default,
        };
        let file = named.map(ConfigFile::read).transpose()?;
        let layers = Layers {
            flags,
            environment: &environment,
            file: file.as_ref(),
        };
        let (settings, mut provenance) = resolve(&layers)?;
        check_together(&settings, &provenance)?;
        // Its default depends on the protocol: what is shown is what holds.
        for unset in provenance
            .iter_mut()
            .filter(|p| p.key == "base_url" && p.text.is_empty())
        {
            unset.text = settings.service().as_str().to_owned();
        }
        let (sites, from) = layers.sites()?;
        provenance.push(from);
        let refusals = file.as_ref().and_then(|file| file.refusals.clone());
        if let Some(refusals) = &refusals {
            provenance.push(Provenance {
                key: "refusals",
                text: match refusals.rules.len() {
                    1 => "1 rule".to_owned(),
                    n => format!("{n} rules"),
                },
                origin: refusals.origin.clone(),
            });
        }
        let kinds = super::kinds::load(&settings)?;
        let mut warnings = misspelt(&environment);
        warnings.extend(shown_password(&settings, &provenance));
        Ok(Self {
            settings,
            sites,
            kinds,
            refusals: RefusalRules::new(refusals.map_or_else(Vec::new, |r| r.rules)),
            provenance,
            warnings,
            environment,
        })
    }

    /// What to tell a user who has rows to submit, where none may be.
    #[must_use]
    pub fn site_warning(&self) -> Option<String> {
        self.sites.is_empty().then(|| "no site is authorised; list yours with --authorized-site HOST or in [authorization] sites".to_owned())
    }

    /// Finds the account token.
    ///
    /// # Errors
    ///
    /// Where there is none, or what there is cannot be one.
    pub fn account_token(&self) -> Result<FoundToken, ConfigError> {
        token::find(&self.settings, &self.environment)
    }

    /// How Redis is reached.
    ///
    /// # Errors
    ///
    /// Where nothing says so, or what does cannot be used.
    pub fn redis(&self) -> Result<FoundRedis, ConfigError> {
        redis::find(&self.settings, &self.environment)
    }

    /// The API that a run talks to. The simulator takes any token, so that `--simulate` needs none.
    ///
    /// # Errors
    ///
    /// As [`account_token`](Self::account_token).
    pub fn identity(&self) -> Result<Identity, ConfigError> {
        let protocol = self.settings.protocol;
        if self.settings.simulate {
            let account = AccountToken::try_new("simulated").ok_or(ConfigError::NoToken)?;
            return Ok(Identity {
                base_url: Identity::SIMULATED.to_owned(),
                protocol,
                account,
            });
        }
        let account = self.account_token()?.token;
        Ok(Identity {
            base_url: self.settings.service().as_str().to_owned(),
            protocol,
            account,
        })
    }
}

/// The layers of one load.
pub(super) struct Layers<'a> {
    flags: &'a Flags,
    environment: &'a Environment,
    file: Option<&'a ConfigFile>,
}

impl Layers<'_> {
    /// The value of a setting from the topmost layer that has one; notes where it came from.
    pub(super) fn resolve<T>(
        &self,
        setting: &'static Setting,
        parse: impl FnOnce(Option<Text<'_>>) -> Parsed<T>,
        provenance: &mut Vec<Provenance>,
    ) -> Result<T, ConfigError> {
        let key = setting.key;
        let mut folder = None;
        let (text, origin) = if let Some((text, flag)) = self.flags.values.get(key) {
            (text.as_str(), Origin::Flag(flag.clone()))
        } else if let Some(text) = self.environment.get(key) {
            (
                text.ok_or_else(|| not_utf8(key))?,
                Origin::Environment(variable(key)),
            )
        } else if let Some((file, value)) = self.file.and_then(|f| Some((f, f.values.get(key)?))) {
            folder = Some(file.folder.as_path());
            (value.text.as_str(), value.origin.clone())
        } else {
            (setting.default, Origin::Default)
        };
        if text.is_empty() && origin != Origin::Default {
            return Err(ConfigError::at(&origin, key, "is empty"));
        }
        let value = parse((!text.is_empty()).then_some(Text { text, folder }))
            .map_err(|message| ConfigError::at(&origin, key, message))?;
        provenance.push(Provenance {
            key,
            text: setting.shown(text).into_owned(),
            origin,
        });
        Ok(value)
    }

    /// The allowlist, of the topmost layer that has one: lists do not add up.
    fn sites(&self) -> Result<(Allowlist, Provenance), ConfigError> {
        let key = AUTHORIZED_SITE.key;
        let parse = |hosts: &mut dyn Iterator<Item = &str>, origin: &Origin| {
            hosts
                .map(|host| {
                    SiteRule::try_new(host, Vec::new()).map_err(|e| ConfigError::at(origin, key, e))
                })
                .collect::<Result<Vec<_>, _>>()
        };
        let (rules, origin) = if !self.flags.sites.is_empty() {
            let origin = Origin::Flag(AUTHORIZED_SITE.flag());
            (
                parse(&mut self.flags.sites.iter().map(String::as_str), &origin)?,
                origin,
            )
        } else if let Some(text) = self.environment.get(key) {
            let origin = Origin::Environment(variable(key));
            let text = text.ok_or_else(|| not_utf8(key))?;
            let mut hosts = text.split([',', ' ', '\n']).filter(|host| !host.is_empty());
            (parse(&mut hosts, &origin)?, origin)
        } else if let Some(sites) = self.file.and_then(|file| file.sites.as_ref()) {
            (sites.rules.clone(), sites.origin.clone())
        } else {
            (Vec::new(), Origin::Default)
        };
        let text = rules
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ");
        Ok((Allowlist::new(rules), Provenance { key, text, origin }))
    }
}

/// What no single value can tell.
fn check_together(settings: &Settings, provenance: &[Provenance]) -> Result<(), ConfigError> {
    let origin = |key: &str| {
        provenance
            .iter()
            .find(|p| p.key == key)
            .map_or(Origin::Default, |p| p.origin.clone())
    };
    let clash = |key: &str, message: &str| Err(ConfigError::at(&origin(key), key, message));
    if settings
        .poll_interval
        .is_some_and(|interval| interval < settings.poll_floor())
    {
        // Not a usage error even as a flag: it is the service's own rule that is broken.
        let place = match origin("poll_interval") {
            Origin::File { file, line, column } => format!("{file}:{line}:{column}: poll_interval"),
            origin => origin.to_string(),
        };
        let message = "the service asks for at least 2s between polls of a job; less is for loopback hosts only".to_owned();
        return Err(ConfigError::Refused { place, message });
    }
    if settings.abandon_paid && !settings.fresh {
        return clash("abandon_paid", "goes with --fresh only");
    }
    if settings.retry_failed && settings.fresh {
        return clash(
            "retry_failed",
            "has nothing to take up again with --fresh; give one of them",
        );
    }
    if settings.simulate && matches!(origin("base_url"), Origin::Flag(_)) {
        return clash("base_url", "is not used with --simulate; give one of them");
    }
    Ok(())
}

/// A warning of a password on the command line.
fn shown_password(settings: &Settings, provenance: &[Provenance]) -> Option<String> {
    let url = RedisUrl::parse(settings.redis_url.as_ref()?.expose_secret()).ok()?;
    let is_flag = provenance
        .iter()
        .any(|p| p.key == "redis_url" && matches!(p.origin, Origin::Flag(_)));
    (is_flag && url.has_password()).then(|| {
        "--redis-url holds a password, which other users of this machine can see; set POLLWHEEL_REDIS_PASSWORD, or name a file that holds it in redis_password_file".to_owned()
    })
}

fn not_utf8(key: &str) -> ConfigError {
    ConfigError::Environment {
        variable: variable(key),
        message: "is not UTF-8".to_owned(),
    }
}

/// Variables of ours that are nearly a setting's. Others may be there for reasons of their own:
/// Kubernetes sets `POLLWHEEL_PORT` beside a service of that name.
fn misspelt(environment: &Environment) -> Vec<String> {
    let known = || {
        SETTINGS
            .iter()
            .map(|s| s.key)
            .chain([AUTHORIZED_SITE.key, "config", "crash_at"])
            .chain(["api_token", "redis_password", "redis_sentinel_password"])
    };
    environment
        .keys()
        .filter(|key| !known().any(|k| k == *key))
        .filter_map(|key| {
            let meant = closest(key, known())?;
            Some(format!(
                "{} is no setting; did you mean {}?",
                variable(key).escape_debug(),
                variable(meant)
            ))
        })
        .collect()
}
