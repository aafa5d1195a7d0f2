//! Outcomes that go elsewhere as JSON, to a place that comes and goes.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use super::*;
use crate::sink::{Outbox, SinkError};

/// A place in memory, that outlives the runs that write to it.
#[derive(Clone, Default)]
struct Elsewhere(Arc<Mutex<Inside>>);

#[derive(Default)]
struct Inside {
    documents: Vec<String>,
    calls: usize,
    /// Calls that it still takes before it is away.
    takes: Option<usize>,
    /// While it is away it takes documents, and says that it does not.
    is_sly: bool,
}

impl Elsewhere {
    fn sink(&self) -> CsvSink {
        CsvSink::Outbox(Box::new(self.clone()))
    }

    fn takes(&self, calls: Option<usize>) {
        self.0.lock().unwrap().takes = calls;
    }

    fn documents(&self) -> Vec<serde_json::Value> {
        let inside = self.0.lock().unwrap();
        let parse = |text: &String| serde_json::from_str(text).unwrap();
        inside.documents.iter().map(parse).collect()
    }

    fn ids(&self) -> Vec<String> {
        let id = |document: serde_json::Value| document["id"].as_str().unwrap().to_owned();
        self.documents().into_iter().map(id).collect()
    }
}

impl Outbox for Elsewhere {
    fn name(&self) -> &str {
        "redis:results"
    }

    fn deliver(&mut self, documents: &[&[u8]]) -> Result<(), SinkError> {
        let mut inside = self.0.lock().unwrap();
        inside.calls += 1;
        let is_away = inside.takes == Some(0);
        inside.takes = inside.takes.map(|n| n.saturating_sub(1));
        if !is_away || inside.is_sly {
            let texts = documents
                .iter()
                .map(|d| String::from_utf8(d.to_vec()).unwrap());
            inside.documents.extend(texts);
        }
        if is_away {
            let what = "redis:results: Redis is away".to_owned();
            return Err(SinkError::Away { what });
        }
        Ok(())
    }
}

fn journal(bench: &Bench) -> PathBuf {
    bench.path("in.csv.journal")
}

