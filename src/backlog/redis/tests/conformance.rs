//! A queue in Redis, held to what every backlog promises.

use std::time::Duration;

use ::redis::AsyncCommands;
use ::redis::aio::MultiplexedConnection;

use crate::api::{AccountToken, Identity, Protocol};
use crate::backlog::UnknownCreatePolicy;
use crate::backlog::conformance::{Shop, conforms};
use crate::backlog::redis::message::Intake;
use crate::backlog::redis::reply_to::{NamesInUse, ReplyPolicy};
use crate::backlog::redis::{Delivery, RedisBacklog, RedisSettings};
use crate::job::{Allowlist, Kinds, SiteRule};
use crate::redis::{Access, Keys, Settings};
use crate::support::redis::RedisServer;

const LIST: &str = "solve:requests";
const RESULTS: &str = "solve:results";
const PREFIX: &str = "pollwheel:";
/// What stands before the lease's end of a job without a remote id.
const CREATING: f64 = (1_u64 << 50) as f64;

pub(super) struct Queue {
    pub(super) server: RedisServer,
    pub(super) redis: MultiplexedConnection,
}

impl Queue {
    /// The leases of these run out.
    pub(super) async fn expire(&mut self, which: impl Fn(&str) -> bool) {
        let keys = Keys::new(PREFIX, LIST).unwrap();
        let leases: Vec<(String, f64)> = self
            .redis
            .zrange_withscores(&keys.lease, 0, -1)
            .await
            .unwrap();
        for (id, end) in leases.into_iter().filter(|(id, _)| which(id)) {
            let ended = if end >= CREATING { CREATING } else { 0.0 };
            let _: () = self.redis.zadd(&keys.lease, id, ended).await.unwrap();
        }
    }

    /// A worker that reaches Redis by this URL.
    pub(super) async fn open_at(&self, url: &str) -> RedisBacklog {
        let keys = Keys::new(PREFIX, LIST).unwrap();
        let names = NamesInUse {
            list: LIST,
            results: Some(RESULTS),
            key_prefix: PREFIX,
        };
        let settings = RedisSettings {
            link: Settings::try_new(url, Access::default()).unwrap(),
            keys,
            delivery: Delivery {
                results: Some(RESULTS.to_owned()),
                replies: ReplyPolicy::try_new("reply:", None, names).unwrap(),
                keys: None,
                foreign: None,
            },
            intake: Intake {
                kinds: Kinds::built_in(),
                sites: Allowlist::new(vec![SiteRule::try_new("*.example.com", vec![]).unwrap()]),
                default_kind: None,
            },
            identity: Identity {
                base_url: "https://api.example.net".to_owned(),
                protocol: Protocol::V1,
                account: AccountToken::try_new("token-1").unwrap(),
            },
            lease: Duration::from_secs(3600),
            repeat_window: Duration::from_secs(600),
            submit_pace: (Duration::from_micros(1), 1000),
            poll_pace: None,
            max_spend: None,
            max_in_flight: None,
            on_unknown_create: UnknownCreatePolicy::Retry,
            drain: true,
            limit: None,
            allow_unsafe: false,
            wall_clock: jiff::Timestamp::now,
        };
        RedisBacklog::open(settings).await.unwrap().0
    }
}

impl Shop for Queue {
    type Backlog = RedisBacklog;

    /// Whoever worked on it before is dead for longer than a lease.
    async fn open(&mut self) -> RedisBacklog {
        self.expire(|_| true).await;
        self.open_at(&self.server.url()).await
    }

    async fn outcomes(&mut self) -> Vec<(String, String)> {
        let texts: Vec<String> = self.redis.lrange(RESULTS, 0, -1).await.unwrap();
        let read = |text: &String| {
            let outcome: serde_json::Value = serde_json::from_str(text).unwrap();
            let member = |name: &str| outcome[name].as_str().unwrap().to_owned();
            (member("id"), member("status"))
        };
        texts.iter().map(read).collect()
    }
}

pub(super) async fn queue(count: usize) -> Queue {
    let server = RedisServer::start();
    let client = ::redis::Client::open(server.url()).unwrap();
    // A busy machine is no reason to fail.
    let config = ::redis::AsyncConnectionConfig::new().set_response_timeout(None);
    let mut redis = client
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .unwrap();
    for n in 0..count {
        let message = format!(
            r#"{{"id":"r{n}","job":"hcaptcha","website_url":"https://a.example.com/{n}","website_key":"k"}}"#
        );
        let _: usize = redis.lpush(LIST, message).await.unwrap();
    }
    Queue { server, redis }
}

conforms!(queue);
