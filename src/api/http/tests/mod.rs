//! One suite over both clients.

mod over_hyper;
mod over_reqwest;
