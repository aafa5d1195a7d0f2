//! The bell, at real servers that die while it waits.

use std::time::Duration;

use tokio::time::timeout;

use super::tests::{command, hasty, persist, settings};
use super::{Bell, Link, LinkError};
use crate::support::redis::{RedisServer, ask};
use crate::support::sentinel::Sentinels;

/// Long, so that a slow machine is not taken for a bell that does not ring.
const PATIENCE: Duration = Duration::from_secs(30);

async fn rung(bell: &mut Bell) -> Result<(), LinkError> {
    timeout(PATIENCE, bell.rung()).await.expect("it rings")
}

/// Waits until a client of the server is blocked.
async fn is_waiting(link: &mut Link) {
    loop {
        let info: String = persist(link, "INFO clients").await;
        if info.contains("blocked_clients:1") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Arms it until it has brought something: it also rings where an answer was lost.
async fn brings(bell: &mut Bell, link: &mut Link) {
    while length(link, "inbox").await == 0 {
        bell.arm();
        rung(bell).await.unwrap();
    }
}

async fn length(link: &mut Link, list: &str) -> u64 {
    persist(link, &format!("LLEN {list}")).await
}

#[tokio::test]
async fn it_rings_once_for_each_time_it_is_armed() {
    let server = RedisServer::start();
    let settings = settings(&server.url());
    let mut link = Link::open(&settings, "l").await.unwrap();
    let mut bell = Bell::start(&settings, "l", "inbox");
    // Not armed, it takes nothing.
    let () = link.run(&command("LPUSH l a b c")).await.unwrap();
    assert!(
        timeout(Duration::from_millis(50), bell.rung())
            .await
            .is_err()
    );
    assert_eq!(length(&mut link, "l").await, 3);
    // The oldest first, one each time, however often it is told.
    bell.arm();
    bell.arm();
    rung(&mut bell).await.unwrap();
    assert!(
        timeout(Duration::from_millis(50), bell.rung())
            .await
            .is_err()
    );
    assert_eq!(length(&mut link, "l").await, 2);
    assert_eq!(
        link.run(&command("LRANGE inbox 0 -1")).await,
        Ok(["a".to_owned()])
    );
    bell.arm();
    rung(&mut bell).await.unwrap();
    // Those that come later stand to the left: a claim takes from the right.
    let inbox: Vec<String> = link.run(&command("LRANGE inbox 0 -1")).await.unwrap();
    assert_eq!(inbox, ["b", "a"]);
    // Nothing is there, then something.
    bell.arm();
    rung(&mut bell).await.unwrap();
    bell.arm();
    is_waiting(&mut link).await;
    let () = link.run(&command("LPUSH l d")).await.unwrap();
    rung(&mut bell).await.unwrap();
    assert_eq!(
        (
            length(&mut link, "l").await,
            length(&mut link, "inbox").await
        ),
        (0, 4)
    );
    bell.close().await;
}

#[tokio::test]
async fn it_ends_at_once_and_takes_nothing_with_it() {
    let server = RedisServer::start();
    let settings = settings(&server.url());
    let mut link = Link::open(&settings, "l").await.unwrap();
    for is_closed in [true, false] {
        let bell = Bell::start(&settings, "l", "inbox");
        bell.arm();
        is_waiting(&mut link).await;
        if is_closed {
            timeout(Duration::from_secs(1), bell.close())
                .await
                .expect("it ends at once");
        } else {
            drop(bell);
        }
        // Its connection has gone with it.
        loop {
            let info: String = persist(&mut link, "INFO clients").await;
            if info.contains("blocked_clients:0") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let () = link.run(&command("LPUSH l a")).await.unwrap();
    assert_eq!(length(&mut link, "l").await, 1);
}

#[tokio::test]
async fn a_server_that_dies_while_it_waits_costs_nothing() {
    let mut server = RedisServer::start();
    let settings = settings(&server.url());
    let mut link = Link::open(&settings, "l").await.unwrap();
    let mut bell = Bell::start(&settings, "l", "inbox");
    bell.arm();
    is_waiting(&mut link).await;
    server.kill();
    // The answer is lost: something may have been moved.
    rung(&mut bell).await.unwrap();
    bell.arm();
    server.start_again();
    is_waiting(&mut link).await;
    let () = persist(&mut link, "LPUSH l a").await;
    brings(&mut bell, &mut link).await;
    assert_eq!(
        (
            length(&mut link, "l").await,
            length(&mut link, "inbox").await
        ),
        (0, 1)
    );
    bell.close().await;
}

#[tokio::test]
async fn what_waiting_does_not_mend_is_told() {
    let server = RedisServer::start();
    let settings = settings(&server.url());
    let mut bell = Bell::start(&settings, "l", "inbox");
    ask(server.port, None, &["SET", "l", "text"]).unwrap();
    bell.arm();
    assert!(matches!(
        rung(&mut bell).await,
        Err(LinkError::WrongType(_))
    ));
    ask(server.port, None, &["DEL", "l"]).unwrap();
    ask(server.port, None, &["LPUSH", "l", "a"]).unwrap();
    bell.arm();
    rung(&mut bell).await.unwrap();
    bell.close().await;
}

#[tokio::test]
async fn elements_survive_a_fail_over_while_it_waits() {
    let mut sentinels = Sentinels::start();
    let settings = hasty(&sentinels.url(), Duration::from_secs(1));
    let mut link = Link::open(&settings, "l").await.unwrap();
    let mut bell = Bell::start(&settings, "l", "inbox");
    bell.arm();
    is_waiting(&mut link).await;
    sentinels.primary().kill();
    rung(&mut bell).await.unwrap();
    bell.arm();
    // Where its answer is lost it is pushed twice.
    let _: u64 = persist(&mut link, "LPUSH l a").await;
    brings(&mut bell, &mut link).await;
    bell.close().await;
}
