//! The queue in Redis.

pub mod fresh;
pub mod message;
pub mod reply_to;
