//! What a row of the input is to a run: known or new, done or to be done.
//!
//! What must stay true: every row comes here once, in order; it is held against what the check left in
//! [`super::seen`], so that a row that was not there then is told, not taken.

use crate::backlog::BacklogError;
use crate::job::{Problem, RequestId};

use super::CsvBacklog;
use super::check::{Found, changed, find};
use super::claim::{place, unreadable};
use super::header::Fault;
use super::identity::{Key, RowHash};
use super::judge::{Good, Look};
use super::known::Standing;
use super::row::Row;

/// What a row of the input is to this run.
pub(super) enum Resolved {
    /// Nothing is to be done for it.
    Skip { id: RequestId },
    /// It is to be created.
    Go {
        id: RequestId,
        known: Option<(u32, Standing)>,
    },
    /// It is not acceptable.
    Reject {
        id: RequestId,
        fault: Fault,
        known: Option<u32>,
    },
}

impl Resolved {
    /// What the row is called in the output.
    pub(super) fn id(&self) -> &RequestId {
        match self {
            Self::Skip { id } | Self::Go { id, .. } | Self::Reject { id, .. } => id,
        }
    }
}

impl CsvBacklog {
    /// Finds out what a row is known by, and how it stands. Every row of an input comes here once, in order.
    pub(super) fn resolve(&mut self, row: &Row) -> Result<Resolved, BacklogError> {
        let hashes = !self.keys.own_ids || !self.seen.known.is_empty();
        let Look { own_id, verdict } = self.judge.look(row, hashes);
        match (own_id, verdict) {
            (Some(id), verdict) => self.resolve_own(row, id, verdict),
            (None, Ok(Good { fields, .. })) if !self.keys.own_ids => {
                let hash = fields.map(RowHash::of_fields);
                let numbered = hash.and_then(|hash| {
                    let occurrence = self.seen.take_generated(hash.short())?;
                    Some((hash, occurrence, hash.id(occurrence)?))
                });
                let Some((hash, occurrence, id)) = numbered else {
                    return Err(self.file_changed(row));
                };
                let known = self.seen.known.generated(hash.short(), occurrence);
                Ok(self.standing(known, id, Ok(())))
            }
            (None, Err(fault)) => self.resolve_bad(row, fault),
            (None, Ok(_)) => self.resolve_bad(row, Fault::new(Some("id"), Problem::BadId)),
        }
    }

    fn resolve_own(
        &mut self,
        row: &Row,
        id: &str,
        verdict: Result<Good, Fault>,
    ) -> Result<Resolved, BacklogError> {
        let (hash, check) = (self.keys.hash(id), self.keys.check_hash(id));
        let shown = || id.escape_debug().to_string();
        if let Some(first_line) = self
            .seen
            .repeats
            .first_line(hash, check)
            .filter(|first| *first != row.line)
        {
            let problem = Problem::DuplicateId {
                id: shown(),
                first_line,
            };
            return self.resolve_bad(row, Fault::new(Some("id"), problem));
        }
        let again = || {
            Fault::malformed(
                Some("id"),
                format!("id `{}` stands in an earlier row already", shown()),
            )
        };
        let Some(request_id) = RequestId::try_new(id) else {
            return self.resolve_bad(row, Fault::new(Some("id"), Problem::BadId));
        };
        let fields = verdict.as_ref().ok().and_then(|good| good.fields);
        let verdict = verdict.map(|_| ());
        let found = find(
            &mut self.seen.known,
            &self.keys,
            Some(&self.journal),
            (id, hash),
            fields,
        );
        match found.map_err(|e| unreadable(&self.journal, &e))? {
            Found::Known(n) => {
                if !self.seen.known.count(n) {
                    return self.resolve_bad(row, again());
                }
                Ok(self.standing(Some(n), request_id, verdict))
            }
            Found::Changed { n, began } => {
                self.seen.known.count(n);
                let fault = match &self.judge.judge(row).request {
                    Ok(request) => changed(id, &began, request),
                    Err(_) => again(),
                };
                self.resolve_bad(row, fault)
            }
            Found::New => {
                if self.seen.take_new(hash) {
                    return Ok(self.standing(None, request_id, verdict));
                }
                if self.input.is_file() {
                    Err(self.file_changed(row))
                } else {
                    self.resolve_bad(row, again())
                }
            }
        }
    }

    /// What becomes of a row that is known by `id`, and stands at that entry of the journal's, if any.
    fn standing(
        &self,
        known: Option<usize>,
        id: RequestId,
        verdict: Result<(), Fault>,
    ) -> Resolved {
        let known = known.map(|n| (self.seen.known.seq(n), self.seen.known.standing(n)));
        match (known, verdict) {
            (Some((_, Standing::Settled | Standing::InFlight)), _) => Resolved::Skip { id },
            (Some((_, Standing::Failed)), _) if !self.retry_failed => Resolved::Skip { id },
            (Some((_, Standing::Failed)), Err(_)) => Resolved::Skip { id },
            (known, Ok(())) => Resolved::Go { id, known },
            (known, Err(fault)) => Resolved::Reject {
                id,
                fault,
                known: known.map(|(seq, _)| seq),
            },
        }
    }

    /// A bad row that no id of its own leads to.
    fn resolve_bad(&mut self, row: &Row, fault: Fault) -> Result<Resolved, BacklogError> {
        let hash = RowHash::of_cells(row);
        let occurrence = self.seen.take_bad(hash.short());
        let Some(id) = hash.id(occurrence) else {
            return Err(self.file_changed(row));
        };
        let known = match self.keys.key(id.as_str()) {
            Key::Generated(hash, occurrence) => self.seen.known.generated(hash, occurrence),
            Key::Own(_) => None,
        };
        Ok(self.standing(known, id, Err(fault)))
    }

    fn file_changed(&self, row: &Row) -> BacklogError {
        let why =
            "this row was not there when the file was checked: it was changed while it was read";
        BacklogError::BadInput(place(
            &self.input.name,
            row.line,
            Fault::malformed(None, why),
        ))
    }
}
