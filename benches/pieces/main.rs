//! The pieces, each by itself: `cargo bench`, or `cargo bench -- csv` for some. `cargo test --benches` runs each once.
//!
//! Whole processes are in `bench/`: a piece that is twice as fast is worth what it was of those.
//!
//! Files are kept in memory where the system has `/dev/shm`, or the disk's fsync would be all that is seen;
//! `TMPDIR=/some/disk cargo bench` has it in.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on has failed"
)]

mod csv;
mod engine;
mod queue;
#[path = "../../tests/support/redis.rs"]
mod redis_server;
mod rows;
mod wire;

use std::path::Path;

fn main() {
    let memory = Path::new("/dev/shm");
    if std::env::var_os("TMPDIR").is_none() && memory.is_dir() {
        // Nobody else has set it: this is the first thing that is done.
        let _ = tempfile::env::override_temp_dir(memory);
    }
    divan::main();
}
