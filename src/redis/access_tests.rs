//! Passwords, rights, sockets and TLS, at real servers.

use std::time::Duration;

use secrecy::SecretString;

use super::tests::{command, settings};
use super::{Access, Keys, Link, LinkError, Settings};
use crate::support::access::{TlsServer, with_socket, with_user};
use crate::support::redis::{RedisServer, ask};

const PASSWORD: &str = "hunter2-of-the-tests";

async fn refused(settings: &Settings) -> LinkError {
    let error = Link::open(settings, "l").await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    error
}

#[tokio::test]
async fn a_password_opens_and_a_wrong_one_does_not() {
    let server = RedisServer::with(&["--requirepass", PASSWORD]);
    let url = |login: &str| format!("redis://{login}127.0.0.1:{}", server.port);
    let right = settings(&url(&format!(":{PASSWORD}@")));
    let mut link = Link::open(&right, "l").await.unwrap();
    let () = link.run(&command("SET a 1")).await.unwrap();
    for (login, part) in [
        ("", "NOAUTH"),
        (":hunter2@", "WRONGPASS"),
        ("default:hunter2@", "WRONGPASS"),
        ("nobody:hunter2@", "WRONGPASS"),
    ] {
        let error = refused(&settings(&url(login))).await;
        assert!(
            matches!(&error, LinkError::Denied(t) if t.contains(part)),
            "{error}"
        );
    }
    // A setting wins over the URL.
    let access = Access {
        password: Some(SecretString::from(PASSWORD.to_owned())),
        ..Access::default()
    };
    let settings = Settings::try_new(&url(":other@"), access).unwrap();
    assert!(Link::open(&settings, "l").await.is_ok());
    // The password changes while we are connected, and what is connected stays; what connects anew does not.
    let new = ["CONFIG", "SET", "requirepass", "another-one"];
    ask(server.port, Some(PASSWORD), &new).unwrap();
    let () = link.run(&command("SET a 1")).await.unwrap();
    assert!(matches!(refused(&right).await, LinkError::Denied(_)));
}

#[tokio::test]
async fn a_password_where_none_is_asked_for_is_a_mistake_that_is_told() {
    let server = RedisServer::start();
    let url = format!("redis://:{PASSWORD}@127.0.0.1:{}", server.port);
    let error = refused(&settings(&url)).await;
    assert!(
        matches!(&error, LinkError::Denied(t) if t.contains("without any password")),
        "{error}"
    );
}

#[tokio::test]
async fn a_user_with_few_rights_is_enough() {
    let server = with_user("worker", PASSWORD);
    let url = format!("redis://worker:{PASSWORD}@127.0.0.1:{}", server.port);
    let mut link = Link::open(&settings(&url), "solve:requests").await.unwrap();
    assert_eq!(link.facts().unwrap().has_snapshots, Some(false));
    let keys = Keys::new("pollwheel:", "solve:requests").unwrap();
    let script = ::redis::Script::new(
        "redis.call('HSET', KEYS[2], 'a', 1) redis.call('ZADD', KEYS[3], 1, 'a')
         return redis.call('LPUSH', KEYS[1], redis.call('TIME')[1])",
    );
    let mut call = script.prepare_invoke();
    call.key(&keys.list).key(&keys.job).key(&keys.lease);
    assert_eq!(link.script(&call).await, Ok(1));
    let wait = format!("BLMOVE {} {} RIGHT LEFT 1", keys.list, keys.inbox);
    let moved: Option<String> = link.run(&command(&wait)).await.unwrap();
    assert!(moved.is_some());
    // What it may not do is refused with the command's name, or the key's.
    for (words, part) in [("FLUSHALL", "'flushall'"), ("GET other", "key")] {
        let error = link.run::<()>(&command(words)).await.unwrap_err();
        assert!(
            matches!(&error, LinkError::Denied(t) if t.contains(part)),
            "{error}"
        );
    }
    for body in [
        "return redis.call('FLUSHALL')",
        "return redis.call('GET', 'other')",
    ] {
        let error = link
            .script::<()>(&::redis::Script::new(body).key("solve:x"))
            .await
            .unwrap_err();
        assert!(matches!(&error, LinkError::Denied(_)), "{error}");
    }
    assert!(link.is_connected());
}

