//! TEMPORARY: what scripts cost the server.
use super::*;

async fn usec(f: &mut Fixture) -> (u64, u64) {
    let text: String = ::redis::cmd("INFO").arg("commandstats").query_async(&mut f.con).await.unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix("cmdstat_evalsha:")).unwrap_or("calls=0,usec=0,").to_owned();
    let get = |n: &str| line.split(',').find_map(|p| p.strip_prefix(n)).unwrap().parse().unwrap();
    (get("calls="), get("usec="))
}

#[tokio::test]
async fn cost() {
    for (batch, rounds) in [(128_usize, 60_usize), (16, 200), (1, 1000)] {
        let mut f = Fixture::with(&["--appendonly", "yes", "--appendfsync", "everysec"]).await;
        let api = "v1 http://127.0.0.1:34567 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        let total = batch * rounds;
        let msgs: Vec<String> = (0..total).map(|n| format!(r#"{{"id":"order-{n}","job":"hcaptcha","website_url":"https://shop.example.com/login?step={n}","website_key":"10000000-ffff-ffff-ffff-000000000001"}}"#)).collect();
        for c in msgs.chunks(500) { f.push(&c.iter().map(String::as_str).collect::<Vec<_>>()).await; }
        let hash = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        let mut worst: Vec<(&str, f64)> = vec![];
        let mut mark = usec(&mut f).await;
        let phase = async |f: &mut Fixture, name, worst: &mut Vec<(&str, f64)>, mark: &mut (u64, u64)| {
            let now = usec(f).await;
            worst.push((name, (now.1 - mark.1) as f64 / total as f64));
            *mark = now;
        };
        let mut raws = vec![];
        while raws.len() < total { raws.extend(f.queue.claim(&mut f.con, batch, None).await.unwrap().raw); }
        phase(&mut f, "claim", &mut worst, &mut mark).await;
        let ids: Vec<String> = (0..total).map(|n| format!("order-{n}")).collect();
        let mut epochs = vec![];
        for (r, (i, m)) in raws.chunks(batch).zip(ids.chunks(batch).zip(msgs.chunks(batch))) {
            let items: Vec<Admit<'_>> = r.iter().zip(i).zip(m).map(|((r, i), m)| Admit { key: &r.key, epoch: r.epoch, id: i, hash, payload: m, not_after_in_ms: None }).collect();
            for a in f.queue.admit(&mut f.con, &items).await.unwrap() { let Admission::Admitted(e) = a else { panic!() }; epochs.push(e); }
        }
        phase(&mut f, "admit", &mut worst, &mut mark).await;
        let hold = |n: usize, step| Hold { id: &ids[n], epoch: epochs[n], step };
        let spending = Spending { api, pace: Pace { period_us: 1, burst: 100_000, horizon: Duration::from_millis(100) }, cap: None };
        for at in (0..total).step_by(batch) {
            let items: Vec<_> = (at..at + batch).map(|n| Begin { hold: hold(n, 0), reserve: Micros(550) }).collect();
            assert!(f.queue.begin(&mut f.con, spending, &items).await.unwrap().iter().all(|b| matches!(b, Begun::Slot(_))));
        }
        phase(&mut f, "begin", &mut worst, &mut mark).await;
        let remotes: Vec<String> = (0..total).map(|n| format!("{}", 1_234_567 + n)).collect();
        for at in (0..total).step_by(batch) {
            let items: Vec<_> = (at..at + batch).map(|n| Created { hold: hold(n, 1), remote_id: &remotes[n], submitted_at_ms: 1_700_000_000_123, budget: Duration::from_secs(180), api }).collect();
            f.queue.created(&mut f.con, &items).await.unwrap();
        }
        phase(&mut f, "created", &mut worst, &mut mark).await;
        for at in (0..total).step_by(batch.max(16)) {
            let items: Vec<_> = (at..(at + batch.max(16)).min(total)).map(|n| Known { hold: hold(n, 1), remote_id: Some(&remotes[n]) }).collect();
            f.queue.beat(&mut f.con, &items).await.unwrap();
        }
        phase(&mut f, "beat", &mut worst, &mut mark).await;
        let outcome = "x".repeat(550);
        for at in (0..total).step_by(batch) {
            let items: Vec<_> = (at..at + batch).map(|n| Finish { hold: hold(n, 2), status: Status::Solved, remote_id: Some(&remotes[n]), refund: Micros::ZERO, polls: 3, unknown_create: false, dead: false, target: Target::Results, outcome: &outcome, with_reply_error: None, result_key: None }).collect();
            f.queue.finish(&mut f.con, Some(RESULTS), &items).await.unwrap();
        }
        phase(&mut f, "finish", &mut worst, &mut mark).await;
        let sum: f64 = worst.iter().filter(|w| w.0 != "beat").map(|w| w.1).sum();
        println!("COST batch {batch}: sum {sum:.1}  {worst:.1?}");
    }
}
