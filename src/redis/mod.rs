//! How Redis is reached: names of keys, settings, one connection that comes back by itself.
//!
//! [`Link`] is what callers hold: a server by TCP, TLS or socket, the primary that Sentinels name, or a Cluster
//! ([`RedisUrl`]). [`Bell`] is a second connection on which an idle worker waits. [`Keys`] names the keys of a queue.
//!
//! What must stay true: nothing in here knows what a queue is; no command is sent twice; no password appears in
//! anything that is printed. Inside this crate the client library is `::redis`, and only the
//! protocol and the pipelining are its own: redirections, fail-overs and retries are decided here, because the
//! library's would send a command again whose answer was lost.

mod backoff;
mod bell;
mod cluster;
mod connection;
mod dial;
mod error;
mod facts;
mod keys;
mod link;
mod sentinel;
mod settings;
mod url;

pub use bell::Bell;
pub use connection::Connection;
pub use error::LinkError;
pub use facts::{ServerFacts, Unsafe, check_safe};
pub use keys::{KeyError, Keys, slot};
pub use link::Link;
pub use settings::{Access, Settings, SettingsError};
pub use url::{Address, Place, RedisUrl, UrlError};

#[cfg(test)]
mod access_tests;
#[cfg(test)]
mod bell_tests;
#[cfg(test)]
mod cluster_tests;
#[cfg(test)]
mod sentinel_tests;
#[cfg(test)]
mod tests;