fn sql(bench: &Bench, sql: &str) -> i64 {
    let db = rusqlite::Connection::open(journal(bench)).unwrap();
    db.query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn outcomes_are_documents_and_other_columns_their_meta() {
    let bench = Bench::new(
        "note,job,id,url,website_key,\"x\"\"y\"\nα,hcaptcha,a,https://a.example.com/,k,\n\
         \"b,\",,b,https://a.example.com/,k,\" 1\"\nc,,c,https://evil.test/,k,2\n",
    );
    let elsewhere = Elsewhere::default();
    let opened = run(&bench, Status::Solved, |s| {
        s.sink = elsewhere.sink();
        s.skip_bad_rows = true;
    });
    assert_eq!(opened.journal, Some(journal(&bench)));
    let documents = elsewhere.documents();
    let of = |id: &str| documents.iter().find(|d| d["id"] == id).unwrap();
    assert_eq!(documents.len(), 3);
    let a = of("a");
    assert_eq!(
        (&a["job"], &a["status"], &a["token"]),
        (&"hcaptcha".into(), &"solved".into(), &"P1_secret".into())
    );
    assert_eq!(a["meta"], serde_json::json!({"note": "α", "x\"y": ""}));
    assert_eq!(
        of("b")["meta"],
        serde_json::json!({"note": "b,", "x\"y": " 1"})
    );
    // What it was to be is not known for sure: all of it goes back.
    let c = of("c");
    assert_eq!(
        (&c["status"], &c["error"]),
        (&"rejected".into(), &"site_not_authorized".into())
    );
    assert_eq!(
        c["meta"],
        serde_json::json!({"note": "c", "url": "https://evil.test/", "website_key": "k", "x\"y": "2"})
    );
    // Tokens stay in the journal until they are delivered, and no longer.
    assert_eq!(sql(&bench, "SELECT count(*) FROM outbox"), 0);
    let status = JournalStatus::read(&journal(&bench)).unwrap();
    assert_eq!(
        (status.output.as_str(), status.solved, status.rejected),
        ("redis:results", 2, 1)
    );
    // Again: nothing is left to do.
    let opened = run(&bench, Status::Solved, |s| {
        s.sink = elsewhere.sink();
        s.skip_bad_rows = true;
    });
    assert_eq!((opened.done, opened.to_go), (3, Some(0)));
    assert_eq!(elsewhere.documents().len(), 3);
}

#[test]
fn rows_without_ids_and_without_other_columns() {
    let bench = Bench::new("website_url,website_key\nhttps://a.example.com/,k\n");
    let elsewhere = Elsewhere::default();
    run(&bench, Status::Failed, |s| s.sink = elsewhere.sink());
    let document = &elsewhere.documents()[0];
    assert!(!document["id"].as_str().unwrap().is_empty());
    assert_eq!(document["status"], "failed");
    assert!(document.get("meta").is_none(), "{document}");
}

#[test]
fn what_cannot_be_delivered_waits_in_the_journal() {
    let bench = Bench::of(&["a", "b", "c"]);
    let elsewhere = Elsewhere::default();
    let (mut backlog, _) = bench.open_with(|s| s.sink = elsewhere.sink());
    let jobs = claim_all(&mut backlog);
    for job in &jobs {
        record_one(&mut backlog, job.ticket, begin());
        record_one(&mut backlog, job.ticket, created(job.ticket.0));
    }
    elsewhere.takes(Some(0));
    let batch = [
        (jobs[0].ticket, finish(Status::Solved)),
        (jobs[1].ticket, finish(Status::Failed)),
    ];
    for _ in 0..2 {
        let error = record(&mut backlog, &batch).unwrap_err();
        assert!(
            matches!(&error, BacklogError::Away { what } if what.contains("redis:results")),
            "{error}"
        );
        assert_eq!(sql(&bench, "SELECT count(*) FROM outbox"), 2);
    }
    elsewhere.takes(None);
    record(&mut backlog, &batch).unwrap();
    assert_eq!(elsewhere.ids(), ["a", "b"]);
    // A repeat delivers nothing again, and neither does the next.
    record(&mut backlog, &batch).unwrap();
    record_one(&mut backlog, jobs[2].ticket, finish(Status::Solved));
    assert_eq!(elsewhere.ids(), ["a", "b", "c"]);
    close(&mut backlog);
    assert_eq!(sql(&bench, "SELECT count(*) FROM outbox"), 0);
}

#[test]
fn a_run_that_ends_without_it_leaves_its_documents_to_the_next() {
    let bench = Bench::of(&["a", "b"]);
    let elsewhere = Elsewhere::default();
    let (mut backlog, _) = bench.open_with(|s| s.sink = elsewhere.sink());
    for job in claim_all(&mut backlog) {
        record_one(&mut backlog, job.ticket, begin());
        record_one(&mut backlog, job.ticket, created(job.ticket.0));
        elsewhere.takes(Some(0));
        let _ = record(&mut backlog, &[(job.ticket, finish(Status::Solved))]);
        elsewhere.takes(None);
        if job.request.id().as_str() == "a" {
            // The next call takes it there.
            assert!(elsewhere.ids().is_empty());
        }
    }
    elsewhere.takes(Some(0));
    let closed = backlog.close("done").now_or_never().unwrap();
    assert!(matches!(closed, Err(BacklogError::Away { .. })));
    drop(backlog);
    // While it is away no run begins, and none is lost.
    let refused = bench.refused(|s| s.sink = elsewhere.sink());
    assert!(
        matches!(refused, OpenError::Recovery(BacklogError::Away { .. })),
        "{refused}"
    );
    elsewhere.takes(None);
    let (mut backlog, opened) = bench.open_with(|s| s.sink = elsewhere.sink());
    assert_eq!((opened.done, opened.to_go), (2, Some(0)));
    close(&mut backlog);
    let mut ids = elsewhere.ids();
    ids.sort();
    assert_eq!(ids, ["a", "b"]);
}

/// Whatever instruction it is killed at, each outcome is there, and at most the last one twice.
#[test]
fn a_kill_loses_no_document() {
    for point in ["before-commit", "after-commit", "after-append"] {
        for n in 1..=6 {
            let bench = Bench::of(&["a", "b", "c"]);
            let elsewhere = Elsewhere::default();
            let crash: CrashPoint = format!("{point}:{n}").parse().unwrap();
            let opened = bench.try_open(|s| {
                s.sink = elsewhere.sink();
                s.crash_point = Some(crash);
            });
            let mut was_killed = opened.is_err();
            if let Ok((mut backlog, _)) = opened {
                'run: for job in claim_all(&mut backlog) {
                    for step in [begin(), created(job.ticket.0), finish(Status::Solved)] {
                        if record(&mut backlog, &[(job.ticket, step)]).is_err() {
                            was_killed = true;
                            break 'run;
                        }
                    }
                }
                if !was_killed {
                    close(&mut backlog);
                }
            }
            run(&bench, Status::Solved, |s| s.sink = elsewhere.sink());
            let ids = elsewhere.ids();
            let distinct: HashSet<_> = ids.iter().collect();
            assert_eq!(distinct.len(), 3, "{point}:{n} {ids:?}");
            // What was delivered is struck out in the next commit.
            let twice = match point {
                "after-append" => usize::from(was_killed),
                "before-commit" if was_killed => ids.len().saturating_sub(3).min(1),
                _ => 0,
            };
            assert_eq!(ids.len(), 3 + twice, "{point}:{n} {ids:?}");
            assert_eq!(sql(&bench, "SELECT count(*) FROM outbox"), 0);
        }
    }
}

