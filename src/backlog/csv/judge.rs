//! What a header makes of a row.
//!
//! What must stay true: a row is judged by the header's names alone, never by the order of columns; the
//! same function judges it in the check, in the run, and when a job is adopted. [`Judge::look`] and
//! [`Judge::judge`] differ in what they bring along, never in what they say.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::job::{
    Allowlist, FieldsHash, FieldsHasher, Gate, Kind, Kinds, Micros, Place, Problem, Request,
    RequestId, Value, check_fields,
};
use crate::sink::json;

use super::header::{Fault, Header, text};
use super::row::{Row, Texts};
use super::rows::Fits;

/// A kind under a header.
#[derive(Clone, Debug)]
struct Plan {
    kind: Arc<Kind>,
    /// Where each of its columns stands, or why no row can be of that kind.
    cells: Result<Vec<Option<usize>>, String>,
}

/// What a row is.
#[derive(Debug)]
pub(super) struct Judged {
    /// The id it brings, where that is acceptable.
    pub(super) own_id: Option<RequestId>,
    /// The request. Where the input has no ids, it still has a stand-in for one.
    pub(super) request: Result<Request, Fault>,
}

/// What a row is, short of its request.
#[derive(Debug)]
pub(super) struct Look<'r> {
    /// The id it brings, where that is acceptable.
    pub(super) own_id: Option<&'r str>,
    /// Whether it is good.
    pub(super) verdict: Result<Good, Fault>,
}

/// A row that may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Good {
    /// Its kind, for [`Judge::kind_name`].
    pub(super) plan: usize,
    /// The hash of its fields, if it was asked for.
    pub(super) fields: Option<FieldsHash>,
}

/// A row's cells as text.
#[derive(Clone, Copy)]
struct Cells<'r> {
    row: &'r Row,
    /// Where all of them are.
    texts: Option<Texts<'r>>,
}

impl<'r> Cells<'r> {
    fn of(row: &'r Row) -> Self {
        let texts = row.texts();
        Self { row, texts }
    }

    /// A cell, where it is text.
    fn get(self, n: usize) -> Option<&'r str> {
        match self.texts {
            Some(texts) => texts.get(n),
            None => self.row.get(n).and_then(text),
        }
    }

    /// The first cell that is no text.
    fn no_text(self) -> Option<usize> {
        match self.texts {
            Some(_) => None,
            None => self.row.iter().position(|cell| text(cell).is_none()),
        }
    }
}

/// Judges rows.
#[derive(Debug)]
pub(super) struct Judge {
    pub(super) header: Header,
    kinds: Kinds,
    sites: Gate,
    default_kind: Option<String>,
    /// One for each kind that was asked for.
    plans: Vec<Plan>,
    /// The one that was used last: most rows come in runs of one kind.
    last_plan: usize,
    hasher: FieldsHasher,
    /// Faults of the header that rows of some kind have brought to light, each told once.
    pub(super) header_faults: Vec<Fault>,
    stand_in: RequestId,
    /// What else a row must be good for.
    pub(super) fits: Option<Fits>,
    /// How many rows were judged.
    #[cfg(test)]
    looks: u64,
}

impl Judge {
    /// A judge of rows under this header. Faults that are seen without any row go to `header_faults`.
    pub(super) fn new(
        header: Header,
        kinds: Kinds,
        sites: Allowlist,
        default_kind: Option<String>,
    ) -> Self {
        let stand_in =
            RequestId::try_new("-").unwrap_or_else(|| unreachable!("one character is an id"));
        let mut judge = Self {
            header,
            kinds,
            sites: Gate::new(sites),
            default_kind,
            plans: Vec::new(),
            last_plan: 0,
            hasher: FieldsHasher::default(),
            header_faults: Vec::new(),
            stand_in,
            fits: None,
            #[cfg(test)]
            looks: 0,
        };
        match (&judge.default_kind, judge.header.job) {
            (None, None) => judge.header_faults.push(Fault::new(None, Problem::NoKind)),
            (Some(name), job) => {
                match judge.kinds.find(name).cloned() {
                    Err(problem) => judge.header_faults.push(Fault::new(Some("--job"), problem)),
                    // Its columns must be there.
                    Ok(kind) if job.is_none() => {
                        judge.plan(kind);
                    }
                    // No row may ever fall back to it.
                    Ok(_) => {}
                }
            }
            (None, Some(_)) => {}
        }
        judge
    }

