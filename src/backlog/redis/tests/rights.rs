//! What our user at Redis may do is asked before anything is done.

use super::*;

async fn rights_of(f: &mut Fixture, rules: &[&str]) -> crate::backlog::redis::probe::Rights {
    let mut acl = ::redis::cmd("ACL");
    acl.arg("SETUSER").arg("u").arg("reset").arg(rules);
    let _: () = acl
        .arg("on")
        .arg(">p")
        .query_async(&mut f.con)
        .await
        .unwrap();
    let url = f.server.url().replace("redis://", "redis://u:p@");
    let client = ::redis::Client::open(url).unwrap();
    let config = ::redis::AsyncConnectionConfig::new().set_response_timeout(None);
    let mut con = client
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .unwrap();
    let places = Places {
        results: Some(RESULTS),
        result_key: Some("solved:id"),
        reply: "reply:id",
    };
    f.queue.probe(&mut con, places).await.unwrap()
}

#[tokio::test]
async fn what_is_denied_is_named_and_nothing_is_changed() {
    let mut f = Fixture::new().await;
    let all = ["~pollwheel:*", "~solve:*", "~solved:*", "~reply:*", "+@all"];
    let rights = rights_of(&mut f, &all).await;
    assert!(rights.may_reply);
    assert_eq!(rights.denied, Vec::<String>::new());

    for command in ["lpush", "hdel", "zrem", "zscore", "blmove", "set", "ltrim"] {
        let less = format!("-{command}");
        let mut rules = all.to_vec();
        rules.push(&less);
        let rights = rights_of(&mut f, &rules).await;
        let command = command.to_uppercase();
        let is_named = rights.denied.iter().any(|one| one.starts_with(&command));
        assert!(is_named, "{command}: {rights:?}");
    }

    let rights = rights_of(&mut f, &["~pollwheel:*", "~solve:*", "~solved:*", "+@all"]).await;
    assert!(!rights.may_reply && rights.denied.is_empty(), "{rights:?}");
    let rights = rights_of(
        &mut f,
        &["~pollwheel:*", "~solve:requests", "~reply:*", "+@all"],
    )
    .await;
    assert_eq!(rights.denied.len(), 4, "{rights:?}");
    let keys: usize = ::redis::cmd("DBSIZE")
        .query_async(&mut f.con)
        .await
        .unwrap();
    assert_eq!(keys, 0);
}
