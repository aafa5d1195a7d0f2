//! A producer's message: JSON in, a checked [`Request`] out, or a reason why not.
//!
//! ```json
//! {"id": "order-17", "job": "hcaptcha", "website_url": "https://…", "website_key": "…",
//!  "deadline": 90, "reply_to": "reply:17", "meta": {"cart": 4711}}
//! ```
//!
//! A kind's fields go by their column's name or an alias, as in a CSV file: strings, or `true` and `false`
//! where the column is of type bool; `null` is an empty one. `deadline` is an RFC 3339 time, or seconds from
//! the moment the message is taken up. `meta` is any JSON and goes back byte for byte.
//!
//! What must stay true: no bytes make it panic or recurse; a message is taken whole or rejected, never
//! taken in part (an unknown member, or one that stands twice, is a fault); a reason names members and
//! holds no value but names of kinds and hosts. Also a message that is rejected is answered under its id
//! and to its reply list, where those could be read.
//!
//! [`Message::payload`] is what Redis keeps. It is read anew by [`Intake::restore`] whenever a job changes
//! hands, so that the allowlist of whoever takes it up holds.

mod members;
#[cfg(test)]
mod tests;
mod write;

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::value::RawValue;

use crate::job::{
    Allowlist, ErrorClass, FieldType, ForeignText, Kind, Kinds, Outcome, Problem, Request,
    RequestId, closest, quoted,
};
use crate::sink::json::About;
use members::{Members, is_null, string};

pub use write::write;

/// Longest message, in bytes.
pub const LONGEST_MESSAGE: usize = 64 * 1024;
/// Longest `meta`, in bytes.
pub const LONGEST_META: usize = 16 * 1024;
/// What a stored message may be longer than a producer's: an id and a job were put in.
const LONGEST_ADDITION: usize = 8 * 1024;
/// Most characters of a message that its rejection repeats.
const LONGEST_TEXT: usize = 1000;
/// Longest deadline in seconds: a year.
const LONGEST_DEADLINE_S: f64 = 365.0 * 24.0 * 60.0 * 60.0;
/// The members that are no field of a kind.
const OWN_MEMBERS: [&str; 5] = ["id", "job", "deadline", "reply_to", "meta"];

/// Reads messages: what a worker knows of kinds and sites.
#[derive(Clone, Debug)]
pub struct Intake {
    /// The kinds there are.
    pub kinds: Kinds,
    /// The sites that may be submitted.
    pub sites: Allowlist,
    /// The kind of messages that name none.
    pub default_kind: Option<String>,
}

/// A message that is a request.
#[derive(Clone, Debug)]
pub struct Message {
    /// The request, under its own id or the one it was given.
    pub request: Request,
    /// Whether the id is the producer's own.
    pub has_own_id: bool,
    /// Until when it is worth sending.
    pub deadline: Option<Deadline>,
    /// The list that the producer wants the outcome in; whether it may is for
    /// [`ReplyPolicy`](super::reply_to::ReplyPolicy) to say.
    pub reply_to: Option<String>,
    /// What goes back unchanged.
    pub meta: Option<Box<RawValue>>,
    /// What Redis keeps: the message's text, with `id` and `job` put in where they were not there.
    pub payload: String,
}

/// A request's own deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// A time of the wall clock.
    At(Timestamp),
    /// So long after it was taken up.
    In(Duration),
}

/// What a producer wants beside the outcome.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// See [`Message::reply_to`].
    pub reply_to: Option<String>,
    /// See [`Message::meta`].
    pub meta: Option<Box<RawValue>>,
}

/// A message that is no request, or none that may be sent.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// Its id, where one could be read.
    pub id: Option<RequestId>,
    /// Its kind's name, where one could be read.
    pub job: Option<String>,
    /// The class of its outcome.
    pub class: ErrorClass,
    /// Why, in words.
    pub why: ForeignText,
    /// The message, cut.
    pub text: MessageText,
    /// Where the producer wants the outcome, where that could be read.
    pub reply_to: Option<String>,
    /// What goes back unchanged, where that could be read.
    pub meta: Option<Box<RawValue>>,
    /// Its id is another request's.
    pub is_conflict: bool,
}

