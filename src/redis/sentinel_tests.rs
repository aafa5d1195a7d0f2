//! Fail-overs, with real Sentinels.

use std::time::Duration;

use secrecy::SecretString;

use super::tests::{command, hasty, persist, settings};
use super::{Access, Link, LinkError, Settings};
use crate::support::sentinel::Sentinels;

#[tokio::test]
async fn a_link_follows_the_sentinels_when_the_primary_dies() {
    let mut sentinels = Sentinels::start();
    let settings = hasty(&sentinels.url(), Duration::from_secs(1));
    let mut link = Link::open(&settings, "l").await.unwrap();
    let () = link.run(&command("SET a 1")).await.unwrap();
    // Acknowledged by a replica, so that it can't be lost.
    let _: u8 = link.run(&command("WAIT 2 1000")).await.unwrap();
    let before = link.facts().unwrap().clone();
    // One of them is gone, too: the others do.
    sentinels.kill_sentinel();
    sentinels.primary().kill();
    let a: u8 = persist(&mut link, "GETSET a 2").await;
    assert_eq!(a, 1);
    let after = link.facts().unwrap();
    assert_ne!(after.address, before.address);
    assert_ne!(after.run_id, before.run_id);
    assert!(after.generation > before.generation);
}

#[tokio::test]
async fn a_primary_that_is_demoted_is_left() {
    let sentinels = Sentinels::start();
    let settings = hasty(&sentinels.url(), Duration::from_secs(1));
    let mut link = Link::open(&settings, "l").await.unwrap();
    let before = link.facts().unwrap().address.clone();
    sentinels.fail_over();
    // The old one still answers, as a replica.
    let () = persist(&mut link, "SET a 2").await;
    assert_ne!(link.facts().unwrap().address, before);
}

#[tokio::test]
async fn sentinels_have_a_password_of_their_own() {
    let sentinels = Sentinels::with_passwords("hunter2-servers", "hunter2-sentinels");
    let access = |password: &str, sentinel_password: &str| Access {
        password: Some(SecretString::from(password.to_owned())),
        sentinel_password: Some(SecretString::from(sentinel_password.to_owned())),
        ..Access::default()
    };
    let open = async |password: &str, sentinel_password: &str| {
        let settings =
            Settings::try_new(&sentinels.url(), access(password, sentinel_password)).unwrap();
        Link::open(&settings, "l").await
    };
    let mut link = open("hunter2-servers", "hunter2-sentinels").await.unwrap();
    let () = link.run(&command("SET a 1")).await.unwrap();
    for (password, sentinel_password) in [
        ("hunter2-servers", "hunter2-servers"),
        ("hunter2-sentinels", "hunter2-sentinels"),
    ] {
        let error = open(password, sentinel_password).await.unwrap_err();
        assert!(
            matches!(&error, LinkError::Denied(t) if t.contains("WRONGPASS")),
            "{error}"
        );
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
    let unknown = Settings::try_new(
        &sentinels.url().replace("/queue", "/nosuch"),
        access("hunter2-servers", "hunter2-sentinels"),
    );
    let error = Link::open(&unknown.unwrap(), "l").await.unwrap_err();
    assert!(
        matches!(&error, LinkError::Away(t) if t.contains("\"nosuch\"") && t.contains("knows no such primary")),
        "{error}"
    );
}

#[tokio::test]
async fn sentinels_that_are_gone_are_named() {
    let url = "redis+sentinel://127.0.0.1:1,127.0.0.1:2/queue";
    let error = Link::open(&settings(url), "l").await.unwrap_err();
    let LinkError::Away(text) = &error else {
        panic!("{error}");
    };
    assert!(
        text.contains("127.0.0.1:1: ") && text.contains("127.0.0.1:2: "),
        "{text}"
    );
}