#[test]
fn a_long_batch_is_delivered_in_parts() {
    let names: Vec<String> = (0..300).map(|n| format!("r{n}")).collect();
    let ids: Vec<&str> = names.iter().map(String::as_str).collect();
    let bench = Bench::of(&ids);
    let elsewhere = Elsewhere::default();
    let (mut backlog, _) = bench.open_with(|s| s.sink = elsewhere.sink());
    let jobs = claim_all(&mut backlog);
    let all = |step: fn(u64) -> Record| -> Vec<(Ticket, Record)> {
        jobs.iter().map(|j| (j.ticket, step(j.ticket.0))).collect()
    };
    record(&mut backlog, &all(|_| begin())).unwrap();
    record(&mut backlog, &all(created)).unwrap();
    // The second part is taken, and its answer is lost.
    elsewhere.0.lock().unwrap().is_sly = true;
    elsewhere.takes(Some(1));
    let finishes = all(|_| finish(Status::Solved));
    record(&mut backlog, &finishes).unwrap_err();
    assert_eq!(elsewhere.ids().len(), 256);
    elsewhere.takes(None);
    record(&mut backlog, &finishes).unwrap();
    let delivered = elsewhere.ids();
    assert_eq!(delivered[..256], names[..256]);
    assert_eq!(delivered[256..], names[128..]);
    assert_eq!(elsewhere.0.lock().unwrap().calls, 4);
}

#[test]
fn a_journal_belongs_to_one_destination() {
    let bench = Bench::of(&["a"]);
    let elsewhere = Elsewhere::default();
    run(&bench, Status::Solved, |s| s.sink = elsewhere.sink());
    let refused = bench.refused(|s| s.journal = Some(journal(&bench)));
    assert!(
        matches!(&refused, OpenError::Usage(why) if why.contains("is redis:results, this run's is a file")),
        "{refused}"
    );
    let bench = Bench::of(&["a"]);
    run(&bench, Status::Solved, |_| {});
    let refused = bench.refused(|s| {
        s.journal = Some(bench.path("out.csv.journal"));
        s.sink = elsewhere.sink();
    });
    assert!(
        matches!(&refused, OpenError::Usage(why) if why.contains("is a file, this run's is redis:results")),
        "{refused}"
    );
}
