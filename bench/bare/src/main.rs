//! The same work as pollwheel's with nothing around it: no journal, no limiter, no wheel, no retries, no
//! allowlist, no signals. What pollwheel costs beyond this is what those cost.
//!
//! ```text
//! bare timed  URL INPUT OUTPUT CONNECTIONS IN_FLIGHT FIRST_MS INTERVAL_MS   a task per job, sleeping between polls
//! bare closed URL INPUT OUTPUT CONNECTIONS                                  a worker per connection, back to back
//! bare check  INPUT                                                         reads, parses URLs, looks for repeats
//! ```
//!
//! The first fault ends it: whoever measures wants a whole run or none.

mod api;
mod check;
mod jobs;

use std::process::ExitCode;
use std::time::Duration;

use jobs::Pace;

type Error = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("bare: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<(), Error> {
    match *words {
        [
            "timed",
            url,
            input,
            output,
            connections,
            in_flight,
            first,
            interval,
        ] => {
            let pace = Pace::Timed {
                in_flight: in_flight.parse()?,
                first: Duration::from_millis(first.parse()?),
                interval: Duration::from_millis(interval.parse()?),
            };
            jobs::run(url, input, output, connections.parse()?, pace)
        }
        ["closed", url, input, output, connections] => {
            jobs::run(url, input, output, connections.parse()?, Pace::Closed)
        }
        ["check", input] => check::run(input),
        _ => Err("see the head of main.rs".into()),
    }
}