/// The beginning of a message as it came, at most 1,000 characters, with U+FFFD for what is no UTF-8.
/// It goes back to the producer and nowhere else: nobody knows what stands in it.
#[derive(Clone, PartialEq, Eq)]
pub struct MessageText(String);

impl Deadline {
    /// How long it is away for a request that is taken up `now`; nothing where it has passed. A year at most.
    #[must_use]
    pub fn left(self, now: Timestamp) -> Duration {
        let left = match self {
            Self::At(time) => Duration::try_from(now.duration_until(time)).unwrap_or_default(),
            Self::In(span) => span,
        };
        left.min(Duration::from_secs_f64(LONGEST_DEADLINE_S))
    }
}

impl MessageText {
    /// The beginning of `text`.
    #[must_use]
    pub fn cut(text: &[u8]) -> Self {
        // A character has at most four bytes.
        let start = text.get(..LONGEST_TEXT * 4 + 4).unwrap_or(text);
        let start = String::from_utf8_lossy(start);
        Self(start.chars().take(LONGEST_TEXT).collect())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for MessageText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageText({} bytes)", self.0.len())
    }
}

impl Message {
    /// What it becomes where it may not be admitted: its id is that of another request with
    /// other fields. `text` is the message as it came.
    #[must_use]
    pub fn conflict(self, text: &[u8]) -> Rejected {
        let why = "`id` is that of a request with other fields, unfinished or ended a short while ago; give each request an id of its own";
        Rejected {
            id: Some(self.request.id().clone()),
            job: Some(self.request.kind().name.clone()),
            class: ErrorClass::InvalidRequest,
            why: ForeignText::clean(why, &[]),
            text: MessageText::cut(text),
            reply_to: self.reply_to,
            meta: self.meta,
            is_conflict: true,
        }
    }
}

impl Wishes {
    /// What stands in a [payload](Message::payload). A message is checked before it is one.
    #[must_use]
    pub fn of(payload: &str) -> Self {
        let members = Members::read(payload);
        Self {
            reply_to: optional(&members, "reply_to").and_then(string),
            meta: members.get("meta").map(ToOwned::to_owned),
        }
    }
}

impl Rejected {
    /// Its outcome.
    #[must_use]
    pub fn outcome(&self, finished_at: Timestamp) -> Outcome {
        Outcome::rejected(self.class, self.why.to_string(), finished_at)
    }

    /// What stands around its outcome.
    #[must_use]
    pub fn about(&self) -> About<'_> {
        About {
            id: self.id.as_ref().map(RequestId::as_str),
            job: self.job.as_deref(),
            meta: self.meta.as_deref(),
            reply_error: None,
            // Of a request its producer knows the rest by the id.
            request: (self.class == ErrorClass::InvalidRequest || self.id.is_none())
                .then(|| self.text.as_str()),
        }
    }
}

impl Intake {
    /// Reads a producer's message. `fresh_id` gives an id to one that brings none.
    ///
    /// # Errors
    ///
    /// Why it is rejected, with everything that the answer needs.
    pub fn read(
        &self,
        text: &[u8],
        fresh_id: impl FnOnce() -> RequestId,
    ) -> Result<Message, Box<Rejected>> {
        let source = Source::decode(text, LONGEST_MESSAGE);
        let members = Members::read(&source.text);
        self.message(&source, &members, fresh_id)
            .map_err(|problem| Box::new(self.rejected(text, &source, &members, &problem)))
    }

    /// Reads what Redis keeps of the request `id`, by the kinds and sites of now. Its deadline, if one was
    /// given in seconds, counts from when it was first taken up: Redis knows that time, and this does not.
    ///
    /// # Errors
    ///
    /// Why it may not be sent any more.
    pub fn restore(&self, payload: &str, id: &RequestId) -> Result<Message, Box<Rejected>> {
        let source = Source::decode(payload.as_bytes(), LONGEST_MESSAGE + LONGEST_ADDITION);
        let members = Members::read(&source.text);
        let message = self.message(&source, &members, || id.clone());
        let problem = match message {
            Ok(message) if message.request.id() == id => return Ok(message),
            Ok(_) => Problem::Malformed("what is stored under this id has another".to_owned()),
            Err(problem) => problem,
        };
        let rejected = self.rejected(payload.as_bytes(), &source, &members, &problem);
        Err(Box::new(Rejected {
            id: Some(id.clone()),
            ..rejected
        }))
    }

