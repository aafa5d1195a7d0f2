//! The options that are settings, from the settings' table.

use std::marker::PhantomData;
use std::path::PathBuf;

use clap::builder::StyledStr;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::config::{Flags, SETTINGS, Section, Setting};

/// The flags of the settings' table, and `--config`, `--authorized-site`, `-v`, `-q`.
#[derive(Debug, Default)]
pub struct SettingFlags(pub Flags);

/// `--config` and some flags of the settings' table.
#[derive(Debug, Default)]
pub struct SomeFlags<P>(pub Flags, PhantomData<P>);

/// Picks settings of the table.
pub trait Pick {
    /// Whether this is one.
    fn picks(setting: &Setting) -> bool;
}

/// Those that say which service is meant.
#[derive(Debug, Default)]
pub struct OfService;

/// Those that say where Redis is and what our keys are called there.
#[derive(Debug, Default)]
pub struct OfQueue;

/// The flags of verbs that ask the service.
pub type ServiceFlags = SomeFlags<OfService>;
/// The flags of verbs that look at a queue.
pub type QueueFlags = SomeFlags<OfQueue>;

impl Pick for OfService {
    fn picks(setting: &Setting) -> bool {
        matches!(setting.key, "base_url" | "protocol" | "simulate")
    }
}

impl Pick for OfQueue {
    fn picks(setting: &Setting) -> bool {
        setting.has_flag()
            && matches!(
                setting.key,
                "redis_url"
                    | "redis_username"
                    | "redis_sentinel_username"
                    | "redis_ca_file"
                    | "redis_cert_file"
                    | "redis_key_file"
                    | "redis_prefix"
            )
    }
}

const CONFIG: &str = "config";
const SITE: &str = "authorized_site";
const VERBOSE: &str = "verbose";
const QUIET: &str = "quiet";
const LOG_LEVEL: &str = "log_level";

/// The option of a setting.
fn option(setting: &'static Setting) -> Arg {
    let help = setting.help.trim();
    let help = match setting.default {
        "" | "false" => help.to_owned(),
        default => format!("{help} [default: {default}]"),
    };
    // clap wants names that live as long as the process; there are some thirty of them.
    let long: &'static str = setting.key.replace('_', "-").leak();
    let arg = Arg::new(setting.key)
        .long(long)
        .help(StyledStr::from(help))
        .help_heading(setting.section.heading());
    if setting.is_switch() {
        // `--ordered`, and `--ordered=false` where the configuration file says true.
        arg.num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_name("BOOL")
            .hide_possible_values(true)
    } else {
        arg.value_name(setting.value_name).allow_hyphen_values(true)
    }
}

fn with_config(cmd: Command) -> Command {
    cmd.next_help_heading("Configuration").arg(
        Arg::new(CONFIG)
            .long(CONFIG)
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help("Configuration file [default: ./config.toml where there is one]"),
    )
}

/// The values of the table's flags that `wanted` picks, and of `--config`.
fn given(matches: &ArgMatches, wanted: impl Fn(&Setting) -> bool) -> Flags {
    let mut flags = Flags::default();
    for setting in SETTINGS.iter().filter(|s| wanted(s)) {
        if let Some(text) = matches.get_one::<String>(setting.key) {
            flags.set(setting.key, text, setting.flag());
        }
    }
    if let Some(path) = matches.get_one::<PathBuf>(CONFIG) {
        flags.set_config(path.clone());
    }
    flags
}

impl<P: Pick> Args for SomeFlags<P> {
    fn augment_args(cmd: Command) -> Command {
        with_config(cmd).args(SETTINGS.iter().filter(|s| P::picks(s)).map(option))
    }

    fn augment_args_for_update(cmd: Command) -> Command {
        Self::augment_args(cmd)
    }
}

impl<P: Pick> FromArgMatches for SomeFlags<P> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self(given(matches, P::picks), PhantomData))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for SettingFlags {
    fn augment_args(cmd: Command) -> Command {
        let cmd = with_config(cmd);
        let site = Arg::new(SITE)
            .long("authorized-site")
            .value_name("HOST")
            .action(ArgAction::Append)
            .help("Site that may be submitted, such as shop.example.com or *.example.com (repeatable; replaces the configured list)")
            .help_heading(Section::Service.heading());
        let verbosity = [
            (VERBOSE, 'v', "Log each job (-vv: each poll)"),
            (QUIET, 'q', "Log errors only, show no progress"),
        ]
        .map(|(name, short, help)| {
            Arg::new(name)
                .short(short)
                .action(ArgAction::Count)
                .help(help)
                .help_heading(Section::Logs.heading())
        });
        let [verbose, quiet] = verbosity;
        cmd.args(SETTINGS.iter().filter(|s| s.has_flag()).map(option))
            .arg(site)
            .arg(verbose.conflicts_with_all([QUIET, LOG_LEVEL]))
            .arg(quiet.conflicts_with(LOG_LEVEL))
    }

    fn augment_args_for_update(cmd: Command) -> Command {
        Self::augment_args(cmd)
    }
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = given(matches, Setting::has_flag);
        for host in matches.get_many::<String>(SITE).into_iter().flatten() {
            flags.add_site(host);
        }
        match (matches.get_count(VERBOSE), matches.get_count(QUIET)) {
            (0, 0) => {}
            (0, _) => flags.set(LOG_LEVEL, "error", "-q"),
            (1, _) => flags.set(LOG_LEVEL, "debug", "-v"),
            _ => flags.set(LOG_LEVEL, "trace", "-vv"),
        }
        Ok(Self(flags))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
