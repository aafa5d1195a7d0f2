//! One logical connection that comes back by itself.
//!
//! What must stay true: no command is sent twice. A command whose answer is lost gives [`LinkError::Away`],
//! and the caller repeats it, because only the caller knows that it may. After an error of the connection the next call connects
//! anew, asks Sentinels and Cluster where the primary is now, and reads what the server says about itself,
//! before any command is sent: who sees the same generation speaks to the same run of the same server.

use ::redis::{Cmd, FromRedisValue, Pipeline, RedisError, ScriptInvocation};

use super::backoff::Backoff;
use super::connection::{Connection, To};
use super::dial::{at, must_be_primary, server};
use super::error::{LinkError, judge};
use super::facts::ServerFacts;
use super::keys::slot;
use super::settings::Settings;
use super::url::{Address, Place};
use super::{cluster, sentinel};

/// A connection to the queue at one list.
#[derive(Debug)]
pub struct Link {
    settings: Settings,
    home_slot: u16,
    connection: Option<Connection>,
    facts: Option<ServerFacts>,
    generation: u64,
    backoff: Backoff,
    /// Nodes of the Cluster that were seen, so that it is found again when those of the URL are gone.
    nodes: Vec<Address>,
}

impl Link {
    /// Connects. `list` is the producers' list; on a Cluster its slot is where the queue is.
    ///
    /// Tries once, so that a wrong URL or password is seen at once.
    ///
    /// # Errors
    ///
    /// Why there is no connection.
    ///
    /// # Cancel safety
    ///
    /// A connection that is under way is dropped.
    pub async fn open(settings: &Settings, list: &str) -> Result<Self, LinkError> {
        let mut link = Self::idle(settings.clone(), list);
        link.connection().await?;
        Ok(link)
    }

    /// One that connects at its first call.
    pub(super) fn idle(settings: Settings, list: &str) -> Self {
        Self {
            settings,
            home_slot: slot(list.as_bytes()),
            connection: None,
            facts: None,
            generation: 0,
            backoff: Backoff::default(),
            nodes: Vec::new(),
        }
    }

    /// What the server of the latest connection says about itself; `None` before the first.
    #[must_use]
    pub fn facts(&self) -> Option<&ServerFacts> {
        self.facts.as_ref()
    }

    /// Whether there is a connection, as far as is known.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// The connection, made anew where there is none. After a failure it waits for 100 ms to 5 s before it
    /// tries, once.
    ///
    /// Whoever uses it hands every error to [`failed`](Self::failed).
    ///
    /// # Errors
    ///
    /// Why there is no connection.
    ///
    /// # Cancel safety
    ///
    /// The wait goes on at the next call; a connection that is under way is dropped.
    pub async fn connection(&mut self) -> Result<&mut Connection, LinkError> {
        self.backoff.wait().await;
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => match self.connect().await {
                Ok(connection) => connection,
                Err(e) => {
                    self.backoff.failed();
                    return Err(e);
                }
            },
        };
        Ok(self.connection.insert(connection))
    }

    async fn connect(&mut self) -> Result<Connection, LinkError> {
        let settings = self.settings.clone();
        let (to, mut facts) = match &settings.url.place {
            // It was seen to be a node of a Cluster before.
            Place::Server(address) if !self.nodes.is_empty() => {
                self.connect_cluster(std::slice::from_ref(address)).await?
            }
            Place::Server(address) => {
                let server = server(&settings, address).await?;
                if server.facts.is_cluster {
                    self.connect_cluster(std::slice::from_ref(address)).await?
                } else {
                    let server = must_be_primary(server)?;
                    (To::Server(server.connection), server.facts)
                }
            }
            Place::Sentinel { sentinels, master } => {
                let server = sentinel::find(&settings, sentinels, master).await?;
                (To::Server(server.connection), server.facts)
            }
            Place::Cluster(nodes) => self.connect_cluster(nodes).await?,
        };
        self.generation += 1;
        facts.generation = self.generation;
        self.facts = Some(facts);
        Ok(Connection {
            to,
            generation: self.generation,
        })
    }

    async fn connect_cluster(&mut self, seeds: &[Address]) -> Result<(To, ServerFacts), LinkError> {
        let mut seeds = seeds.to_vec();
        for node in &self.nodes {
            if !seeds.contains(node) {
                seeds.push(node.clone());
            }
        }
        let opened = cluster::open(&self.settings, &seeds, self.home_slot).await?;
        self.nodes = opened.nodes;
        Ok((To::Cluster(opened.connection), opened.home.facts))
    }

    /// Takes note of an error that the present connection gave, and puts it into its class. If the
    /// connection is of no more use, the next call makes another.
    pub fn failed(&mut self, error: &RedisError) -> LinkError {
        self.failed_on(self.generation, error)
    }

    /// As [`failed`](Self::failed), for a clone of a connection: an error of an earlier generation says nothing
    /// about the present one.
    pub fn failed_on(&mut self, generation: u64, error: &RedisError) -> LinkError {
        let verdict = judge(error, &self.settings.secrets());
        if generation == self.generation {
            if verdict.is_spent {
                self.connection = None;
            }
            if verdict.error.is_away() {
                self.backoff.failed();
            }
        }
        match &self.facts {
            Some(facts) if verdict.is_spent => at(&facts.address, verdict.error),
            _ => verdict.error,
        }
    }

    /// Runs one command.
    ///
    /// # Errors
    ///
    /// In their classes. After [`LinkError::Away`] it may or may not have been carried out.
    ///
    /// # Cancel safety
    ///
    /// The command may or may not be carried out.
    pub async fn run<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, LinkError> {
        let result = command.query_async(self.connection().await?).await;
        result.map_err(|e| self.failed(&e))
    }

    /// Runs a pipeline.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run); some of its commands may have been carried out.
    ///
    /// # Cancel safety
    ///
    /// As [`run`](Self::run).
    pub async fn run_all<T: FromRedisValue>(&mut self, pipe: &Pipeline) -> Result<T, LinkError> {
        let result = pipe.query_async(self.connection().await?).await;
        result.map_err(|e| self.failed(&e))
    }

    /// Runs a script by its hash, after loading it where the server does not know it. On a Cluster scripts are for
    /// keys in the queue's slot.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    ///
    /// # Cancel safety
    ///
    /// As [`run`](Self::run).
    pub async fn script<T: FromRedisValue>(
        &mut self,
        call: &ScriptInvocation<'_>,
    ) -> Result<T, LinkError> {
        let result = call.invoke_async(self.connection().await?).await;
        result.map_err(|e| self.failed(&e))
    }
}