    fn message(
        &self,
        source: &Source<'_>,
        members: &Members<'_>,
        fresh_id: impl FnOnce() -> RequestId,
    ) -> Result<Message, Problem> {
        if let Some(fault) = source.fault.or(members.fault.as_deref()) {
            return malformed(format!("the message {fault}"));
        }
        if let Some(name) = members.twice() {
            return malformed(format!("`{}` stands twice", quoted(name)));
        }
        let own_id = own_id(members)?;
        let own_job = members.get("job").map(|value| {
            string(value)
                .filter(|name| !name.is_empty())
                .ok_or_else(|| fault("job", "must be the name of a kind, in quotes"))
        });
        let own_job = own_job.transpose()?;
        let kind = match own_job.as_deref().or(self.default_kind.as_deref()) {
            Some(name) => self.kinds.find(name)?,
            None => {
                let known = self.kinds.names();
                return malformed(format!("`job` is missing; it names the kind, of {known}"));
            }
        };
        if let Some(problem) = self.kinds.not_spoken(kind) {
            return Err(problem);
        }
        let places = places(kind, members)?;
        let deadline = optional(members, "deadline").map(deadline).transpose()?;
        let reply_to = optional(members, "reply_to")
            .map(|value| string(value).ok_or_else(|| fault("reply_to", "must be a string")))
            .transpose()?;
        let meta = members.get("meta");
        if meta.is_some_and(|meta| meta.get().len() > LONGEST_META) {
            return Err(fault("meta", "is longer than 16 KiB"));
        }
        let mut values = Vec::with_capacity(places.len());
        for (column, place) in kind.columns.iter().zip(places) {
            let value = place.and_then(|n| members.value(n));
            values.push(match value {
                Some(value) if !is_null(value) => {
                    Some(field(column.field_type, &column.name, value)?)
                }
                _ => None,
            });
        }
        let has_own_id = own_id.is_some();
        let id = own_id.unwrap_or_else(fresh_id);
        let put_in = [
            (!has_own_id).then(|| ("id", id.as_str())),
            own_job.is_none().then(|| ("job", kind.name.as_str())),
        ];
        let payload = source.with(put_in.into_iter().flatten());
        let request = Request::validate(id, kind, |n| values[n].as_deref(), &self.sites)?;
        Ok(Message {
            request,
            has_own_id,
            deadline,
            reply_to,
            meta: meta.map(ToOwned::to_owned),
            payload,
        })
    }

    /// The rejection of a message, with what could be read of it.
    fn rejected(
        &self,
        text: &[u8],
        source: &Source<'_>,
        members: &Members<'_>,
        problem: &Problem,
    ) -> Rejected {
        let whole = |text: &str| !source.is_lossy || !text.contains('\u{fffd}');
        let readable = |name| {
            let text = members.get(name).and_then(string);
            text.filter(|text| whole(text))
        };
        let meta = members
            .get("meta")
            .filter(|meta| meta.get().len() <= LONGEST_META && whole(meta.get()))
            .filter(|meta| members::depth(meta.get()) < members::DEEPEST);
        let job = match members.get("job") {
            None => self.default_kind.clone(),
            Some(_) => readable("job").filter(|name| RequestId::try_new(name).is_some()),
        };
        Rejected {
            id: readable("id").and_then(|id| RequestId::try_new(&id)),
            job,
            class: problem.class(),
            why: ForeignText::clean(&problem.to_string(), &[]),
            text: MessageText::cut(text),
            reply_to: readable("reply_to"),
            meta: meta.map(ToOwned::to_owned),
            is_conflict: false,
        }
    }
}

/// A message's text, as far as it is read.
struct Source<'a> {
    text: Cow<'a, str>,
    is_lossy: bool,
    fault: Option<&'static str>,
}

impl<'a> Source<'a> {
    /// The text of these bytes, of `longest` of them at most.
    fn decode(bytes: &'a [u8], longest: usize) -> Self {
        let is_cut = bytes.len() > longest;
        let text = String::from_utf8_lossy(bytes.get(..longest).unwrap_or(bytes));
        let is_lossy = matches!(text, Cow::Owned(_));
        let fault = match (is_cut, is_lossy) {
            (true, _) => Some("is longer than 64 KiB"),
            (false, true) => Some("is not UTF-8"),
            (false, false) => None,
        };
        Self {
            text,
            is_lossy,
            fault,
        }
    }

