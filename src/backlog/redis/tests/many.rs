//! A worker that holds more than it speaks of in one exchange.

use ::redis::AsyncCommands;

use super::conformance::{Queue as Store, queue as store};
use super::dump::Dump;
use super::*;
use crate::backlog::conformance::Shop;
use crate::backlog::redis::RedisBacklog;
use crate::backlog::{Backlog, Supply};

const HELD: usize = 8;

async fn holding_all(shop: &mut Store) -> RedisBacklog {
    let mut backlog = shop.open().await;
    let mut held = 0;
    loop {
        let claimed = backlog.claim(100).await.unwrap();
        held += claimed.jobs.len();
        if claimed.supply != Supply::More {
            assert_eq!(held, HELD);
            return backlog;
        }
    }
}

#[tokio::test]
async fn all_leases_are_extended() {
    let mut shop = store(HELD).await;
    let mut backlog = holding_all(&mut shop).await;
    let _: usize = shop.redis.del(key("lease")).await.unwrap();
    assert_eq!(Dump::of(&mut shop.redis).await.leased().len(), 0);
    backlog.beat().await.unwrap();
    assert_eq!(Dump::of(&mut shop.redis).await.leased().len(), HELD);
    assert!(backlog.tend().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_not_held_any_more_is_told_by_its_own_ticket() {
    let mut shop = store(HELD).await;
    let mut backlog = holding_all(&mut shop).await;
    // Of each part one.
    for n in [1, 4, 7] {
        let _: usize = shop.redis.hdel(key("job"), format!("r{n}")).await.unwrap();
    }
    backlog.beat().await.unwrap();
    let lost = backlog.tend().await.unwrap().lost;
    let mut ids: Vec<&str> = lost
        .iter()
        .map(|t| backlog.held[t].kept.id.as_str())
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, ["r1", "r4", "r7"]);
}

#[tokio::test]
async fn all_of_it_is_put_back() {
    let mut shop = store(HELD).await;
    let mut backlog = holding_all(&mut shop).await;
    let before = Dump::of(&mut shop.redis).await;
    ::redis::cmd("FLUSHALL")
        .query_async::<()>(&mut shop.redis)
        .await
        .unwrap();
    shop.server.kill();
    shop.server.start_again();
    while backlog.beat().await.is_err() {
        tokio::task::yield_now().await;
    }
    let client = ::redis::Client::open(shop.server.url()).unwrap();
    let mut again = client.get_multiplexed_async_connection().await.unwrap();
    let after = Dump::of(&mut again).await;
    assert_eq!(after.leased(), before.leased());
    assert_eq!(after.unfinished(), before.unfinished());
    assert_eq!(after.unfinished().len(), HELD);
    // They are what they were: the next owner reads the same requests.
    let payloads: Vec<String> = again.hvals(key("payload")).await.unwrap();
    assert!(payloads.iter().all(|p| p.contains("\"website_key\":\"k\"")));
    assert_eq!(payloads.len(), HELD);
}
