//! One connection to one server.

use std::collections::HashMap;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use ::redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo, ProtocolVersion,
    RedisConnectionInfo, RedisError, cmd,
};
use secrecy::ExposeSecret;

use super::error::{LinkError, judge};
use super::facts::{Info, ServerFacts};
use super::settings::{Login, Settings};
use super::url::Address;

/// A connection that says nothing for so long is asked by the kernel whether anybody is there, so that a
/// middlebox keeps it and one that is dead ends.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// From one such question to the next, and how many of them stay unanswered before it ends.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;
/// What operators see of us in `CLIENT LIST`.
const CLIENT_NAME: &str = "pollwheel";

/// A primary that was just connected to.
pub(super) struct Server {
    pub(super) connection: MultiplexedConnection,
    pub(super) facts: ServerFacts,
    /// Whose replica it is, if it is one.
    pub(super) replica_of: Option<String>,
}

/// Connects to the server at `address` as `login`, in database `db`.
///
/// User name and password are sent here and not by the client library, which would take any refusal (too
/// many clients, for one) for a wrong password.
pub(super) async fn dial(
    settings: &Settings,
    address: &Address,
    login: &Login,
    db: u32,
) -> Result<MultiplexedConnection, LinkError> {
    let fault = |e: RedisError| at(address, judge(&e, &settings.secrets()).error);
    // A fault of TLS comes in many kinds; all of them are about reaching it.
    let away = |e: RedisError| match fault(e) {
        LinkError::Server(text) => LinkError::Away(text),
        other => other,
    };
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(Some(settings.response_timeout));
    let client = client(settings, address).map_err(away)?;
    let connecting = client.get_multiplexed_async_connection_with_config(&config);
    let mut connection = tokio::time::timeout(settings.connect_timeout, connecting)
        .await
        .map_err(|_| {
            let limit = settings.connect_timeout;
            LinkError::Away(format!("{address}: no connection within {limit:?}"))
        })?
        .map_err(away)?;
    if let Some(password) = &login.password {
        let mut auth = cmd("AUTH");
        if let Some(user) = &login.user {
            auth.arg(user);
        }
        auth.arg(password.expose_secret());
        auth.exec_async(&mut connection).await.map_err(fault)?;
    }
    if db != 0 {
        let select = cmd("SELECT").arg(db).to_owned();
        select.exec_async(&mut connection).await.map_err(fault)?;
    }
    Ok(connection)
}

fn client(settings: &Settings, address: &Address) -> Result<Client, RedisError> {
    let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(
        TcpKeepalive::new()
            .with_time(KEEPALIVE)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_PROBES),
    );
    let protocol = RedisConnectionInfo::default()
        .set_protocol(ProtocolVersion::RESP2)
        .set_skip_set_lib_name();
    let is_tls = settings.url.is_tls;
    let address = match address.clone() {
        Address::Unix(path) => ConnectionAddr::Unix(path),
        Address::Tcp(host, port) if is_tls => ConnectionAddr::TcpTls {
            host,
            port,
            insecure: false,
            tls_params: None,
        },
        Address::Tcp(host, port) => ConnectionAddr::Tcp(host, port),
    };
    let info = address
        .into_connection_info()?
        .set_tcp_settings(tcp)
        .set_redis_settings(protocol);
    if is_tls {
        Client::build_with_tls(info, settings.certificates.as_ref().clone())
    } else {
        Client::open(info)
    }
}

/// Connects to a server that is to hold data, and asks it what it is.
pub(super) async fn server(settings: &Settings, address: &Address) -> Result<Server, LinkError> {
    let connection = dial(settings, address, &settings.login, settings.url.db).await?;
    look(settings, address, connection).await
}

/// As [`server`], for one that must be the primary.
pub(super) async fn primary(settings: &Settings, address: &Address) -> Result<Server, LinkError> {
    must_be_primary(server(settings, address).await?)
}

/// Refuses a replica.
pub(super) fn must_be_primary(server: Server) -> Result<Server, LinkError> {
    match &server.replica_of {
        None => Ok(server),
        Some(primary) => {
            let address = &server.facts.address;
            Err(LinkError::Away(format!(
                "{address} is a replica of {primary}, not the primary"
            )))
        }
    }
}

/// Asks a server what it is. One that is too old or has not loaded its data is refused.
async fn look(
    settings: &Settings,
    address: &Address,
    mut connection: MultiplexedConnection,
) -> Result<Server, LinkError> {
    let fault = |e: RedisError| at(address, judge(&e, &settings.secrets()).error);
    let info: Vec<u8> = cmd("INFO")
        .query_async(&mut connection)
        .await
        .map_err(fault)?;
    let text = String::from_utf8_lossy(&info);
    let info = Info::read(&text);
    if !info.is_recent() {
        return Err(LinkError::TooOld {
            address: address.to_string(),
            version: info.get("redis_version").to_owned(),
        });
    }
    if info.get("loading") == "1" {
        let left = info.get("loading_eta_seconds");
        return Err(LinkError::Away(format!(
            "{address} is loading its data, {left} s to go"
        )));
    }
    if info.get("run_id").is_empty() {
        return Err(LinkError::Server(format!(
            "{address} gives no run_id in INFO: a restart could not be noticed"
        )));
    }
    // Neither is needed, and a user may not have the right to them.
    let mut set_name = cmd("CLIENT");
    optional(
        set_name.arg("SETNAME").arg(CLIENT_NAME),
        &mut connection,
        fault,
    )
    .await?;
    let mut get = cmd("CONFIG");
    let config = optional(
        get.arg("GET").arg("save").arg("appendfsync"),
        &mut connection,
        fault,
    )
    .await?;
    let config: Option<HashMap<String, String>> =
        config.and_then(|value| ::redis::from_redis_value(value).ok());
    let replica_of = (info.get("role") != "master")
        .then(|| format!("{}:{}", info.get("master_host"), info.get("master_port")));
    Ok(Server {
        facts: info.facts(address.to_string(), 0, config.as_ref()),
        replica_of,
        connection,
    })
}

/// What a command gives; `None` where the server refuses it.
async fn optional(
    command: &::redis::Cmd,
    connection: &mut MultiplexedConnection,
    fault: impl Fn(RedisError) -> LinkError,
) -> Result<Option<::redis::Value>, LinkError> {
    match command.query_async(connection).await {
        Ok(value) => Ok(Some(value)),
        Err(e) => match fault(e) {
            e @ LinkError::Away(_) => Err(e),
            _ => Ok(None),
        },
    }
}

/// An error with the place where it happened.
pub(super) fn at(address: &impl std::fmt::Display, error: LinkError) -> LinkError {
    let add = |text: String| format!("{address}: {text}");
    match error {
        LinkError::Away(text) => LinkError::Away(add(text)),
        LinkError::Denied(text) => LinkError::Denied(add(text)),
        other => other,
    }
}
