//! A Cluster, seen from one queue.
//!
//! What must stay true: all keys of a queue are in one slot, its home. Commands for the home slot, and those
//! without a key (`INFO`, `SCRIPT LOAD`), go to the node that held it when the connection was made; if it
//! moves, its `MOVED` is handed out and ends the connection, so that nobody speaks to another server
//! without having seen its facts. Commands for other slots (results, reply lists) follow `MOVED` by
//! themselves; a fault of their node is no fault of the connection. `ASK` is followed everywhere. A command is
//! sent again only after such a redirection, which says that it was not carried out.
//!
//! Source: Redis, "Cluster specification", "Redirection and resharding".

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ::redis::aio::{ConnectionLike, MultiplexedConnection};
use ::redis::{
    Arg, Cmd, ErrorKind, Pipeline, RedisError, RedisFuture, RedisResult, ServerErrorKind, Value,
    cmd, pipe,
};
use futures_util::stream::{FuturesUnordered, StreamExt};

use super::dial::{Server, at, dial, must_be_primary, server};
use super::error::{LinkError, elsewhere, judge};
use super::keys::slot;
use super::sentinel::Faults;
use super::settings::Settings;
use super::url::Address;

/// Redirections that one command follows.
const REDIRECTIONS: u32 = 4;

/// A Cluster, opened for one queue. Clones share its connections.
#[derive(Clone, Debug)]
pub(super) struct ClusterConnection {
    home: MultiplexedConnection,
    home_slot: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: Settings,
    home_address: Address,
    state: Mutex<State>,
}

/// What is known of the other nodes. Held for look-ups only, never while waiting.
#[derive(Debug)]
struct State {
    slots: Slots,
    others: HashMap<Address, MultiplexedConnection>,
}

/// Which node holds which slots: first, last, its primary.
#[derive(Clone, Debug, Default)]
pub(super) struct Slots(Vec<(u16, u16, Address)>);

impl Slots {
    fn owner(&self, slot: u16) -> Option<&Address> {
        let holds = |(first, last, _): &&(u16, u16, Address)| (*first..=*last).contains(&slot);
        self.0.iter().rev().find(holds).map(|(_, _, node)| node)
    }

    /// Notes that a slot has moved.
    fn moved(&mut self, slot: u16, node: Address) {
        self.0
            .retain(|(first, last, _)| (*first, *last) != (slot, slot));
        self.0.push((slot, slot, node));
    }

    /// Every primary.
    pub(super) fn nodes(&self) -> Vec<Address> {
        let mut nodes: Vec<Address> = Vec::new();
        for (_, _, node) in &self.0 {
            if !nodes.contains(node) {
                nodes.push(node.clone());
            }
        }
        nodes
    }

    /// Reads the answer to `CLUSTER SLOTS` that `asked` gave: a node may leave its own host out.
    fn read(answer: Value, asked: &Address) -> RedisResult<Self> {
        let ranges: Vec<Vec<Value>> = ::redis::from_redis_value(answer)?;
        let mut slots = Vec::new();
        for range in ranges {
            let mut range = range.into_iter();
            let (Some(first), Some(last), Some(primary)) =
                (range.next(), range.next(), range.next())
            else {
                continue;
            };
            let (first, last) = (
                ::redis::from_redis_value(first)?,
                ::redis::from_redis_value(last)?,
            );
            let mut primary = ::redis::from_redis_value::<Vec<Value>>(primary)?.into_iter();
            let (Some(host), Some(port)) = (primary.next(), primary.next()) else {
                continue;
            };
            let host: Option<String> = ::redis::from_redis_value(host)?;
            let port: u16 = ::redis::from_redis_value(port)?;
            let host = match (host.filter(|host| !host.is_empty()), asked) {
                (Some(host), _) => host,
                (None, Address::Tcp(host, _)) => host.clone(),
                (None, Address::Unix(_)) => "localhost".to_owned(),
            };
            slots.push((first, last, Address::Tcp(host, port)));
        }
        Ok(Self(slots))
    }
}

/// A Cluster that was just connected to.
pub(super) struct Opened {
    pub(super) connection: ClusterConnection,
    pub(super) home: Server,
    /// Its primaries, to ask when it is looked for again.
    pub(super) nodes: Vec<Address>,
}

/// Connects to the node that holds `home_slot`. All `seeds` are asked at once, and the first whose answer
/// leads to that slot's primary is taken.
pub(super) async fn open(
    settings: &Settings,
    seeds: &[Address],
    home_slot: u16,
) -> Result<Opened, LinkError> {
    let mut answers: FuturesUnordered<_> =
        seeds.iter().map(|seed| map_of(settings, seed)).collect();
    let mut faults = Faults::default();
    while let Some(answer) = answers.next().await {
        let found = match answer {
            Ok(slots) => open_home(settings, slots, home_slot).await,
            Err(e) => Err(e),
        };
        match found {
            Ok(opened) => return Ok(opened),
            Err(e) => faults.push(e),
        }
    }
    Err(faults.into_error("no node of the Cluster leads to the queue's slot"))
}

