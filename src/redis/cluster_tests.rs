//! Keys in several slots, slots that move, nodes that die, with a real Cluster.

use std::time::Duration;

use ::redis::{Script, pipe};

use super::keys::slot;
use super::tests::{command, hasty, persist, settings};
use super::{Link, LinkError};
use crate::support::cluster::Cluster;

/// A list, and a name for results at another node.
struct Names {
    list: String,
    home: usize,
    results: String,
    elsewhere: usize,
}

fn names(cluster: &Cluster) -> Names {
    let list = "requests".to_owned();
    let home = cluster.owner_of(&list);
    let results = (0..)
        .map(|n| format!("results{n}"))
        .find(|name| cluster.owner_of(name) != home)
        .unwrap();
    let elsewhere = cluster.owner_of(&results);
    Names {
        list,
        home,
        results,
        elsewhere,
    }
}

#[tokio::test]
async fn keys_in_several_slots_are_found() {
    let cluster = Cluster::start();
    let names = names(&cluster);
    for key in ["requests", "{a}x", "x{}y", "", "{{b}}"] {
        assert_eq!(slot(key.as_bytes()), cluster.slot_of(key), "{key}");
    }
    // By the nodes, and by the plain URL of any one of them.
    let mut urls = vec![cluster.url()];
    urls.extend(cluster.nodes.iter().map(|node| node.url()));
    for url in urls {
        let mut link = Link::open(&settings(&url), &names.list).await.unwrap();
        let facts = link.facts().unwrap();
        assert!(facts.is_cluster);
        let home = cluster.nodes[names.home].port;
        assert_eq!(facts.address, format!("127.0.0.1:{home}"));
        let () = link
            .run(&command(&format!("DEL {}", names.list)))
            .await
            .unwrap();
        let () = link
            .run(&command(&format!("DEL {}", names.results)))
            .await
            .unwrap();
        for key in [&names.list, &names.results] {
            for words in [format!("LPUSH {key} a"), format!("LLEN {key}")] {
                assert_eq!(link.run(&command(&words)).await, Ok(1), "{words}");
            }
        }
        let script = Script::new("return redis.call('LLEN', KEYS[1])");
        assert_eq!(link.script(&script.key(&names.list)).await, Ok(1));
        let mut both = pipe();
        both.cmd("LLEN").arg(&names.list).cmd("PING");
        let (length, _): (u8, String) = link.run_all(&both).await.unwrap();
        assert_eq!(length, 1);
        let mut both = pipe();
        both.cmd("LLEN")
            .arg(&names.results)
            .cmd("LLEN")
            .arg(&names.results);
        assert_eq!(link.run_all(&both).await, Ok((1, 1)));
        both.cmd("LLEN").arg(&names.list);
        let error = link.run_all::<(u8, u8, u8)>(&both).await.unwrap_err();
        assert!(
            matches!(&error, LinkError::Server(t) if t.contains("one node")),
            "{error}"
        );
        let mut atomic = pipe();
        atomic
            .atomic()
            .cmd("LLEN")
            .arg(&names.results)
            .cmd("LLEN")
            .arg(&names.results);
        assert_eq!(link.run_all(&atomic).await, Ok((1, 1)));
        assert_eq!(link.facts().unwrap().generation, 1);
    }
}

