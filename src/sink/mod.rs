//! Where outcomes go: how one is written, not when.
//!
//! What must stay true: an encoder does no I/O and knows no journal; a backlog decides when its
//! bytes are durable. A solved token is written here and nowhere else.

pub mod csv;