#[tokio::test]
async fn without_the_right_to_look_the_facts_say_that_they_do_not_know() {
    let server = with_user("worker", PASSWORD);
    let url = format!("redis://worker:{PASSWORD}@127.0.0.1:{}", server.port);
    let mut link = Link::open(&settings(&url), "solve:requests").await.unwrap();
    let admin = RedisServer::with(&[
        "--user", "default", "on", "nopass", "~*", "+@all", "-config", "-client",
    ]);
    let other = Link::open(&settings(&admin.url()), "l").await.unwrap();
    assert_eq!(other.facts().unwrap().has_snapshots, None);
    assert_eq!(other.facts().unwrap().appendfsync, None);
    let none = RedisServer::with(&["--user", "default", "on", "nopass", "~*", "+@all", "-info"]);
    let error = refused(&settings(&none.url())).await;
    assert!(
        matches!(&error, LinkError::Denied(t) if t.contains("'info'")),
        "{error}"
    );
    let () = link.run(&command("LPUSH solve:requests 1")).await.unwrap();
}

#[tokio::test]
async fn a_socket_is_a_way_in() {
    let (server, path) = with_socket();
    let url = format!("unix://{}?db=2", path.display());
    let mut link = Link::open(&settings(&url), "l").await.unwrap();
    let () = link.run(&command("SET a 1")).await.unwrap();
    let url = format!("{}2", server.url());
    let mut other = Link::open(&settings(&url), "l").await.unwrap();
    assert_eq!(other.run(&command("GET a")).await, Ok(1));
}

#[tokio::test]
async fn tls_goes_by_the_authority_that_is_given() {
    let server = TlsServer::start();
    let with = |ca: &str| Access {
        ca_file: Some(server.file(ca)),
        ..Access::default()
    };
    let known = Settings::try_new(&server.url(), with("ca.pem")).unwrap();
    let mut link = Link::open(&known, "l").await.unwrap();
    let () = link.run(&command("SET a 1")).await.unwrap();
    let by_name = server.url().replace("127.0.0.1", "localhost");
    let by_name = Settings::try_new(&by_name, with("ca.pem")).unwrap();
    assert!(Link::open(&by_name, "l").await.is_ok());
    // The system's authorities did not sign it, and neither did another one.
    for settings in [
        settings(&server.url()),
        Settings::try_new(&server.url(), with("other-ca.pem")).unwrap(),
    ] {
        let error = refused(&settings).await;
        assert!(
            matches!(&error, LinkError::Away(t) if t.contains("certificate")),
            "{error}"
        );
    }
    // One side only: each waits for the other.
    for (url, ca_file) in [
        (server.url().replace("rediss", "redis"), None),
        (
            format!("rediss://127.0.0.1:{}", server.server.port),
            Some(server.file("ca.pem")),
        ),
    ] {
        let access = Access {
            ca_file,
            connect_timeout: Some(Duration::from_millis(300)),
            response_timeout: Some(Duration::from_millis(300)),
            ..Access::default()
        };
        let settings = Settings::try_new(&url, access).unwrap();
        assert!(refused(&settings).await.is_away(), "{url}");
    }
}

#[tokio::test]
async fn tls_shows_a_certificate_of_ours_where_one_is_asked_for() {
    let server = TlsServer::for_known_clients();
    let mut access = Access {
        ca_file: Some(server.file("ca.pem")),
        ..Access::default()
    };
    let stranger = Settings::try_new(&server.url(), access.clone()).unwrap();
    assert!(refused(&stranger).await.is_away());
    access.certificate_file = Some(server.file("client.pem"));
    access.key_file = Some(server.file("client.key"));
    let known = Settings::try_new(&server.url(), access).unwrap();
    let mut link = Link::open(&known, "l").await.unwrap();
    let () = link.run(&command("SET a 1")).await.unwrap();
}