async fn map_of(settings: &Settings, seed: &Address) -> Result<Slots, LinkError> {
    let mut connection = dial(settings, seed, &settings.login, 0).await?;
    let answer = cmd("CLUSTER")
        .arg("SLOTS")
        .query_async(&mut connection)
        .await;
    answer
        .and_then(|answer| Slots::read(answer, seed))
        .map_err(|e| at(seed, judge(&e, &settings.secrets()).error))
}

async fn open_home(settings: &Settings, slots: Slots, home_slot: u16) -> Result<Opened, LinkError> {
    let address = slots
        .owner(home_slot)
        .cloned()
        .ok_or_else(|| LinkError::Away(format!("no node of the Cluster holds slot {home_slot}")))?;
    let home = must_be_primary(server(settings, &address).await?)?;
    let nodes = slots.nodes();
    let connection = ClusterConnection {
        home: home.connection.clone(),
        home_slot,
        shared: Arc::new(Shared {
            settings: settings.clone(),
            home_address: address,
            state: Mutex::new(State {
                slots,
                others: HashMap::new(),
            }),
        }),
    };
    Ok(Opened {
        connection,
        home,
        nodes,
    })
}

/// Where a command goes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Home,
    Other(Address),
}

/// A redirection that a node gave.
enum Redirection {
    Moved(u16, Address),
    Ask(Address),
}

impl ClusterConnection {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn target_of(&self, slot: Option<u16>) -> Target {
        let Some(slot) = slot.filter(|&slot| slot != self.home_slot) else {
            return Target::Home;
        };
        let owner = self.state().slots.owner(slot).cloned();
        owner.map_or(Target::Home, |address| self.target_at(address))
    }

    fn target_at(&self, address: Address) -> Target {
        if address == self.shared.home_address {
            Target::Home
        } else {
            Target::Other(address)
        }
    }

    /// The connection to a target, made where there is none.
    async fn connection_to(&self, target: &Target) -> RedisResult<MultiplexedConnection> {
        let Target::Other(address) = target else {
            return Ok(self.home.clone());
        };
        if let Some(connection) = self.state().others.get(address) {
            return Ok(connection.clone());
        }
        let settings = &self.shared.settings;
        let connection = dial(settings, address, &settings.login, 0)
            .await
            .map_err(|e| {
                self.forget(address);
                elsewhere(e.to_string())
            })?;
        self.state()
            .others
            .insert(address.clone(), connection.clone());
        Ok(connection)
    }

    /// Forgets another node, and what was believed about its slots: the next try asks our own node, which
    /// redirects.
    fn forget(&self, address: &Address) {
        let mut state = self.state();
        state.others.remove(address);
        state.slots.0.retain(|(_, _, node)| node != address);
    }

    /// Marks a fault of another node as such.
    fn fault(&self, target: &Target, error: RedisError) -> RedisError {
        let Target::Other(address) = target else {
            return error;
        };
        let verdict = judge(&error, &self.shared.settings.secrets());
        if !verdict.error.is_away() {
            return error;
        }
        if verdict.is_spent {
            self.forget(address);
        }
        elsewhere(at(address, verdict.error).to_string())
    }

    /// The redirection in an answer, if it is one that is followed.
    fn redirection(
        &self,
        asked: &Target,
        slot: Option<u16>,
        answer: &Value,
    ) -> Option<Redirection> {
        let Value::ServerError(error) = answer else {
            return None;
        };
        let kind = error.kind()?;
        let mut words = error.details()?.split_ascii_whitespace();
        let moved: u16 = words.next()?.parse().ok()?;
        let (host, port) = words.next()?.rsplit_once(':')?;
        let host = match (host.trim_matches(['[', ']']), asked) {
            // "The same host as I".
            ("", Target::Other(Address::Tcp(host, _))) => host.clone(),
            ("", _) => match &self.shared.home_address {
                Address::Tcp(host, _) => host.clone(),
                Address::Unix(_) => return None,
            },
            (host, _) => host.to_owned(),
        };
        let address = Address::Tcp(host, port.parse().ok()?);
        match kind {
            ServerErrorKind::Ask => Some(Redirection::Ask(address)),
            ServerErrorKind::Moved if slot != Some(self.home_slot) => {
                Some(Redirection::Moved(moved, address))
            }
            _ => None,
        }
    }

