//! Messages become requests: once, by their holder, and not beside another one with their id.

use super::dump::Dump;
use super::*;

#[tokio::test]
async fn a_second_request_with_an_id_is_a_duplicate_or_a_conflict() {
    let mut f = Fixture::new().await;
    let own = f.take("a").await;
    for stage in ["unfinished", "finished"] {
        let raw = f.raw("a").await;
        assert_eq!(f.admit(&raw, "a").await, Admission::Duplicate, "{stage}");
        let raw = f.raw("other fields").await;
        assert_eq!(f.admit(&raw, "a").await, Admission::Conflict, "{stage}");
        // The message is still held, and rejected.
        let held = Own {
            id: raw.key.clone(),
            epoch: raw.epoch,
            step: 0,
        };
        let rejected = held.finish(Status::Rejected, None);
        assert_eq!(f.finish(rejected).await, Finished::Done);
        assert_eq!(
            f.finish(rejected).await,
            Finished::Lost,
            "it is pushed once"
        );
        if stage == "unfinished" {
            assert_eq!(
                f.finish(own.finish(Status::Failed, None)).await,
                Finished::Done
            );
        }
    }
    assert_eq!(f.counter("duplicates").await, 2);
    assert_eq!(f.counter("rejected").await, 2);
    assert_eq!(f.outcomes(RESULTS).await.len(), 3);
    Dump::of(&mut f.con).await.check();
}

#[tokio::test]
async fn two_requests_with_one_id_in_one_batch() {
    let mut f = Fixture::new().await;
    f.push(&["a", "a", "b"]).await;
    let raw = f.claim().await.raw;
    let texts: Vec<&str> = raw
        .iter()
        .map(|r| std::str::from_utf8(&r.text).unwrap())
        .collect();
    let items: Vec<Admit<'_>> = raw
        .iter()
        .zip(&texts)
        .map(|(raw, text)| Admit {
            key: &raw.key,
            epoch: raw.epoch,
            id: "a",
            hash: text,
            payload: text,
            not_after_in_ms: None,
        })
        .collect();
    let answers = f.queue.admit(&mut f.con, &items).await.unwrap();
    assert_eq!(
        answers,
        [
            Admission::Admitted(Epoch(4)),
            Admission::Duplicate,
            Admission::Conflict
        ]
    );
    Dump::of(&mut f.con).await.check();
}

#[tokio::test]
async fn a_message_is_admitted_once_and_by_its_holder() {
    let mut f = Fixture::new().await;
    let raw = f.raw("a").await;
    f.expire(&raw.key).await;
    let again = f.claim().await.raw.remove(0);
    assert_eq!(
        (again.key.as_str(), again.takes, &again.text),
        (raw.key.as_str(), 2, &raw.text)
    );
    assert_eq!(f.admit(&raw, "a").await, Admission::Lost);
    let own = f.admitted(&again, "a").await;
    assert_eq!(
        f.admit(&again, "a").await,
        Admission::Admitted(own.epoch),
        "a repetition"
    );
    assert_eq!(f.admit(&raw, "a").await, Admission::Lost);
    assert_eq!(f.counter("admitted").await, 1);
    // A repetition that comes after another took over.
    f.take_over("a").await;
    assert_eq!(f.admit(&again, "a").await, Admission::Lost);
}
