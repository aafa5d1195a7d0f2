//! pollwheel: a crash-safe batch runner for slow, paid web APIs.
//!
//! Requests come from a CSV file, are created at a solver service under a rate limit, wait on one
//! timer wheel to be polled, and end as one row each of an output CSV. The layers, from the bottom
//! up; imports point down only:
//!
//! | layer | module |
//! | --- | --- |
//! | 0 | [`job`] |
//! | 1 | [`redis`], [`api`], [`backlog`], [`sink`] |
//! | 2 | [`engine`], [`simulator`] |
//! | 3 | [`config`], [`telemetry`] |
//! | 4 | [`cli`] |
//!
//! `ARCHITECTURE.md` tells how they work together.

pub mod api;
pub mod backlog;
pub mod cli;
pub mod config;
pub mod engine;
pub mod job;
pub mod redis;
pub mod simulator;
pub mod sink;
pub mod telemetry;

/// Servers of the tests' own, which the end-to-end tests use, too.
#[cfg(test)]
#[path = "../tests/support"]
mod support {
    pub(crate) mod access;
    pub(crate) mod cluster;
    pub(crate) mod redis;
    pub(crate) mod sentinel;
}