    /// Sends one command to where its key is.
    async fn command(&self, command: &Cmd) -> RedisResult<Value> {
        let slot = key_of(command).map(slot);
        let target = self.target_of(slot);
        let mut connection = self.connection_to(&target).await?;
        let answer = connection.req_packed_command(command).await;
        let answer = answer.map_err(|e| self.fault(&target, e))?;
        self.follow(command, slot, target, answer).await
    }

    /// Follows the redirections in an answer to a command that was not carried out because of them.
    async fn follow(
        &self,
        command: &Cmd,
        slot: Option<u16>,
        mut target: Target,
        mut answer: Value,
    ) -> RedisResult<Value> {
        for _ in 0..REDIRECTIONS {
            let Some(redirection) = self.redirection(&target, slot, &answer) else {
                break;
            };
            answer = match redirection {
                Redirection::Moved(slot, address) => {
                    self.state().slots.moved(slot, address.clone());
                    target = self.target_at(address);
                    let mut connection = self.connection_to(&target).await?;
                    let answer = connection.req_packed_command(command).await;
                    answer.map_err(|e| self.fault(&target, e))?
                }
                Redirection::Ask(address) => {
                    target = self.target_at(address);
                    let mut connection = self.connection_to(&target).await?;
                    let mut asking = pipe();
                    asking.cmd("ASKING").add_command(command.clone());
                    let answers = connection.req_packed_commands(&asking, 0, 2).await;
                    let mut answers = answers.map_err(|e| self.fault(&target, e))?;
                    answers.pop().unwrap_or(Value::Nil)
                }
            };
        }
        if let (Target::Other(_), Value::ServerError(error)) = (&target, &answer) {
            let fault = self.fault(&target, RedisError::from(error.clone()));
            if fault.kind() == ErrorKind::ClusterConnectionNotFound {
                return Err(fault);
            }
        }
        Ok(answer)
    }

    /// Sends a pipeline to the one node that all of its keys are at.
    async fn pipeline(
        &self,
        pipeline: &Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisResult<Vec<Value>> {
        let slots: Vec<Option<u16>> = pipeline.cmd_iter().map(|c| key_of(c).map(slot)).collect();
        let mut target = None;
        for &slot in slots.iter().filter(|slot| slot.is_some()) {
            let next = self.target_of(slot);
            if target.get_or_insert_with(|| next.clone()) != &next {
                return Err(RedisError::from((
                    ErrorKind::Client,
                    "a pipeline goes to one node of the Cluster; its keys are at several",
                )));
            }
        }
        let target = target.unwrap_or(Target::Home);
        let mut connection = self.connection_to(&target).await?;
        let answers = connection
            .req_packed_commands(pipeline, offset, count)
            .await;
        let mut answers = answers.map_err(|e| self.fault(&target, e))?;
        // A transaction's answer is one; its commands were carried out all or none.
        if !pipeline.is_transaction() {
            for ((answer, command), slot) in answers.iter_mut().zip(pipeline.cmd_iter()).zip(slots)
            {
                let first = std::mem::replace(answer, Value::Nil);
                *answer = self.follow(command, slot, target.clone(), first).await?;
            }
        }
        Ok(answers)
    }
}

impl ConnectionLike for ClusterConnection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(self.command(command))
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(self.pipeline(pipeline, offset, count))
    }

    fn get_db(&self) -> i64 {
        0
    }
}

/// The first key of a command; `None` where it has none.
fn key_of(command: &Cmd) -> Option<&[u8]> {
    let mut arguments = command.args_iter().filter_map(|argument| match argument {
        Arg::Simple(bytes) => Some(bytes),
        _ => None,
    });
    let name = arguments.next()?.to_ascii_uppercase();
    match name.as_slice() {
        b"EVAL" | b"EVALSHA" | b"EVAL_RO" | b"EVALSHA_RO" | b"FCALL" | b"FCALL_RO" => {
            // Script, number of keys, keys.
            let keys = arguments.nth(1)?;
            if keys == b"0" { None } else { arguments.next() }
        }
        b"OBJECT" | b"MEMORY" => arguments.nth(1),
        b"ACL" | b"ASKING" | b"AUTH" | b"CLIENT" | b"CLUSTER" | b"COMMAND" | b"CONFIG"
        | b"DBSIZE" | b"DEBUG" | b"ECHO" | b"FUNCTION" | b"HELLO" | b"INFO" | b"LATENCY"
        | b"PING" | b"ROLE" | b"SCRIPT" | b"SELECT" | b"TIME" | b"WAIT" | b"WAITAOF" => None,
        _ => arguments.next(),
    }
}
