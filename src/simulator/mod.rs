//! The solver service, simulated: the server side of its API with scripted behaviour and faults.
//!
//! What must stay true:
//!
//! * The [`Brain`] opens no socket, does not sleep and reads no clock, so that one and the same
//!   behaviour stands behind the [`Server`] (`pollwheel simulate`, tests over real sockets) and
//!   behind the [`SimulatedTransport`] (`run --simulate`, tests on the paused clock).
//! * It is at least as strict about requests as the service, and at least as varied in its answers.
//! * Its [`Ledger`] counts what arrived, not what a client believes to have sent.
//!
//! Both protocols stand on one port: v1 at `/api/…`, v2 at `/v2/…` and, for clients that know it there,
//! at `/createTask` and its like. They share jobs, balance, faults and ledger.

mod body;
mod body_v2;
mod books;
mod brain;
mod distribution;
mod fault;
mod ids;
mod ledger;
mod rates;
mod reaction;
mod record;
mod refusal;
mod request;
mod script;
mod server;
mod settings;
mod token;
mod transport;
mod words;

pub use brain::{Brain, SharedBrain};
pub use distribution::{Distribution, ParseDistributionError};
pub use fault::{Endpoint, InjectedFault, Page, RetryHint};
pub use ledger::{Ledger, Percentiles};
pub use rates::{FaultRates, ParseRatesError};
pub use reaction::{Effect, Reaction, Reply};
pub use record::{JobEnd, JobRecord, Receipt, RequestKey, RequestRecord, Told, Totals};
pub use request::HttpRequest;
pub use script::{ParseScriptError, Script};
pub use server::{Server, ServerError};
pub use settings::{Field, JobIds, JobType, LedgerDetail, Shapes, SimulatorSettings, Spelling};
pub use token::{TokenStyle, token_for};
pub use transport::SimulatedTransport;