    /// Looks at a row, without making a request of it. With `hashes`, a good row's fields are hashed.
    pub(super) fn look<'r>(&mut self, row: &'r Row, hashes: bool) -> Look<'r> {
        let cells = Cells::of(row);
        let own_id = self.own_id(cells);
        let verdict = self.verdict(cells, own_id, hashes);
        Look { own_id, verdict }
    }

    fn verdict(
        &mut self,
        cells: Cells<'_>,
        own_id: Option<&str>,
        hashes: bool,
    ) -> Result<Good, Fault> {
        self.count();
        let plan = self.plan_of(cells, own_id)?;
        if self.fits.is_some() {
            let request = self.request(plan, cells, self.id(own_id))?;
            let fields = hashes.then(|| request.fields_hash());
            return Ok(Good { plan, fields });
        }
        let Plan { kind, cells: at } = &self.plans[plan];
        let (sites, hasher) = (&mut self.sites, &mut self.hasher);
        hasher.begin(kind);
        check_fields(
            kind,
            |n| field(at, cells, n),
            |url, site_key| sites.authorize(url, site_key),
            |n, value| {
                if hashes {
                    hasher.take(&kind.columns[n], &value);
                }
            },
        )
        .map_err(|problem| self.fault(plan, problem))?;
        let fields = hashes.then(|| self.hasher.finish());
        Ok(Good { plan, fields })
    }

    /// Judges a row.
    pub(super) fn judge(&mut self, row: &Row) -> Judged {
        self.count();
        let cells = Cells::of(row);
        let own_id = self.own_id(cells);
        let id = self.id(own_id);
        let request = self
            .plan_of(cells, own_id)
            .and_then(|plan| self.request(plan, cells, id.clone()));
        let own_id = own_id.map(|_| id);
        Judged { own_id, request }
    }

    fn request(&mut self, plan: usize, cells: Cells<'_>, id: RequestId) -> Result<Request, Fault> {
        let Plan { kind, cells: at } = &self.plans[plan];
        let sites = &mut self.sites;
        let request = Request::validate_by(
            id,
            kind,
            |n| field(at, cells, n),
            |url, site_key| sites.authorize(url, site_key),
        )
        .map_err(|problem| self.fault(plan, problem))?;
        if let Some(fits) = self.fits
            && let Err(why) = fits(&self.header.good_row(cells.row, &request))
        {
            return Err(Fault::malformed(None, why));
        }
        Ok(request)
    }

    /// A problem of a row's fields, by the names of the file's columns.
    fn fault(&self, plan: usize, problem: Problem) -> Fault {
        let Plan { kind, cells } = &self.plans[plan];
        let column = problem.column().map(|name| {
            let place = kind.column(name).zip(cells.as_ref().ok());
            let n = place.and_then(|(n, cells)| cells[n]);
            n.map_or(name, |n| self.header.names[n].as_str()).to_owned()
        });
        Fault {
            column,
            problem,
            is_of_header: false,
        }
    }

    /// The name of a good row's kind.
    pub(super) fn kind_name(&self, plan: usize) -> &str {
        &self.plans[plan].kind.name
    }

    /// The id that a row brings, where that is acceptable.
    pub(super) fn id_of<'r>(&self, row: &'r Row) -> Option<&'r str> {
        self.own_id(Cells::of(row))
    }

    fn own_id<'r>(&self, cells: Cells<'r>) -> Option<&'r str> {
        let id = cells.get(self.header.id?)?;
        RequestId::accepts(id).then_some(id)
    }

    fn id(&self, own_id: Option<&str>) -> RequestId {
        let own_id = own_id.and_then(RequestId::try_new);
        own_id.unwrap_or_else(|| self.stand_in.clone())
    }

    /// Finds out of what kind a row is, once it is well formed as such.
    fn plan_of(&mut self, cells: Cells<'_>, own_id: Option<&str>) -> Result<usize, Fault> {
        let row = cells.row;
        if let Some(fault) = row.fault {
            return Err(Fault::malformed(None, fault));
        }
        if row.len() != self.header.names.len() {
            let why = format!(
                "has {} cells, the header {}",
                row.len(),
                self.header.names.len()
            );
            return Err(Fault::malformed(None, why));
        }
        if let Some(n) = cells.no_text() {
            let why = if row.get(n).is_some_and(|c| c.contains(&0)) {
                "holds a NUL byte"
            } else {
                "is not UTF-8"
            };
            return Err(Fault::malformed(Some(&self.header.names[n]), why));
        }
        if self.header.id.is_some() && own_id.is_none() {
            return Err(Fault::new(Some("id"), Problem::BadId));
        }
        let named = self
            .header
            .job
            .and_then(|n| cells.get(n))
            .map(str::trim)
            .filter(|name| !name.is_empty());
        let Some(name) = named.or(self.default_kind.as_deref()) else {
            let fault = Fault::new(Some("job"), Problem::NoKind);
            return Err(match self.header.job {
                Some(_) => fault,
                None => fault.told_once(),
            });
        };
        let is_it = |plan: &Plan| plan.kind.name == name;
        let found = match self.plans.get(self.last_plan).is_some_and(is_it) {
            true => Some(self.last_plan),
            false => self.plans.iter().position(is_it),
        };
        let plan = match found {
            Some(plan) => plan,
            None => match self.kinds.find(name).cloned() {
                Ok(kind) => self.plan(kind),
                Err(problem) => {
                    let fault = Fault::new(Some("job"), problem);
                    return Err(match named {
                        Some(_) => fault,
                        None => fault.told_once(),
                    });
                }
            },
        };
        self.last_plan = plan;
        match &self.plans[plan].cells {
            Ok(_) => Ok(plan),
            Err(why) => Err(Fault::malformed(None, why.clone()).told_once()),
        }
    }

    /// Finds a kind's columns in the header, once.
    fn plan(&mut self, kind: Arc<Kind>) -> usize {
        let mut cells = Vec::with_capacity(kind.columns.len());
        let mut faults = Vec::new();
        if let Some(problem) = self.kinds.not_spoken(&kind) {
            faults.push(Fault::new(None, problem));
        }
        let names = self.header.names.iter().map(String::as_str);
        for (n, (column, Place { first, second })) in
            kind.columns.iter().zip(kind.places(&names)).enumerate()
        {
            if let (Some(a), Some(b)) = (first, second) {
                let (a, b) = (&self.header.names[a], &self.header.names[b]);
                faults.push(Fault::malformed(Some(b), kind.means_the_same(n, a)));
            }
            if first.is_none() && column.required {
                let others: String = column.aliases.iter().map(|a| format!(", `{a}`")).collect();
                let why = format!(
                    "there is no column `{}`{}, which {} needs",
                    column.name,
                    match others.as_str() {
                        "" => String::new(),
                        others => format!(" (or {})", &others[2..]),
                    },
                    kind.name
                );
                faults.push(Fault::malformed(None, why));
            }
            cells.push(first);
        }
        let cells = match faults.first() {
            None => Ok(cells),
            Some(fault) => Err(match &fault.column {
                Some(column) => format!("column `{column}` {}", fault.problem),
                None => fault.problem.to_string(),
            }),
        };
        self.header_faults.append(&mut faults);
        self.plans.push(Plan { kind, cells });
        self.plans.len() - 1
    }

    /// Sets the prices of kinds.
    pub(super) fn set_prices(&mut self, prices: &BTreeMap<String, Micros>) {
        self.kinds.set_prices(prices);
        for plan in &mut self.plans {
            if let Some(kind) = self.kinds.get(&plan.kind.name) {
                plan.kind = Arc::clone(kind);
            }
        }
    }

    fn count(&mut self) {
        #[cfg(test)]
        {
            self.looks += 1;
        }
    }

    /// How many rows were judged so far, one that was judged twice counted twice.
    #[cfg(test)]
    pub(super) fn looks(&self) -> u64 {
        self.looks
    }

    /// Whether there is such a kind.
    pub(super) fn knows(&self, kind: &str) -> bool {
        self.kinds.get(kind).is_some()
    }

    /// A request of the journal's, judged anew: its values by the names of its kind's columns.
    pub(super) fn judge_stored(
        &self,
        id: RequestId,
        kind: &str,
        values: &str,
    ) -> Result<Request, Problem> {
        let kind = self.kinds.find(kind)?;
        let values: BTreeMap<String, String> = serde_json::from_str(values)
            .map_err(|_| Problem::Malformed("the journal's copy cannot be read".to_owned()))?;
        Request::validate(
            id,
            kind,
            |n| values.get(&kind.columns[n].name).map(String::as_str),
            self.sites.sites(),
        )
    }
}

/// The text of a kind's column in a row.
fn field<'r>(
    at: &Result<Vec<Option<usize>>, String>,
    cells: Cells<'r>,
    column: usize,
) -> Option<&'r str> {
    let at = at.as_ref().ok()?;
    cells.get(at[column]?)
}

/// A request's values as the journal keeps them: a JSON object by the names of the kind's columns.
pub(super) fn stored_values(request: &Request) -> String {
    let columns = request.kind().columns.iter().zip(request.values());
    let mut values: Vec<(&str, &str)> = columns
        .filter_map(|(column, value)| {
            let value = match value.as_ref()? {
                Value::Text(text) => text.as_str(),
                Value::Bool(true) => "true",
                Value::Bool(false) => "false",
            };
            Some((column.name.as_str(), value))
        })
        .collect();
    values.sort_unstable();
    json::strings(values)
}
