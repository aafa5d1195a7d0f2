//! The straight way of a request, and each operation by itself.

use super::*;

#[tokio::test]
async fn a_request_goes_from_the_list_to_its_result() {
    let mut f = Fixture::new().await;
    f.push(&["a"]).await;
    let claimed = f.claim().await;
    let raw = &claimed.raw[0];
    assert_eq!((raw.text.as_slice(), raw.takes), (&b"a"[..], 1));
    assert!(!claimed.empty && claimed.held.is_empty());
    assert_eq!(f.admit(raw, "a").await, Admission::Admitted);
    let mut own = Own {
        id: "a".to_owned(),
        epoch: raw.epoch,
        step: 0,
    };
    assert!(matches!(f.begin(&mut own).await, Begun::Slot(0)));
    assert_eq!(f.created(&mut own, "77").await, Answer::Done);
    let finish = own.finish(Status::Solved, Some("77"));
    assert_eq!(f.finish(finish).await, Finished::Done);
    assert_eq!(f.outcomes(RESULTS).await, ["a"]);
    let claimed = f.claim().await;
    assert!(claimed.empty && claimed.raw.is_empty() && claimed.next_ms.is_none());
    assert_eq!(f.counter("spent").await, PRICE);
    assert_eq!(f.counter("polls").await, 2);
    let keys: Vec<String> = ::redis::cmd("KEYS")
        .arg("*")
        .query_async(&mut f.con)
        .await
        .unwrap();
    let left = ["job", "meta", "done", "limit"].map(key);
    let mut left = [&left[..], &[RESULTS.to_owned()]].concat();
    left.sort();
    let mut keys = keys;
    keys.sort();
    assert_eq!(
        keys, left,
        "a finished request leaves a tombstone and nothing else"
    );
}
