//! How Redis is reached: names of keys, settings, one connection that comes back by itself.
//!
//! What must stay true: nothing in here knows what a queue is. Inside this crate the client
//! library is `::redis`.

mod keys;
mod settings;
mod url;

pub use keys::{KeyError, Keys, slot};
pub use settings::{Access, Settings, SettingsError};
pub use url::{Address, Place, RedisUrl, UrlError};
