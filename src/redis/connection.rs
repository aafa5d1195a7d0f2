//! A connection, whatever it leads to.

use ::redis::aio::{ConnectionLike, MultiplexedConnection};
use ::redis::{Cmd, Pipeline, RedisFuture, Value};

use super::cluster::ClusterConnection;

/// A connection to where a queue is: a server, or the nodes of a Cluster.
///
/// Commands are sent in the order in which they are called, and none is sent twice. Clones share the
/// connection, so that calls can overlap; an error that a clone gives is told to
/// [`Link::failed_on`](super::Link::failed_on).
#[derive(Clone, Debug)]
pub struct Connection {
    pub(super) to: To,
    pub(super) generation: u64,
}

#[derive(Clone, Debug)]
pub(super) enum To {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    /// Which connection of its link it is.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match &mut self.to {
            To::Server(connection) => connection.req_packed_command(command),
            To::Cluster(connection) => connection.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match &mut self.to {
            To::Server(connection) => connection.req_packed_commands(pipeline, offset, count),
            To::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match &self.to {
            To::Server(connection) => connection.get_db(),
            To::Cluster(connection) => connection.get_db(),
        }
    }
}