#[tokio::test]
async fn slots_of_results_may_move_under_way() {
    let cluster = Cluster::start();
    let names = names(&cluster);
    let mut link = Link::open(&settings(&cluster.url()), &names.list)
        .await
        .unwrap();
    let push = command(&format!("LPUSH {} a", names.results));
    assert_eq!(link.run(&push).await, Ok(1));
    let third = (0..3)
        .find(|&n| n != names.home && n != names.elsewhere)
        .unwrap();
    let moving = cluster.slot_of(&names.results);
    cluster.begin_move(moving, names.elsewhere, third);
    // It is still where it was; another key of its slot, which is not there, is asked for at the new node.
    assert_eq!(link.run(&push).await, Ok(2));
    let sibling = format!("{{{}}}sibling", names.results);
    let other = command(&format!("LPUSH {sibling} a"));
    assert_eq!(link.run(&other).await, Ok(1));
    let mut two = pipe();
    two.add_command(push.clone()).add_command(other.clone());
    assert_eq!(link.run_all(&two).await, Ok((3, 2)));
    cluster.end_move(moving, names.elsewhere, third);
    assert_eq!(link.run(&push).await, Ok(4));
    assert_eq!(link.run_all(&two).await, Ok((5, 3)));
    // And to the queue's own node.
    cluster.begin_move(moving, third, names.home);
    cluster.end_move(moving, third, names.home);
    assert_eq!(link.run(&push).await, Ok(6));
    assert_eq!(link.facts().unwrap().generation, 1);
}

#[tokio::test]
async fn a_queue_that_moves_is_met_again_with_the_facts_of_its_new_node() {
    let cluster = Cluster::start();
    let names = names(&cluster);
    let mut link = Link::open(&settings(&cluster.url()), &names.list)
        .await
        .unwrap();
    let push = format!("LPUSH {} a", names.list);
    assert_eq!(link.run(&command(&push)).await, Ok(1));
    let before = link.facts().unwrap().clone();
    let moving = cluster.slot_of(&names.list);
    cluster.begin_move(moving, names.home, names.elsewhere);
    cluster.end_move(moving, names.home, names.elsewhere);
    let error = link.run::<u8>(&command(&push)).await.unwrap_err();
    assert!(
        matches!(&error, LinkError::Away(t) if t.contains("MOVED")),
        "{error}"
    );
    assert_eq!(link.run(&command(&push)).await, Ok(2));
    let after = link.facts().unwrap();
    assert_eq!(after.generation, before.generation + 1);
    assert_ne!(after.run_id, before.run_id);
}

#[tokio::test]
async fn a_dead_node_elsewhere_does_not_stop_the_queue() {
    let mut cluster = Cluster::start();
    for n in 0..3 {
        // Otherwise the rest stops, too, as soon as it knows.
        cluster.ask(n, &["CONFIG", "SET", "cluster-require-full-coverage", "no"]);
    }
    let names = names(&cluster);
    let settings = hasty(&cluster.url(), Duration::from_secs(1));
    let mut link = Link::open(&settings, &names.list).await.unwrap();
    let there = command(&format!("LPUSH {} a", names.results));
    let here = command(&format!("LPUSH {} a", names.list));
    assert_eq!(link.run(&there).await, Ok(1));
    cluster.nodes[names.elsewhere].kill();
    for n in 1..4 {
        let error = link.run::<u8>(&there).await.unwrap_err();
        assert!(error.is_away(), "{error}");
        assert_eq!(link.run(&here).await, Ok(n));
    }
    assert_eq!(link.facts().unwrap().generation, 1);
    cluster.nodes[names.elsewhere].start_again();
    let length: u8 = persist(&mut link, &format!("LPUSH {} a", names.results)).await;
    assert_eq!((length, link.facts().unwrap().generation), (2, 1));
}

#[tokio::test]
async fn a_replica_that_takes_over_is_followed() {
    let mut cluster = Cluster::with_replicas();
    let names = names(&cluster);
    let settings = hasty(&cluster.nodes[names.home].url(), Duration::from_secs(1));
    let mut link = Link::open(&settings, &names.list).await.unwrap();
    let push = format!("LPUSH {} a", names.list);
    assert_eq!(link.run(&command(&push)).await, Ok(1));
    let _: u8 = link.run(&command("WAIT 1 1000")).await.unwrap();
    let before = link.facts().unwrap().clone();
    // The only node that the URL names.
    cluster.nodes[names.home].kill();
    let length: u8 = persist(&mut link, &push).await;
    let after = link.facts().unwrap();
    assert_eq!(length, 2);
    assert_ne!(
        (&after.address, &after.run_id),
        (&before.address, &before.run_id)
    );
}
