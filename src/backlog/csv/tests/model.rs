//! Random runs, crashes and disk errors against a model of what must be known afterwards.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::backlog::History;
use crate::job::State;

/// Rows of the input.
const ROWS: usize = 6;

#[derive(Clone, Debug)]
enum Op {
    Claim(usize),
    /// Moves these jobs in hand on, each by a legal step of this number, in one batch.
    Step(Vec<(usize, usize)>),
    /// The same, and the process dies at this point if the batch comes by there.
    StepAndDie(Vec<(usize, usize)>, &'static str),
    /// The same, but the output cannot be written at first.
    StepOnFullDisk(Vec<(usize, usize)>),
    /// What was collected for the output goes there.
    Tend,
    /// The process is killed.
    Die,
    /// The process ends in good order.
    Close,
}

fn op() -> impl Strategy<Value = Op> {
    let steps = || prop::collection::vec((0..ROWS, 0..4_usize), 1..4);
    let points = prop::sample::select(vec![
        "before-commit",
        "after-commit",
        "after-begin-commit",
        "mid-append",
        "after-append",
        "after-fsync",
    ]);
    prop_oneof![
        3 => (1..4_usize).prop_map(Op::Claim),
        10 => steps().prop_map(Op::Step),
        2 => (steps(), points).prop_map(|(steps, point)| Op::StepAndDie(steps, point)),
        1 => steps().prop_map(Op::StepOnFullDisk),
        2 => Just(Op::Tend),
        1 => Just(Op::Die),
        1 => Just(Op::Close),
    ]
}

/// What is known of a row.
#[derive(Clone, Debug, Default)]
struct Row {
    state: Option<State>,
    history: History,
    remote_id: Option<u64>,
    reserved: i64,
    status: Option<Status>,
}

/// What is known of everything.
#[derive(Clone, Debug, Default)]
struct Model {
    rows: BTreeMap<String, Row>,
    retries: u64,
    next_remote_id: u64,
}

impl Model {
    /// A legal step of a row, and what it makes of the row.
    fn step(&mut self, id: &str, choice: usize) -> Record {
        let row = self.rows.entry(id.to_owned()).or_default();
        let history = &mut row.history;
        match (row.state.unwrap_or(State::Queued), choice) {
            (State::Queued, _) => {
                row.state = Some(State::Submitting);
                history.creates += 1;
                history.spent += Micros(1000);
                row.reserved = 1000;
                begin()
            }
            (State::Submitting, 0) => {
                row.state = Some(State::Queued);
                history.creates -= 1;
                history.spent = history.spent - Micros(row.reserved);
                Record::Withdraw
            }
            (State::Submitting, 1) => {
                row.state = Some(State::Queued);
                history.unknown_creates += 1;
                Record::Unknown
            }
            (State::Submitting, _) => {
                self.next_remote_id += 1;
                row.state = Some(State::Waiting);
                row.remote_id = Some(self.next_remote_id);
                created(self.next_remote_id)
            }
            (State::Waiting, 0) => {
                row.state = Some(State::Queued);
                history.failed_attempts += 1;
                history.polls += 2;
                history.spent = history.spent - Micros(1000);
                self.retries += 1;
                Record::Retry {
                    refund: Micros(1000),
                    polls: 2,
                }
            }
            (State::Waiting, _) => {
                let status = if choice == 1 {
                    Status::Failed
                } else {
                    Status::Solved
                };
                row.state = Some(State::Settled);
                row.status = Some(status);
                if status == Status::Failed {
                    history.spent = history.spent - Micros(1000);
                }
                finish(status)
            }
            (State::Settled, _) => unreachable!("settled rows are not in hand"),
        }
    }

    /// What a new start makes of creates without an answer.
    fn restart(&mut self) {
        for row in self
            .rows
            .values_mut()
            .filter(|r| r.state == Some(State::Submitting))
        {
            row.state = Some(State::Queued);
            row.history.unknown_creates += 1;
        }
    }
}

/// A process: a backlog and what it has in hand.
struct Process<'a> {
    bench: &'a Bench,
    backlog: CsvBacklog,
    in_hand: BTreeMap<String, Ticket>,
    /// Lines are collected for the output, until somebody asks for them; what waits is kept in the journal
    /// alone.
    collects: bool,
}

impl<'a> Process<'a> {
    fn start(bench: &'a Bench, model: &Model, collects: bool) -> Self {
        let (backlog, opened) = bench.open_with(|settings| {
            if collects {
                settings.deliver_every = Duration::from_hours(1);
                settings.forgets_beyond = 1;
            }
        });
        let in_state = |state| {
            model
                .rows
                .values()
                .filter(|r| r.state == Some(state))
                .count() as u64
        };
        assert_eq!(opened.adopted, in_state(State::Waiting));
        assert_eq!(opened.done, in_state(State::Settled));
        assert_eq!(
            opened.to_go,
            Some(ROWS as u64 - opened.adopted - opened.done)
        );
        Self {
            bench,
            backlog,
            in_hand: BTreeMap::new(),
            collects,
        }
    }

    fn claim(&mut self, max: usize, model: &Model) -> bool {
        let claimed = claim(&mut self.backlog, max);
        assert!(claimed.settled.is_empty());
        for job in claimed.jobs {
            let id = job.request.id().as_str().to_owned();
            let row = model.rows.get(&id).cloned().unwrap_or_default();
            match (row.state.unwrap_or(State::Queued), job.resume) {
                (State::Queued, Resume::Queued) => {}
                (State::Waiting, Resume::Waiting(w)) => {
                    assert_eq!(w.remote_id.to_json(), row.remote_id.unwrap().to_string());
                }
                (state, resume) => panic!("{id} is {state:?} and was handed out as {resume:?}"),
            }
            // An outcome of the test's says three polls whatever there were; no row comes back after one.
            assert_eq!(job.history, row.history, "{id}");
            assert!(self.in_hand.insert(id, job.ticket).is_none());
        }
        claimed.supply == Supply::Exhausted
    }

