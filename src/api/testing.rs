//! What the tests of both protocols share: answers, replies in few words, and bodies that were damaged.

use std::sync::LazyLock;

use bytes::Bytes;
use secrecy::ExposeSecret;

use super::{
    AccountToken, Answer, CreateReply, LookUpError, PollReply, Reader, Refusal, RefusalRules,
};
use crate::job::RemoteId;

const ACCOUNT: &str = "s3cr3t-account";
/// What the tables' solved tokens begin with.
const SOLVED: [&str; 2] = ["P1_", "3AHJ_"];

pub(super) fn account() -> AccountToken {
    AccountToken::try_new(ACCOUNT).unwrap()
}

static MASKED: LazyLock<AccountToken> = LazyLock::new(account);
static NO_RULES: LazyLock<RefusalRules> = LazyLock::new(RefusalRules::default);

pub(super) fn reader() -> Reader<'static> {
    Reader {
        account: &MASKED,
        rules: &NO_RULES,
    }
}

pub(super) fn answer(status: u16, body: impl AsRef<[u8]>) -> Answer {
    let body = Bytes::copy_from_slice(body.as_ref());
    let html = body.starts_with(b"<");
    let content_type = if html {
        "text/html; charset=utf-8"
    } else {
        "application/json"
    };
    Answer {
        status,
        retry_after: None,
        content_type: content_type.to_owned(),
        body,
    }
}

/// A protocol's decoders of what jobs are answered.
#[derive(Clone, Copy)]
pub(super) struct Decoders {
    pub(super) create: fn(&Answer, &Reader<'_>) -> CreateReply,
    pub(super) poll: fn(&Answer, &[String], &Reader<'_>) -> PollReply,
}

impl Decoders {
    /// The reply to a create in few words: its class, and what is in it.
    pub(super) fn create(self, status: u16, body: impl AsRef<[u8]>) -> String {
        match self.created(status, body) {
            CreateReply::Created(id) => format!("created {}", id.to_json()),
            CreateReply::Refused(refusal) => refused(&refusal),
            CreateReply::Throttled(_) => "throttled".to_owned(),
            CreateReply::NotSent(_) => "not sent".to_owned(),
            CreateReply::Unknown { why, .. } => format!("unknown: {why}"),
        }
    }

    /// The reply to a poll in few words.
    pub(super) fn poll(self, status: u16, body: impl AsRef<[u8]>) -> String {
        let reply = self.polled(status, body);
        let shown = format!("{reply:?}");
        assert!(!SOLVED.iter().any(|s| shown.contains(s)), "{shown}");
        match reply {
            PollReply::Solved(token) => format!("solved {}", token.expose_secret()),
            PollReply::Pending => "pending".to_owned(),
            PollReply::UnknownStatus(status) => format!("status {status}"),
            PollReply::Failed(why) => format!("failed: {why}"),
            PollReply::NoToken => "no token".to_owned(),
            PollReply::Refused(refusal) => refused(&refusal),
            PollReply::Throttled(_) => "throttled".to_owned(),
            PollReply::Transient(why) => format!("transient: {why}"),
        }
    }

    fn created(self, status: u16, body: impl AsRef<[u8]>) -> CreateReply {
        let reply = (self.create)(&answer(status, body), &reader());
        let shown = format!("{reply:?}");
        assert!(!shown.contains(ACCOUNT), "{shown}");
        reply
    }

    fn polled(self, status: u16, body: impl AsRef<[u8]>) -> PollReply {
        let members = ["gRecaptchaResponse".to_owned(), "token".to_owned()];
        let reply = (self.poll)(&answer(status, body), &members, &reader());
        let shown = format!("{reply:?}");
        assert!(!shown.contains(ACCOUNT), "{shown}");
        reply
    }

    /// That each answer means what stands beside it.
    pub(super) fn assert_meanings(self, creates: &[Meaning], polls: &[Meaning]) {
        for (status, body, meaning) in creates {
            assert_eq!(&self.create(*status, body), meaning, "HTTP {status} {body}");
        }
        for (status, body, meaning) in polls {
            assert_eq!(&self.poll(*status, body), meaning, "HTTP {status} {body}");
        }
    }
}

/// An answer's status and body, and in few words what it means.
pub(super) type Meaning = (u16, &'static str, &'static str);

fn refused(refusal: &Refusal) -> String {
    format!("{:?}: {}", refusal.cause, refusal.message)
}

/// What a question about the account was answered, in few words.
pub(super) fn in_words<T>(reply: Result<T, LookUpError>, told: impl FnOnce(T) -> String) -> String {
    match reply {
        Ok(found) => told(found),
        Err(LookUpError::Refused(refusal)) => refused(&refusal),
        Err(LookUpError::Throttled(_)) => "throttled".to_owned(),
        Err(LookUpError::NoAnswer(why)) => format!("no answer: {why}"),
        Err(LookUpError::Unusable(why)) => format!("unusable: {why}"),
    }
}

/// Decodes bodies near those of the tables: bytes flipped, cut out, doubled and put in. None may make a panic, let
/// the account's token out, or give an id or a token that is none.
pub(super) fn no_mutation_breaks(
    decoders: Decoders,
    creates: &[Meaning],
    polls: &[Meaning],
    bodies: u32,
) {
    let mut random = fastrand::Rng::with_seed(0x70_6f_6c_6c);
    let rows: Vec<&str> = creates.iter().chain(polls).map(|row| row.1).collect();
    let (mut created, mut solved) = (0, 0);
    for _ in 0..bodies {
        let mut body = rows[random.usize(..rows.len())].as_bytes().to_vec();
        for _ in 0..random.usize(1..4) {
            damage(&mut body, &mut random);
        }
        let status = [200, 400, 429, 500][random.usize(..4)];
        if let CreateReply::Created(id) = decoders.created(status, &body) {
            created += 1;
            assert_eq!(RemoteId::from_json(&id.to_json()), Some(id));
        }
        if let PollReply::Solved(token) = decoders.polled(status, &body) {
            solved += 1;
            assert!(!token.expose_secret().trim().is_empty());
        }
    }
    // Else they were no mutations of these bodies, or none was read.
    assert!(created > 200 && solved > 200, "{created} {solved}");
}

fn damage(body: &mut Vec<u8>, random: &mut fastrand::Rng) {
    let at = random.usize(..=body.len());
    match random.u8(..4) {
        0 if at < body.len() => body[at] = random.u8(..),
        1 => body.truncate(at),
        2 => body.insert(at, b"{}[]\",:\\0tfn-\xff"[random.usize(..14)]),
        _ => {
            let end = random.usize(at..=body.len().min(at + 20));
            let piece = body[at..end].to_vec();
            let to = random.usize(..=body.len());
            body.splice(to..to, piece);
        }
    }
}
