//! What moves requests to the service that the settings name.

use std::time::Duration;

use super::{ExitCode, Failure};
use crate::api::{HttpSettings, HttpTransport};
use crate::config::Config;
use crate::simulator::{SharedBrain, SimulatedTransport, SimulatorSettings};

/// From the first byte of a connection to its handshake's end.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// From the request to the last byte of its answer.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(30);

/// Over HTTP to the configured service.
pub(super) fn http(config: &Config) -> Result<HttpTransport, Failure> {
    HttpTransport::new(&HttpSettings {
        client: config.settings.http_client,
        connect_timeout: CONNECT_TIMEOUT,
        total_timeout: EXCHANGE_TIMEOUT,
        max_connections: config.settings.max_connections,
        ..HttpSettings::new(config.settings.service().as_str())
    })
    .map_err(|e| Failure::new(ExitCode::Config, e))
}

/// To a simulator in this process that knows the configured kinds.
pub(super) fn simulated(config: &Config) -> SimulatedTransport {
    let mut simulator = SimulatorSettings::in_process();
    simulator.add_kinds(&config.kinds);
    SimulatedTransport::new(SharedBrain::new(simulator))
}