    /// The text of an object with these members put before its own.
    fn with<'m>(&self, members: impl Iterator<Item = (&'m str, &'m str)>) -> String {
        let object = self.text.trim();
        let mut text = "{".to_owned();
        for (name, value) in members {
            text += &format!("\"{name}\":{},", serde_json::Value::from(value));
        }
        // It has further members: a request without a URL is none.
        text += object.strip_prefix('{').unwrap_or(object);
        text
    }
}

fn malformed<T>(why: String) -> Result<T, Problem> {
    Err(Problem::Malformed(why))
}

fn fault(member: &str, why: &str) -> Problem {
    Problem::Malformed(format!("`{}` {why}", quoted(member)))
}

/// A member that is there and not `null`.
fn optional<'a>(members: &Members<'a>, name: &str) -> Option<&'a RawValue> {
    members.get(name).filter(|value| !is_null(value))
}

fn own_id(members: &Members<'_>) -> Result<Option<RequestId>, Problem> {
    let Some(value) = members.get("id") else {
        return Ok(None);
    };
    let Some(text) = string(value) else {
        let why = if value
            .get()
            .starts_with(|c: char| c == '-' || c.is_ascii_digit())
        {
            "must be a string; put the number in quotes"
        } else {
            "must be a string; leave it out to be given one"
        };
        return Err(fault("id", why));
    };
    RequestId::try_new(&text).map(Some).ok_or(Problem::BadId)
}

/// Where the kind's fields stand among the members, all of which must mean something.
fn places(kind: &Kind, members: &Members<'_>) -> Result<Vec<Option<usize>>, Problem> {
    let is_known = |name: &str| OWN_MEMBERS.contains(&name) || kind.column(name).is_some();
    if let Some(name) = members.names().find(|name| !is_known(name)) {
        let columns = kind.columns.iter();
        let fields = columns.flat_map(|c| std::iter::once(&c.name).chain(&c.aliases));
        let known = OWN_MEMBERS.into_iter().chain(fields.map(String::as_str));
        let shown = quoted(name);
        // Words this long are no slip, and comparing them is work.
        let meant = (name.len() <= 100).then(|| closest(&name.replace('-', "_"), known));
        return malformed(match meant.flatten() {
            Some(meant) => format!("unknown member `{shown}`; did you mean `{meant}`?"),
            None => format!(
                "unknown member `{shown}`; what is not for {} goes into `meta`",
                kind.name
            ),
        });
    }
    let mut found = Vec::with_capacity(kind.columns.len());
    for (n, place) in kind.places(&members.names()).into_iter().enumerate() {
        let name = |at| members.names().nth(at).unwrap_or_default();
        if let (Some(first), Some(second)) = (place.first, place.second) {
            return Err(fault(name(second), &kind.means_the_same(n, name(first))));
        }
        found.push(place.first);
    }
    Ok(found)
}

/// A field's text, as it would stand in a file.
fn field(field_type: FieldType, name: &str, value: &RawValue) -> Result<String, Problem> {
    match (value.get(), field_type) {
        (word @ ("true" | "false"), FieldType::Bool) => Ok(word.to_owned()),
        (_, FieldType::Bool) => string(value).ok_or_else(|| fault(name, "must be true or false")),
        (_, FieldType::Text | FieldType::Url) => {
            string(value).ok_or_else(|| fault(name, "must be a string"))
        }
    }
}

fn deadline(value: &RawValue) -> Result<Deadline, Problem> {
    if let Some(text) = string(value)
        && let Ok(time) = text.parse()
    {
        return Ok(Deadline::At(time));
    }
    match value.get().parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= LONGEST_DEADLINE_S => {
            Ok(Deadline::In(Duration::from_secs_f64(seconds)))
        }
        Ok(_) => Err(fault(
            "deadline",
            "must be more than 0 seconds and at most a year",
        )),
        Err(_) => Err(fault(
            "deadline",
            "must be a number of seconds, or a time such as \"2026-11-24T12:00:00Z\"",
        )),
    }
}