    /// The batch of these steps, one for each job.
    fn batch(&self, steps: &[(usize, usize)], model: &mut Model) -> Vec<(Ticket, Record)> {
        let mut batch = Vec::new();
        let mut moved = Vec::new();
        for (n, choice) in steps {
            let Some((id, ticket)) = self.in_hand.iter().nth(n % self.in_hand.len().max(1)) else {
                continue;
            };
            if !moved.contains(id) {
                moved.push(id.clone());
                batch.push((*ticket, model.step(id, *choice)));
            }
        }
        batch
    }

    fn forget_settled(&mut self, model: &Model) {
        self.in_hand.retain(|id, _| {
            model
                .rows
                .get(id)
                .is_none_or(|r| r.state != Some(State::Settled))
        });
    }

    fn die(self, model: &mut Model) -> Process<'a> {
        let (bench, collects) = (self.bench, self.collects);
        drop(self);
        model.restart();
        Process::start(bench, model, collects)
    }

    /// What a reader sees is what is known, at every instant; of what is collected, a part.
    fn check_output_now(&self, model: &Model) {
        if !self.collects {
            self.check_output(model);
            return;
        }
        for (id, status) in self.bench.results() {
            let known = model.rows[&id].status.map(Status::as_str);
            assert_eq!(known, Some(status.as_str()), "{id}");
        }
    }

    /// What a reader sees is what is known.
    fn check_output(&self, model: &Model) {
        let mut seen = self.bench.results();
        seen.sort();
        let settled = model
            .rows
            .iter()
            .filter_map(|(id, r)| Some((id.clone(), r.status?.as_str().to_owned())));
        assert_eq!(seen, settled.collect::<Vec<_>>());
    }
}

fn play(ops: Vec<Op>, collects: bool) {
    let ids: Vec<String> = (0..ROWS).map(|n| format!("r{n}")).collect();
    let bench = Bench::of(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    let mut model = Model::default();
    let mut process = Process::start(&bench, &model, collects);
    for op in ops {
        match op {
            Op::Claim(max) => {
                process.claim(max, &model);
            }
            Op::Step(steps) => {
                let batch = process.batch(&steps, &mut model);
                record(&mut process.backlog, &batch).unwrap();
                process.forget_settled(&model);
                process.check_output_now(&model);
            }
            Op::Tend => {
                let tended = process.backlog.tend().now_or_never();
                tended.unwrap().unwrap();
                process.check_output(&model);
            }
            Op::StepAndDie(steps, point) => {
                let before = model.clone();
                let batch = process.batch(&steps, &mut model);
                process.backlog.crash = Crash(Some(format!("{point}:1").parse().unwrap()));
                let died = record(&mut process.backlog, &batch).is_err();
                if died && point == "before-commit" {
                    model = before;
                }
                process = process.die(&mut model);
                process.check_output(&model);
            }
            Op::StepOnFullDisk(steps) => {
                let batch = process.batch(&steps, &mut model);
                let Sink::File(output) = &mut process.backlog.sink else {
                    unreachable!()
                };
                let read_only = File::open(&output.file.path).unwrap();
                let writable = std::mem::replace(&mut output.file.handle, read_only);
                let has_line = batch
                    .iter()
                    .any(|(_, r)| matches!(r, Record::Finish { .. }));
                match record(&mut process.backlog, &batch) {
                    Ok(()) => assert!(!has_line || collects),
                    Err(e) => assert!(matches!(e, BacklogError::Retryable { .. }), "{e}"),
                }
                let Sink::File(output) = &mut process.backlog.sink else {
                    unreachable!()
                };
                output.file.handle = writable;
                record(&mut process.backlog, &batch).unwrap();
                process.forget_settled(&model);
                process.check_output_now(&model);
            }
            Op::Die => process = process.die(&mut model),
            Op::Close => {
                close(&mut process.backlog);
                process = process.die(&mut model);
            }
        }
    }
    // To the end.
    while !process.claim(3, &model) {}
    while !process.in_hand.is_empty() {
        let batch = process.batch(&[(0, 2), (1, 3), (2, 2)], &mut model);
        record(&mut process.backlog, &batch).unwrap();
        process.forget_settled(&model);
    }
    close(&mut process.backlog);
    process.check_output(&model);
    assert_eq!(process.in_hand.len(), 0);
    assert_eq!(bench.ids().len(), ROWS);
    let sum = |of: fn(&Row) -> i64| model.rows.values().map(of).sum::<i64>();
    let status = bench.status();
    assert_eq!(
        status.creates,
        sum(|r| i64::from(r.history.creates)).unsigned_abs()
    );
    assert_eq!(
        status.unknown_creates,
        sum(|r| i64::from(r.history.unknown_creates)).unsigned_abs()
    );
    assert_eq!(status.spend, Micros(sum(|r| r.history.spent.0)));
    assert_eq!(status.retries, model.retries);
    assert!(status.creates <= ROWS as u64 + status.retries + status.unknown_creates);
    assert_eq!(bench.sql("SELECT sum(spent) FROM job"), status.spend.0);
    assert_eq!(bench.sql("SELECT count(*) FROM outbox"), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_and_nothing_doubled(ops in prop::collection::vec(op(), 5..40), collects: bool) {
        play(ops, collects);
    }
}
